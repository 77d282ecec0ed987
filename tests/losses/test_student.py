"""The student's losses: weights of labels, the penalty on class priors, and VLPL's terms."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from pipeline.artifacts.tables import PseudoLabels
from pipeline.core.errors import InputError
from pipeline.losses import catalogue
from pipeline.losses.base import Loss, Task
from pipeline.losses.catalogue import StudentLossParams, settings_of
from pipeline.losses.priors import PriorMatching, divergence
from pipeline.losses.student import ADDED, LOSSES, VLPL, FullSupervision
from pipeline.training.mixup import union
from tests.builders.losses import value_and_gradient, value_of
from tests.conftest import PARAMS

ROWS = torch.arange(2)
TARGETS = torch.tensor([[1.0, 0.0, 0.25], [0.0, 1.0, 1.0]])
LOGITS = torch.tensor([[0.3, -2.0, 1.0], [4.0, 0.0, -0.7]])
TASK = Task(TARGETS, 1, priors=(0.5, 0.1, 0.9))


def cross_entropy(logit: float, target: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


# --- weights of labels -----------------------------------------------------------------


def test_a_term_is_multiplied_by_its_weight_and_the_mean_is_over_all_entries() -> None:
    weights = torch.tensor([[1.0, 0.5, 0.0], [2.0, 0.0, 0.1]])
    value = FullSupervision(TASK)(LOGITS, torch.stack([TARGETS, weights], dim=2), ROWS)
    terms = [
        weight * cross_entropy(logit, target)
        for weight, logit, target in zip(
            weights.flatten().tolist(), LOGITS.flatten().tolist(), TARGETS.flatten().tolist(),
            strict=True,
        )
    ]  # fmt: skip
    assert value.item() == pytest.approx(sum(terms) / 6, rel=1e-6)


def test_weights_of_one_change_nothing() -> None:
    loss = FullSupervision(TASK)
    pairs = torch.stack([TARGETS, torch.ones(2, 3)], dim=2)
    assert torch.equal(loss(LOGITS, pairs, ROWS), loss(LOGITS, TARGETS, ROWS))


def test_a_label_of_weight_zero_has_no_gradient() -> None:
    logits = LOGITS.clone().requires_grad_()
    weights = torch.tensor([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    FullSupervision(TASK)(logits, torch.stack([TARGETS, weights], dim=2), ROWS).backward()
    assert logits.grad is not None
    assert (logits.grad == 0).tolist() == [[False, False, True], [False, False, False]]


# --- class priors ----------------------------------------------------------------------


def test_the_penalty_is_the_divergence_of_the_batch_means_from_the_priors() -> None:
    plain = FullSupervision(TASK)(LOGITS, TARGETS, ROWS).item()
    value = PriorMatching(TASK, 3.0)(LOGITS, TARGETS, ROWS).item()
    added = 0.0
    for prior, column in zip(TASK.priors, LOGITS.T.tolist(), strict=True):
        m = sum(1 / (1 + math.exp(-logit)) for logit in column) / 2
        added += prior * math.log(prior / m) + (1 - prior) * math.log((1 - prior) / (1 - m))
    assert value == pytest.approx(plain + 3.0 * added / 3, rel=1e-5)


@pytest.mark.parametrize("prior", [0.0, 0.02, 0.5, 1.0], ids=str)
def test_the_penalty_is_zero_at_the_prior_and_positive_elsewhere(prior: float) -> None:
    # A share of `prior` of this batch has a score near 1.
    count = round(prior * 50)
    logits = torch.full((50, 1), -40.0)
    logits[:count] = 40.0
    priors = torch.tensor([prior])
    assert divergence(priors, logits).item() == pytest.approx(0, abs=1e-6)
    for other in {0.0, 0.1, 0.5, 0.9} - {prior}:
        logits[:] = torch.logit(torch.tensor(other), eps=1e-3)
        assert divergence(priors, logits).item() > 1e-3


def test_value_and_gradient_are_finite_for_extreme_logits() -> None:
    for size in (1e4, -1e4):
        logits = torch.full((4, 3), size, requires_grad=True)
        value = PriorMatching(TASK, 1.0)(logits, torch.full((4, 3), 0.5), torch.arange(4))
        value.backward()
        assert torch.isfinite(value)
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()


def test_a_class_with_too_high_scores_is_pushed_down() -> None:
    logits = torch.zeros(4, 3, requires_grad=True)
    divergence(torch.tensor([0.2, 0.5, 0.8]), logits).sum().backward()
    assert logits.grad is not None
    assert logits.grad.sign()[0].tolist() == [1.0, 0.0, -1.0]


def test_weights_of_labels_and_priors_can_be_combined() -> None:
    pairs = torch.stack([TARGETS, torch.full((2, 3), 0.5)], dim=2)
    plain = FullSupervision(TASK)(LOGITS, pairs, ROWS)
    added = divergence(torch.tensor(TASK.priors), LOGITS).mean()
    torch.testing.assert_close(PriorMatching(TASK, 0.2)(LOGITS, pairs, ROWS), plain + 0.2 * added)


# --- the choice of loss ----------------------------------------------------------------


SHIPPED: dict[str, Any] = YAML(typ="safe", pure=True).load(PARAMS.read_text())["train_student"]


def chosen(name: str, **losses: Any) -> Loss:
    """Build a loss of students by its name."""
    params = StudentLossParams.model_validate({"loss": name, "losses": SHIPPED["losses"] | losses})
    return catalogue.build(params, TASK)


def test_the_shipped_loss_of_the_student_is_full_supervision() -> None:
    assert SHIPPED["loss"] == "bce"
    assert type(chosen("bce")) is FullSupervision
    assert type(chosen("vlpl")) is VLPL


def test_the_shipped_settings_are_those_of_the_losses_of_students() -> None:
    needed = {name: list(settings_of(loss).model_fields) for name, loss in LOSSES.items()}
    found = {name: list(settings) for name, settings in SHIPPED["losses"].items()}
    assert found == {name: keys for name, keys in needed.items() if keys}


def test_every_loss_of_students_has_a_source() -> None:
    assert [name for name, loss in LOSSES.items() if "Source: " not in (loss.__doc__ or "")] == []


def test_a_loss_of_teachers_is_no_loss_of_students() -> None:
    with pytest.raises(ValueError, match=r"is no loss; should be one of bce, vlpl$|bce, vlpl "):
        chosen("gr")


# --- VLPL ------------------------------------------------------------------------------


# An observed positive, an added one, an unknown label and an observed negative.
KINDS = torch.tensor([[1.0, ADDED, 0.0, -1.0]])
PAPER = {"alpha": 0.2, "weight": 0.7, "epsilon": 0.1}


def test_vlpl_by_hand() -> None:
    # At p = .75: -log .75 = .287682, -log .25 = 1.386294, H(.75) = .562335.
    # .7 * (.9 * .287682 + .1 * 1.386294) = .278280, -.2 * .562335 = -.112467
    logits = torch.full((1, 4), math.log(3))
    expected = (0.287682 + 0.278280 - 0.112467 + 1.386294) / 4
    assert value_of(chosen("vlpl", vlpl=PAPER), logits, KINDS) == pytest.approx(expected, abs=2e-6)


@given(
    st.lists(st.tuples(st.integers(-512, 512), st.sampled_from([1.0, ADDED, 0.0, -1.0])),
             min_size=1, max_size=6),
    st.floats(0, 2), st.floats(0, 2), st.floats(0, 1),
)  # fmt: skip
def test_vlpl_is_its_formula_in_plain_python(
    entries: list[tuple[int, float]], alpha: float, weight: float, epsilon: float
) -> None:
    total, slopes = 0.0, []
    for step, kind in entries:
        g = step / 64
        p = 1 / (1 + math.exp(-g))
        log_p, log_q = math.log(p), math.log1p(-p)
        value, slope = {
            1.0: (-log_p, p - 1),
            ADDED: (
                weight * (-(1 - epsilon) * log_p - epsilon * log_q), weight * (p - 1 + epsilon)
            ),
            0.0: (alpha * (p * log_p + (1 - p) * log_q), alpha * g * p * (1 - p)),
            -1.0: (-log_q, p),
        }[kind]  # fmt: skip
        total += value
        slopes.append(slope / len(entries))
    loss = VLPL(TASK, alpha, weight, epsilon)
    logits = torch.tensor([[step / 64 for step, _ in entries]])
    found, gradient = value_and_gradient(loss, logits, torch.tensor([[k for _, k in entries]]))
    assert found.item() == pytest.approx(total / len(entries), rel=1e-4, abs=1e-5)
    assert gradient[0].tolist() == pytest.approx(slopes, rel=1e-4, abs=1e-6)


def test_vlpl_is_finite_for_extreme_logits() -> None:
    for size in (1e4, -1e4):
        found, gradient = value_and_gradient(
            chosen("vlpl"), torch.full((1, 4), size), KINDS, torch.arange(1)
        )
        assert torch.isfinite(found)
        assert torch.isfinite(gradient).all()


def labels_of(**more: Any) -> PseudoLabels:
    """Return labels: observed, added, none, none; the last one is an observed negative."""
    return PseudoLabels(
        image_ids=["i0"],
        observed=np.array([[True, False, False, False]]),
        labels=np.array([[True, True, False, False]]),
        probs=np.array([[0.9, 0.8, np.nan, np.nan]], np.float32),
        rule=None,
        **more,
    )


def test_vlpl_takes_an_added_positive_for_less_sure_and_adds_no_negative() -> None:
    observed = np.array([[1, 0, 0, -1]], np.int8)
    assert VLPL.targets_of(labels_of(), observed).tolist() == KINDS.tolist()
    assert FullSupervision.targets_of(labels_of(), observed).tolist() == [[1, 1, 0, 0]]


@pytest.mark.parametrize("name", ["targets", "weights"])
def test_vlpl_refuses_soft_targets_and_weights_in_one_line(name: str) -> None:
    pseudo = labels_of(**{name: np.ones((1, 4), np.float32)})
    with pytest.raises(InputError, match=r"^train_student\.loss = 'vlpl': takes labels without"):
        VLPL.targets_of(pseudo, np.zeros((1, 4), np.int8))


def test_the_union_of_two_images_keeps_the_surer_label() -> None:
    other = torch.tensor([[ADDED, 1.0, -1.0, -1.0]])
    assert union(KINDS, other).tolist() == [[1.0, 1.0, 0.0, -1.0]]
