"""Metrics of labels and of rankings, on examples counted by hand."""

import numpy as np
import pytest

from pipeline.evaluation import multilabel
from pipeline.evaluation.multilabel import WORDS

TRUTH = np.array([[1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]], dtype=np.bool_)
PROBS = np.array(
    [[0.9, 0.8, 0.1, 0.7], [0.4, 0.6, 0.5, 0.2], [0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.2, 0.3]],
    np.float32,
)


def test_precision_and_recall_of_labels_as_the_field_defines_them() -> None:
    # Labels: a b d; b; none; a.
    found = multilabel.metrics(TRUTH, PROBS, (0.5, 0.55, None, 0.65))
    # Precision of a 1/2, b 1/2, c undefined, d 1; recall of a 1/2, b 1/2, c undefined, d 1.
    assert found["CP"] == pytest.approx(50)
    assert found["CR"] == pytest.approx(50)
    assert found["CF1"] == pytest.approx(50)
    # 5 labels, 3 of them right, of 5 positives.
    assert found["OP"] == pytest.approx(60)
    assert found["OR"] == pytest.approx(60)
    assert found["OF1"] == pytest.approx(60)
    assert found["macro_F1"] == pytest.approx(50)


def test_cf1_is_of_the_means_and_not_the_mean_of_the_classes() -> None:
    # a on the first image alone, b on all images.
    found = multilabel.metrics(TRUTH[:, :2], PROBS[:, :2], (0.8, 0.05))
    # Precision of a 1, b 1/2; recall of a 1/2, b 1; so F1 of both is 2/3.
    assert found["CP"] == found["CR"] == pytest.approx(75)
    assert found["CF1"] == pytest.approx(75)
    assert found["macro_F1"] == pytest.approx(200 / 3)


def test_rankings() -> None:
    found = multilabel.metrics(TRUTH, PROBS, None)
    # The highest: a (right), b (right), d, a.
    assert found["precision_at_1"] == pytest.approx(50)
    # The three highest: a b d, b c a, d c b, a d c: two, two, none, none of them right.
    assert found["precision_at_3"] == pytest.approx(100 * 4 / 12)
    # Highest classes that hold all present ones: 3, 3, 0, 4.
    assert found["coverage"] == pytest.approx(10 / 4)
    # Pairs in the wrong order: of a, d against b, c one of four; of a, b one of four; of b three.
    assert found["ranking_loss"] == pytest.approx((1 / 4 + 1 / 4 + 0 + 1) / 4)
    assert found["brier"] == pytest.approx(np.mean((PROBS - TRUTH) ** 2), rel=1e-5)
    assert not set(found) & {"CP", "OF1"}


def test_perfect_labels_and_scores() -> None:
    truth = TRUTH[[0, 1, 3]] | np.eye(4, dtype=np.bool_)[[2, 2, 2]]
    found = multilabel.metrics(truth, truth.astype(np.float32), (0.5,) * 4)
    assert {name: found[name] for name in ("CF1", "OF1", "precision_at_1")} == {
        "CF1": 100, "OF1": 100, "precision_at_1": 100,
    }  # fmt: skip
    assert found["ranking_loss"] == found["brier"] == 0


def test_without_any_label_or_positive_the_metrics_are_numbers() -> None:
    nothing = np.zeros_like(TRUTH)
    for truth, thresholds in ((TRUTH, (None,) * 4), (nothing, (0.5,) * 4), (nothing, (None,) * 4)):
        found = multilabel.metrics(truth, PROBS, thresholds)
        assert list(found) == list(WORDS)
        assert np.isfinite(list(found.values())).all()
        assert found["OF1"] == found["CF1"] == 0


def test_few_classes_have_fewer_metrics() -> None:
    assert multilabel.metrics(TRUTH[:, :1], PROBS[:, :1], (0.5,)) == {}
    found = multilabel.metrics(TRUTH[:, :3], PROBS[:, :3], (0.5,) * 3)
    assert set(WORDS) - set(found) == {"precision_at_3"}
