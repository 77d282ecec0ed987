"""Full and failing disks: each stage prints one line and keeps its old outputs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders.disks import no_file_above, small_disk
from tests.builders.miniatures import STAGES
from tests.checks.folders import everything
from tests.conftest import ROOT, RunStage, SetParams, StartAfter


@pytest.fixture
def again(workplace: Path, start_after: StartAfter, set_params: SetParams) -> Path:
    """A workplace where all stages ran; its params then changed, so that each runs again."""
    start_after("evaluate")
    set_params(
        {
            "prepare.digits.n_train": 70, "pseudo_label.tau": 0.3,
            "train.fit.lr": 3e-3,
        }
    )  # fmt: skip
    return workplace


# The largest size of a file in bytes, chosen so that the stage fails at one of several outputs,
# and the start of the message.
FAILURES = [
    ("prepare", 1_000, "data/images.parquet, data/truth.parquet, data/index.parquet"),
    ("train_teacher", 200_000, ".cache/resume/train_teacher-fit-"),
    ("score", 1_000, "data/scores.parquet, data/val_scores.parquet, data/test_scores.parquet"),
    ("pseudo_label", 400, "data/pseudo_labels.parquet, reports/pseudo_label"),
    ("train_student", 200_000, ".cache/resume/train_student-fit-"),
    ("evaluate", 20_000, "reports/evaluate"),
]


@pytest.mark.parametrize(("stage", "limit", "message"), FAILURES, ids=STAGES)
def test_a_stage_on_a_failing_disk_prints_one_line_and_keeps_all_old_outputs(
    stage: str, limit: int, message: str, again: Path, run_stage: RunStage
) -> None:
    before = everything(again)
    with no_file_above(limit):
        output = run_stage(stage, exit_code=1).output
    error = output.splitlines()[-1]
    assert error.startswith(f"Error: {message}")
    assert error.endswith("cannot be written: File too large")
    assert output.count("Error") == 1
    assert everything(again) == before


def test_prepare_replaces_all_of_its_outputs_or_none(again: Path, run_stage: RunStage) -> None:
    before = everything(again)
    most = max((again / "data" / f"{name}.parquet").stat().st_size for name in ("index", "truth"))
    with no_file_above(2 * most):  # room for the outputs besides the images
        assert "File too large" in run_stage("prepare", exit_code=1).output
    assert everything(again) == before


@pytest.mark.parametrize("size", ["64k", "300k"], ids=["images", "checkpoint"])
def test_the_message_about_a_full_cache_names_the_cache(
    size: str, again: Path, monkeypatch: pytest.MonkeyPatch, run_stage: RunStage
) -> None:
    monkeypatch.setenv("SPML_CACHE", "cache")
    before = everything(again)
    with small_disk(again / "cache", size):
        error = run_stage("train_teacher", exit_code=1).output.splitlines()[-1]
    (again / "cache").rmdir()
    folder = {"64k": "images", "300k": "resume"}[size]
    assert error.startswith(f"Error: cache/{folder}: no space left for ")
    assert "MB are needed, " in error
    assert error.endswith("MB are free; SPML_CACHE should name a folder with more room")
    assert everything(again) == before


def test_a_full_disk_below_stdout_gives_an_error(again: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full")
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "stages.pseudo_label"], cwd=again, stdout=full,
            stderr=subprocess.PIPE, text=True, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
    assert ended.returncode == 1
    assert ended.stderr == "Error: No space left on device\n"
