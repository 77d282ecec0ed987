"""From scores to labels: the threshold, the observed labels, what is said of them."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.errors import InputError
from pipeline.pseudo_labels import (
    PseudoLabelParams,
    above_tau,
    keep_observed,
    pseudo_labels,
    summary,
    summary_per_class,
)
from pipeline.tables import Index, Scores

ROOT = Path(__file__).parent.parent
TARGETS = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.int8)
PROBS = np.array([[0.1, 0.6, 0.2], [0.3, 0.4, 0.9], [0.7, 0.8, 0.5]], dtype=np.float32)


def floats(low: float, high: float, **kwargs: Any) -> st.SearchStrategy[float]:
    """Floats without subnormal ones, which the device setting of `choose_device` flushes to 0."""
    return st.floats(low, high, allow_subnormal=False, **kwargs)


def index_of(targets: np.ndarray) -> Index:
    """An index of these training pictures, and of a val and a test picture between them."""
    n = len(targets)
    splits = np.array(["train"] * n + ["val", "test"])
    order = np.arange(n + 2)
    order[:] = np.roll(order, 1)  # the test picture comes first
    blank = np.zeros((2, targets.shape[1]), np.int8)
    return Index(
        classes=tuple(f"c{column}" for column in range(targets.shape[1])),
        image_ids=[f"i{row}" for row in range(n + 2)],
        paths=[None] * (n + 2),
        splits=splits[order],
        targets=np.concatenate([targets, blank])[order],
        labels=np.zeros((n + 2, targets.shape[1]), bool),
        sizes=np.full(n + 2, -1),
        sha256=[None] * (n + 2),
    )


def params(tau: float, keep: bool = True) -> PseudoLabelParams:
    return PseudoLabelParams(tau=tau, keep_observed=keep)


def scores(probs: np.ndarray = PROBS) -> Scores:
    return Scores([f"i{row}" for row in range(1, len(probs) + 1)], probs)


# --- the threshold ---------------------------------------------------------------------


def test_a_score_equal_to_tau_is_not_positive() -> None:
    below, above = np.nextafter(np.float32(0.5), np.float32([0, 1]))
    probs = np.array([[below, 0.5, above]], dtype=np.float32)
    assert above_tau(probs, 0.5).tolist() == [[False, False, True]]


@pytest.mark.parametrize("tau", [0.1, 0.3, 0.55, 0.65, 0.7, 0.95], ids=str)
def test_tau_is_compared_as_float32(tau: float) -> None:
    # Half of these are, as float32, a little above their float64.
    assert not above_tau(np.full((1, 1), tau, dtype=np.float32), tau).any()


@given(
    probs=st.lists(floats(0, 1, width=32), min_size=1, max_size=20),
    taus=st.tuples(floats(0, 0.999), floats(0, 0.999)),
)
@settings(deadline=None)
def test_a_higher_tau_never_adds_a_label(probs: list[float], taus: tuple[float, float]) -> None:
    matrix = np.array([probs], dtype=np.float32)
    low, high = sorted(taus)
    assert not (above_tau(matrix, high) & ~above_tau(matrix, low)).any()


@pytest.mark.parametrize(
    ("tau", "keep"), [(1.0, True), (-0.1, True), (float("nan"), True), (1, True), (0.5, 1)], ids=str
)
def test_params_out_of_range_are_refused(tau: float, keep: bool) -> None:
    with pytest.raises(ValidationError):
        PseudoLabelParams.model_validate({"tau": tau, "keep_observed": keep})


# --- observed labels -------------------------------------------------------------------


def test_observed_positives_are_in_and_observed_negatives_out() -> None:
    labels = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0]], dtype=bool)
    kept = keep_observed(labels, TARGETS)
    assert kept.astype(int).tolist() == [[1, 0, 1], [0, 1, 0], [1, 1, 0]]


@given(seed=st.integers(0, 1000))
@settings(deadline=None)
def test_keeping_the_observed_changes_no_unknown_label(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels, targets = rng.random((6, 4)) < 0.5, rng.integers(-1, 2, (6, 4)).astype(np.int8)
    kept = keep_observed(labels, targets)
    assert np.array_equal(kept[targets == 0], labels[targets == 0])
    assert kept[targets == 1].all()
    assert not kept[targets == -1].any()
    assert np.array_equal(keep_observed(kept, targets), kept)


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (True, [[1, 1, 0], [0, 0, 0], [1, 1, 0]]),
        (False, [[0, 1, 0], [0, 0, 1], [1, 1, 0]]),
    ],
    ids=["kept", "the paper's exact rule"],
)
def test_labels_of_a_small_example(keep: bool, expected: list[list[int]]) -> None:
    pseudo = pseudo_labels(params(0.5, keep), index_of(TARGETS), scores())
    assert pseudo.labels.astype(int).tolist() == expected
    assert pseudo.image_ids == ["i1", "i2", "i3"]
    assert np.array_equal(pseudo.observed, TARGETS == 1)
    assert np.array_equal(pseudo.probs[pseudo.labels], PROBS[pseudo.labels])
    assert np.isnan(pseudo.probs[~pseudo.labels]).all()
    assert pseudo.rule == {
        "spml.rule": "tau",
        "spml.rule.tau": "0.5",
        "spml.rule.keep_observed": "true" if keep else "false",
    }


def test_only_observed_labels_are_enough() -> None:
    pseudo = pseudo_labels(params(0.95), index_of(TARGETS), scores())
    assert np.array_equal(pseudo.labels, TARGETS == 1)


@pytest.mark.parametrize(
    ("targets", "keep"),
    [(TARGETS, False), (np.zeros_like(TARGETS), True)],
    ids=["paper's rule", "nothing observed"],
)
def test_not_a_single_label_is_an_error_that_says_what_to_change(
    targets: np.ndarray, keep: bool
) -> None:
    with pytest.raises(InputError) as caught:
        pseudo_labels(params(0.95, keep), index_of(targets), scores())
    message = str(caught.value)
    assert message.startswith(
        "pseudo_label.tau = 0.95: no score is above it (the highest is 0.9000)"
    )
    assert "should be lower" in message
    assert "\n" not in message


# --- what is said of them --------------------------------------------------------------


def test_the_summary_counts_what_was_added() -> None:
    pseudo = pseudo_labels(params(0.5), index_of(TARGETS), scores())
    told = summary(pseudo)
    assert told == {
        "images": 3,
        "positives_per_image": pytest.approx(4 / 3),
        "observed_per_image": pytest.approx(2 / 3),
        "added_per_image": pytest.approx(2 / 3),
        "images_with_added": 2,
        "images_without_label": 1,
    }
    assert json.loads(json.dumps(told)) == told


def test_labels_that_lose_an_observed_one_do_not_count_it() -> None:
    pseudo = pseudo_labels(params(0.5, keep=False), index_of(TARGETS), scores())
    told = summary(pseudo)
    assert told["positives_per_image"] == pytest.approx(4 / 3)
    assert told["added_per_image"] == pytest.approx(3 / 3)


def test_the_table_per_class_has_a_row_for_each() -> None:
    pseudo = pseudo_labels(params(0.5), index_of(TARGETS), scores())
    assert summary_per_class(pseudo, ("a", "b", "c")) == {
        "class": ["a", "b", "c"],
        "observed": [1, 1, 0],
        "added": [1, 1, 0],
        "positives": [2, 2, 0],
    }


def test_the_labels_given_are_not_changed() -> None:
    before = replace(scores(), probs=PROBS.copy())
    index = index_of(TARGETS)
    pseudo_labels(params(0.5), index, before)
    assert np.array_equal(before.probs, PROBS)
    assert np.array_equal(index.targets[index.rows("train")], TARGETS)


def test_a_new_tau_loads_neither_torch_nor_sklearn_nor_pandas() -> None:
    code = "import sys, stages.pseudo_label; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"click", "numpy", "pyarrow"} <= loaded
    assert not loaded & {"torch", "torchvision", "lightning_fabric", "sklearn", "scipy",
                         "pandas", "matplotlib", "dvclive"}  # fmt: skip
