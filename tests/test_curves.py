"""A history becomes files and a history again."""

import json
from pathlib import Path

import pytest

from pipeline import curves
from pipeline.curves import Epoch
from pipeline.errors import InputError

HISTORY = [
    Epoch(1, 0.5, 8e-05, 40.0),
    Epoch(2, 1 / 3, 0.002, 61.234567890123),
    Epoch(3, 0.2, 8e-09, 61.234567890123),
]


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("n_epochs", [1, 3], ids=str)
def test_curves_are_read_as_they_were_written(n_epochs: int, tmp_path: Path) -> None:
    history = HISTORY[:n_epochs]
    curves.write(tmp_path / "report", history)
    assert curves.read(tmp_path / "report") == {
        "loss": [epoch.loss for epoch in history],
        "lr": [epoch.lr for epoch in history],
        "val_mAP": [epoch.val_mAP for epoch in history],
    }


def test_the_summary_names_the_first_best_epoch(tmp_path: Path) -> None:
    curves.write(tmp_path / "report", HISTORY)
    told = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert told["best_epoch"] == 2
    assert told["best_val_mAP"] == HISTORY[1].val_mAP
    assert told["val_mAP"] == HISTORY[2].val_mAP
    assert told["loss"] == HISTORY[2].loss


def test_nothing_else_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    curves.write(Path("reports/train_teacher"), HISTORY)
    assert set(contents(tmp_path)) == {
        "dvc.yaml",
        "reports/train_teacher/SHA256SUMS",
        "reports/train_teacher/metrics.json",
        "reports/train_teacher/plots/metrics/loss.tsv",
        "reports/train_teacher/plots/metrics/lr.tsv",
        "reports/train_teacher/plots/metrics/val_mAP.tsv",
    }
    assert (tmp_path / "dvc.yaml").read_text() == "stages: {}\n"


def test_writing_again_replaces_and_equal_histories_give_equal_bytes(tmp_path: Path) -> None:
    curves.write(tmp_path / "a", HISTORY)
    curves.write(tmp_path / "b", HISTORY[:1])
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
