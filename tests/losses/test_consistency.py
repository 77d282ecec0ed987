"""PLC by hand: the labels that the first view gives the second."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pipeline.losses.base import Task
from pipeline.losses.consistency import PLC


def plc(tau: float = 0.6, lambda_: float = 1.0) -> PLC:
    return PLC(Task(torch.zeros(0, 3), 5), tau, lambda_, 0.5, 2, 9)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def logits(*probs: float) -> Tensor:
    return torch.tensor([[logit(p) for p in probs]])


def test_the_second_view_takes_confident_labels_and_ignores_the_rest() -> None:
    # .7 is a positive, .2 a negative, .5 neither: (-log .9 - log (1 - .3)) / 2.
    found = plc().consistency(
        logits(0.7, 0.2, 0.5), logits(0.9, 0.3, 0.8), torch.tensor([[0, 0, 0]])
    )
    assert float(found) == pytest.approx((-math.log(0.9) - math.log(0.7)) / 2)


def test_observed_labels_stand_at_any_score() -> None:
    first, second = logits(0.1, 0.5, 0.99), logits(0.9, 0.8, 0.4)
    found = plc(lambda_=3.0).consistency(first, second, torch.tensor([[1, 1, -1]]))
    wanted = 3 * (-math.log(0.9) - math.log(0.8) - math.log(1 - 0.4)) / 3
    assert float(found) == pytest.approx(wanted)


def test_a_batch_without_a_confident_entry_has_no_term() -> None:
    second = logits(0.9, 0.2, 0.4).requires_grad_()
    found = plc(0.9).consistency(logits(0.5, 0.6, 0.4), second, torch.zeros(1, 3))
    found.backward()
    assert float(found.detach()) == 0
    assert second.grad is not None
    assert not second.grad.any()


@given(
    st.lists(
        st.tuples(st.floats(-6, 6), st.floats(-6, 6), st.sampled_from([-1, 0, 1])),
        min_size=1, max_size=12,
    ),
    st.floats(0.5, 1),
)  # fmt: skip
def test_the_term_is_that_of_the_formula(
    entries: list[tuple[float, float, int]], tau: float
) -> None:
    total, count = 0.0, 0
    for first, second, target in entries:
        p = float(torch.sigmoid(torch.tensor(first)))
        q = {1: 1.0, -1: 0.0}.get(target, p)
        if q >= tau or q < 1 - tau or target == -1:
            p_second = 1 / (1 + math.exp(-second))
            total -= math.log(p_second if q >= tau else 1 - p_second)
            count += 1
    first, second, targets = (torch.tensor([column]) for column in zip(*entries, strict=True))
    found = plc(tau).consistency(first, second, targets)
    assert float(found) == pytest.approx(total / max(count, 1), rel=1e-4, abs=1e-6)


def test_the_first_view_has_no_gradient_from_the_second() -> None:
    first = logits(0.9, 0.1, 0.5).requires_grad_()
    second = logits(0.4, 0.6, 0.5).requires_grad_()
    plc().consistency(first, second, torch.zeros(1, 3)).backward()
    assert first.grad is None
    assert second.grad is not None
    # The gradient of a mean over the two labelled entries: (p - 1) / 2 and p / 2.
    assert second.grad[0].tolist() == pytest.approx([-0.3, 0.3, 0.0])
