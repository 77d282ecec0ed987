"""Decision thresholds and a calibration per class, chosen on the val images."""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from pipeline.artifacts.decisions import MARGIN, Decisions, OperatingPoint
from pipeline.core.arrays import BoolMatrix, Probs

# A class with fewer positives in val takes what fits the entries of all classes together: best F1
# over a handful of positives is their scores, and no threshold for other images.
FEWEST = 10
# Of the operating points.
PRECISIONS = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99)

Vector = npt.NDArray[np.float64]
Chosen = tuple[float, tuple[float | None, ...], tuple[float, float]]


def choose(labels: BoolMatrix, probs: Probs) -> Decisions | None:
    """Choose thresholds and calibrations for C classes; None if no label is positive.

    The threshold of a class has the best F1 on val, the highest of several. It lies halfway
    between two scores, so that rounding moves no val image across. A class with fewer than FEWEST
    positives gets the threshold, operating points and calibration of all entries of all classes
    together.

    The same val images chose the epoch, so F1 and precision on other images are a little lower.

    Args:
        labels: (N, C) the complete labels of the val images.
        probs: (N, C) their scores.

    Source: Platt 1999, for the calibration.
    """
    if not labels.any():
        return None
    scores = probs.astype(np.float64)
    counts = labels.sum(axis=0)
    pooled = _of(labels.ravel(), scores.ravel()) if (counts < FEWEST).any() else None
    chosen = [
        _of(labels[:, column], scores[:, column]) if count >= FEWEST else pooled
        for column, count in enumerate(counts)
    ]
    best, at_precision, calibration = zip(*chosen, strict=True)
    points = [
        OperatingPoint(precision, thresholds)
        for precision, thresholds in zip(PRECISIONS, zip(*at_precision, strict=True), strict=True)
    ]
    return Decisions(best, tuple(points), calibration, tuple(counts.tolist()))


def _of(present: npt.NDArray[np.bool_], scores: Vector) -> Chosen:
    """Return the threshold of the best F1, those of PRECISIONS, and the calibration."""
    precision, recall, cuts = precision_recall_curve(present, scores)
    precision, recall = precision[:-1], recall[:-1]
    halfway = (cuts + np.concatenate([[0], cuts[:-1]])) / 2
    # At every cut with a true positive both are above 0.
    f1 = 2 * precision * recall / np.maximum(precision + recall, MARGIN)
    best = len(f1) - 1 - int(f1[::-1].argmax())
    reached = [np.flatnonzero(precision >= wanted) for wanted in PRECISIONS]
    at_precision = tuple(float(halfway[at[0]]) if len(at) else None for at in reached)
    return float(halfway[best]), at_precision, _platt(present, scores)


def _platt(present: npt.NDArray[np.bool_], scores: Vector) -> tuple[float, float]:
    """Return a, b of sigmoid(a logit(score) + b), fitted to Platt's smoothed labels."""
    p = np.clip(scores, MARGIN, 1 - MARGIN)
    logits = np.log(p / (1 - p))[:, None]
    n_present, n = int(present.sum()), len(present)
    target = np.where(present, (n_present + 1) / (n_present + 2), 1 / (n - n_present + 2))
    # An entry counts as a positive with its target, and as a negative with the rest.
    # The penalty is so weak that it decides only where all scores are nearly the same.
    fit = LogisticRegression(C=1e3, solver="newton-cholesky")
    fit.fit(
        np.concatenate([logits, logits]),
        np.repeat([True, False], n),
        np.concatenate([target, 1 - target]),
    )
    return float(fit.coef_[0, 0]), float(fit.intercept_[0])
