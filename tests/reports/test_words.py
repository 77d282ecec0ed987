"""What a run was made with, in words."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from pipeline.artifacts.rule import LabelRule
from pipeline.artifacts.tables import Index
from pipeline.reports import words
from tests.builders.index import index_of
from tests.conftest import PARAMS

PATH = Path("pseudo_labels.parquet")


@pytest.fixture
def params() -> dict[str, Any]:
    """The shipped params."""
    values: dict[str, Any] = YAML(typ="safe").load(PARAMS.read_text())
    return values


@pytest.fixture
def index() -> Index:
    """Two train images, one val, one test; two positives and a negative are observed."""
    targets = np.array([[1, 0, -1], [0, 0, 0], [1, 0, 0], [0, 0, 0]], np.int8)
    return index_of(["train", "val", "train", "test"], targets, classes=("a", "b", "c"))


def described(params: dict[str, Any], index: Index, rule: LabelRule | None) -> dict[Any, Any]:
    return dict(zip(*words.of_run(params, index, PATH, rule).values(), strict=True))


def test_the_shipped_params_are_told_in_words(params: dict[str, Any], index: Index) -> None:
    rule = LabelRule("band", 0.625, True, width=0.3, calibrate="prior", prior="val")
    network = "small_cnn, 40 pixels, end to end, 15 epochs, learning rate 0.016, seed 0"
    assert described(params, index, rule) == {
        "data": "digits, 3 classes",
        "images": "2 train, 1 val, 1 test",
        "observed labels": "per training image 1.00 positive, 0.50 negative",
        "teacher": f"loss gr, {network}",
        "student": f"loss bce, {network}",
        "label rule": "tau 0.625, ignored down to 0.325, calibrated by prior of val",
    }


def test_own_values_of_a_training_replace_the_shared_ones(
    params: dict[str, Any], index: Index
) -> None:
    own = {"mode": "linear", "model": {"weights": "below/w.pth"}, "linear": {"lr": 0.5}}
    params["train_student"] |= {"train": own, "generations": 3}
    assert described(params, index, None)["student"] == (
        "loss bce, small_cnn, 40 pixels, weights w.pth, linear, 25 epochs, learning rate 0.5, "
        "3 generations, seed 0"
    )


def test_scores_of_another_model_take_the_place_of_a_teacher(
    params: dict[str, Any], index: Index
) -> None:
    params["train_teacher"]["source"] = "scores"
    params["score"]["outside"]["file"] = "below/clip.parquet"
    assert described(params, index, None)["teacher"] == "scores of another model, clip.parquet"


def test_a_file_without_a_rule_or_with_an_unknown_one_is_told(index: Index) -> None:
    assert described({}, index, None)["label rule"] == "not named in the file"
    found = described({}, index, LabelRule("of another program", 0.5))
    assert found["label rule"] == "of another program"
    assert "teacher" not in found
