"""The command predict: its files and lines, and scores equal to those of the stages."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.models import model_file
from stages import predict
from tests.builders import images
from tests.conftest import ROOT, StartAfter

TEACHER = "data/teacher/model.safetensors"


def run(*args: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(predict.main, args, catch_exceptions=exit_code != 0)
    assert result.exit_code == exit_code, result.output
    return result


@pytest.fixture
def trained(workplace: Path, start_after: StartAfter) -> Path:
    """A workplace with a teacher, its scores and a student."""
    start_after("train_student")
    return workplace


def test_the_scores_are_those_of_the_stages_and_the_labels_those_above_the_thresholds(
    trained: Path,
) -> None:
    result = run(TEACHER, "data/images.parquet", "--out", "all.parquet", "--scores")
    frame = pd.read_parquet("all.parquet").set_index("image")
    assert len(frame) == 120
    columns = [f"score_{number}" for number in range(10)]
    for name in ("scores", "val_scores"):
        expected = pd.read_parquet(f"data/{name}.parquet")
        found = frame.loc[expected.image_id, columns].to_numpy()
        np.testing.assert_allclose(found, np.stack(expected.probs), rtol=1e-5, atol=1e-6)
    chosen = model_file.load(Path(TEACHER)).spec.decisions
    assert chosen is not None
    for labels, scores in zip(frame.labels, frame[columns].to_numpy(), strict=True):
        assert {int(name) for name in labels} == set(np.flatnonzero(scores > chosen.thresholds))
    assert result.stdout == ""
    assert result.stderr.startswith("120 images, ")
    assert "all.parquet" in result.stderr


def test_the_student_labels_a_folder_on_the_terminal(trained: Path) -> None:
    images.write(Path("new/b.png"), Path("new/deep/a.jpg"))
    result = run("new", "--threshold", "0.0000001")
    lines = result.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["new/b.png", "new/deep/a.jpg"]
    assert all(len(line.split()) == 1 + 2 * 10 for line in lines)
    assert run("new", "--threshold", "1").stdout.split() == [
        "new/b.png",
        "-",
        "new/deep/a.jpg",
        "-",
    ]


def test_unreadable_images_are_listed_at_the_end_and_not_fatal(trained: Path) -> None:
    images.write(Path("new/a.png"), Path("new/c.png"))
    Path("new/b.png").write_bytes(b"")
    result = run("new", "--out", "labels.csv")
    assert [line.split(",")[0] for line in Path("labels.csv").read_text().splitlines()] == [
        "image", "new/a.png", "new/c.png",
    ]  # fmt: skip
    assert result.stderr.splitlines()[-2:] == [
        "warning: 1 of 3 images cannot be read:", "  new/b.png (empty file)",
    ]  # fmt: skip


def test_a_sheet_shows_the_first_images(trained: Path) -> None:
    run("data/images.parquet", "--out", "labels.csv", "--sheet", "sheet.png")
    with Image.open("sheet.png") as sheet:
        wide, tall = sheet.size
    assert tall > wide  # eight rows of six


def test_a_precision_that_a_class_does_not_reach_is_noted(trained: Path) -> None:
    result = run(TEACHER, "data/images.parquet", "--precision", "0.99", "--out", "labels.csv")
    assert "classes did not reach this precision on val, and are never labels: " in result.stderr


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["gone"], "gone: no such file or folder; should be an image, folder or table"),
        (["new", "--out", "a.txt"], "--out = a.txt: should end in .csv or .parquet"),
        (["new", "--sheet", "a.gif"], "--sheet = a.gif: should end in .png"),
        (["new", "--scores"], "--scores: has no columns on the terminal; should come with --out"),
        (["gone.safetensors", "new"],
         "gone.safetensors: no such file; run the stage that trains it first"),
        (["foreign.safetensors", "new"], "foreign.safetensors: cannot be read as safetensors: "),
        (["foreign.pth", "new"], "foreign.pth: cannot be read as safetensors: "),
        (["empty", "--out", "a.csv"],
         "empty: no image there; should hold files such as .jpg or .png"),
        (["broken.png", "--out", "a.csv"],
         "none of the 1 images can be read: broken.png (unknown image format)"),
        ([TEACHER], f"{TEACHER}: no image is given; should be followed by files or folders"),
        ([], "Missing argument"),
        (["new", "--precision", "2"], "Invalid value for '--precision': 2.0 is not in the range"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_in_one_line_and_nothing_is_written(
    args: list[str], message: str, trained: Path
) -> None:
    images.write(Path("new/a.png"))
    Path("empty").mkdir()
    for name in ("foreign.safetensors", "foreign.pth", "broken.png"):
        Path(name).write_bytes(b"this is something else")
    before = sorted(trained.rglob("*"))
    result = run(*args, exit_code=1)
    assert result.stderr.startswith(f"Error: {message}")
    assert len(result.stderr.splitlines()) == 1
    assert result.stdout == ""
    assert sorted(trained.rglob("*")) == before


def test_a_damaged_model_is_refused_in_one_line(trained: Path) -> None:
    images.write(Path("a.png"))
    path = trained / TEACHER
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    result = run(TEACHER, "a.png", exit_code=1)
    assert result.stderr.startswith(f"Error: {TEACHER}: is damaged: ")
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.slow
def test_two_processes_give_the_labels_of_one(trained: Path) -> None:
    images.write(*(Path(f"new/{number:03}.png") for number in range(131)))
    Path("new/007.png").write_bytes(b"no image")
    said = {}
    for devices in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "stages.predict", "new", "--scores", "--out", f"{devices}.csv"],
            env=os.environ | {
                "SPML_DEVICES": devices, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1",
                "CUDA_VISIBLE_DEVICES": "",
            },
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        said[devices] = done.stderr.splitlines()
    one, two = (pd.read_csv(f"{devices}.csv") for devices in ("1", "2"))
    assert len(one) == 130
    pd.testing.assert_frame_equal(one[["image", "labels"]], two[["image", "labels"]])
    scores = [name for name in one.columns if name.startswith("score_")]
    np.testing.assert_allclose(one[scores], two[scores], atol=2e-6)
    assert said["2"][1:] == said["1"][1:] == [
        "warning: 1 of 131 images cannot be read:", "  new/007.png (unknown image format)",
    ]  # fmt: skip
    assert "2 x CPU" in said["2"][0]
