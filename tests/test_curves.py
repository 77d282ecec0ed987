"""A history becomes files and a history again."""

import json
from pathlib import Path

import pytest

from pipeline import curves
from pipeline.curves import Epoch, History
from pipeline.errors import InputError

EPOCHS = [
    Epoch(1, 0.5, 8e-05, 40.0),
    Epoch(2, 1 / 3, 0.002, 61.234567890123),
    Epoch(3, 0.2, 8e-09, 61.234567890123),
]
HISTORY = History(EPOCHS, EPOCHS[1])


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("n_epochs", [1, 3], ids=str)
def test_curves_are_read_as_they_were_written(n_epochs: int, tmp_path: Path) -> None:
    history = History(EPOCHS[:n_epochs], EPOCHS[n_epochs - 1])
    curves.write(tmp_path / "report", history)
    assert curves.read(tmp_path / "report") == history


@pytest.mark.parametrize("kept", [0, 1], ids=["of lower val mAP", "of the highest"])
def test_the_summary_names_the_epoch_that_was_kept(kept: int, tmp_path: Path) -> None:
    curves.write(tmp_path / "report", History(EPOCHS, EPOCHS[kept]))
    told = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert told["best_epoch"] == kept + 1
    assert told["best_val_mAP"] == EPOCHS[kept].val_mAP
    assert told["val_mAP"] == EPOCHS[2].val_mAP
    assert told["loss"] == EPOCHS[2].loss
    assert curves.read(tmp_path / "report").best == EPOCHS[kept]


def test_nothing_else_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    curves.write(Path("reports/train_teacher"), HISTORY)
    assert set(contents(tmp_path)) == {
        "dvc.yaml",
        "reports/train_teacher/metrics.json",
        "reports/train_teacher/plots/metrics/loss.tsv",
        "reports/train_teacher/plots/metrics/lr.tsv",
        "reports/train_teacher/plots/metrics/val_mAP.tsv",
    }
    assert (tmp_path / "dvc.yaml").read_text() == "stages: {}\n"


def test_writing_again_replaces_and_equal_histories_give_equal_bytes(tmp_path: Path) -> None:
    curves.write(tmp_path / "a", HISTORY)
    curves.write(tmp_path / "b", History(EPOCHS[:1], EPOCHS[0]))
    (tmp_path / "b" / "old.txt").write_text("left behind")
    curves.write(tmp_path / "b", HISTORY)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_missing_curve_names_the_file_and_what_to_run(tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    path = tmp_path / "plots" / "metrics" / "lr.tsv"
    path.unlink()
    with pytest.raises(InputError) as caught:
        curves.read(tmp_path)
    assert str(caught.value) == f"{path}: no such file; run the training stage first"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("plots/metrics/loss.tsv", "step\tloss\n1\t0.5\n2\tx\n3\t0.2\n", "line 3: should hold a"),
        ("plots/metrics/loss.tsv", "step\tother\n1\t0.5\n", "line 2: should hold a number as loss"),
        ("plots/metrics/loss.tsv", "step\tloss\n1\t0.5\n", "best_epoch = 2: should be one of"),
        ("metrics.json", "{", "best_epoch = None: should be one of"),
        ("metrics.json", "[]", "best_epoch = None: should be one of"),
        ("metrics.json", '{"best_epoch": 4}', "best_epoch = 4: should be one of"),
        ("metrics.json", '{"best_epoch": "2"}', "best_epoch = '2': should be one of"),
    ],
)
def test_a_garbled_history_is_an_error_that_names_the_file(
    name: str, text: str, words: str, tmp_path: Path
) -> None:
    curves.write(tmp_path, HISTORY)
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as caught:
        curves.read(tmp_path)
    named = name if words.startswith("line") else "metrics.json"
    assert str(caught.value).startswith(f"{tmp_path / named}: {words}")
    assert "\n" not in str(caught.value)
