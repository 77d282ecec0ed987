"""The label rules: pseudo-labels from scores. NumPy only, so that a new tau is cheap.

docs/rules.md has the formula and the use of each rule.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationInfo, field_validator

from pipeline.artifacts.answers import Answer, Answers
from pipeline.artifacts.rule import KEY, LabelRule
from pipeline.artifacts.tables import Index, PseudoLabels, Scores
from pipeline.core.arrays import BoolMatrix, Probs, Targets
from pipeline.core.errors import InputError
from pipeline.core.params import Params, check_section
from pipeline.pseudo_labels import annotator
from pipeline.pseudo_labels.calibrate import (
    CALIBRATIONS,
    Calibrated,
    Calibration,
    Evidence,
    PriorSource,
)

Rule = Literal["tau", "top_k", "band", "soft"]
Annotator = Literal["ignored", "uniform"]
Weights = Literal["none", "confidence"]


class PseudoLabelParams(Params):
    """`pseudo_label`: the calibration, the rule, the weights and the corrections."""

    rule: Rule
    calibrate: Calibration
    prior: PriorSource
    annotator: Annotator
    top_k: int = Field(ge=1)
    weights: Weights
    tau: float = Field(ge=0, lt=1)
    width: float = Field(gt=0, le=1)
    keep_observed: bool
    corrections: str | None

    @field_validator("tau")
    @classmethod
    def _has_odds(cls, tau: float, info: ValidationInfo) -> float:
        for key, value in (("rule", "soft"), ("weights", "confidence")):
            if tau == 0 and info.data.get(key) == value:
                raise ValueError(f"should be a number > 0 and < 1, since {key} is {value}")
        return tau

    @field_validator("corrections")
    @classmethod
    def _is_a_table(cls, corrections: str | None) -> str | None:
        if corrections is not None and not corrections.endswith((".csv", ".parquet")):
            raise ValueError("should be a .csv or .parquet file, or null")
        return corrections

    @field_validator("width")
    @classmethod
    def _leaves_negatives(cls, width: float, info: ValidationInfo) -> float:
        tau = info.data.get("tau", 1.0)
        if info.data.get("rule") == "band" and width >= tau:
            raise ValueError(
                f"should be below tau = {tau}, since no score below tau - width would be left to "
                f"make a negative"
            )
        return width

    @property
    def tau_above(self) -> float | None:
        """The number that every valid tau of these settings exceeds; None: 0 is valid, too."""
        if self.rule == "band":
            return self.width
        return 0.0 if self.rule == "soft" or self.weights == "confidence" else None


def above_tau(probs: Probs, tau: float) -> BoolMatrix:
    """Return where a score is strictly greater than tau, both as float32.

    Source: Arroyo 2023, the rule of the Tiny Paper.
    """
    return probs > np.float32(tau)


def highest(probs: Probs, top_k: int) -> BoolMatrix:
    """Return where a score is one of the k highest of its image.

    Among equal scores, earlier classes count as higher.
    """
    chosen = np.zeros(probs.shape, np.bool_)
    order = np.argsort(-probs, axis=1, kind="stable")
    np.put_along_axis(chosen, order[:, :top_k], True, axis=1)
    return chosen


def about_tau(probs: Probs, tau: float) -> npt.NDArray[np.float64]:
    """Return sigmoid(logit(p) - logit(tau)), which is one half at p = tau.

    It is computed without logits, so scores of 0 and 1 give finite results; tau must be above 0.
    """
    p = probs.astype(np.float64)
    positive, negative = p * (1 - tau), (1 - p) * tau
    moved: npt.NDArray[np.float64] = positive / (positive + negative)
    return moved


def keep_observed(labels: BoolMatrix, targets: Targets) -> BoolMatrix:
    """Return the labels with observed positives added and observed negatives removed."""
    kept: BoolMatrix = (labels | (targets == 1)) & (targets != -1)
    return kept


def needs_val_scores(params: PseudoLabelParams | LabelRule) -> bool:
    """Return whether `pseudo_labels` needs the scores of the val images."""
    return params.calibrate == "isotonic"


def evidence_of(
    params: PseudoLabelParams, index: Index, scores: Scores, val_scores: Scores | None
) -> Evidence:
    """Return the data that the calibration may use; the arguments are those of `pseudo_labels`."""
    return Evidence(
        probs=scores.probs,
        targets=index.targets[index.rows("train")],
        val_labels=index.complete_val_labels,
        val_probs=None if val_scores is None else val_scores.probs,
        prior=params.prior,
    )


def pseudo_labels(
    params: PseudoLabelParams,
    index: Index,
    scores: Scores,
    val_scores: Scores | None = None,
    answers: Answers | None = None,
) -> PseudoLabels:
    """Label every training image by the teacher's scores, and by a person's corrections.

    Args:
        params: the rule.
        index: the index.
        scores: the scores of the training images, in the order of the index.
        val_scores: the scores of the val images; only if `needs_val_scores`.
        answers: (N, C) the corrections, which rank above the observed labels and the rule; the
            calibration does not use them. None: no corrections.

    Raises:
        InputError: the rule makes no label at all; or the calibration lacks data, such as
            complete val labels.
    """
    evidence = evidence_of(params, index, scores, val_scores)
    found = corrected(apply(params, evidence), answers)
    return PseudoLabels(
        image_ids=scores.image_ids,
        observed=evidence.targets == 1,
        labels=found.labels,
        probs=np.where(found.labels, scores.probs, np.float32(np.nan)),
        rule=_described(params, scores, found.calibrated),
        targets=found.targets,
        weights=found.weights,
        answers=answers,
    )


@dataclass(frozen=True)
class Applied:
    """The result of a rule, (N, C) each.

    Attributes:
        labels: the positives.
        targets: float32 in 0..1, the probability of the class; None: the labels, 0 or 1.
        weights: float32 >= 0, the weight of each entry; None: all 1.
        calibrated: the calibrated scores, before the annotator's choice is taken into account.
    """

    labels: BoolMatrix
    targets: npt.NDArray[np.float32] | None
    weights: npt.NDArray[np.float32] | None
    calibrated: Calibrated


@dataclass(frozen=True)
class Compared:
    """What a rule compares with tau; it is the same at every tau.

    Attributes:
        scores: (N, C) the calibrated scores, with the annotator's choice taken into account.
        eligible: (N, C) the entries that may become labels; None: all.
        calibrated: the calibrated scores, before the annotator's choice is taken into account.
    """

    scores: Probs
    eligible: BoolMatrix | None
    calibrated: Calibrated


def apply(params: PseudoLabelParams, evidence: Evidence) -> Applied:
    """Apply a rule to scores.

    Raises:
        InputError: as in `pseudo_labels`.
    """
    return at_tau(params, compared(params, evidence), evidence.targets)


def compared(params: PseudoLabelParams, evidence: Evidence) -> Compared:
    """Return what the rule compares with tau. It does not depend on tau.

    Raises:
        InputError: the calibration lacks data.
    """
    calibrated = CALIBRATIONS[params.calibrate](evidence)
    q = calibrated.scores
    if params.annotator == "uniform":
        q = annotator.given_named(q, evidence.targets)
    eligible = highest(q, params.top_k) if params.rule == "top_k" else None
    return Compared(q, eligible, calibrated)


def at_tau(params: PseudoLabelParams, scored: Compared, targets: Targets) -> Applied:
    """Return the labels, targets and weights at the rule's tau.

    Raises:
        InputError: there is no label at all.
    """
    q = scored.scores
    labels = above_tau(q, params.tau)
    if scored.eligible is not None:
        labels &= scored.eligible
    soft = about_tau(q, params.tau) if params.rule == "soft" else None
    weights = _weights(params, q, labels)
    if params.keep_observed:
        labels = keep_observed(labels, targets)
        known = targets != 0
        soft = None if soft is None else np.where(known, labels, soft)
        weights = None if weights is None else np.where(known, 1, weights)
    if not labels.any():
        raise InputError(
            f"pseudo_label.tau = {params.tau}: no {_score(params)} is above it (the highest is "
            f"{q.max():.4f}), so no image would have a label; should be lower, "
            f"or pseudo_label.keep_observed true"
        )
    return Applied(
        labels=labels,
        targets=None if soft is None else soft.astype(np.float32),
        weights=None if weights is None else weights.astype(np.float32),
        calibrated=scored.calibrated,
    )


def corrected(found: Applied, answers: Answers | None) -> Applied:
    """Return the result of a rule with a person's answers, (N, C), in place of its own.

    Present gives the target 1, absent 0, both with the weight 1. Unknown gives the weight 0.
    """
    if answers is None:
        return found
    answered, ignored = answers != Answer.NONE, answers == Answer.UNKNOWN
    labels = np.where(answered, answers == Answer.PRESENT, found.labels)
    targets, weights = found.targets, found.weights
    if targets is not None:
        targets = np.where(answered, labels, targets).astype(np.float32)
    if weights is None and ignored.any():
        weights = np.ones(labels.shape, np.float32)
    if weights is not None:
        weights = np.where(answered, ~ignored, weights).astype(np.float32)
    return replace(found, labels=labels, targets=targets, weights=weights)


def _weights(
    params: PseudoLabelParams, scores: Probs, labels: BoolMatrix
) -> npt.NDArray[np.float64] | None:
    """Return the weight of each entry, (N, C); None: all 1.

    With weights confidence and s = `about_tau`, a positive has the weight 2s - 1, a negative
    1 - 2s. An entry above tau that top_k leaves out has the weight 0.
    """
    weights = np.ones(scores.shape)
    if params.weights == "confidence":
        moved = 2 * about_tau(scores, params.tau) - 1
        weights = np.maximum(np.where(labels, moved, -moved), 0)
    if params.rule == "band":
        negative = scores < np.float32(params.tau - params.width)
        return np.where(labels | negative, weights, 0)
    return None if params.weights == "none" else weights


def _described(params: PseudoLabelParams, scores: Scores, calibrated: Calibrated) -> LabelRule:
    """Return the settings in use, and the parameters that the calibration learned."""
    thresholds = None
    if params.calibrate != "none" and params.annotator == "ignored":
        # The calibrated score is above tau where the teacher's score is above this threshold.
        not_above = ~above_tau(calibrated.scores, params.tau)
        highest_not_above = np.where(not_above, scores.probs, -1).max(axis=0).tolist()
        thresholds = tuple(None if value < 0 else value for value in highest_not_above)
    return LabelRule(
        rule=params.rule,
        tau=params.tau,
        keep_observed=params.keep_observed,
        top_k=params.top_k if params.rule == "top_k" else None,
        width=params.width if params.rule == "band" else None,
        weights=params.weights,
        calibrate=params.calibrate,
        annotator=params.annotator,
        thresholds=thresholds,
        prior=params.prior if params.calibrate == "prior" else None,
        flip=scores.flip,
        more={name: json.dumps(values) for name, values in calibrated.learned.items()},
    )


def params_of(
    path: Path,
    rule: LabelRule | None,
    needed: str = "train_student.generations above 1 need the rule; run the stage pseudo_label",
) -> PseudoLabelParams:
    """Return the settings of the rule that made a file; unused settings have arbitrary values.

    Args:
        path: the path of the pseudo-labels, for messages.
        rule: the rule in the file's metadata.
        needed: the end of the message: what needs the rule.

    Raises:
        InputError: the file has no rule in its metadata, or an unknown one.
    """
    if rule is None:
        raise InputError(f"{path}: has no metadata {KEY!r}: {needed}")
    values = {
        "rule": rule.rule,
        "calibrate": rule.calibrate,
        "prior": rule.prior if rule.calibrate == "prior" else "val",
        "annotator": rule.annotator,
        "top_k": rule.top_k if rule.rule == "top_k" else 1,
        "weights": rule.weights,
        "tau": rule.tau,
        "width": rule.width if rule.rule == "band" else 1.0,
        "keep_observed": rule.keep_observed,
        "corrections": None,  # the table of labels holds the answers
    }
    try:
        return check_section(str(path), KEY, {KEY: values}, PseudoLabelParams)
    except InputError as error:
        raise InputError(f"{error}; {needed}") from None


def _score(params: PseudoLabelParams) -> str:
    return "score" if params.calibrate == "none" else f"score calibrated by {params.calibrate}"


def in_words(params: PseudoLabelParams) -> str:
    """Return a short description of the rule, such as "tau 0.4"."""
    words = {
        "tau": f"tau {params.tau}",
        "top_k": f"the {params.top_k} highest above tau {params.tau}",
        "band": f"tau {params.tau}, ignored down to {params.tau - params.width:.4g}",
        "soft": f"soft about tau {params.tau}",
    }[params.rule]
    if params.calibrate != "none":
        source = f" of {params.prior}" if params.calibrate == "prior" else ""
        words += f", calibrated by {params.calibrate}{source}"
    if params.annotator == "uniform":
        words += ", given the named classes"
    return words if params.weights == "none" else f"{words}, weighted by {params.weights}"


def summary(pseudo: PseudoLabels) -> dict[str, float]:
    """Return statistics of the labels that need no truth: counts and means per image."""
    added = pseudo.added
    stats = {
        "images": len(pseudo.image_ids),
        "positives_per_image": float(pseudo.labels.sum(axis=1).mean()),
        "observed_per_image": float(pseudo.observed.sum(axis=1).mean()),
        "added_per_image": float(added.sum(axis=1).mean()),
        "images_with_added": int(added.any(axis=1).sum()),
        "images_without_label": int((~pseudo.labels.any(axis=1)).sum()),
    }
    if pseudo.ignored.any():
        stats["ignored_per_image"] = float(pseudo.ignored.sum(axis=1).mean())
    if pseudo.answers is not None:
        stats["corrected"] = int(pseudo.corrected.sum())
    return stats


def summary_per_class(pseudo: PseudoLabels, classes: tuple[str, ...]) -> dict[str, list[object]]:
    """Return, as the columns of a table, the numbers of labels of each class."""
    columns: dict[str, list[object]] = {
        "class": list(classes),
        "observed": pseudo.observed.sum(axis=0).tolist(),
        "added": pseudo.added.sum(axis=0).tolist(),
        "positives": pseudo.labels.sum(axis=0).tolist(),
    }
    if pseudo.ignored.any():
        columns["ignored"] = pseudo.ignored.sum(axis=0).tolist()
    if pseudo.answers is not None:
        columns["corrected"] = pseudo.corrected.sum(axis=0).tolist()
    return columns
