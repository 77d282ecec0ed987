"""A label rule on plain arrays: no params.yaml, no files. NumPy only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import BoolMatrix, Probs, Targets
from pipeline.core.errors import InputError
from pipeline.core.params import check_section
from pipeline.pseudo_labels.calibrate import Calibration, Evidence, PriorSource
from pipeline.pseudo_labels.rules import Annotator, PseudoLabelParams, Rule, Weights, apply


@dataclass(frozen=True)
class Labelled:
    """The labels, targets and weights for a student, (N, C) each.

    Attributes:
        labels: the positives.
        targets: float32 in 0..1, the probability of the class; 0 or 1 except with rule soft.
        weights: float32 >= 0, the weight of each entry. All 1, except with rule band, which
            ignores some entries (0), and with weights confidence.
    """

    labels: BoolMatrix
    targets: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]


def label(
    probs: npt.ArrayLike,
    observed: npt.ArrayLike,
    rule: Rule = "tau",
    tau: float = 0.5,
    *,
    calibrate: Calibration = "none",
    prior: PriorSource = "val",
    annotator: Annotator = "ignored",
    top_k: int = 3,
    width: float = 0.3,
    weights: Weights = "none",
    keep_observed: bool = True,
    val_probs: npt.ArrayLike | None = None,
    val_labels: npt.ArrayLike | None = None,
) -> Labelled:
    """Label training images by the scores of a teacher. By default a score above tau is a positive.

    Arrays may be NumPy arrays or tensors on the CPU. The options are those of the section
    pseudo_label of params.yaml; docs/rules.md has the formulas.

    Args:
        probs: (N, C) scores in 0..1.
        observed: (N, C) 1 observed positive, -1 observed negative, 0 unknown; or bool.
        rule: tau, top_k, band or soft.
        tau: a class is positive where its calibrated score is above this.
        calibrate: the calibration of the scores.
        prior: the source of the class priors for calibrate prior.
        annotator: uniform lowers the probability of classes that were not named.
        top_k: for rule top_k: the largest number of positives of an image.
        width: for rule band: scores from tau - width up to tau are ignored.
        weights: confidence gives unknown labels a weight that grows with the distance to tau.
        keep_observed: whether observed labels override the scores.
        val_probs: (M, C) scores of validation images; calibrate isotonic needs them.
        val_labels: (M, C) their complete labels; isotonic and prior val need them.

    Raises:
        InputError: an option or an array is wrong, a required array is missing, or the rule
            makes no label at all.
    """
    values = {
        "rule": rule, "tau": tau, "calibrate": calibrate, "prior": prior, "annotator": annotator,
        "top_k": top_k, "width": width, "weights": weights, "keep_observed": keep_observed,
        "corrections": None,
    }  # fmt: skip
    params = check_section("label", "pseudo_label", {"pseudo_label": values}, PseudoLabelParams)
    _check_given(params, val_probs, val_labels)
    scores = _scores("probs", probs)
    val_scores = None if val_probs is None else _scores("val_probs", val_probs, scores.shape[1])
    truth = None if val_labels is None else np.asarray(val_labels).astype(np.bool_)
    if truth is not None:
        rows = len(truth) if val_scores is None else len(val_scores)
        _check_shape("val_labels", truth, (rows, scores.shape[1]))
    evidence = Evidence(scores, _targets(observed, scores.shape), truth, val_scores, prior)
    found = apply(params, evidence)
    ones = np.ones(scores.shape, np.float32)
    return Labelled(
        labels=found.labels,
        targets=found.labels.astype(np.float32) if found.targets is None else found.targets,
        weights=ones if found.weights is None else found.weights,
    )


def _check_given(
    params: PseudoLabelParams, val_probs: npt.ArrayLike | None, val_labels: npt.ArrayLike | None
) -> None:
    needed = {"isotonic": {"val_probs": val_probs, "val_labels": val_labels}}
    if params.prior == "val":
        needed["prior"] = {"val_labels": val_labels}
    for name, given in needed.get(params.calibrate, {}).items():
        if given is None:
            key = "calibrate" if params.calibrate == "isotonic" else "prior"
            raise InputError(
                f"label: {name} = None: should be given for {key} = {getattr(params, key)!r}"
            )


def _scores(name: str, values: npt.ArrayLike, n_classes: int | None = None) -> Probs:
    scores = np.asarray(values).astype(np.float32)
    if scores.ndim != 2 or not scores.size or n_classes not in (None, scores.shape[1]):
        columns = "C" if n_classes is None else n_classes
        raise InputError(f"label: {name} of shape {scores.shape}: should be (N, {columns})")
    if not ((scores >= 0) & (scores <= 1)).all():  # False for NaN, too
        raise InputError(f"label: {name}: should be probabilities, from 0 to 1")
    return scores


def _targets(observed: npt.ArrayLike, shape: tuple[int, ...]) -> Targets:
    targets = np.asarray(observed)
    _check_shape("observed", targets, shape)
    if not np.isin(targets, (1, 0, -1)).all():
        raise InputError("label: observed: should be 1, 0 or -1")
    return targets.astype(np.int8)


def _check_shape(name: str, values: np.ndarray, shape: tuple[int, ...]) -> None:
    if values.shape != shape:
        raise InputError(f"label: {name} of shape {values.shape}: should be {shape}, as of probs")
