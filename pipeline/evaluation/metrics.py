"""Mean average precision, and precision and recall of pseudo-labels. No torch."""

import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score

from pipeline.core.arrays import BoolMatrix, Targets
from pipeline.evaluation.kinds import Kind, is_one_of, kinds_of


def average_precisions(truth: npt.ArrayLike, probs: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the average precision of each class in percent, (C,); NaN without positives.

    Args:
        truth: (N, C) complete labels; an array or a tensor, of bool or 0 and 1.
        probs: (N, C) scores, an array or a tensor; only their order counts.

    Source: scikit-learn's average_precision_score, as in the public code of the papers.
    """
    labels, scores = np.asarray(truth), np.asarray(probs)
    aps = np.full(labels.shape[1], np.nan)
    for column in np.flatnonzero(labels.any(axis=0)):
        aps[column] = 100 * average_precision_score(labels[:, column], scores[:, column])
    return aps


def mean_average_precision(truth: npt.ArrayLike, probs: npt.ArrayLike) -> float:
    """Return the mAP in percent; a class without any positive counts 0.

    Args:
        truth: as in `average_precisions`.
        probs: as in `average_precisions`.
    """
    return mean_over_classes(average_precisions(truth, probs))


def mean_over_classes(aps: npt.NDArray[np.float64]) -> float:
    """Return the mean of average precisions, (C,); a class without positives, NaN, counts 0.

    Source: Cole et al. 2021, public code, also for the rule on NaN.
    """
    return float(np.nan_to_num(aps).mean())


def pseudo_label_quality(
    labels: BoolMatrix,
    targets: Targets,
    truth: BoolMatrix,
    known: npt.NDArray[np.bool_] | None = None,
    corrected: BoolMatrix | None = None,
) -> dict[str, npt.NDArray[np.int64]]:
    """Count the true and false positives among the added labels, per class.

    Args:
        labels: (N, C) the positives that the student is trained on. Ignored entries are not among
            them: a true positive that is ignored counts as not found.
        targets: (N, C) observed labels; only unobserved entries (0) are judged.
        truth: (N, C) complete labels.
        known: (N,) mask of the images with known truth; only these are judged. None: all.
        corrected: (N, C) entries that a person answered, which are not judged. None: none.

    Returns:
        (C,) counts: "right", true positives; "wrong", false positives; "hidden", all unobserved
        positives of the truth. Precision is right / (right + wrong), recall right / hidden.
    """
    kinds = kinds_of(labels, targets, truth=truth, known=known, corrected=corrected)
    right = is_one_of(kinds, Kind.TRUE_POSITIVE).sum(axis=0)
    return {
        "right": right,
        "wrong": is_one_of(kinds, Kind.FALSE_POSITIVE).sum(axis=0),
        "hidden": right + is_one_of(kinds, Kind.FALSE_NEGATIVE).sum(axis=0),
    }


def ratio(part: float, whole: float) -> float | None:
    """Return part / whole, or None if `whole` is 0."""
    return float(part / whole) if whole else None
