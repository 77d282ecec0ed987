"""The metrics of a run: test mAP of teacher and student, and the quality of the pseudo-labels.

Metrics that need the complete labels of the training images are left out if these are unknown.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.artifacts.decisions import Thresholds
from pipeline.artifacts.tables import Index, PseudoLabels, Truth
from pipeline.core.arrays import BoolMatrix, Probs
from pipeline.evaluation import findings, multilabel
from pipeline.evaluation.metrics import (
    average_precisions,
    mean_over_classes,
    pseudo_label_quality,
    ratio,
)

Metrics = dict[str, float | int | None]


@dataclass(frozen=True)
class Evaluation:
    """The metrics of a run.

    Attributes:
        metrics: a flat dict; mAP in percent, precision and recall from 0 to 1.
        teacher_aps: (C,) the teacher's test AP in percent, NaN for a class without positives; all
            NaN if it is unknown.
        student_aps: (C,) the student's.
        per_class: the columns of the per-class table.
        note: sentences on unknown truth of training images and on unknown test scores; empty if
            all is known.
        findings: sentences on what a reader of the metrics should know.
    """

    metrics: Metrics
    teacher_aps: npt.NDArray[np.float64]
    student_aps: npt.NDArray[np.float64]
    per_class: dict[str, list[object]]
    note: str = ""
    findings: tuple[str, ...] = ()


def evaluate(
    index: Index,
    truth: Truth,
    pseudo: PseudoLabels,
    probs: dict[str, Probs],
    val_map: dict[str, float],
    thresholds: Mapping[str, Thresholds | None] | None = None,
) -> Evaluation:
    """Evaluate the models on the test images and the pseudo-labels against the complete labels.

    Args:
        index: the index.
        truth: the complete labels. The pseudo-labels are judged on the train images with known
            truth; without any, the metrics that need it are absent.
        pseudo: the pseudo-labels of the train images.
        probs: (N_test, C) scores of the test images by "student", and by "teacher" unless its
            scores come from outside and have no test images.
        val_map: the val mAP of the best epoch, in percent, of "teacher" and "student".
        thresholds: of the labels that "teacher" and "student" give; without them there are no
            metrics of labels.
    """
    test_truth = truth.of(index, "test")
    train_truth, known = truth.known_of(index, "train")
    aps = {name: average_precisions(test_truth, probs[name]) for name in probs}
    unmeasured = np.full(len(index.classes), np.nan)
    targets = index.targets[index.rows("train")]
    quality = pseudo_label_quality(pseudo.labels, targets, train_truth, known, pseudo.corrected)
    right, hidden = quality["right"], quality["hidden"]
    judged = right + quality["wrong"]
    metrics: Metrics = {}
    for name in ("teacher", "student"):
        mean = mean_over_classes(aps[name]) if name in aps else None
        metrics[f"{name}.mAP"] = _rounded(mean)
        metrics[f"{name}.val_mAP"] = round(val_map[name], 4)
    metrics["classes_evaluated"] = int(test_truth.any(axis=0).sum())
    if known.any():
        metrics["pseudo_labels.precision"] = _rounded(ratio(right.sum(), judged.sum()))
        metrics["pseudo_labels.recall"] = _rounded(ratio(right.sum(), hidden.sum()))
    metrics["pseudo_labels.positives_per_image"] = _per_image(pseudo.labels)
    if pseudo.ignored.any():
        metrics["pseudo_labels.ignored_share"] = round(float(pseudo.ignored.mean()), 4)
    if pseudo.answers is not None:
        metrics["pseudo_labels.corrected"] = int(pseudo.corrected.sum())
    if known.any():
        metrics["truth.positives_per_image"] = _per_image(train_truth[known])
    for name, scores in probs.items():
        found = multilabel.metrics(test_truth, scores, (thresholds or {}).get(name))
        metrics |= {f"{name}.{metric}": round(value, 4) for metric, value in found.items()}
    metrics |= findings.numbers(test_truth, probs, aps)
    test_positives = test_truth.sum(axis=0).tolist()
    per_class: dict[str, list[object]] = {
        "class": list(index.classes),
        "test_positives": test_positives,
        "teacher_AP": [_rounded(ap) for ap in aps.get("teacher", unmeasured).tolist()],
        "student_AP": [_rounded(ap) for ap in aps["student"].tolist()],
        "observed": (targets == 1).sum(axis=0).tolist(),
        "added": pseudo.added.sum(axis=0).tolist(),
    }
    if known.any():
        per_class["precision"] = [_rounded(ratio(*counts)) for counts in _pairs(right, judged)]
        per_class["recall"] = [_rounded(ratio(*counts)) for counts in _pairs(right, hidden)]
    sentences = tuple(findings.sentences(metrics, index.classes, test_positives))
    notes = [_note(known)] if _note(known) else []
    if "teacher" not in aps:
        notes.append("The scores from outside have no test images: teacher.mAP is unknown.")
    teacher_aps = aps.get("teacher", unmeasured)
    note = " ".join(notes)
    return Evaluation(metrics, teacher_aps, aps["student"], per_class, note, sentences)


def by_generation(
    index: Index,
    truth: Truth,
    pseudo_labels: list[PseudoLabels],
    probs: list[Probs],
    val_map: list[float],
) -> dict[str, list[object]]:
    """Return the columns of a table with the pseudo-labels and the mAP of each generation.

    Args:
        index: the index.
        truth: the complete labels, as in `evaluate`.
        pseudo_labels: the labels that each generation's student was trained on.
        probs: (N_test, C) the test scores of each generation's student.
        val_map: the val mAP of each generation's best epoch, in percent.
    """
    test_truth = truth.of(index, "test")
    train_truth, train_known = truth.known_of(index, "train")
    targets = index.targets[index.rows("train")]
    table: dict[str, list[object]] = {
        "generation": list(range(1, len(pseudo_labels) + 1)),
        "positives_per_image": [_per_image(pseudo.labels) for pseudo in pseudo_labels],
        "val_mAP": [round(value, 4) for value in val_map],
        "mAP": [
            round(mean_over_classes(average_precisions(test_truth, scores)), 4) for scores in probs
        ],
    }
    if train_known.any():
        qualities = [
            pseudo_label_quality(pseudo.labels, targets, train_truth, train_known, pseudo.corrected)
            for pseudo in pseudo_labels
        ]
        totals = [{name: counts.sum() for name, counts in each.items()} for each in qualities]
        table["precision"] = [
            _rounded(ratio(counts["right"], counts["right"] + counts["wrong"])) for counts in totals
        ]
        table["recall"] = [_rounded(ratio(counts["right"], counts["hidden"])) for counts in totals]
    return table


def _note(known: npt.NDArray[np.bool_]) -> str:
    """Return a sentence on training images with unknown truth; "" if there are none."""
    if known.all():
        return ""
    if not known.any():
        return (
            "The truth of the training images is unknown: the precision and recall of the "
            "pseudo-labels are not reported."
        )
    return (
        f"The truth of {(~known).sum():,} of the {len(known):,} training images is unknown: "
        f"precision, recall and truth.positives_per_image use the other {known.sum():,}."
    )


def _per_image(labels: BoolMatrix) -> float:
    return round(float(labels.sum(axis=1).mean()), 4)


def _pairs(parts: npt.NDArray[np.int64], wholes: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    return list(zip(parts.tolist(), wholes.tolist(), strict=True))


def _rounded(value: float | None) -> float | None:
    """Round to four decimals; None for None or NaN."""
    return None if value is None or np.isnan(value) else round(value, 4)
