"""The metrics of a run, on a small example counted by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from pipeline.artifacts.rule import LabelRule
from pipeline.artifacts.tables import Index, PseudoLabels, Truth
from pipeline.evaluation.evaluate import Evaluation, evaluate
from tests.builders.index import index_of

CLASSES = ("cat", "dog", "owl")
# Train: three images with one observed positive; an observed positive and negative; nothing.
TARGETS = np.array([[1, 0, 0], [0, 1, -1], [0, 0, 0]], dtype=np.int8)
TRAIN_TRUTH = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 1]], dtype=bool)
LABELS = np.array([[1, 1, 1], [1, 1, 0], [0, 0, 0]], dtype=bool)
# Test: four images, none with an owl.
TEST_TRUTH = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0], [0, 0, 0]], dtype=bool)
TEACHER = np.array(
    [[0.9, 0.1, 0.3], [0.8, 0.9, 0.3], [0.7, 0.2, 0.3], [0.1, 0.3, 0.3]], dtype=np.float32
)
STUDENT = np.array(
    [[0.9, 0.1, 0.3], [0.2, 0.2, 0.3], [0.7, 0.3, 0.3], [0.1, 0.4, 0.3]], dtype=np.float32
)


def index() -> Index:
    targets = np.zeros((8, 3), np.int8)
    targets[[1, 3, 5]] = TARGETS
    splits = ["test", "train", "test", "train", "val", "train", "test", "test"]
    return index_of(splits, targets, classes=CLASSES, image_ids=[f"i{row}" for row in range(8)])


PSEUDO = PseudoLabels(
    image_ids=["i1", "i3", "i5"],
    observed=TARGETS == 1,
    labels=LABELS,
    probs=np.where(LABELS, np.float32(0.8), np.float32(np.nan)),
    rule=LabelRule("tau", tau=0.5),
)


def evaluated(
    test_truth: np.ndarray = TEST_TRUTH,
    pseudo: PseudoLabels = PSEUDO,
    known: tuple[int, ...] = (1, 1, 1),
) -> Evaluation:
    val_map = {"teacher": 61.23456, "student": 71.0}
    mask = np.array(known, bool)
    rows = np.append(index().rows("test"), index().rows("train")[mask])
    truth = Truth(index().ids(rows), np.vstack([test_truth, TRAIN_TRUTH[mask]]))
    return evaluate(index(), truth, pseudo, {"teacher": TEACHER, "student": STUDENT}, val_map)


CERTAINTY = ("_low", "_high", "difference.mAP")


def test_the_metrics_of_a_small_example() -> None:
    cat = 100 * (1 + 2 / 3) / 2  # the teacher ranks cats first and third, dogs first
    metrics = evaluated().metrics
    of_scores = ("precision_at_1", "coverage", "ranking_loss", "brier")
    others = (*CERTAINTY, *of_scores)
    assert {name: value for name, value in metrics.items() if not name.endswith(others)} == {
        "teacher.mAP": pytest.approx((cat + 100 + 0) / 3, abs=1e-4),
        "teacher.val_mAP": 61.2346,
        # the student ranks cats first and second, dogs third
        "student.mAP": pytest.approx((100 + 100 / 3 + 0) / 3, abs=1e-4),
        "student.val_mAP": 71.0,
        "classes_evaluated": 2,
        # added: dog and owl on the first image, cat on the second; only the dog is right
        "pseudo_labels.precision": pytest.approx(1 / 3, abs=1e-4),
        # unobserved positives: the dog on the first image, the owl on the third
        "pseudo_labels.recall": 0.5,
        "pseudo_labels.positives_per_image": pytest.approx(5 / 3, abs=1e-4),
        "truth.positives_per_image": pytest.approx(4 / 3, abs=1e-4),
    }


def test_the_metrics_of_labels_need_thresholds() -> None:
    val_map = {"teacher": 61.0, "student": 71.0}
    rows = np.append(index().rows("test"), index().rows("train"))
    truth = Truth(index().ids(rows), np.vstack([TEST_TRUTH, TRAIN_TRUTH]))
    probs = {"teacher": TEACHER, "student": STUDENT}
    chosen = {"teacher": (0.75, 0.15, None), "student": None}
    metrics = evaluate(index(), truth, PSEUDO, probs, val_map, chosen).metrics
    # cats on the first two images, dogs on the last three
    assert metrics["teacher.OP"] == 40
    assert metrics["teacher.OR"] == pytest.approx(200 / 3, abs=1e-4)
    assert "student.OP" not in metrics
    assert metrics["student.coverage"] == 1.25  # 1, 3 for the tie, 1, 0
    assert json.loads(json.dumps(metrics, allow_nan=False)) == metrics


def test_the_certainty_of_the_map_is_among_the_metrics_and_the_findings() -> None:
    evaluation = evaluated()
    metrics = evaluation.metrics
    assert metrics["difference.mAP"] == pytest.approx((100 + 100 / 3 - 250 / 3 - 100) / 3, abs=1e-4)
    for name in ("teacher.mAP", "student.mAP", "difference.mAP"):
        low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
        assert low <= metrics[name] <= high, name
    assert evaluation.findings[-1].startswith("3 of 3 classes have fewer than 10 test positives")
    none = evaluated(np.zeros_like(TEST_TRUTH))
    assert not any(name.endswith(CERTAINTY) for name in none.metrics)


def test_the_table_per_class_of_a_small_example() -> None:
    assert evaluated().per_class == {
        "class": ["cat", "dog", "owl"],
        "test_positives": [2, 1, 0],
        "teacher_AP": [83.3333, 100.0, None],
        "student_AP": [100.0, 33.3333, None],
        "observed": [1, 1, 0],
        "added": [1, 1, 1],
        "precision": [0.0, 1.0, 0.0],
        "recall": [None, 1.0, 0.0],
    }


def test_a_label_on_an_observed_negative_is_added_and_not_judged() -> None:
    # the owl on the second image is an observed negative
    labels = LABELS.copy()
    labels[1, 2] = True
    against, plain = evaluated(pseudo=replace(PSEUDO, labels=labels)), evaluated()
    assert against.per_class["added"] == [1, 1, 2]
    for name in ("precision", "recall"):
        assert against.per_class[name] == plain.per_class[name]
        assert against.metrics[f"pseudo_labels.{name}"] == plain.metrics[f"pseudo_labels.{name}"]


def test_a_class_without_test_positives_has_no_ap_and_counts_0() -> None:
    evaluation = evaluated()
    assert np.isnan(evaluation.teacher_aps).tolist() == [False, False, True]
    assert np.isnan(evaluation.student_aps).tolist() == [False, False, True]


def test_without_added_labels_there_is_no_precision_and_recall_is_0() -> None:
    pseudo = replace(PSEUDO, labels=TARGETS == 1)
    metrics = evaluated(pseudo=pseudo).metrics
    assert metrics["pseudo_labels.precision"] is None
    assert metrics["pseudo_labels.recall"] == 0.0


def test_without_train_truth_the_metrics_that_need_it_are_absent() -> None:
    known, unknown = evaluated(), evaluated(known=(0, 0, 0))
    absent = ["pseudo_labels.precision", "pseudo_labels.recall", "truth.positives_per_image"]
    assert list(unknown.metrics) == [name for name in known.metrics if name not in absent]
    assert all(unknown.metrics[name] == known.metrics[name] for name in unknown.metrics)
    assert list(unknown.per_class) == [
        "class", "test_positives", "teacher_AP", "student_AP", "observed", "added",
    ]  # fmt: skip
    assert unknown.per_class["added"] == known.per_class["added"]
    assert known.note == ""
    assert unknown.note.startswith("The truth of the training images is unknown: ")


def test_labels_are_judged_only_on_training_images_with_known_truth() -> None:
    evaluation = evaluated(known=(1, 0, 1))
    # first image: dog and owl added, the dog is right; third image: its owl is missed
    assert evaluation.metrics["pseudo_labels.precision"] == 0.5
    assert evaluation.metrics["pseudo_labels.recall"] == 0.5
    assert evaluation.metrics["truth.positives_per_image"] == 1.5
    assert evaluation.metrics["pseudo_labels.positives_per_image"] == pytest.approx(5 / 3, abs=1e-4)
    assert evaluation.per_class["added"] == [1, 1, 1]
    assert evaluation.per_class["precision"] == [None, 1.0, 0.0]
    assert evaluation.note.startswith("The truth of 1 of the 3 training images is unknown: ")


def test_an_ignored_positive_counts_as_not_found_and_the_share_of_ignored_is_a_metric() -> None:
    weights = np.ones((3, 3), np.float32)
    weights[2, 1:] = 0  # on the third image, whose owl is unobserved
    evaluation = evaluated(pseudo=replace(PSEUDO, weights=weights))
    plain = evaluated()
    assert evaluation.metrics["pseudo_labels.ignored_share"] == pytest.approx(2 / 9, abs=1e-4)
    assert "pseudo_labels.ignored_share" not in plain.metrics
    assert evaluation.per_class == plain.per_class
    for name in plain.metrics:
        assert evaluation.metrics[name] == plain.metrics[name]
    none = evaluated(pseudo=replace(PSEUDO, weights=np.full((3, 3), 0.5, np.float32)))
    assert list(none.metrics) == list(plain.metrics)


@pytest.mark.parametrize(
    ("test_truth", "pseudo"),
    [
        (TEST_TRUTH, PSEUDO),
        (np.zeros_like(TEST_TRUTH), PSEUDO),
        (TEST_TRUTH, replace(PSEUDO, labels=TARGETS == 1)),
        (TEST_TRUTH, replace(PSEUDO, labels=np.zeros_like(LABELS))),
    ],
    ids=["example", "no test positives", "nothing added", "no labels"],
)
def test_metrics_are_strict_json_of_plain_numbers(
    test_truth: np.ndarray, pseudo: PseudoLabels
) -> None:
    evaluation = evaluated(test_truth, pseudo)
    for values in (evaluation.metrics, evaluation.per_class):
        assert json.loads(json.dumps(values, allow_nan=False)) == values
