"""Invented results of the stage `evaluate`."""

from typing import Any

import numpy as np

from pipeline.evaluation.evaluate import Evaluation

# Class names that a page must escape.
HOSTILE = ("<script>alert(1)</script>", "a & b", '"quoted"', "</td><td>", "it's", "élan\nvital")


def evaluation(classes: tuple[str, ...] = HOSTILE) -> Evaluation:
    n = len(classes)
    per_class: dict[str, list[Any]] = {
        "class": list(classes),
        "test_positives": list(range(n)),
        "teacher_AP": [None, *[71.23456] * (n - 1)],
    }
    metrics = {
        "teacher.mAP": 87.654321, "student.mAP": 88.0, "classes_evaluated": 20,
        "pseudo_labels.precision": None, "teacher.mAP_low": 85.0, "teacher.mAP_high": 90.123,
        "student.mAP_low": 86.0, "student.mAP_high": 91.0, "difference.mAP": 0.345679,
        "difference.mAP_low": -0.5, "difference.mAP_high": 1.2, "teacher.F1": 0.5,
        "student.F1": None, "new_metric": 0.25,
    }  # fmt: skip
    return Evaluation(metrics, np.zeros(n), np.zeros(n), per_class)
