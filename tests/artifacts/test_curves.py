"""A history is written to files and read back."""

import hashlib
import json
from pathlib import Path

import pytest

from pipeline.artifacts import curves
from pipeline.artifacts.curves import Epoch, History
from pipeline.core.errors import InputError

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
def test_the_summary_names_the_kept_epoch(kept: int, tmp_path: Path) -> None:
    curves.write(tmp_path / "report", History(EPOCHS, EPOCHS[kept]))
    summary = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert summary["best_epoch"] == kept + 1
    assert summary["best_val_mAP"] == EPOCHS[kept].val_mAP
    assert summary["val_mAP"] == EPOCHS[2].val_mAP
    assert summary["loss"] == EPOCHS[2].loss
    assert curves.read(tmp_path / "report").best == EPOCHS[kept]


def test_the_curves_of_a_running_training_are_there_until_it_ends(tmp_path: Path) -> None:
    folder = tmp_path / "live" / "train_teacher"
    (folder / "plots").mkdir(parents=True)
    (folder / "plots" / "old.tsv").write_text("of a killed training")
    with curves.followed(folder) as follow:
        follow(0, EPOCHS[:1])
        follow(0, EPOCHS[:2])
        rows = (folder / "plots/metrics/val_mAP.tsv").read_text().splitlines()
        assert rows == ["step\tval_mAP", "1\t40.0", "2\t61.234567890123"]
        follow(2, EPOCHS[:1])  # the next phase, whose epochs begin at 1 again
        rows = (folder / "plots/metrics/loss.tsv").read_text().splitlines()
        assert [row.split("\t")[0] for row in rows] == ["step", "1", "2", "3"]
        assert not (folder / "plots" / "old.tsv").exists()
        assert "plots/metrics" in (folder / "dvc.yaml").read_text()
    assert not folder.exists()
    with curves.followed(None) as follow:
        follow(0, EPOCHS)


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
    curves.write(tmp_path / "b", History(EPOCHS[:1], EPOCHS[0]))
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
    "not UTF-8": (b"step\tloss\n1\t\xff\n", "is not UTF-8 text; run the training stage again"),
    "an open quote": (b'step\tloss\n1\t"0.5\n', "cannot be read as TSV: "),
}


@pytest.mark.parametrize(("content", "message"), DAMAGES.values(), ids=DAMAGES)
def test_a_garbled_curve_is_refused_in_one_line(
    content: bytes, message: str, tmp_path: Path
) -> None:
    curves.write(tmp_path, HISTORY)
    path = tmp_path / "plots" / "metrics" / "loss.tsv"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        curves.read(tmp_path)
    assert str(caught.value).startswith(f"{path}: {message}")
    assert len(str(caught.value).splitlines()) == 1


def test_a_changed_digit_and_a_lost_epoch_are_detected(tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    path = tmp_path / "plots" / "metrics" / "val_mAP.tsv"
    content = path.read_bytes()
    for changed, message in (
        (content.replace(b"\n1\t", b"\n1\t9"), f"{path}: is damaged, or "),
        (b"".join(content.splitlines(keepends=True)[:-1]), f"{tmp_path}: has epochs "),
    ):
        path.write_bytes(changed)
        with pytest.raises(InputError) as caught:
            curves.read(tmp_path)
        assert str(caught.value).startswith(message)


def test_the_digests_are_those_of_sha256sum_and_are_optional(tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    sums = tmp_path / "SHA256SUMS"
    for line in sums.read_text().splitlines():
        digest, name = line.split("  ")
        assert digest == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    whole = curves.read(tmp_path)
    sums.unlink()
    assert curves.read(tmp_path) == whole


def test_the_error_about_a_missing_curve_names_the_file_and_the_stage(tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    path = tmp_path / "plots" / "metrics" / "lr.tsv"
    path.unlink()
    with pytest.raises(InputError) as caught:
        curves.read(tmp_path)
    assert str(caught.value) == f"{path}: no such file; run the training stage first"


@pytest.mark.parametrize(
    ("text", "value"),
    [("{", "None"), ("[]", "None"), ('{"best_epoch": 4}', "4"), ('{"best_epoch": "2"}', "'2'")],
)
def test_an_impossible_best_epoch_is_refused(text: str, value: str, tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    path = tmp_path / "metrics.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        curves.read(tmp_path)
    assert str(caught.value) == (
        f"{path}: best_epoch = {value}: should be an epoch, from 1 to 3; run the training stage "
        f"again"
    )


def test_a_changed_best_epoch_is_detected(tmp_path: Path) -> None:
    curves.write(tmp_path, HISTORY)
    path = tmp_path / "metrics.json"
    path.write_text(path.read_text().replace('"best_epoch": 2', '"best_epoch": 3'))
    with pytest.raises(InputError, match=r"metrics\.json: is damaged, or "):
        curves.read(tmp_path)
