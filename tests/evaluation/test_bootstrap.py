"""Intervals of mAP: resampled mAP against scikit-learn, and intervals that cover the mAP."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from pipeline.evaluation.bootstrap import (
    N_RESAMPLES,
    enough_positives,
    intervals,
    resampled_map,
    resamples,
)
from pipeline.evaluation.metrics import mean_average_precision


@given(seed=st.integers(0, 10_000))
def test_a_resample_has_the_map_that_scikit_learn_gives_the_drawn_images(seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.random((30, 3)) < 0.4
    scores = rng.integers(0, 8, (30, 3)).astype(np.float32)  # with ties
    drawn_by_resample = rng.multinomial(30, np.full(30, 1 / 30), size=4)
    counts = drawn_by_resample.T.astype(np.float32)
    for drawn, found in zip(drawn_by_resample, resampled_map(labels, scores, counts), strict=True):
        rows = np.repeat(np.arange(30), drawn)
        expected = [
            average_precision_score(labels[rows, c], scores[rows, c])
            for c in range(3)
            if labels[rows, c].any()
        ]
        assert found == pytest.approx(100 * np.mean(expected))


def test_a_resample_draws_as_many_images_as_there_are_and_equal_seeds_draw_the_same() -> None:
    counts = resamples(7)
    assert counts.shape == (7, N_RESAMPLES)
    assert (counts.sum(axis=0) == 7).all()
    assert (counts == resamples(7)).all()
    assert (counts != resamples(7, seed=1)).any()


def scored(seed: int, quality: float, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return labels of three classes, the last one never present, and scores of some quality."""
    rng = np.random.default_rng(0)
    labels = rng.random((n, 3)) < (0.3, 0.1, 0.0)
    noise = np.random.default_rng(seed).normal(size=labels.shape)
    return labels, (quality * labels + noise).astype(np.float32)


def test_the_intervals_hold_the_map_with_a_class_without_positives_as_0() -> None:
    labels, teacher = scored(1, 1.0)
    _, student = scored(2, 3.0)
    found = intervals(labels, {"teacher": teacher, "student": student})
    for span, scores in ((found["teacher"], teacher), (found["student"], student)):
        assert span.low < mean_average_precision(labels, scores) < span.high
    assert found["student"].high < 200 / 3
    assert 0 < found["difference"].low < found["difference"].high


def test_equal_models_have_no_difference_and_more_images_give_a_narrower_interval() -> None:
    labels, scores = scored(1, 1.0)
    found = intervals(labels, {"teacher": scores, "student": scores})
    assert (found["difference"].low, found["difference"].high) == (0, 0)
    more, many = scored(1, 1.0, n=3000)
    narrow = intervals(more, {"teacher": many})["teacher"]
    assert narrow.high - narrow.low < (found["teacher"].high - found["teacher"].low) / 2


def test_classes_need_ten_test_positives() -> None:
    labels = np.zeros((20, 3), bool)
    labels[:9, 0] = labels[:10, 1] = labels[:, 2] = True
    assert enough_positives(labels).tolist() == [False, True, True]
