"""The command analyse on a small run: its files and its error messages."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from pipeline.artifacts import tables
from pipeline.artifacts.spec import Spec
from pipeline.artifacts.tables import Index, Scores, Truth
from pipeline.core.errors import InputError
from pipeline.evaluation.analysis.scores import wasserstein
from pipeline.models import model_file
from pipeline.models.classifier import Classifier
from pipeline.models.weights import CENTRED
from pipeline.reports.analysis_report import FIGURES
from stages import pseudo_label
from stages.analyse import _column, _paths, main
from tests.checks.pages import check_policy, read
from tests.conftest import StartAfter, edit_params

OUT = Path("reports/analyse")
QUICK = ["--landscape-grid", "3", "--landscape-images", "4"]
Analyse = Callable[..., str]


@pytest.fixture
def run(workplace: Path, start_after: StartAfter) -> Path:
    """A folder with all inputs of an analysis."""
    start_after("train_student", {"pseudo_label.tau": 0.6})
    return workplace


@pytest.fixture
def analyse(run: Path) -> Analyse:
    """Run the command with arguments; check its exit code, 0 by default."""

    def call(*arguments: str, exit_code: int = 0) -> str:
        result = CliRunner().invoke(main, list(arguments), catch_exceptions=exit_code != 0)
        assert result.exit_code == exit_code, result.output
        return result.output

    return call


def summary() -> dict[str, str | float | None]:
    found: dict[str, str | float | None] = json.loads((OUT / "summary.json").read_text())
    return found


def contents(folder: Path = OUT) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_run_is_analysed_and_another_seed_changes_the_directions_alone(
    analyse: Analyse, run: Path
) -> None:
    data = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
    output = analyse(*QUICK)
    first, found = contents(), summary()
    figures = {f"{name}{suffix}" for name in FIGURES for suffix in (".png", ".svg", ".csv")}
    assert set(first) == figures | {"summary.json", "index.html"}
    for tag, attrs in read((OUT / "index.html").read_text()).tags:
        if tag in ("img", "a"):
            assert (OUT / str(attrs.get("src") or attrs.get("href"))).is_file()
    for name, value in found.items():
        assert f"{name:34} {'-' if value is None else value}\n" in output
    steps = "scoring with teacher\nscoring with student\ncomputing the loss around both models\n"
    assert output.startswith(f"{steps}device: ")
    assert "note: " not in output
    assert output.endswith("report: reports/analyse/index.html\n")

    analyse(*QUICK, "--landscape-seed", "1")
    changed = {name for name, content in contents().items() if content != first[name]}
    landscape = {"landscape.png", "landscape.svg", "landscape.csv"}
    assert changed == landscape | {"summary.json", "index.html"}
    assert summary()["landscape.mean.a"] != found["landscape.mean.a"]
    assert summary()["landscape.centre.a"] == found["landscape.centre.a"]
    assert data == {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}


def test_any_two_models_can_be_compared_and_the_teachers_train_scores_are_reused(
    analyse: Analyse,
) -> None:
    path, index = Path("data/scores.parquet"), tables.read_index(Path("data/index.parquet"))
    scores, truth = tables.read_scores(path), tables.read_truth(Path("data/truth.parquet"))
    half = Scores(scores.image_ids, np.full_like(scores.probs, 0.5))
    tables.write_scores(path, half, index.classes)
    shutil.copy("data/teacher/model.safetensors", "again=.safetensors")
    analyse(
        "--no-landscape", "--model", "<one>=data/teacher/model.safetensors",
        "--model", "b=again=.safetensors",
    )  # fmt: skip
    found = summary()
    assert (found["model.a"], found["model.b"]) == ("<one>", "b")
    assert found["ap_gain.mean"] == 0.0
    assert "landscape.mean.a" not in found
    assert not (OUT / "landscape.png").exists()
    assert "&lt;one&gt; (a)" in (OUT / "index.html").read_text()
    check_policy((OUT / "index.html").read_text())
    rows = pd.read_csv(OUT / "wasserstein.csv").set_index("model")
    assert (rows["distance"]["<one>"] == 0).all()
    unobserved = index.targets[index.rows("train")] == 0
    expected = wasserstein(truth.of(index, "train"), unobserved, scores.probs, scores.probs)
    np.testing.assert_allclose(rows["distance"]["b"], expected.distances[0], atol=1e-5)


def test_without_the_truth_of_train_the_rest_is_shown_with_a_note(analyse: Analyse) -> None:
    index, path = tables.read_index(Path("data/index.parquet")), Path("data/truth.parquet")
    truth = tables.read_truth(path)
    test = index.ids(index.rows("test"))
    tables.write_truth(path, Truth(test, truth.of(index, "test")), index.classes)
    Path("data/scores.parquet").unlink()  # not needed then
    output = analyse(*QUICK)
    assert "note: The truth of the training images is unknown: the figures of scores" in output
    assert {path.name for path in OUT.glob("*.png")} == {"landscape.png"}
    assert "<strong>The truth of the training images is unknown" in (
        (OUT / "index.html").read_text()
    )

    analyse("--split", "test", "--class", "3", "--no-landscape")
    assert {path.stem for path in OUT.glob("*.png")} == {"wasserstein", "densities", "reliability"}
    assert summary()["split"] == "test"
    assert pd.read_csv(OUT / "densities.csv")["class"].unique().tolist() == [3]
    assert pd.read_csv(OUT / "reliability.csv")["entries"].sum() == 2 * 30 * 10


# --- user errors -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--model", "a=x"], "--model: 1 given, named a; should be two with different names"),
        (["--model", "a=x", "--model", "b=y"], "x: no such file"),
        (["--model", "a=data/teacher/model.safetensors", "--model", "b=data"], "data: no such"),
        (["--class", "<b>"], "--class '<b>': is not a class of the run; should be one of 0, 1, 2"),
        (["--split", "val"], "'--split': 'val' is not one of 'train', 'test'"),
        (["--landscape-grid", "4"], "--landscape-grid 4: should be odd"),
        (["--landscape-grid", "1"], "'--landscape-grid': 1 is not in the range 3<=x<=101"),
        (["--landscape-seed", "9" * 30], "is not in the range 0<=x<=4294967295"),
        (["--landscape-images", "many"], "'many' is not a valid integer range"),
        (["--batch-size", "0"], "'--batch-size': 0 is not in the range x>=1"),
        (["--speed"], "No such option"),
    ],
)
def test_a_wrong_option_is_one_line_and_leaves_no_file(
    arguments: list[str], expected: str, analyse: Analyse
) -> None:
    output = analyse(*arguments, exit_code=1)
    assert expected in output
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert not OUT.exists()


def other_model(path: str) -> None:
    spec = Spec("small_cnn", ("cat", "dog"), 24, *CENTRED)
    model_file.save(Path(path), Classifier(spec))


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: Path("data/index.parquet").unlink(), "index.parquet: no such file; run the stage"),
        (lambda: Path("data/truth.parquet").unlink(), "truth.parquet: no such file; run the stage"),
        (lambda: Path("data/scores.parquet").unlink(), "scores.parquet: no such file; run the st"),
        (lambda: Path("data/student/model.safetensors").unlink(), "student/model.safetensors: no"),
        (lambda: other_model("data/student/model.safetensors"), "its 2 classes (cat, dog) are not"),
        (lambda: Path("data/pseudo_labels.parquet").write_bytes(b"?"), "cannot be read as Parquet"),
    ],
    ids=["index", "truth", "scores", "student", "classes", "pseudo-labels"],
)
def test_a_missing_or_broken_input_is_one_line_and_leaves_the_last_report(
    change: Callable[[], object], expected: str, analyse: Analyse
) -> None:
    OUT.mkdir(parents=True)
    (OUT / "index.html").write_text("the last one")
    change()
    output = analyse("--no-landscape", exit_code=1)
    assert expected in output
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert contents() == {"index.html": b"the last one"}


def label_anew() -> None:
    """Change the pseudo-labels, but not the student."""
    edit_params(Path("params.yaml"), {"pseudo_label.tau": 0.3})
    CliRunner().invoke(pseudo_label.main, [], catch_exceptions=False)


def observe_anew() -> None:
    """Change the observed labels, but neither the teacher nor the student."""
    index = tables.read_index(Path("data/index.parquet"))
    tables.write_index(Path("data/index.parquet"), replace(index, targets=-index.targets))
    truth = tables.read_truth(Path("data/truth.parquet"))
    tables.write_truth(Path("data/truth.parquet"), replace(truth, about={}), index.classes)
    for name in ("pseudo_labels", "scores"):
        path = Path(f"data/{name}.parquet")
        table = pq.read_table(path)
        about = {b"spml.classes": table.schema.metadata[b"spml.classes"]}
        pq.write_table(table.replace_schema_metadata(about), path)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            label_anew,
            "student/model.safetensors: was made with another pseudo labels than the current",
        ),
        (
            observe_anew,
            "teacher/model.safetensors: was made with another index than the current one",
        ),
        (
            lambda: shutil.copy("data/teacher/model.safetensors", "data/student"),
            "data/student/model.safetensors: is a teacher; should be a student: run `dvc repro`",
        ),
        (
            lambda: shutil.copy("data/student/model.safetensors", "data/teacher"),
            "data/teacher/model.safetensors: is a student; should be a teacher: run `dvc repro`",
        ),
    ],
    ids=["other labels", "other index", "a teacher", "a student"],
)
def test_a_model_of_the_run_that_does_not_fit_its_tables_is_refused(
    change: Callable[[], object], expected: str, analyse: Analyse
) -> None:
    change()
    output = analyse("--no-landscape", exit_code=1)
    assert expected in output
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert not OUT.exists()


def test_a_model_from_elsewhere_may_have_any_training_data(
    analyse: Analyse, tmp_path: Path
) -> None:
    shutil.copy("data/student/model.safetensors", tmp_path / "before.safetensors")
    label_anew()
    analyse(
        "--no-landscape", "--model", "teacher=data/teacher/model.safetensors",
        "--model", f"before={tmp_path / 'before.safetensors'}",
    )  # fmt: skip
    assert summary()["model.b"] == "before"


@pytest.mark.parametrize(
    ("models", "expected"),
    [
        (("a=x",), "--model: 1 given, named a; should be two with different names, or none"),
        (("a=x", "a=y"), "--model: 2 given, named a; should be two"),
        (("a=x", "b=y", "c=z"), "--model: 3 given, named a, b, c; should be two"),
        (("a", "b=y"), "--model 'a': should be NAME=PATH"),
        (("=x", "b=y"), "--model '=x': should be NAME=PATH"),
        (("a=", "b=y"), "--model 'a=': should be NAME=PATH"),
    ],
)
def test_two_models_need_a_name_and_a_path_each(models: tuple[str, ...], expected: str) -> None:
    with pytest.raises(InputError) as error:
        _paths(models)
    assert expected in str(error.value)


def test_a_path_may_hold_an_equals_sign() -> None:
    assert _paths(("a=runs/tau=0.4/m", "b=y")) == {"a": Path("runs/tau=0.4/m"), "b": Path("y")}


def test_a_class_is_found_by_its_name() -> None:
    nothing = np.zeros((0, 2), np.int8)
    index = Index(("cat", "dog"), [], [], np.array([]), nothing, nothing > 0, np.array([]), [])
    assert _column(index, "dog") == 1
    with pytest.raises(InputError, match="'Dog': is not a class of the run; should be one of cat"):
        _column(index, "Dog")
    with pytest.raises(InputError) as error:
        _column(replace(index, classes=("two\nlines", "dog")), "Dog")
    assert "\n" not in str(error.value)
