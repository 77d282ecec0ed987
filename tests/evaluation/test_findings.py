"""What a user should know of a run: each sentence appears when it is true, and only then."""

import numpy as np
import pytest

from pipeline.evaluation import findings
from pipeline.evaluation.metrics import average_precisions

GOOD = {
    "teacher.val_mAP": 40.0,
    "student.val_mAP": 41.0,
    "difference.mAP": 1.0,
    "difference.mAP_low": 0.5,
    "difference.mAP_high": 1.5,
}
CLASSES, MANY = ["cat", "dog"], [10, 400]


def test_a_good_run_has_nothing_to_tell() -> None:
    assert findings.sentences(GOOD, CLASSES, MANY) == []
    assert findings.sentences({}, CLASSES, MANY) == []


def test_a_student_below_its_teacher_on_val_is_told_with_both_numbers_and_the_remedy() -> None:
    (sentence,) = findings.sentences(GOOD | {"student.val_mAP": 34.8}, CLASSES, MANY)
    assert sentence.startswith("Val prefers the teacher: it has 40.00 mAP on val, the student 34.8")
    assert "data/teacher" in sentence
    assert "make sweep" in sentence
    assert findings.sentences(GOOD | {"student.val_mAP": 40.0}, CLASSES, MANY) == []


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [(-0.5, 0.5, "do not show which model is better"), (-0.5, -0.1, "show that the student is w")],
)
def test_a_student_that_the_test_images_do_not_show_to_be_better_is_told(
    low: float, high: float, words: str
) -> None:
    ends = {"difference.mAP": -0.001, "difference.mAP_low": low, "difference.mAP_high": high}
    (found,) = findings.sentences(GOOD | ends, CLASSES, MANY)
    assert found.startswith(f"The test images {words}")
    assert "student minus teacher is +0.00 points" in found
    assert f"from {findings.signed(low)} to {findings.signed(high)}" in found


def test_a_difference_above_0_needs_no_sentence() -> None:
    ends = {"difference.mAP": 0.3, "difference.mAP_low": 0.1, "difference.mAP_high": 0.5}
    assert findings.sentences(GOOD | ends, CLASSES, MANY) == []


def test_rare_classes_are_named_with_the_map_over_the_others() -> None:
    others = {"teacher.mAP_frequent": 50.0, "student.mAP_frequent": 51.0}
    classes, positives = ["a", "b", "c", "d", "e\nf"], [9, 0, 3, 10, 1]
    (sentence,) = findings.sentences(GOOD | others, classes, positives)
    assert sentence.startswith("4 of 5 classes have fewer than 10 test positives (a, b, c and 1")
    assert "Over the other 1 the mAP is 50.00 for the teacher and 51.00 for the s" in sentence
    (alone,) = findings.sentences(GOOD, ["a"], [9])
    assert "Over the other" not in alone


def test_the_numbers_are_of_the_test_images_and_of_the_frequent_classes() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((100, 3)) < (0.4, 0.3, 0.0)
    labels[:4, 2] = True
    probs = {
        name: (labels * rng.random(labels.shape) + noise * rng.random(labels.shape)).astype("f")
        for name, noise in (("teacher", 0.8), ("student", 0.3))
    }
    aps = {name: average_precisions(labels, scores) for name, scores in probs.items()}
    found = findings.numbers(labels, probs, aps)
    for name, values in aps.items():
        low, high = found[f"{name}.mAP_low"], found[f"{name}.mAP_high"]
        assert low is not None
        assert high is not None
        assert low < values.mean() < high
        assert found[f"{name}.mAP_frequent"] == pytest.approx(values[:2].mean(), abs=1e-4)
    difference = aps["student"].mean() - aps["teacher"].mean()
    assert found["difference.mAP"] == pytest.approx(difference, abs=1e-4)
    frequent = findings.numbers(labels[:, :2], *({n: v[..., :2] for n, v in d.items()}
                                                 for d in (probs, aps)))  # fmt: skip
    assert "teacher.mAP_frequent" not in frequent
    assert findings.numbers(np.zeros_like(labels), probs, aps) == {}
