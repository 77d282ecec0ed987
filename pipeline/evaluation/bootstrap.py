"""Intervals of mAP by a bootstrap over test images. NumPy only.

A resample draws as many images as there are, with replacement. The interval says how far mAP moves
with other test images of the same kind. It says nothing about other seeds or other observed labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from tqdm.auto import tqdm

from pipeline.core.arrays import BoolMatrix, Probs, RowNumbers

Floats = npt.NDArray[np.float64]
# (N, R) how often each image is in each resample: whole numbers, as float32 for fast sums.
Counts = npt.NDArray[np.float32]

N_RESAMPLES = 1000
# Resamples that are drawn at once, which bounds the memory of the draws.
AT_ONCE = 50
# Classes of fewer test positives have an AP that one image moves by points.
ENOUGH_POSITIVES = 10


@dataclass(frozen=True)
class Interval:
    """The 95 % interval of a number, in points of mAP."""

    low: float
    high: float


def intervals(labels: BoolMatrix, probs: Mapping[str, Probs], seed: int = 0) -> dict[str, Interval]:
    """Return the intervals of the models' test mAP over the same resamples, by name.

    "difference" is that of the student minus the teacher, if both are given.

    As in mAP, a class without any test positive counts 0. A class that only a resample lacks is
    left out of the mean of that resample.

    Args:
        labels: (N, C) complete labels of the test images, with at least one positive.
        probs: (N, C) scores by "teacher" and "student".
        seed: of the resamples.
    """
    counts = resamples(len(labels), seed)
    # The mean over the classes with positives, turned into one over all classes.
    share = labels.any(axis=0).mean()
    maps = {name: share * resampled_map(labels, of, counts) for name, of in probs.items()}
    if "teacher" in maps and "student" in maps:
        maps["difference"] = maps["student"] - maps["teacher"]
    return {name: interval(values) for name, values in maps.items()}


def interval(values: Floats) -> Interval:
    """Return the range of the middle 95 % of resampled values, (R,).

    A resample without any positive, NaN, is left out.
    """
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return Interval(float(low), float(high))


def resamples(n_images: int, seed: int = 0) -> Counts:
    """Draw the resamples: how often each image is in each of them, (N, R)."""
    rng = np.random.default_rng(seed)
    even = np.full(n_images, 1 / n_images)
    counts = np.empty((n_images, N_RESAMPLES), np.float32)
    for at in range(0, N_RESAMPLES, AT_ONCE):
        counts[:, at : at + AT_ONCE] = rng.multinomial(n_images, even, size=AT_ONCE).T
    return counts


def resampled_map(labels: BoolMatrix, scores: Probs, counts: Counts) -> Floats:
    """Return mAP in percent where each image counts as often as it was drawn, (R,).

    The mean is over the classes that have a positive in the resample; NaN if none has.

    Args:
        labels: (N, C) complete labels.
        scores: (N, C).
        counts: (N, R), how often each image was drawn.
    """
    columns = np.flatnonzero(labels.any(axis=0)).tolist()
    bar = tqdm(columns, "intervals of mAP", disable=None, leave=False)
    total, found = np.zeros(counts.shape[1]), np.zeros(counts.shape[1])
    for column in bar:
        precision = _average_precision(labels[:, column], scores[:, column], counts)
        has_positive = ~np.isnan(precision)
        total[has_positive] += precision[has_positive]
        found += has_positive
    means: Floats = 100 * np.divide(total, found, out=np.full_like(total, np.nan), where=found > 0)
    return means


def _average_precision(
    labels: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32], counts: Counts
) -> Floats:
    """Return the AP of one class per resample, (R,); NaN without a positive in it.

    Only thresholds at the score of a positive gain recall. So the draws are summed over the runs
    of images from one such threshold to the next, which takes far less time and memory than a
    cumulative sum over all images.

    Source: the definition of scikit-learn's average_precision_score: equal scores are one
    threshold.
    """
    order = np.argsort(-scores, kind="stable")
    ordered = labels[order]
    # The first image below each threshold that a positive reaches.
    below = np.append(np.flatnonzero(np.diff(scores[order])) + 1, len(order))
    ends = np.unique(below[np.searchsorted(below, np.flatnonzero(ordered), side="right")])
    retrieved = _sums(order, ends, counts).cumsum(axis=0)
    gained = _sums(order[ordered], np.cumsum(ordered)[ends - 1], counts)
    found = gained.cumsum(axis=0)
    precision = np.divide(found, retrieved, out=np.zeros_like(found), where=retrieved > 0)
    total = np.einsum("tr,tr->r", precision, gained, dtype=np.float64)
    positives = found[-1]
    none = np.full(len(positives), np.nan)
    average: Floats = np.divide(total, positives, out=none, where=positives > 0)
    return average


def _sums(rows: RowNumbers, ends: RowNumbers, counts: Counts) -> npt.NDArray[np.float32]:
    """Return the sums of `counts` over runs of `rows`, (T, R).

    Args:
        rows: row numbers of `counts`.
        ends: (T,) where each run of `rows` ends; the next one begins there.
        counts: (N, R).
    """
    used = rows[: ends[-1]]
    one_each = (np.ones(len(used), np.float32), used, np.append(0, ends))
    sums: npt.NDArray[np.float32] = csr_array(one_each, shape=(len(ends), len(counts))) @ counts
    return sums


def enough_positives(labels: BoolMatrix) -> npt.NDArray[np.bool_]:
    """Return which classes have enough test positives for an AP of their own, (C,)."""
    enough: npt.NDArray[np.bool_] = labels.sum(axis=0) >= ENOUGH_POSITIVES
    return enough
