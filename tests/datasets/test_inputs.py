"""Descriptions of outside inputs: they change exactly if the content changes."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pipeline.datasets import inputs
from tests.builders.layouts.nuswide import NAMES, make_arrays, make_lists
from tests.conftest import ROOT, RunStage, SetParams

Describe = Callable[[], dict[str, Any]]


@pytest.fixture
def root(workplace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table of four images in the data root."""
    root = tmp_path / "root"
    root.mkdir()
    rows = ["image,split,labels", "0.png,train,a", "1.png,train,b", "2.png,val,a", "3.png,test,b"]
    (root / "labels.csv").write_text("\n".join(rows))
    for number in range(4):
        Image.new("RGB", (8, 8), (number, 0, 0)).save(root / f"{number}.png")
    monkeypatch.setenv("SPML_DATA_ROOT", str(root))
    return root


@pytest.fixture
def describe(root: Path, workplace: Path, run_stage: RunStage, set_params: SetParams) -> Describe:
    """Run the stage and return its description of the data."""
    set_params({"prepare.source": "table"})

    def run() -> dict[str, Any]:
        run_stage("inputs")
        description: dict[str, Any] = json.loads((workplace / "data/inputs/data.json").read_text())
        return description

    return run


def test_data_are_described_by_their_content(describe: Describe, root: Path) -> None:
    first = describe()
    assert first["source"] == "table"
    assert list(first["annotations"]) == ["labels.csv"]
    assert first["images"]["count"] == 4
    assert first["images"]["missing"] == 0
    assert describe() == first

    Image.new("RGB", (8, 8), (200, 0, 0)).save(root / "2.png")
    second = describe()
    assert second["annotations"] == first["annotations"]
    assert second["images"] != first["images"]

    table = root / "labels.csv"
    table.write_text(table.read_text().replace("2.png,val", "2.png,train"))
    third = describe()
    assert third["annotations"] != first["annotations"]
    assert third["images"] == second["images"]

    (root / "2.png").unlink()
    assert describe()["images"]["missing"] == 1


def test_the_location_of_the_data_is_not_described(
    describe: Describe, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = describe()
    monkeypatch.setenv("SPML_DATA_ROOT", str(shutil.copytree(root, root.parent / "other")))
    assert describe() == first


def test_an_unchanged_source_is_read_once(
    describe: Describe, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = describe()
    read = inputs.read_source
    times: list[int] = []
    monkeypatch.setattr(inputs, "read_source", lambda params: times.append(1) or read(params))
    assert describe() == first
    assert not times
    (root / "labels.csv").write_text((root / "labels.csv").read_text() + "\n")
    assert describe() != first
    assert times


@pytest.mark.parametrize("place", ["", "nuswide"])
def test_new_files_that_the_reader_prefers_are_noticed(
    place: str, describe: Describe, root: Path, set_params: SetParams
) -> None:
    set_params({"prepare.source": "nuswide"})
    make_lists(root / place, images="images")
    first = describe()
    assert describe() == first
    make_arrays(root / place, concepts=NAMES)
    assert list(describe()["annotations"]) != list(first["annotations"])


@pytest.mark.parametrize("who", ["teacher", "student"])
def test_weights_are_described_by_their_content(
    workplace: Path, run_stage: RunStage, set_params: SetParams, who: str
) -> None:
    path = workplace / "w.pt"
    set_params({f"train_{who}.train.model.weights": str(path)})
    output = run_stage("inputs", exit_code=1).output
    assert output == f"Error: {path}: no such file (train_{who}.train.model.weights)\n"
    descriptions = []
    for content in (b"1", b"2"):
        path.write_bytes(content)
        run_stage("inputs")
        descriptions.append((workplace / f"data/inputs/train_{who}.json").read_text())
    assert descriptions[0] != descriptions[1]
    set_params({f"train_{who}.train.model.weights": "IMAGENET1K_V2"})
    run_stage("inputs")
    named = json.loads((workplace / f"data/inputs/train_{who}.json").read_text())
    assert named["weights"] == {"weights": "IMAGENET1K_V2"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            {"train_teacher.loss": "anne"},
            "train_teacher.loss = 'anne': is no loss; should be one of",
        ),
        ({"train.fit.lr": 0.0}, "train.fit.lr = 0.0: should be a number > 0\n"),
        (
            {"train_student.train.mode": "all"},
            "train_student.train.mode = 'all': should be 'end_to_",
        ),
    ],
)
def test_an_invalid_training_is_refused_before_prepare(
    change: dict[str, Any], expected: str, run_stage: RunStage, set_params: SetParams
) -> None:
    set_params(change)
    output = run_stage("inputs", exit_code=1).output
    assert output.startswith(f"Error: params.yaml: {expected}")
    assert output.count("\n") == 1
    assert not Path("data").exists()


def test_params_that_have_not_changed_are_described_without_torch(
    workplace: Path, run_stage: RunStage
) -> None:
    run_stage("inputs")
    first = (workplace / "data/inputs/train_teacher.json").read_bytes()
    code = (
        "import sys; from stages import inputs; inputs.main([], standalone_mode=False); "
        "print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=workplace, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "False"
    assert (workplace / "data/inputs/train_teacher.json").read_bytes() == first


def test_a_damaged_note_on_the_params_is_made_again(workplace: Path, run_stage: RunStage) -> None:
    run_stage("inputs")
    first = (workplace / "data/inputs/train_student.json").read_bytes()
    notes = list((workplace / ".cache/params").iterdir())
    assert len(notes) == 3
    for note in notes:
        note.write_bytes(note.read_bytes()[:-1])
    run_stage("inputs")
    assert (workplace / "data/inputs/train_student.json").read_bytes() == first
