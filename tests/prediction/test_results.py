"""Labels by thresholds, and the files that hold them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.artifacts.decisions import Decisions, OperatingPoint
from pipeline.artifacts.spec import Spec
from pipeline.core.errors import InputError
from pipeline.prediction import results
from pipeline.prediction.results import GROUP, Labelled, Rule

CLASSES = ("cat", "dog", "owl")
PROBS = np.array([[0.9, 0.95, 0.1], [0.2, 0.4, 0.3]], np.float32)
CHOSEN = Decisions(
    (0.25, 0.5, 0.6), (OperatingPoint(0.9, (0.8, None, 0.05)),), ((2.0, 1.0),) * 3, (20, 20, 20)
)


def spec(decisions: Decisions | None = CHOSEN, classes: tuple[str, ...] = CLASSES) -> Spec:
    half = (0.5, 0.5, 0.5)
    return Spec("small_cnn", classes, 32, half, half, decisions=decisions)


def rule(decisions: Decisions | None = CHOSEN, **chosen: Any) -> Rule:
    given = {"threshold": None, "precision": None, "calibrated": False} | chosen
    return results.rule("m.safetensors", spec(decisions), **given)


def labelled(**chosen: Any) -> Labelled:
    return rule(**chosen).apply(["a.png", "b.png"], PROBS)


@pytest.mark.parametrize(
    ("chosen", "labels"),
    [
        ({}, [["dog", "cat"], []]),
        ({"precision": 0.9}, [["cat", "owl"], ["owl"]]),
        ({"threshold": 0.35}, [["dog", "cat"], ["dog"]]),
        ({"calibrated": True}, [["dog", "cat"], []]),
        ({"calibrated": True, "threshold": 0.4}, [["dog", "cat"], ["dog"]]),
        ({"calibrated": True, "threshold": 0.6}, [["dog", "cat"], []]),
    ],
    ids=str,
)
def test_a_class_is_a_label_if_its_score_is_above_its_threshold(
    chosen: dict[str, Any], labels: list[list[str]]
) -> None:
    found = labelled(**chosen)
    assert found.labels == labels
    for names, scores, every in zip(found.labels, found.scores, found.all_scores, strict=True):
        assert scores.tolist() == [every[CLASSES.index(name)] for name in names]
        assert scores.tolist() == sorted(scores.tolist(), reverse=True)


def test_calibrated_scores_replace_those_of_the_model() -> None:
    assert np.array_equal(labelled().all_scores, PROBS)
    odds = (PROBS / (1 - PROBS)) ** 2 * np.e
    np.testing.assert_allclose(labelled(calibrated=True).all_scores, odds / (1 + odds), rtol=1e-5)


@pytest.mark.parametrize(
    ("decisions", "chosen", "message"),
    [
        (CHOSEN, {"threshold": 0.5, "precision": 0.9},
         "--threshold and --precision: should be one of them"),
        (CHOSEN, {"precision": 0.93},
         "--precision = 0.93: m.safetensors has no thresholds of it; should be one of 0.9"),
        (None, {}, "m.safetensors: has no thresholds and no calibration: "),
        (None, {"precision": 0.9}, "m.safetensors: has no thresholds and no calibration: "),
        (None, {"threshold": 0.5, "calibrated": True}, "m.safetensors: has no thresholds and no"),
    ],
)  # fmt: skip
def test_a_choice_that_the_model_cannot_serve_is_refused(
    decisions: Decisions | None, chosen: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as caught:
        rule(decisions, **chosen)
    assert str(caught.value).startswith(message)


def test_a_model_without_thresholds_labels_by_one_threshold() -> None:
    assert rule(None, threshold=0.35).apply(["a", "b"], PROBS).labels == [["dog", "cat"], ["dog"]]


# --- files -----------------------------------------------------------------------------


def write(path: Path, found: Labelled, classes: tuple[str, ...] = CLASSES, **kw: bool) -> None:
    with results.writing(path, classes, kw.get("every_score", False)) as add:
        add(found)


def test_a_csv_has_labels_and_scores_separated_by_spaces(tmp_path: Path) -> None:
    write(tmp_path / "out.csv", labelled())
    assert (tmp_path / "out.csv").read_text() == (
        "image,labels,scores\na.png,dog cat,0.950000 0.900000\nb.png,,\n"
    )


def test_a_csv_has_a_semicolon_between_names_with_spaces(tmp_path: Path) -> None:
    classes = ("traffic light", "dog", "owl")
    found = Rule(classes, (0.5,) * 3).apply(["=1+1.png", "b.png"], PROBS)
    write(tmp_path / "out.csv", found, classes)
    assert (tmp_path / "out.csv").read_text().splitlines()[1] == (
        "'=1+1.png,dog;traffic light,0.950000;0.900000"
    )


def test_a_parquet_has_lists_of_labels_and_scores(tmp_path: Path) -> None:
    write(tmp_path / "out.parquet", labelled())
    frame = pd.read_parquet(tmp_path / "out.parquet")
    assert list(frame.columns) == ["image", "labels", "scores"]
    assert [list(labels) for labels in frame.labels] == [["dog", "cat"], []]
    assert frame.scores[0].tolist() == [PROBS[0, 1], PROBS[0, 0]]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_all_scores_are_a_column_per_class(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    write(path, labelled(), every_score=True)
    frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
    found = frame[[f"score_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(found, PROBS, atol=5e-7)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_results_are_written_as_they_come(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    n = 3
    many = rule().apply(
        [f"{row}.png" for row in range(GROUP // 2)], PROBS[:1].repeat(GROUP // 2, 0)
    )
    with results.writing(path, CLASSES, False) as add:
        for _ in range(2 * n - 1):
            add(many)
    if suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            assert file.num_row_groups == n
            assert file.read()["image"].to_pylist() == many.names * (2 * n - 1)
    else:
        assert len(path.read_text().splitlines()) == 1 + (2 * n - 1) * len(many.names)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_an_error_on_the_way_leaves_the_old_file(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"out{suffix}"
    path.write_text("old")

    def write_some() -> None:
        with results.writing(path, CLASSES, False) as add:
            add(labelled())
            raise InputError("a later image")

    with pytest.raises(InputError, match="a later image"):
        write_some()
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
