"""Metrics of labels and of rankings that users decide by, beside mAP. No torch."""

import numpy as np
from sklearn.metrics import (
    coverage_error,
    label_ranking_loss,
    mean_squared_error,
    precision_recall_fscore_support,
)

from pipeline.artifacts import decisions
from pipeline.artifacts.decisions import Thresholds
from pipeline.core.arrays import BoolMatrix, Probs

# The metrics in words, in the order of the report.
WORDS = {
    "CP": "precision, mean over classes (%)",
    "CR": "recall, mean over classes (%)",
    "CF1": "F1 of these two (%)",
    "OP": "precision over all labels (%)",
    "OR": "recall over all labels (%)",
    "OF1": "F1 over all labels: micro F1 (%)",
    "macro_F1": "macro F1: mean of the classes' F1 (%)",
    "precision_at_1": "images whose highest class is present (%)",
    "precision_at_3": "present classes among the three highest (%)",
    "coverage": "highest classes needed for all present ones",
    "ranking_loss": "pairs of a present and an absent class in the wrong order (share)",
    "brier": "Brier score: mean squared error of the scores",
}


def metrics(truth: BoolMatrix, probs: Probs, thresholds: Thresholds | None) -> dict[str, float]:
    """Return the metrics of WORDS for (N, C) scores, without those that cannot be computed.

    Args:
        truth: (N, C) complete labels.
        probs: (N, C) scores.
        thresholds: of the labels; None: no metrics of labels.

    Returns:
        By name. For a single class there are none: a ranking needs two.
    """
    if truth.shape[1] < 2:
        return {}
    found = of_scores(truth, probs)
    if thresholds is not None:
        found |= of_labels(truth, decisions.labels(probs, thresholds))
    return {name: found[name] for name in WORDS if name in found}


def of_labels(truth: BoolMatrix, labels: BoolMatrix) -> dict[str, float]:
    """Return precision, recall and F1 of labels in percent; a class that lacks one counts 0.

    CP and CR are means of the classes' precision and recall, and CF1 is the harmonic mean of these
    two. That is not macro F1, the mean of the classes' F1. OP, OR and OF1 count the labels of all
    classes together, so OF1 is micro F1.

    Args:
        truth: (N, C) complete labels, C at least 2.
        labels: (N, C) predicted labels.

    Source: Chen et al. 2019 (ML-GCN), for CP, CR, CF1, OP, OR and OF1.
    """
    cp, cr, macro, _ = precision_recall_fscore_support(
        truth, labels, average="macro", zero_division=0
    )
    op, recall, of1, _ = precision_recall_fscore_support(
        truth, labels, average="micro", zero_division=0
    )
    cf1 = 2 * cp * cr / (cp + cr) if cp + cr else 0.0
    names = ("CP", "CR", "CF1", "OP", "OR", "OF1", "macro_F1")
    values = (cp, cr, cf1, op, recall, of1, macro)
    return {name: 100 * float(value) for name, value in zip(names, values, strict=True)}


def of_scores(truth: BoolMatrix, probs: Probs) -> dict[str, float]:
    """Return the metrics of scores that need no threshold.

    Args:
        truth: (N, C) complete labels, C at least 2.
        probs: (N, C) scores.

    Returns:
        precision_at_k: present classes among the k highest of an image, mean over images, in
        percent, for each k of 1 and 3 that is below C. coverage: number of highest classes that
        hold all present ones, mean over images; 0 for an image without any. ranking_loss: share
        of the pairs of a present and an absent class whose order is wrong, mean over images; 0 for
        an image without such a pair. brier: mean of (score - label)^2 over all entries.

    Source: scikit-learn's coverage_error and label_ranking_loss, after Tsoumakas et al. 2010.
    """
    order = np.argsort(-probs, axis=1, kind="stable")
    at_k = {
        f"precision_at_{k}": 100 * float(np.take_along_axis(truth, order[:, :k], axis=1).mean())
        for k in (1, 3)
        if k < truth.shape[1]
    }
    return at_k | {
        "coverage": float(coverage_error(truth, probs)),
        "ranking_loss": float(label_ranking_loss(truth, probs)),
        "brier": float(mean_squared_error(truth, probs)),
    }
