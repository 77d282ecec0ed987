"""The order in which labels are looked at: probably wrong and rare first, without the truth."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.artifacts.answers import Answer
from pipeline.artifacts.tables import Index, PseudoLabels, Scores
from pipeline.pseudo_labels.order import Order, order_of
from tests.builders.index import index_of

N, N_VAL = 400, 400


def made(seed: int = 0) -> tuple[Index, Scores, Scores, PseudoLabels, np.ndarray]:
    """Return a run of a frequent and a rare class whose scores are probabilities; its truth."""
    rng = np.random.default_rng(seed)
    probs = rng.random((N + N_VAL, 2)).astype(np.float32) ** np.array([1, 4], np.float32)
    truth = rng.random(probs.shape) < probs
    targets = np.zeros((N + N_VAL + 1, 2), np.int8)
    targets[:20][truth[:20]] = 1
    labels = np.zeros((len(targets), 2), np.bool_)
    labels[N : N + N_VAL] = truth[N:]
    index = index_of(["train"] * N + ["val"] * N_VAL + ["test"], targets, labels=labels)
    ids = index.ids(index.rows("train"))
    positive = (probs[:N] > 0.5) | (targets[:N] == 1)
    pseudo = PseudoLabels(
        ids, targets[:N] == 1, positive, np.where(positive, probs[:N], np.float32(np.nan)), None
    )
    val = Scores(index.ids(index.rows("val")), probs[N:])
    return index, Scores(ids, probs[:N]), val, pseudo, truth[:N]


def order(seed: int = 0) -> tuple[Order, np.ndarray]:
    index, scores, val, pseudo, truth = made(seed)
    return order_of(index, scores, val, pseudo), truth


def test_the_first_labels_are_more_often_wrong_than_those_at_random() -> None:
    found, truth = order()
    wrong = found.labels != truth
    first = wrong[found.first(60)].mean()
    assert first > 1.5 * wrong[found.free].mean()
    # The estimate is about right: the scores of val are of the same kind.
    assert found.wrong[found.free].mean() == pytest.approx(wrong[found.free].mean(), abs=0.03)


def test_of_two_labels_as_probably_wrong_that_of_the_rarer_class_comes_first() -> None:
    found, _ = order()
    ratio = found.gain[found.free] / np.maximum(found.wrong[found.free], 1e-12)
    columns = np.broadcast_to(np.arange(2), found.free.shape)[found.free]
    some = found.wrong[found.free] > 0
    assert ratio[some & (columns == 1)].min() > ratio[some & (columns == 0)].max()


def test_what_somebody_has_named_is_not_looked_at_again() -> None:
    index, scores, val, pseudo, _ = made()
    before = order_of(index, scores, val, pseudo)
    rows, columns = before.first(10)
    answers = np.zeros(pseudo.labels.shape, np.int8)
    answers[rows, columns] = Answer.UNKNOWN
    after = order_of(index, scores, val, replace(pseudo, answers=answers))
    entries = set(zip(*after.first(index.targets.size), strict=True))
    assert len(entries) == 2 * N - pseudo.observed.sum() - 10
    assert not entries & set(zip(rows, columns, strict=True))
    assert not after.wrong[pseudo.observed].any()


def test_without_complete_val_labels_the_observed_positives_give_the_probabilities() -> None:
    index, scores, val, pseudo, _ = made()
    assert order_of(index, scores, val, pseudo).source == "isotonic regression on val"
    assert order_of(index, scores, None, pseudo).source == "the scores of observed positives"
    unknown = replace(index, val_labels="observed")
    assert order_of(unknown, scores, val, pseudo).source == "the scores of observed positives"


def test_the_checks_to_a_precision_are_the_fewest_that_reach_it() -> None:
    found, truth = order()
    added = found.labels & found.free
    assert found.precision() == pytest.approx((added & truth).sum() / added.sum(), abs=0.05)
    for wrong in (None, (found.labels != truth).astype(float)):
        checks = found.checks_to(0.95, wrong)
        assert checks is not None
        sequence = (found.wrong if wrong is None else wrong)[added]
        sequence = sequence[np.argsort(-found.wrong[added], kind="stable")]
        precisions = [
            1 - sequence[n:].sum() / (len(sequence) - sequence[:n].sum())
            for n in (checks - 1, checks)
        ]
        assert precisions[0] < 0.95 <= precisions[1] + 1e-9
        assert found.checks_to(0.1, wrong) == 0
        assert found.checks_to(1.0, wrong) == np.flatnonzero(sequence).max() + 1


def test_a_run_without_added_labels_has_nothing_to_check() -> None:
    index, scores, val, pseudo, _ = made()
    found = order_of(index, scores, val, replace(pseudo, labels=pseudo.observed))
    assert found.precision() is None
    assert found.checks_to(0.9) is None
