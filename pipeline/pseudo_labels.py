"""From scores to the labels that the student takes as complete. NumPy only: tau is cheap."""

import numpy as np
from pydantic import Field

from pipeline.arrays import BoolMatrix, Probs, Targets
from pipeline.errors import InputError
from pipeline.params import Params
from pipeline.tables import Index, PseudoLabels, Scores


class PseudoLabelParams(Params):
    """`pseudo_label`: the threshold, and whether observed labels stand whatever the score."""

    tau: float = Field(ge=0, lt=1)
    keep_observed: bool


def above_tau(probs: Probs, tau: float) -> BoolMatrix:
    """Return where a score is strictly greater than tau, both as float32.

    Source: Arroyo 2023, the rule of the Tiny Paper.
    """
    return probs > np.float32(tau)


def keep_observed(labels: BoolMatrix, targets: Targets) -> BoolMatrix:
    """Return the labels with observed positives in and observed negatives out."""
    kept: BoolMatrix = (labels | (targets == 1)) & (targets != -1)
    return kept


def pseudo_labels(params: PseudoLabelParams, index: Index, scores: Scores) -> PseudoLabels:
    """Label every training picture by the teacher's scores.

    Raises:
        InputError: not a single label comes out, so there would be nothing to learn.
    """
    targets = index.targets[index.rows("train")]
    labels = above_tau(scores.probs, params.tau)
    if params.keep_observed:
        labels = keep_observed(labels, targets)
    if not labels.any():
        raise InputError(
            f"pseudo_label.tau = {params.tau}: no score is above it (the highest is "
            f"{scores.probs.max():.4f}), so no picture would have a label; should be lower, or "
            f"pseudo_label.keep_observed true"
        )
    return PseudoLabels(
        image_ids=scores.image_ids,
        observed=targets == 1,
        labels=labels,
        probs=np.where(labels, scores.probs, np.float32(np.nan)),
        rule={
            "spml.rule": "tau",
            "spml.rule.tau": repr(params.tau),
            "spml.rule.keep_observed": str(params.keep_observed).lower(),
        },
    )


def summary(pseudo: PseudoLabels) -> dict[str, float]:
    """Return what can be said of the labels without the truth: counts and means per image."""
    added = pseudo.labels & ~pseudo.observed
    return {
        "images": len(pseudo.image_ids),
        "positives_per_image": float(pseudo.labels.sum(axis=1).mean()),
        "observed_per_image": float(pseudo.observed.sum(axis=1).mean()),
        "added_per_image": float(added.sum(axis=1).mean()),
        "images_with_added": int(added.any(axis=1).sum()),
        "images_without_label": int((~pseudo.labels.any(axis=1)).sum()),
    }


def summary_per_class(pseudo: PseudoLabels, classes: tuple[str, ...]) -> dict[str, list[object]]:
    """Return, as the columns of a table, how many labels each class has and how many are new."""
    added = pseudo.labels & ~pseudo.observed
    return {
        "class": list(classes),
        "observed": pseudo.observed.sum(axis=0).tolist(),
        "added": added.sum(axis=0).tolist(),
        "positives": pseudo.labels.sum(axis=0).tolist(),
    }
