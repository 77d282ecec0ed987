"""The sweep: its runs, table and figures, and its restart after a kill."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import filelock
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from experiments import runs, sweep
from pipeline.core.errors import InputError
from tests.conftest import ROOT, RunStage, SetParams, StartAfter


def rows(taus: tuple[float, ...] = (0.3, 0.5), seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    """Return rows of results, where val prefers the highest tau and test the lowest."""
    students = [
        {
            "method": "student", "tau": tau, "seed": seed, "val_mAP": 80 + 10 * tau + seed,
            "test_mAP": 90 - 10 * tau + seed, "positives_per_image": 3 - tau,
            "precision": tau, "recall": 1 - tau, "teacher_val_mAP": 70.0, "teacher_mAP": 71.0,
            "true_positives_per_image": 2.5, "seconds": 1.0,
        }
        for seed in seeds
        for tau in taus
    ]  # fmt: skip
    references = [
        {"method": name, "tau": None, "seed": seed, "val_mAP": value, "test_mAP": value + seed}
        for seed in seeds
        for name, value in (("an", 60.0), ("full_labels", 95.0))
    ]
    return pd.DataFrame(students + references)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a sweep."""
    folder = tmp_path_factory.mktemp("written") / "sweep"
    sweep.write(folder, rows())
    return folder


def test_the_files_of_a_sweep_are_tidy(written: Path) -> None:
    tidy = pd.read_csv(written / "results.csv")
    assert list(tidy) == [
        "method", "tau", "seed", "val_mAP", "test_mAP", "positives_per_image", "precision",
        "recall",
    ]  # fmt: skip
    assert tidy["method"].value_counts().to_dict() == {
        "student": 4, "an": 2, "full_labels": 2, "teacher": 1, "truth": 1,
    }  # fmt: skip
    by_tau = pd.read_csv(written / "by_tau.csv").set_index("tau")
    assert by_tau.loc[0.3, "test_mAP_mean"] == pytest.approx(87.5)
    assert by_tau.loc[0.3, "test_mAP_std"] == pytest.approx(np.std([0, 1], ddof=1))
    names = ("sweep", "test_mAP", "val_mAP", "positives", "quality")
    for name in names:
        assert (written / f"{name}.png").stat().st_size > 10_000
        assert b"</svg>" in (written / f"{name}.svg").read_bytes()


def test_val_chooses_and_test_is_reported(written: Path) -> None:
    lines = re.sub(" +", " ", (written / "table.md").read_text()).splitlines()
    marked = [line for line in lines if "chosen by val" in line]
    assert len(marked) == 1
    assert marked[0].startswith("| student, tau 0.5 **(chosen by val)** | 85.50 ± 0.71 | 85.50")
    assert any(line.startswith("| truth | | | 2.50 |") for line in lines)


def test_equal_results_give_equal_bytes(written: Path, tmp_path: Path) -> None:
    sweep.write(tmp_path / "again", rows())
    for path in written.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


@pytest.mark.parametrize("n_seeds", [1, 3])
def test_one_tau_and_unknown_truth_are_enough(n_seeds: int, tmp_path: Path) -> None:
    results = rows((0.4,), tuple(range(n_seeds)))
    results = results[results["method"] == "student"]
    results[["precision", "recall", "true_positives_per_image"]] = np.nan
    sweep.write(tmp_path / "sweep", results)
    assert (tmp_path / "sweep" / "sweep.png").exists()
    assert not (tmp_path / "sweep" / "quality.png").exists()


def test_a_teacher_from_outside_may_have_no_test_scores(tmp_path: Path) -> None:
    sweep.write(tmp_path / "sweep", rows().assign(teacher_mAP=None))
    lines = re.sub(" +", " ", (tmp_path / "sweep" / "table.md").read_text()).splitlines()
    assert "| teacher | 70.00 | | | | |" in lines
    tidy = pd.read_csv(tmp_path / "sweep" / "results.csv")
    tidy["true_positives_per_image"] = None
    assert set(sweep._drawn(tidy).references) == {"an", "full_labels"}


def test_means_are_of_seeds_that_every_tau_has(tmp_path: Path) -> None:
    results = rows((0.3, 0.5), (0, 1)).drop(index=3)  # tau 0.5 has no seed 1
    drawn = sweep._drawn(results.assign(true_positives_per_image=None))
    assert drawn.values["test_mAP"].tolist() == [[87.0], [85.0]]
    with pytest.raises(InputError, match="no seed has a run of every tau"):
        sweep.write(tmp_path / "sweep", rows((0.3, 0.5), (0, 1)).drop(index=[1, 2]))
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--taus", "0.3,high"], "--taus '0.3,high': should be numbers"),
        (["--taus", "0.3,1.0"], "--taus [0.3, 1.0]: should be different numbers"),
        (["--taus", "nan"], "--taus [nan]: should be different numbers"),
        (["--taus", "0.3,0.3"], "--taus [0.3, 0.3]: should be different numbers"),
        (["--seeds", "-1"], "--seeds [-1]: should be different numbers"),
        (["--seeds", "0.5"], "--seeds '0.5': should be numbers"),
        (["--seeds", ""], "--seeds '': should be numbers"),
        (["--no-repro"], "data/images.parquet: no such file; run `dvc repro` first"),
    ],
)
def test_a_wrong_option_is_an_error_of_one_line(
    options: list[str], message: str, workplace: Path
) -> None:
    result = CliRunner().invoke(sweep.main, options)
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.output
    assert not (workplace / "reports" / "sweep").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep.taus": []}, "sweep.taus"),
        ({"sweep.taus": [0.5, 1.5]}, "sweep.taus.1 = 1.5"),
        ({"sweep.seeds": [0, 0]}, "sweep.seeds = [0, 0]: should name each value once"),
        ({"sweep.references": ["em"]}, "sweep.references.0 = 'em'"),
    ],
)
def test_a_mistake_in_params_is_an_error_of_one_line(
    changes: dict[str, object], message: str, set_params: SetParams
) -> None:
    set_params(changes)
    result = CliRunner().invoke(sweep.main, [])
    assert result.exit_code == 1
    assert message in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_two_sweeps_do_not_run_in_one_folder(tmp_path: Path) -> None:
    with filelock.FileLock(tmp_path / ".lock"), pytest.raises(InputError, match="another sweep"):
        sweep._alone(tmp_path)
    with sweep._alone(tmp_path):
        pass
    with filelock.FileLock(tmp_path / ".lock", blocking=False):
        pass  # it is free again


@pytest.mark.slow
def test_a_killed_sweep_goes_on_and_ends_with_the_same_table(
    workplace: Path, set_params: SetParams, start_after: StartAfter, run_stage: RunStage
) -> None:
    start_after("score")
    set_params({"sweep.taus": [0.2, 0.4], "sweep.seeds": [0], "sweep.references": ["an"]})
    first = start(workplace)
    kept = workplace / ".cache" / "sweep"
    end = time.monotonic() + 300
    # Kill it during a stage of the second run, after the first run.
    while not (list(kept.glob("evaluate-*[!l]")) and list(kept.glob("*.partial/*.log"))):
        assert time.monotonic() < end
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    done = {path: path.stat().st_mtime_ns for path in kept.glob("*/seconds.json")}
    assert not (workplace / "reports" / "sweep").exists()

    assert start(workplace).wait() == 0
    assert not list(kept.glob("*.partial"))
    for path, when in done.items():
        assert path.stat().st_mtime_ns == when, "a run that had ended was run again"
    tidy = pd.read_csv(workplace / "reports" / "sweep" / "results.csv")
    assert tidy["method"].tolist() == ["student", "student", "an", "teacher", "truth"]

    # The table equals that of an undisturbed run, which runs the stages one after another.
    set_params({"pseudo_label.tau": 0.2})
    for stage in ("pseudo_label", "train_student", "evaluate"):
        run_stage(stage)
    alone = json.loads((workplace / "reports" / "evaluate" / "metrics.json").read_text())
    assert alone["student.mAP"] == tidy["test_mAP"][0]
    assert alone["teacher.mAP"] == tidy["test_mAP"][3]
    assert alone["pseudo_labels.precision"] == tidy["precision"][0]


def start(workplace: Path) -> "subprocess.Popen[bytes]":
    """Start a sweep as a command with one thread, as in the test."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "experiments.sweep", "--no-repro"]
    return subprocess.Popen(
        command, cwd=workplace, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip


def test_a_failed_run_is_reported_and_the_others_are_kept(
    workplace: Path, set_params: SetParams, start_after: StartAfter
) -> None:
    start_after("score")
    set_params(
        {
            "sweep.taus": [0.2, 0.99], "sweep.seeds": [0], "sweep.references": [],
            "pseudo_label.keep_observed": False,
        }
    )  # fmt: skip
    result = CliRunner().invoke(sweep.main, ["--no-repro", "--taus", "0.99"])
    assert result.exit_code == 1
    output = result.stderr.strip().splitlines()[-1]
    assert (
        "1 runs failed: student, tau 0.99, seed 0: pseudo_label: pseudo_label.tau = 0.99" in output
    )
    assert not (workplace / "reports" / "sweep").exists()


def test_the_bar_shows_finished_runs_epochs_of_the_running_ones_and_the_time_left(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = "device: CPU\nepoch 1/4  loss 1  val mAP 2\nepoch 3/4  loss 1  val mAP 2\n"
    for name, logs in (
        ("evaluate-a.1.partial", {"pseudo_label": "x", "train_student": lines}),
        ("measure-b.1.partial", {"train_teacher": lines, "measure": "device: CPU"}),
        ("prepare-c.1.partial", {}),
    ):
        (tmp_path / name).mkdir()
        for place, (stage, text) in enumerate(logs.items()):
            (tmp_path / name / f"{stage}.log").write_text(text)
            os.utime(tmp_path / name / f"{stage}.log", (place, place))
    now = runs.running(tmp_path)
    assert [(each.text, each.done) for each in now] == [("train_student 3/4", 0.75), ("measure", 1)]
    with sweep._Bar(10, tmp_path) as bar:
        bar.show(3, now)
    shown = capsys.readouterr().err.replace("\r", "\n").splitlines()[-1]
    assert shown.startswith("runs 3/10")
    assert " 48%|" in shown
    assert shown.endswith(", train_student 3/4, measure")
    assert re.search(r"00:00<\d\d:\d\d", shown)
