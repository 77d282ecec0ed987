"""The label rules: thresholds, observed labels, metadata and summaries."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.artifacts import tables
from pipeline.artifacts.rule import LabelRule
from pipeline.artifacts.tables import Index, Scores
from pipeline.core.errors import InputError
from pipeline.pseudo_labels.rules import (
    PseudoLabelParams,
    about_tau,
    above_tau,
    highest,
    in_words,
    keep_observed,
    needs_val_scores,
    params_of,
    pseudo_labels,
    summary,
    summary_per_class,
)
from tests.builders.index import index_of
from tests.conftest import ROOT, RunStage, SetParams

TARGETS = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.int8)
PROBS = np.array([[0.1, 0.6, 0.2], [0.3, 0.4, 0.9], [0.7, 0.8, 0.5]], dtype=np.float32)
PLAIN: dict[str, Any] = {
    "rule": "tau", "calibrate": "none", "prior": "val",
    "annotator": "ignored", "top_k": 3, "width": 0.3,
    "weights": "none", "keep_observed": True, "corrections": None,
}  # fmt: skip
PATH = Path("data/pseudo_labels.parquet")
RULES = ("tau", "top_k", "band", "soft")
CALIBRATIONS = ("none", "affine", "elkan_noto", "isotonic", "prior")


def floats(low: float, high: float, **kwargs: Any) -> st.SearchStrategy[float]:
    """Floats that are not subnormal: `choose_device` makes the device flush those to 0."""
    return st.floats(low, high, allow_subnormal=False, **kwargs)


def index_of_train(targets: np.ndarray) -> Index:
    """An index of these training images, with a val and a test image between them."""
    n = len(targets)
    splits = np.array(["train"] * n + ["val", "test"])
    order = np.arange(n + 2)
    order[:] = np.roll(order, 1)  # the test image comes first
    blank = np.zeros((2, targets.shape[1]), np.int8)
    ids = [f"i{row}" for row in range(n + 2)]
    return index_of(splits[order], np.concatenate([targets, blank])[order], image_ids=ids)


def params(tau: float, keep: bool = True, **changes: Any) -> PseudoLabelParams:
    return PseudoLabelParams(**(PLAIN | {"tau": tau, "keep_observed": keep} | changes))


def scores(probs: np.ndarray = PROBS) -> Scores:
    return Scores([f"i{row}" for row in range(1, len(probs) + 1)], probs)


# --- the threshold ---------------------------------------------------------------------


def test_a_score_equal_to_tau_is_not_positive() -> None:
    below, above = np.nextafter(np.float32(0.5), np.float32([0, 1]))
    probs = np.array([[below, 0.5, above]], dtype=np.float32)
    assert above_tau(probs, 0.5).tolist() == [[False, False, True]]


@pytest.mark.parametrize("tau", [0.1, 0.3, 0.55, 0.65, 0.7, 0.95], ids=str)
def test_tau_is_compared_as_float32(tau: float) -> None:
    # Half of these are slightly larger as float32 than as float64.
    assert not above_tau(np.full((1, 1), tau, dtype=np.float32), tau).any()


@given(
    probs=st.lists(floats(0, 1, width=32), min_size=1, max_size=20),
    taus=st.tuples(floats(0, 0.999), floats(0, 0.999)),
)
def test_a_higher_tau_never_adds_a_label(probs: list[float], taus: tuple[float, float]) -> None:
    matrix = np.array([probs], dtype=np.float32)
    low, high = sorted(taus)
    assert not (above_tau(matrix, high) & ~above_tau(matrix, low)).any()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("tau", 1.0), ("tau", -0.1), ("tau", float("nan")), ("tau", 1), ("keep_observed", 1),
        ("rule", "quota"), ("calibrate", "platt"), ("prior", "train"), ("weights", "all"),
        ("top_k", 0), ("top_k", 2.0), ("width", 0.0), ("width", 1.1),
    ],
    ids=str,
)  # fmt: skip
def test_params_out_of_range_are_refused(key: str, value: object) -> None:
    whole = PLAIN | {"tau": 0.5}
    PseudoLabelParams.model_validate(whole)
    with pytest.raises(ValidationError) as refused:
        PseudoLabelParams.model_validate(whole | {key: value})
    assert [error["loc"] for error in refused.value.errors()] == [(key,)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rule": "soft", "tau": 0.0}, "should be a number > 0 and < 1, since rule is soft"),
        ({"weights": "confidence", "tau": 0.0}, "> 0 and < 1, since weights is confidence"),
        ({"rule": "band", "tau": 0.3}, "should be below tau = 0.3"),
    ],
    ids=str,
)
def test_settings_that_do_not_fit_together_are_refused(changes: Any, message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PseudoLabelParams.model_validate(PLAIN | changes)
    # the same numbers are valid for the plain rule
    PseudoLabelParams.model_validate(PLAIN | changes | {"rule": "tau", "weights": "none"})


# --- observed labels -------------------------------------------------------------------


def test_observed_positives_are_added_and_observed_negatives_removed() -> None:
    labels = np.array([[0, 0, 1], [0, 1, 1], [1, 0, 0]], dtype=bool)
    kept = keep_observed(labels, TARGETS)
    assert kept.astype(int).tolist() == [[1, 0, 1], [0, 1, 0], [1, 1, 0]]


@given(seed=st.integers(0, 1000))
def test_keeping_observed_labels_changes_no_unknown_label(seed: int) -> None:
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
    pseudo = pseudo_labels(params(0.5, keep), index_of_train(TARGETS), scores())
    assert pseudo.labels.astype(int).tolist() == expected
    assert pseudo.image_ids == ["i1", "i2", "i3"]
    assert np.array_equal(pseudo.observed, TARGETS == 1)
    assert np.array_equal(pseudo.probs[pseudo.labels], PROBS[pseudo.labels])
    assert np.isnan(pseudo.probs[~pseudo.labels]).all()
    assert pseudo.rule is not None
    assert pseudo.rule.to_metadata() == {
        "spml.rule": "tau",
        "spml.rule.tau": "0.5",
        "spml.rule.keep_observed": "true" if keep else "false",
    }
    assert pseudo.targets is None
    assert pseudo.weights is None
    assert pseudo.rule.single_tau == 0.5
    targets = pseudo.student_targets()
    assert targets.dtype == np.float32
    assert np.array_equal(targets, np.array(expected))


def test_only_observed_labels_are_enough() -> None:
    pseudo = pseudo_labels(params(0.95), index_of_train(TARGETS), scores())
    assert np.array_equal(pseudo.labels, TARGETS == 1)


@pytest.mark.parametrize(
    ("targets", "keep"),
    [(TARGETS, False), (np.zeros_like(TARGETS), True)],
    ids=["paper's rule", "nothing observed"],
)
def test_no_label_at_all_is_an_error_that_names_a_remedy(targets: np.ndarray, keep: bool) -> None:
    with pytest.raises(InputError) as caught:
        pseudo_labels(params(0.95, keep), index_of_train(targets), scores())
    message = str(caught.value)
    assert message.startswith(
        "pseudo_label.tau = 0.95: no score is above it (the highest is 0.9000)"
    )
    assert "should be lower" in message
    assert "\n" not in message


# --- the other rules -------------------------------------------------------------------


def test_top_k_takes_the_highest_of_each_image_that_are_above_tau() -> None:
    pseudo = pseudo_labels(
        params(0.35, False, rule="top_k", top_k=2), index_of_train(TARGETS), scores()
    )
    assert pseudo.labels.astype(int).tolist() == [[0, 1, 0], [0, 1, 1], [1, 1, 0]]
    one = pseudo_labels(
        params(0.65, False, rule="top_k", top_k=1), index_of_train(TARGETS), scores()
    )
    assert one.labels.astype(int).tolist() == [[0, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_among_equal_scores_earlier_classes_count_as_higher() -> None:
    probs = np.array([[0.5, 0.9, 0.5, 0.5], [0, 0, 0, 0]], np.float32)
    assert highest(probs, 2).astype(int).tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    assert highest(probs, 9).all()


def test_an_observed_positive_is_kept_in_addition_to_the_k() -> None:
    pseudo = pseudo_labels(params(0.0, rule="top_k", top_k=1), index_of_train(TARGETS), scores())
    assert pseudo.labels.astype(int).tolist() == [[1, 1, 0], [0, 0, 0], [0, 1, 0]]


def test_a_band_ignores_scores_just_below_tau() -> None:
    below, at = np.nextafter(np.float32(0.25), np.float32(0)), np.float32(0.25)
    probs = np.array([[below, at, 0.5, 0.6]], np.float32)
    band = params(0.5, rule="band", width=0.25)
    pseudo = pseudo_labels(band, index_of_train(np.zeros((1, 4), np.int8)), scores(probs))
    assert pseudo.labels.tolist() == [[False, False, False, True]]
    assert pseudo.ignored.tolist() == [[False, True, True, False]]
    assert pseudo.targets is None
    assert pseudo.student_targets().tolist() == [[[0, 1], [0, 0], [0, 0], [1, 1]]]


@pytest.mark.parametrize("keep", [True, False], ids=["kept", "not kept"])
def test_observed_labels_are_ignored_only_if_they_are_not_kept(keep: bool) -> None:
    targets = np.array([[1, -1, 0, 1]], np.int8)
    probs = np.array([[0.4, 0.4, 0.4, 0.9]], np.float32)
    band = params(0.5, keep, rule="band", width=0.25)
    pseudo = pseudo_labels(band, index_of_train(targets), scores(probs))
    assert pseudo.labels.astype(int).tolist() == [[int(keep), 0, 0, 1]]
    assert pseudo.ignored.astype(int).tolist() == [[int(not keep), int(not keep), 1, 0]]


def test_soft_targets_are_the_scores_with_tau_moved_to_one_half() -> None:
    # Odds of 3 against 1/3: 9 to 1. Of 1/3 against 1/3: even. Of 1 against 1/3: 3 to 1.
    probs = np.array([[0.75, 0.25, 0.5, 0, 1]], np.float32)
    soft = params(0.25, rule="soft")
    pseudo = pseudo_labels(soft, index_of_train(np.zeros((1, 5), np.int8)), scores(probs))
    assert pseudo.targets is not None
    assert pseudo.targets.dtype == np.float32
    np.testing.assert_allclose(pseudo.targets, [[0.9, 0.5, 0.75, 0, 1]], rtol=1e-6)
    assert pseudo.labels.astype(int).tolist() == [[1, 0, 1, 0, 1]]
    assert pseudo.weights is None
    assert np.array_equal(pseudo.student_targets(), pseudo.targets)


def test_soft_targets_of_observed_labels_are_0_and_1() -> None:
    pseudo = pseudo_labels(params(0.5, rule="soft"), index_of_train(TARGETS), scores())
    expected = np.where(TARGETS == 0, PROBS, TARGETS == 1)
    assert pseudo.targets is not None
    assert np.array_equal(pseudo.targets, expected)


def test_confidence_weights_grow_with_the_distance_to_tau() -> None:
    confident = params(0.25, weights="confidence")
    targets = np.array([[0, 0, 0, 1, -1]], np.int8)
    probs = np.array([[0.75, 0.25, 0.1, 0.25, 0.75]], np.float32)
    pseudo = pseudo_labels(confident, index_of_train(targets), scores(probs))
    # s = .9, .5 and (1/9) / (1/9 + 1/3) = .25
    assert pseudo.weights is not None
    np.testing.assert_allclose(pseudo.weights, [[0.8, 0, 0.5, 1, 1]], atol=1e-6)
    np.testing.assert_array_equal(pseudo.student_targets()[..., 0], pseudo.labels)
    np.testing.assert_array_equal(pseudo.student_targets()[..., 1], pseudo.weights)


def test_a_negative_that_only_top_k_has_made_has_confidence_0() -> None:
    probs = np.array([[0.75, 0.7, 0.3]], np.float32)
    chosen = params(0.5, rule="top_k", top_k=1, weights="confidence")
    pseudo = pseudo_labels(chosen, index_of_train(np.zeros((1, 3), np.int8)), scores(probs))
    assert pseudo.weights is not None
    np.testing.assert_allclose(pseudo.weights, [[0.5, 0, 0.4]], atol=1e-6)


def test_a_band_can_have_confidence_weights() -> None:
    probs = np.array([[0.9, 0.4, 0.1]], np.float32)
    both = params(0.5, rule="band", width=0.25, weights="confidence")
    pseudo = pseudo_labels(both, index_of_train(np.zeros((1, 3), np.int8)), scores(probs))
    assert pseudo.weights is not None
    np.testing.assert_allclose(pseudo.weights, [[0.8, 0, 0.8]], atol=1e-6)


@pytest.mark.parametrize("tau", [1e-320, 1e-9, 0.5, 0.9999999999], ids=str)
def test_the_odds_of_extreme_scores_and_taus_are_finite(tau: float) -> None:
    moved = about_tau(np.array([[0, 1e-30, 0.5, 1]], np.float32), tau)
    assert np.isfinite(moved).all()
    assert moved[0, 0] == 0
    assert moved[0, -1] == 1
    assert (np.diff(moved) >= 0).all()


@given(probs=st.lists(floats(0, 1, width=32), min_size=1, max_size=20))
def test_with_tau_one_half_soft_targets_are_the_scores(probs: list[float]) -> None:
    matrix = np.array([probs], dtype=np.float32)
    assert np.array_equal(about_tau(matrix, 0.5).astype(np.float32), matrix)


# --- properties of all rules -----------------------------------------------------------


@st.composite
def drawn(draw: st.DrawFn) -> tuple[Index, Scores, Scores]:
    """An index of 2 to 10 train and 4 val images, and scores of both; scores may be equal."""
    n, n_classes = draw(st.integers(2, 10)), draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    coarse = draw(st.sampled_from([2, 7, 1000]))
    targets = rng.choice([-1, 0, 1], (n, n_classes), p=[0.1, 0.6, 0.3]).astype(np.int8)
    targets[0, 0] = 1
    labels = np.concatenate([np.zeros((n, n_classes), bool), rng.random((4, n_classes)) < 0.4])
    labels[-2:, 0] = [False, True]
    blank = np.zeros((4, n_classes), np.int8)
    splits = ["train"] * n + ["val"] * 4
    index = index_of(splits, np.concatenate([targets, blank]), labels=labels)
    probs = (rng.integers(0, coarse + 1, (n + 4, n_classes)) / coarse).astype(np.float32)
    return index, Scores(index.image_ids[:n], probs[:n]), Scores(index.image_ids[n:], probs[n:])


every_rule = pytest.mark.parametrize("rule", RULES)
every_calibration = pytest.mark.parametrize("calibrate", CALIBRATIONS)


@every_rule
@every_calibration
@given(
    data=drawn(),
    taus=st.tuples(floats(0.31, 0.99), floats(0.31, 0.99)),
    more=st.fixed_dictionaries(
        {
            "top_k": st.integers(1, 3),
            "weights": st.sampled_from(["none", "confidence"]),
            "prior": st.sampled_from(["val", "best_bin"]),
            "annotator": st.sampled_from(["ignored", "uniform"]),
        }
    ),
)
def test_a_higher_tau_adds_no_label_and_every_rule_keeps_observed_labels(
    rule: str, calibrate: str, data: Any, taus: tuple[float, float], more: dict[str, Any]
) -> None:
    index, train, val = data
    targets = index.targets[index.rows("train")]
    made = [
        pseudo_labels(params(tau, rule=rule, calibrate=calibrate, **more), index, train, val)
        for tau in sorted(taus)
    ]
    assert not (made[1].labels & ~made[0].labels).any()
    for pseudo in made:
        assert pseudo.labels[targets == 1].all()
        assert not pseudo.labels[targets == -1].any()
        assert not pseudo.ignored[targets != 0].any()
        assert not (pseudo.ignored & pseudo.labels).any() or more["weights"] == "confidence"
        learned = pseudo.student_targets()
        assert learned.dtype == np.float32
        assert ((learned >= 0) & (learned <= 1)).all()
        known = learned[targets != 0].reshape(len(learned[targets != 0]), -1)
        assert np.array_equal(known[:, 0], targets[targets != 0] == 1)
        assert (known[:, 1:] == 1).all()
        hard = learned[..., 0] if pseudo.weights is not None else learned
        # A target just above one half may be rounded to one half.
        assert np.array_equal(hard >= 0.5, pseudo.labels | (hard == 0.5))
        assert not (pseudo.labels & (hard < 0.5)).any()


@every_calibration
@given(data=drawn(), tau=floats(0.01, 0.99))
def test_scores_above_the_thresholds_of_the_metadata_are_positive(
    calibrate: str, data: Any, tau: float
) -> None:
    index, train, val = data
    everything = params(tau, False, calibrate=calibrate)
    try:
        pseudo = pseudo_labels(everything, index, train, val)
    except InputError:
        return
    assert pseudo.rule is not None
    thresholds = pseudo.rule.thresholds
    if calibrate == "none":
        assert thresholds is None
        return
    assert thresholds is not None
    above = np.array([-1 if value is None else value for value in thresholds], np.float32)
    assert np.array_equal(pseudo.labels, train.probs > above)


def test_affine_is_the_plain_rule_at_another_tau() -> None:
    # In steps of 1/64, so that no score is rounded.
    probs = (np.random.default_rng(0).integers(0, 65, (50, 4)) / 64).astype(np.float32)
    index = index_of_train(np.zeros((50, 4), np.int8))
    affine = pseudo_labels(params(0.5, calibrate="affine"), index, scores(probs))
    plain = pseudo_labels(params(0.75), index, scores(probs))
    assert np.array_equal(affine.labels, plain.labels)
    # the file still holds the teacher's scores
    np.testing.assert_array_equal(affine.probs, plain.probs)
    assert affine.rule is not None
    assert affine.rule.single_tau is None


def test_only_isotonic_needs_the_scores_of_val() -> None:
    needs = [name for name in CALIBRATIONS if needs_val_scores(params(0.5, calibrate=name))]
    assert needs == ["isotonic"]


def metadata_of(params: PseudoLabelParams, index: Index) -> dict[str, str]:
    rule = pseudo_labels(params, index, scores()).rule
    assert rule is not None
    return rule.to_metadata()


def test_the_metadata_name_the_settings_in_use_and_no_others() -> None:
    index = index_of_train(TARGETS)
    index.labels[index.rows("val")] = [True, False, True]
    changes: dict[str, Any] = {"rule": "band", "calibrate": "prior", "weights": "confidence"}
    about = metadata_of(params(0.7, **changes), index)
    thresholds = json.loads(about.pop("spml.rule.thresholds"))
    assert thresholds == pytest.approx([0.1, 0.6, 0.2])
    assert {key.removeprefix("spml.rule."): value for key, value in about.items()} == {
        "spml.rule": "band", "tau": "0.7", "keep_observed": "true", "width": "0.3",
        "calibrate": "prior", "prior": "val", "weights": "confidence",
        "priors": "[1.0, 0.3333333333333333, 1.0]",
    }  # fmt: skip
    top = metadata_of(params(0.5, rule="top_k", calibrate="elkan_noto"), index)
    assert top["spml.rule.top_k"] == "3"
    assert json.loads(top["spml.rule.c"]) == pytest.approx([0.1, 0.8, 0.45])
    assert not {"spml.rule.width", "spml.rule.prior", "spml.rule.weights"} & set(top)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rule": "top_k", "calibrate": "elkan_noto"},
        {"rule": "band", "calibrate": "prior", "width": 0.3, "weights": "confidence"},
        {"rule": "soft", "annotator": "uniform", "keep_observed": False},
    ],
    ids=str,
)
def test_the_rule_read_from_a_file_makes_the_same_labels(changes: dict[str, Any]) -> None:
    index = index_of_train(TARGETS)
    index.labels[index.rows("val")] = [True, False, True]
    made = pseudo_labels(params(0.6, **changes), index, scores())
    assert made.rule is not None
    read = LabelRule.from_metadata(PATH, made.rule.to_metadata())
    again = pseudo_labels(params_of(PATH, read), index, scores())
    assert again.rule == made.rule
    np.testing.assert_array_equal(again.student_targets(), made.student_targets())


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (None, "has no metadata 'spml.rule'"),
        (LabelRule("quota", tau=0.5, keep_observed=True), "spml.rule.rule = 'quota': should be"),
        (LabelRule("tau", tau=0.5), "spml.rule.keep_observed = None: should be true or false"),
        (LabelRule("tau", keep_observed=True), "spml.rule.tau = None: should be a number >= 0 and"),
        (LabelRule("top_k", tau=0.5, keep_observed=True), "spml.rule.top_k = None: should be a"),
        (LabelRule("tau", 0.5, True, calibrate="prior"), "spml.rule.prior = None: should be"),
    ],
)
def test_a_file_without_a_complete_rule_has_no_next_generation(
    rule: LabelRule | None, message: str
) -> None:
    with pytest.raises(InputError) as error:
        params_of(PATH, rule)
    assert str(error.value).startswith(f"{PATH}: {message}")
    assert str(error.value).endswith(
        "train_student.generations above 1 need the rule; run the stage pseudo_label"
    )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "tau 0.4"),
        ({"rule": "top_k"}, "the 3 highest above tau 0.4"),
        ({"rule": "band", "width": 0.3}, "tau 0.4, ignored down to 0.1"),
        ({"rule": "soft", "calibrate": "affine"}, "soft about tau 0.4, calibrated by affine"),
        ({"rule": "soft", "annotator": "uniform"}, "soft about tau 0.4, given the named classes"),
        ({"calibrate": "prior", "weights": "confidence"},
         "tau 0.4, calibrated by prior of val, weighted by confidence"),
    ],
    ids=str,
)  # fmt: skip
def test_the_rule_in_words(changes: dict[str, Any], words: str) -> None:
    assert in_words(params(0.4, **changes)) == words


# --- summaries -------------------------------------------------------------------------


def test_the_summary_counts_added_labels() -> None:
    pseudo = pseudo_labels(params(0.5), index_of_train(TARGETS), scores())
    stats = summary(pseudo)
    assert stats == {
        "images": 3,
        "positives_per_image": pytest.approx(4 / 3),
        "observed_per_image": pytest.approx(2 / 3),
        "added_per_image": pytest.approx(2 / 3),
        "images_with_added": 2,
        "images_without_label": 1,
    }
    assert json.loads(json.dumps(stats)) == stats


def test_a_removed_observed_label_is_not_counted() -> None:
    pseudo = pseudo_labels(params(0.5, keep=False), index_of_train(TARGETS), scores())
    stats = summary(pseudo)
    assert stats["positives_per_image"] == pytest.approx(4 / 3)
    assert stats["added_per_image"] == pytest.approx(3 / 3)


def test_the_table_per_class_has_a_row_for_each() -> None:
    pseudo = pseudo_labels(params(0.5), index_of_train(TARGETS), scores())
    assert summary_per_class(pseudo, ("a", "b", "c")) == {
        "class": ["a", "b", "c"],
        "observed": [1, 1, 0],
        "added": [1, 1, 0],
        "positives": [2, 2, 0],
    }


def test_ignored_entries_are_counted_if_there_are_any() -> None:
    band = params(0.5, rule="band", width=0.15)
    pseudo = pseudo_labels(band, index_of_train(TARGETS), scores())
    assert summary(pseudo)["ignored_per_image"] == pytest.approx(2 / 3)
    assert summary_per_class(pseudo, ("a", "b", "c"))["ignored"] == [0, 1, 1]
    assert "ignored" not in summary_per_class(
        pseudo_labels(params(0.5), index_of_train(TARGETS), scores()), ("a", "b", "c")
    )


def test_the_arguments_are_not_changed() -> None:
    before = replace(scores(), probs=PROBS.copy())
    index = index_of_train(TARGETS)
    pseudo_labels(params(0.5), index, before)
    assert np.array_equal(before.probs, PROBS)
    assert np.array_equal(index.targets[index.rows("train")], TARGETS)


# --- the stages ------------------------------------------------------------------------

EVERY_COLUMN: tuple[dict[str, Any], ...] = (
    {},
    {"rule": "soft", "calibrate": "isotonic"},
    {"rule": "soft", "calibrate": "isotonic", "annotator": "uniform"},
    {"rule": "band", "calibrate": "prior", "width": 0.1},
    {"rule": "top_k", "calibrate": "elkan_noto", "weights": "confidence"},
    {"rule": "band", "calibrate": "prior", "prior": "best_bin", "weights": "confidence",
     "width": 0.1},
)  # fmt: skip


@pytest.fixture
def scored(workplace: Path, run_stage: RunStage) -> Path:
    """A workplace with made-up scores."""
    run_stage("prepare")
    index, rng = tables.read_index(workplace / "data/index.parquet"), np.random.default_rng(0)
    for name, split in (("scores", "train"), ("val_scores", "val")):
        ids = index.ids(index.rows(split))
        probs = rng.random((len(ids), 10), dtype=np.float32)
        tables.write_scores(workplace / f"data/{name}.parquet", Scores(ids, probs), index.classes)
    return workplace


def test_no_rule_uses_the_truth_and_equal_scores_give_equal_bytes(
    scored: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    labels, truth = scored / "data/pseudo_labels.parquet", scored / "data/truth.parquet"

    def all_bytes() -> list[bytes]:
        made = []
        for changes in EVERY_COLUMN:
            whole = PLAIN | {"tau": 0.2} | changes
            set_params({f"pseudo_label.{key}": value for key, value in whole.items()})
            run_stage("pseudo_label")
            made.append(labels.read_bytes())
        return made

    before = all_bytes()
    assert len(set(before)) == len(EVERY_COLUMN)
    known = tables.read_truth(truth)
    turned = replace(known, labels=np.random.default_rng(0).permutation(~known.labels))
    tables.write_truth(truth, turned, tables.read_index(scored / "data/index.parquet").classes)
    assert all_bytes() == before


def test_a_student_learns_from_every_rule(
    scored: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    set_params({"train.fit.epochs": 1})
    students = set()
    for changes in EVERY_COLUMN:
        whole = PLAIN | {"tau": 0.2} | changes
        set_params({f"pseudo_label.{key}": value for key, value in whole.items()})
        output = run_stage("pseudo_label").output
        assert output.count("\n") == 1
        assert output.startswith(in_words(PseudoLabelParams(**whole)) + ": ")
        assert ("classes ignored" in output) == (changes.get("rule") in ("band", "top_k"))
        run_stage("train_student")
        students.add((scored / "data/student/model.safetensors").read_bytes())
    assert len(students) == len(EVERY_COLUMN)

    run_stage("train_teacher")
    run_stage("evaluate")
    metrics = json.loads((scored / "reports/evaluate/metrics.json").read_text())
    stats = json.loads((scored / "reports/pseudo_label/summary.json").read_text())
    share = metrics["pseudo_labels.ignored_share"]
    assert stats["ignored_per_image"] / 10 == pytest.approx(share, abs=1e-4)
    assert f"{stats['ignored_per_image']:.2f} classes ignored" in output


def test_isotonic_without_scores_of_val_names_the_stage_to_run(
    scored: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    (scored / "data/val_scores.parquet").unlink()
    run_stage("pseudo_label")
    set_params({"pseudo_label.calibrate": "isotonic"})
    output = run_stage("pseudo_label", exit_code=1).output
    assert output == "Error: data/val_scores.parquet: no such file; run the stage score first\n"


def test_a_new_tau_loads_neither_torch_nor_sklearn_nor_pandas() -> None:
    code = "import sys, stages.pseudo_label; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert {"click", "numpy", "pyarrow"} <= loaded
    assert not loaded & {"torch", "torchvision", "lightning_fabric", "sklearn", "scipy",
                         "pandas", "matplotlib", "dvclive"}  # fmt: skip
