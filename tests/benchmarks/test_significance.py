"""Differences that hold: Holm by hand, and intervals that cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.significance import Difference, holm, over_images, paired_p


def test_holm_by_hand() -> None:
    # sorted .01, .02, .03, .04: times 4, 3, 2, 1, and never less than the one before
    assert holm([0.03, 0.01, 0.04, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_keeps_the_order_and_multiplies_the_lowest_by_their_number(p: list[float]) -> None:
    corrected = holm(p)
    assert min(corrected) == pytest.approx(min(len(p) * min(p), 1))
    assert all(after >= before for before, after in zip(p, corrected, strict=True))
    for one, other in zip(np.argsort(p)[:-1], np.argsort(p)[1:], strict=True):
        assert corrected[one] <= corrected[other]


def test_a_paired_test_needs_pairs_that_differ() -> None:
    assert paired_p([1.0], [0.0]) == 1.0
    assert paired_p([1.0, 2.0], [1.0, 2.0]) == 1.0
    assert paired_p([2.0, 3.0], [1.0, 2.0]) == 0.0
    # differences 1, 2, 3: t = 2 / (1 / sqrt 3) = 3.4641 with 2 degrees of freedom
    assert paired_p([2.0, 4.0, 6.0], [1.0, 2.0, 3.0]) == pytest.approx(0.0742, abs=1e-4)


def test_an_interval_is_above_0_for_a_better_method_and_about_0_for_an_equal_one() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((400, 4)) < 0.3
    noise = rng.normal(size=(2, 400, 4))
    good, equal = (labels + noise).astype(np.float32)
    bad = (0.3 * labels + noise[1]).astype(np.float32)
    low, high = over_images(labels, [good, good], [bad, bad])
    assert 0 < low < high
    low, high = over_images(labels, [good], [equal])
    assert low < 0 < high
    assert over_images(labels, [good], [good]) == (0, 0)


def test_a_difference_is_established_over_runs_and_over_images_or_not_at_all() -> None:
    assert Difference(1.0, 0.1, 0.01, 0.2, 1.8).established
    assert not Difference(1.0, 0.1, 0.06, 0.2, 1.8).established
    assert not Difference(1.0, 0.1, 0.01, -0.1, 1.8).established
    assert not Difference(-1.0, 0.1, 0.01, -1.8, -0.2).established
