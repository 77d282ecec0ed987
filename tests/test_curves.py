"""A history becomes files and a history again."""

import hashlib
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


DAMAGES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "has no epoch; run the training stage again"),
    "no rows": (b"step\tloss\n", "has no epoch; run the training stage again"),
    "text": (b"it went\nup\n", "line 2: "),
    "no number": (b"step\tloss\n1\tlow\n", "line 2: "),
    "not finite": (b"step\tloss\n1\tnan\n", "line 2: "),
    "no value": (b"step\tloss\n1\t0.5\n2\n", "line 3: "),
    "a missing step": (b"step\tloss\n1\t0.5\n3\t0.5\n", "line 3: "),
    "not UTF-8": (b"step\tloss\n1\t\xff\n", "cannot be read as TSV: "),
    "an open quote": (b'step\tloss\n1\t"0.5\n', "cannot be read as TSV: "),
}


@pytest.mark.parametrize(("content", "said"), DAMAGES.values(), ids=DAMAGES)
def test_a_garbled_curve_is_refused_in_one_line(content: bytes, said: str, tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    path = tmp_path / "plots" / "metrics" / "loss.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        curves.read(tmp_path)
    assert str(caught.value).startswith(f"{path}: {said}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_changed_digit_is_noticed_and_so_is_a_lost_epoch(tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    path = tmp_path / "plots" / "metrics" / "val_mAP.tsv"
    content = path.read_bytes()
    assert len(HISTORY) > 1
    for changed, said in (
        (content.replace(b"\n1\t", b"\n1\t9"), f"{path}: is damaged, or "),
        (b"".join(content.splitlines(keepends=True)[:-1]), f"{tmp_path}: has epochs "),
    ):
        path.write_bytes(changed)
        with pytest.raises(InputError) as caught:
            curves.read(tmp_path)
        assert str(caught.value).startswith(said)


def test_the_digests_are_those_of_sha256sum_and_curves_without_are_read(tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    sums = tmp_path / "SHA256SUMS"
    for line in sums.read_text().splitlines():
        digest, name = line.split("  ")
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    whole = curves.read(tmp_path)
    sums.unlink()
    assert curves.read(tmp_path) == whole


def test_a_missing_curve_names_the_file_and_what_to_run(tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    path = tmp_path / "plots" / "metrics" / "lr.tsv"
    path.unlink()
    with pytest.raises(InputError) as caught:
        curves.read(tmp_path)
    assert str(caught.value) == f"{path}: no such file; run the training stage first"
