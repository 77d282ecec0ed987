"""Thresholds and calibration chosen on val: the best F1, a precision, few positives."""

import numpy as np
import numpy.typing as npt
import pytest

from pipeline.artifacts.decisions import Decisions, labels
from pipeline.core.arrays import BoolMatrix, Probs
from pipeline.evaluation import thresholds
from pipeline.evaluation.thresholds import FEWEST, PRECISIONS


def scored(
    n: int = 400, shares: tuple[float, ...] = (0.3, 0.1), seed: int = 0
) -> tuple[BoolMatrix, Probs]:
    """Return labels, and scores that are higher for present classes but no probabilities."""
    rng = np.random.RandomState(seed)
    present = rng.rand(n, len(shares)) < shares
    logits = 0.5 * rng.randn(*present.shape) + present - 2
    return present, (1 / (1 + np.exp(-logits))).astype(np.float32)


def chosen(present: BoolMatrix, probs: Probs) -> Decisions:
    decisions = thresholds.choose(present, probs)
    assert decisions is not None
    return decisions


def precision_and_f1(
    present: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32], threshold: float
) -> tuple[float, float]:
    found = scores > threshold
    right = (found & present).sum()
    return right / max(found.sum(), 1), 2 * right / (found.sum() + present.sum())


def test_no_other_threshold_has_a_better_f1_on_val() -> None:
    present, probs = scored()
    for column, threshold in enumerate(chosen(present, probs).thresholds):
        of_class = present[:, column], probs[:, column]
        others = [precision_and_f1(*of_class, cut)[1] for cut in [0, *probs[:, column]]]
        assert precision_and_f1(*of_class, threshold)[1] == max(others)


def test_a_threshold_lies_halfway_between_two_scores() -> None:
    present = np.arange(40)[:, None] >= 20
    probs = np.concatenate([np.linspace(0.1, 0.3, 20), np.linspace(0.5, 0.9, 20)])
    decisions = chosen(present, probs[:, None].astype(np.float32))
    assert decisions.thresholds == pytest.approx((0.4,))
    always = chosen(np.ones_like(present), probs[:, None].astype(np.float32))
    assert always.thresholds == pytest.approx((0.05,))


def test_a_point_is_the_lowest_threshold_with_its_precision() -> None:
    present, probs = scored(shares=(0.3, 0.2))
    decisions = chosen(present, probs)
    assert [point.precision for point in decisions.at_precision] == list(PRECISIONS)
    for point in decisions.at_precision:
        for column, threshold in enumerate(point.thresholds):
            assert threshold is not None
            of_class = present[:, column], probs[:, column]
            assert precision_and_f1(*of_class, threshold)[0] >= point.precision
            below = sorted(probs[probs[:, column] < threshold, column])
            for cut in [0, *below][:-1]:  # the last gives the same labels as the threshold
                assert precision_and_f1(*of_class, cut)[0] < point.precision


def test_a_class_that_does_not_reach_a_precision_has_no_threshold_for_it() -> None:
    present, probs = scored()
    present[np.argmax(probs[:, 0]), 0] = False
    probs[present[:, 0], 0] /= 2
    decisions = chosen(present, probs)
    assert decisions.at_precision[-1].thresholds[0] is None
    found = labels(probs, decisions.at_precision[-1].thresholds)
    assert not found[:, 0].any()
    assert found[:, 1].any()


@pytest.mark.parametrize("n_positives", [0, FEWEST - 1])
def test_a_class_with_few_positives_in_val_takes_the_values_of_all_classes(
    n_positives: int,
) -> None:
    present, probs = scored(shares=(0.3, 0.1, 0.2))
    present[np.flatnonzero(present[:, 1])[n_positives:], 1] = False
    decisions = chosen(present, probs)
    together = chosen(present.reshape(-1, 1), probs.reshape(-1, 1))
    alone = chosen(present[:, :1], probs[:, :1])
    assert decisions.val_positives[1] == n_positives
    for name in ("thresholds", "calibration"):
        values = getattr(decisions, name)
        assert values[1] == getattr(together, name)[0]
        assert values[0] == getattr(alone, name)[0]
        assert values[2] != values[1]


def test_a_class_of_enough_positives_has_its_own_threshold() -> None:
    present, probs = scored()
    present[np.flatnonzero(present[:, 1])[FEWEST:], 1] = False
    alone = chosen(present[:, 1:], probs[:, 1:])
    assert chosen(present, probs).thresholds[1] == alone.thresholds[0]


def test_without_any_positive_nothing_is_chosen() -> None:
    assert thresholds.choose(np.zeros((5, 2), np.bool_), np.full((5, 2), 0.3, np.float32)) is None


def test_calibrated_scores_are_the_shares_of_positives_and_keep_the_order() -> None:
    present, probs = scored(20_000, (0.3, 0.05))
    decisions = chosen(present[:10_000], probs[:10_000])
    others, truth = probs[10_000:], present[10_000:]
    calibrated = decisions.calibrated(others)
    assert calibrated.dtype == np.float32
    for column in range(2):
        order = np.argsort(others[:, column], kind="stable")
        assert (np.diff(calibrated[order, column]) >= 0).all()
        for part in np.array_split(order, 5):
            error = calibrated[part, column].mean() - truth[part, column].mean()
            assert abs(error) < 0.03
            assert abs(error) < abs(others[part, column].mean() - truth[part, column].mean()) + 0.02


def test_scores_of_0_and_1_are_calibrated_to_numbers() -> None:
    present, probs = scored()
    extreme = np.array([[0, 1]], np.float32)
    calibrated = chosen(present, probs).calibrated(extreme)
    assert np.isfinite(calibrated).all()
    assert (calibrated[0] >= 0).all()
    assert (calibrated[0] <= 1).all()


def test_equal_scores_are_calibrated_to_the_share_of_positives() -> None:
    present, _ = scored(1000, (0.3,))
    probs = np.full((1000, 1), 0.6, np.float32)
    calibrated = chosen(present, probs).calibrated(probs[:1])[0, 0]
    assert calibrated == pytest.approx(present.mean(), abs=2e-3)


def test_separated_classes_get_a_finite_calibration() -> None:
    present = np.arange(40)[:, None] >= 20
    probs = np.where(present, 0.9, 0.1).astype(np.float32)
    ((a, b),) = chosen(present, probs).calibration
    assert np.isfinite([a, b]).all()
    (high, low) = chosen(present, probs).calibrated(np.array([[0.9], [0.1]], np.float32))[:, 0]
    assert 0.9 < high < 1
    assert 0 < low < 0.1
