"""What a user should know before trusting a number: as metrics, and as sentences.

The sentences follow from the metrics and the table per class alone, so that every page and the
terminal say the same.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import BoolMatrix, Probs
from pipeline.core.errors import some
from pipeline.evaluation.bootstrap import ENOUGH_POSITIVES, enough_positives, intervals
from pipeline.evaluation.metrics import mean_over_classes

Numbers = dict[str, float | int | None]


def numbers(
    labels: BoolMatrix,
    probs: Mapping[str, Probs],
    aps: Mapping[str, npt.NDArray[np.float64]],
) -> Numbers:
    """Return the metrics on the certainty of the test mAP, in points; none without test positives.

    "difference" is the student minus the teacher. "_low" and "_high" are the ends of the 95 %
    interval over resampled test images. "frequent" is the mAP over the classes with at least 10
    test positives; it is absent if all classes have as many, or none has.

    Args:
        labels: (N_test, C) complete labels.
        probs: (N_test, C) scores by "teacher" and "student"; without those of the teacher there
            is no difference.
        aps: (C,) test AP by the same names, NaN for a class without positives.
    """
    if not labels.any():
        return {}
    means = {name: mean_over_classes(values) for name, values in aps.items()}
    metrics: Numbers = {}
    for name, span in intervals(labels, probs).items():
        if name == "difference":
            metrics["difference.mAP"] = means["student"] - means["teacher"]
        metrics[f"{name}.mAP_low"], metrics[f"{name}.mAP_high"] = span.low, span.high
    frequent = enough_positives(labels)
    if frequent.any() and not frequent.all():
        for name, values in aps.items():
            metrics[f"{name}.mAP_frequent"] = mean_over_classes(values[frequent])
    return {name: None if value is None else round(value, 4) for name, value in metrics.items()}


def sentences(
    metrics: Mapping[str, float | int | None], classes: Sequence[str], test_positives: Sequence[int]
) -> list[str]:
    """Return a sentence on each thing that a reader of the metrics should know.

    Args:
        metrics: of the run, as `evaluate` returns them.
        classes: the C class names.
        test_positives: (C,) the number of test images that show each class.
    """
    found = [_on_val(metrics), _on_difference(metrics), _on_rare(metrics, classes, test_positives)]
    return [sentence for sentence in found if sentence]


def _on_val(metrics: Mapping[str, float | int | None]) -> str:
    teacher, student = metrics.get("teacher.val_mAP"), metrics.get("student.val_mAP")
    if teacher is None or student is None or student >= teacher:
        return ""
    return (
        f"Val prefers the teacher: it has {teacher:.2f} mAP on val, the student {student:.2f}. "
        f"Take the teacher, data/teacher, or choose another tau by val with `make sweep`."
    )


def _on_difference(metrics: Mapping[str, float | int | None]) -> str:
    names = ("difference.mAP", "difference.mAP_low", "difference.mAP_high")
    difference, low, high = (metrics.get(name) for name in names)
    if difference is None or low is None or high is None or low > 0:
        return ""
    found = "show that the student is worse" if high < 0 else "do not show which model is better"
    return (
        f"The test images {found}: student minus teacher is {signed(difference)} points of mAP, "
        f"with a 95 % interval from {signed(low)} to {signed(high)}."
    )


def _on_rare(
    metrics: Mapping[str, float | int | None], classes: Sequence[str], test_positives: Sequence[int]
) -> str:
    rare = [name for name, n in zip(classes, test_positives, strict=True) if n < ENOUGH_POSITIVES]
    if not rare:
        return ""
    names = some(rare, 3)
    sentence = (
        f"{len(rare)} of {len(classes)} classes have fewer than {ENOUGH_POSITIVES} test positives "
        f"({names}). A single image can move the AP of such a class by several points."
    )
    teacher, student = metrics.get("teacher.mAP_frequent"), metrics.get("student.mAP_frequent")
    if teacher is None or student is None:
        return sentence
    others = len(classes) - len(rare)
    return (
        f"{sentence} Over the other {others} the mAP is {teacher:.2f} for the teacher and "
        f"{student:.2f} for the student."
    )


def signed(value: float) -> str:
    """Return a number with two decimals and its sign; a minus sign and no hyphen."""
    rounded = round(value, 2) + 0.0  # -0.001 is 0
    return f"{rounded:+.2f}".replace("-", "−")
