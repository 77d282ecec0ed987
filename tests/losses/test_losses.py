"""The losses with the shipped settings: examples by hand, and properties of all losses."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from pipeline.losses import catalogue
from pipeline.losses.assume_negative import AN, BCE, DW, LS, NLS, WAN
from pipeline.losses.base import Task
from pipeline.losses.catalogue import LossParams
from pipeline.losses.entropy import EM, EntMin
from pipeline.losses.expected_positives import EPR
from pipeline.losses.student import FullSupervision
from tests.builders.losses import (
    EPOCHS,
    NAMES,
    SHIPPED,
    batches,
    every_loss,
    shipped,
    value_and_gradient,
    value_of,
)

LN3 = math.log(3)  # the logit of p = 0.75
ROW = torch.tensor([[1, 0, -1]])


# The terms of an observed positive, an unknown label and an observed negative at p = .75.
# -log .75 is .287682 and -log .25 is 1.386294.
BY_HAND = {
    "bce": (1, 0.287682, 0.0, 1.386294),
    "iun": (1, 0.287682, 0.0, 1.386294),
    "an": (1, 0.287682, 1.386294, 1.386294),
    "dw": (1, 0.287682, 0.693147, 1.386294),  # gamma .5
    "wan": (1, 0.287682, 0.693147, 1.386294),  # gamma 1 / (3 - 1)
    "l1r": (1, 0.287682, 1.386294, 1.386294),
    "l2r": (1, 0.287682, 1.386294, 1.386294),
    "ls": (1, 0.397543, 1.276433, 1.276433),  # .9 of one term and .1 of the other
    "n_ls": (1, 0.287682, 1.276433, 1.386294),
    "em": (1, 0.287682, -0.0562335, 1.386294),  # -.1 * H(.75), H(.75) = .562335
    "entmin": (1, 0.287682, 0.0562335, 1.386294),
    "em_apl": (1, 0.287682, -0.0562335, 1.386294),  # no soft negatives yet
    "focal": (1, 0.0179801, 0.779790, 0.779790),  # .25^2 and .75^2 of it
    "asl": (1, 0.0719205, 0.289074, 0.289074),  # .25 of it; .7^4 * -log .3
    "hill": (1, 0.1457657, 0.421875, 0.421875),  # p' = 3 / (3 + e); (1.5 - .75) * .75^2
    "splc": (1, 0.1457657, 0.779790, 0.779790),
    "splc in the second epoch": (2, 0.1457657, 0.0179801, 0.779790),  # .75 > .6: a positive
    "ll_r": (1, 0.287682, 1.386294, 1.386294),
    "ll_ct": (1, 0.287682, 1.386294, 1.386294),
    "ll_cp": (1, 0.287682, 1.386294, 1.386294),
    "ll_r in the second epoch": (2, 0.287682, 0.0, 1.386294),  # one of 3 entries is changed
    "ll_ct in the second epoch": (2, 0.287682, 0.287682, 1.386294),
    "ll_cp in the second epoch": (2, 0.287682, 0.287682, 1.386294),
    # k = sigmoid(-2) = .119203, v = exp(-(.75 - .5375)^2 / (2 * 1.8125^2)) = .993151,
    # l2 = (1 - .75^.01) / .01 = .287268, l3 = 1 - .25: v * (k * l2 + (1 - k) * l3)
    "gr": (1, 0.287682, 0.690082, 1.386294),
    "crisp": (1, 0.287682, 1.386294, 1.386294),  # AN until there are priors
    "plc": (1, 0.287682, 1.386294, 1.386294),  # AN, without a second view
}


@pytest.mark.parametrize("case", BY_HAND)
def test_one_row_by_hand(case: str) -> None:
    epoch, *terms = BY_HAND[case]
    loss = shipped(case.split(maxsplit=1)[0], ROW, int(epoch))
    assert value_of(loss, torch.full((1, 3), LN3), ROW) == pytest.approx(sum(terms) / 3, abs=2e-6)


def test_epr_by_hand() -> None:
    # 2.25 positives by the scores, 1.5 by the val labels
    loss = shipped("epr", ROW, positives_per_image=1.5)
    expected = (0.287682 + 1.386294) / 3 + (0.75 / 3) ** 2
    assert value_of(loss, torch.full((1, 3), LN3), ROW) == pytest.approx(expected, abs=2e-6)


def test_epr_takes_the_mean_number_of_positives_over_the_batch() -> None:
    # 2.25 and .75 positives are 1.5 on average, as expected: nothing is added
    logits, targets = torch.tensor([[LN3] * 3, [-LN3] * 3]), torch.zeros(2, 3)
    assert value_of(EPR(Task(targets, 1), 1.5), logits, targets) == pytest.approx(0, abs=1e-12)
    assert value_of(EPR(Task(targets, 1), 2.1), logits, targets) == pytest.approx(0.04, abs=1e-6)


def test_role_by_hand() -> None:
    loss = shipped("role", ROW, positives_per_image=1.5)
    loss.load_state_dict({"estimates": torch.zeros(1, 3)})  # y = .5
    observed = (0.287682 + 1.386294) / 3 + 2 * 0.693147 / 3
    by_the_other = (0.287682 + 1.386294) / 2 + 0.693147
    number = (0.75 / 3) ** 2 + 0.0  # of p, 2.25, and of y, 1.5
    expected = (observed + by_the_other + number) / 2
    assert value_of(loss, torch.full((1, 3), LN3), ROW) == pytest.approx(expected, abs=2e-6)


def test_every_loss_has_an_example_by_hand() -> None:
    assert {case.split()[0] for case in BY_HAND} | {"epr", "role"} == set(NAMES)


def asl_gradient(logit: float, target: int, focusing_gradient: bool) -> tuple[float, float]:
    """Return value and gradient of ASL's term of one entry, with the other settings as shipped."""
    settings = SHIPPED["asl"] | {"focusing_gradient": focusing_gradient}
    params = LossParams.model_validate({"loss": "asl", "losses": {"asl": settings}})
    targets = torch.tensor([[target]])
    loss = catalogue.build(params, Task(targets, EPOCHS))
    value, gradient = value_and_gradient(loss, torch.tensor([[logit]]), targets)
    return value.item(), gradient.item()


@pytest.mark.parametrize(("focusing_gradient", "expected"), [(False, 0.133), (True, 0.417)])
@pytest.mark.parametrize("target", [0, -1])
def test_asl_at_logit_1_has_the_authors_gradient_unless_it_flows_through_the_weight(
    target: int, focusing_gradient: bool, expected: float
) -> None:
    # p = .731, m = p - .05 = .681: m^4 * p q / (1 - m), and with the gradient of the weight
    # m^4 * p q / (1 - m) - 4 m^3 * p q * log(1 - m)
    p = 1 / (1 + math.exp(-1))
    q, m = 1 - p, p - 0.05
    by_hand = m**4 * p * q / (1 - m)
    if focusing_gradient:
        by_hand -= 4 * m**3 * p * q * math.log(1 - m)
    value, gradient = asl_gradient(1.0, target, focusing_gradient)
    assert gradient == pytest.approx(by_hand, rel=1e-5)
    assert gradient == pytest.approx(expected, abs=5e-4)
    assert value == pytest.approx(-(m**4) * math.log(1 - m), rel=1e-5)


@pytest.mark.parametrize("focusing_gradient", [False, True])
def test_asl_of_a_positive_has_the_gradient_by_hand(focusing_gradient: bool) -> None:
    p = 1 / (1 + math.exp(-1))
    q = 1 - p
    by_hand = -q * q + (p * q * math.log(p) if focusing_gradient else 0)
    value, gradient = asl_gradient(1.0, 1, focusing_gradient)
    assert gradient == pytest.approx(by_hand, rel=1e-5)
    assert value == pytest.approx(-q * math.log(p), rel=1e-5)


def test_asl_is_shipped_with_the_gradient_of_the_authors_default() -> None:
    assert SHIPPED["asl"]["focusing_gradient"] is False


@every_loss
def test_observed_negatives_cost_what_is_said(name: str) -> None:
    logits, targets = torch.tensor([[-2.0, 1.0, 3.0]]), torch.full((1, 3), -1)
    p = torch.sigmoid(logits)
    terms = -torch.log(1 - p)
    match name:
        case "ls":
            terms = 0.9 * terms - 0.1 * torch.log(p)
        case "focal" | "splc":
            terms = p**2 * terms
        case "asl":
            pm = (p - 0.05).clamp(min=0)
            terms = pm**4 * -torch.log(1 - pm)
        case "hill":
            terms = (1.5 - p) * p**2
    k = float(p.sum())  # the penalty of EPR is then 0
    for epoch in (1, 2, EPOCHS):
        loss = shipped(name, targets, epoch, positives_per_image=k)
        value = value_of(loss, logits, targets)
        if name == "role":  # adds the terms of its estimates
            assert value > terms.mean().item() / 2
            continue
        assert value == pytest.approx(terms.mean().item(), rel=1e-5)


@every_loss
@pytest.mark.parametrize("epoch", [1, 2, EPOCHS])
def test_rows_without_any_observed_label_give_finite_values(name: str, epoch: int) -> None:
    targets = torch.zeros(4, 5, dtype=torch.int8)
    targets[3, 0] = -1  # iun needs one, in a row that is not in the batch
    loss = shipped(name, targets, epoch)
    value, gradient = value_and_gradient(loss, torch.linspace(-3, 3, 15).view(3, 5), targets[:3])
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()


@every_loss
@pytest.mark.parametrize("scale", [80.0, 1000.0])
@pytest.mark.parametrize("epoch", [1, 2, EPOCHS])
def test_extreme_logits_give_finite_values_and_gradients(
    name: str, scale: float, epoch: int
) -> None:
    logits = scale * torch.tensor([[1, -1, 1, -1, 1, -1], [-1, 1, -1, 1, -1, 1]])
    targets = torch.tensor([[1, 1, 0, 0, -1, -1], [1, 1, 0, 0, -1, -1]])
    loss = shipped(name, targets, epoch)
    if name == "em_apl":  # soft negatives of every score
        loss.load_state_dict({"soft": torch.where(targets == 0, torch.sigmoid(logits), -1.0)})
    value, gradient = value_and_gradient(loss, logits, targets)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    for parameter in loss.parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()


@pytest.mark.parametrize("name", [n for n in NAMES if n not in {"ls", "role", "hill", "asl"}])
def test_a_certain_error_has_the_full_gradient_and_a_certain_truth_none(name: str) -> None:
    logits, targets = torch.tensor([[80.0, -80.0, 80.0, -80.0]]), torch.tensor([[1, 1, -1, -1]])
    _, gradient = value_and_gradient(shipped(name, targets, positives_per_image=2), logits, targets)
    expected = torch.tensor([[0.0, -0.25, 0.25, 0.0]])
    np.testing.assert_allclose(gradient.numpy(), expected.numpy(), atol=1e-6)


@every_loss
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_logits_of_any_type_are_computed_in_float32(name: str, dtype: torch.dtype) -> None:
    logits = torch.tensor([[3.1, -0.7, 5.3], [-6.1, 0.3, 9.7]]).to(dtype)
    targets = torch.tensor([[1, 0, 0], [0, -1, 1]])
    value, gradient = value_and_gradient(shipped(name, targets, 2), logits, targets)
    expected_value, expected_gradient = value_and_gradient(
        shipped(name, targets, 2), logits.float(), targets
    )
    assert value.dtype == torch.float32
    assert value.item() == expected_value.item()
    assert gradient.dtype == dtype
    assert torch.equal(gradient, expected_gradient.to(dtype))


@every_loss
def test_targets_may_be_int8_or_float(name: str) -> None:
    logits, targets = torch.tensor([[1.0, -2.0, 3.0]]), torch.tensor([[1, 0, -1]])
    values = {
        value_of(shipped(name, typed, 2), logits, typed)
        for typed in (targets, targets.to(torch.int8), targets.float(), targets.double())
    }
    assert len(values) == 1


# --- penalties -------------------------------------------------------------------------


@pytest.fixture
def layer() -> nn.Linear:
    layer = nn.Linear(2, 1)
    layer.load_state_dict({"weight": torch.tensor([[1.0, -2.0]]), "bias": torch.tensor([3.0])})
    return layer


@pytest.mark.parametrize(
    ("name", "value", "of_weight", "of_bias"),
    [("l1r", 6e-5, [1e-5, -1e-5], 1e-5), ("l2r", 14e-5, [2e-5, -4e-5], 6e-5)],
    ids=["l1r", "l2r"],
)
def test_penalties_by_hand(
    layer: nn.Linear, name: str, value: float, of_weight: list[float], of_bias: float
) -> None:
    penalty = shipped(name, ROW).penalty(layer)
    assert isinstance(penalty, Tensor)
    penalty.backward()
    assert penalty.item() == pytest.approx(value)
    assert layer.weight.grad is not None
    assert layer.bias.grad is not None
    assert layer.weight.grad[0].tolist() == pytest.approx(of_weight)
    assert layer.bias.grad.item() == pytest.approx(of_bias)


@pytest.mark.parametrize("name", [n for n in NAMES if n not in {"l1r", "l2r"}])
def test_the_other_losses_have_no_penalty(layer: nn.Linear, name: str) -> None:
    assert shipped(name, ROW).penalty(layer) == 0


# --- unknown labels --------------------------------------------------------------------


@given(batch=batches())
def test_weighted_unknown_labels_run_from_bce_to_an(batch: tuple[Tensor, Tensor]) -> None:
    task = Task(batch[1], 1)
    for kind in (WAN, DW):
        assert value_of(kind(task, 0.0), *batch) == value_of(BCE(task), *batch)
        assert value_of(kind(task, 1.0), *batch) == value_of(AN(task), *batch)
    assert value_of(NLS(task, 0.0), *batch) == value_of(AN(task), *batch)
    assert value_of(LS(task, 0.0), *batch) == value_of(AN(task), *batch)


@pytest.mark.parametrize("classes", [2, 20, 312])
def test_null_gamma_gives_all_unknown_labels_together_the_weight_of_one(classes: int) -> None:
    loss = WAN(Task(torch.zeros(1, classes), 1), None)
    assert loss.gamma * (classes - 1) == pytest.approx(1)


def test_bce_of_complete_labels_is_full_supervision() -> None:
    logits = torch.linspace(-4, 4, 12).reshape(3, 4)
    truth = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]])
    task = Task(2 * truth - 1, 1)
    assert value_of(BCE(task), logits, 2 * truth - 1) == pytest.approx(
        value_of(FullSupervision(task), logits, truth), rel=1e-6
    )


@given(batch=batches(), alpha=st.integers(0, 64).map(lambda n: n / 64))
def test_em_takes_at_most_alpha_log_2_from_bce(batch: tuple[Tensor, Tensor], alpha: float) -> None:
    task = Task(batch[1], 1)
    gain = value_of(BCE(task), *batch) - value_of(EM(task, alpha), *batch)
    share_unknown = (batch[1] == 0).double().mean().item()
    assert -1e-6 <= gain <= alpha * math.log(2) * share_unknown + 1e-6


@given(batch=batches())
def test_em_gradient_of_an_unknown_logit_is_alpha_g_p_q(batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    task, unknown = Task(targets, 1), (targets == 0).numpy()
    p = torch.sigmoid(logits.double())
    expected = (0.2 * logits * p * (1 - p) / logits.numel()).numpy()[unknown]
    for kind, sign in ((EM, 1), (EntMin, -1)):
        _, gradient = value_and_gradient(kind(task, 0.2), logits, targets)
        found = sign * gradient.numpy()[unknown]
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", [EM, EntMin])
def test_the_entropy_has_no_gradient_at_one_half(kind: type[EM]) -> None:
    targets = torch.zeros(1, 3)
    _, gradient = value_and_gradient(kind(Task(targets, 1), 1.0), torch.zeros(1, 3), targets)
    assert gradient.abs().max().item() < 1e-8


@pytest.mark.parametrize("start", [-2.5, -0.5, 0.5, 2.5])
@pytest.mark.parametrize(("kind", "end"), [(EM, None), (EntMin, "certain")], ids=["em", "entmin"])
def test_em_pulls_an_unknown_label_to_one_half_and_entmin_away(
    start: float, kind: type[EM], end: str | None
) -> None:
    targets = torch.zeros(1, 1)
    loss, logits = kind(Task(targets, 1), 0.2), torch.tensor([[start]])
    for _ in range(200):
        logits = logits - 5 * value_and_gradient(loss, logits, targets)[1]
    p = torch.sigmoid(logits).item()
    where = 0.5 if end is None else float(start > 0)
    assert p == pytest.approx(where, abs=1e-3 if end is None else 0.02)


# --- students --------------------------------------------------------------------------


@given(batch=batches(), weights=st.lists(st.integers(0, 64).map(lambda n: n / 64), min_size=20))
def test_full_supervision_is_binary_cross_entropy(
    batch: tuple[Tensor, Tensor], weights: list[float]
) -> None:
    soft = torch.tensor(weights[: batch[0].numel()]).reshape(batch[0].shape)
    for targets in (soft, soft.round()):
        loss = FullSupervision(Task(targets, 1))
        value, gradient = value_and_gradient(loss, batch[0], targets)
        logits = batch[0].clone().requires_grad_()
        expected = binary_cross_entropy_with_logits(logits, targets)
        expected.backward()
        assert value.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
        assert logits.grad is not None
        np.testing.assert_allclose(gradient.numpy(), logits.grad.numpy(), rtol=1e-4, atol=1e-6)


def test_full_supervision_by_hand() -> None:
    # p = .75: -log(.75), -log(.25), and half of each
    targets = torch.tensor([[1.0, 0.0, 0.5]])
    value = value_of(FullSupervision(Task(targets, 1)), torch.full((1, 3), LN3), targets)
    assert value == pytest.approx((0.287682 + 1.386294 + 0.836988) / 3, abs=1e-5)


def test_full_supervision_with_weights_by_hand() -> None:
    # The terms of p = .75 above, with the weights 2, 0 and .5; divided by 3, not by 2.5.
    targets = torch.tensor([[[1.0, 2.0], [0.0, 0.0], [0.5, 0.5]]])
    logits = torch.full((1, 3), LN3)
    value, gradient = value_and_gradient(FullSupervision(Task(targets, 1)), logits, targets)
    assert value.item() == pytest.approx((2 * 0.287682 + 0.5 * 0.836988) / 3, abs=1e-5)
    # d/dg: p - 1, p and p - .5, weighted
    assert gradient[0].tolist() == pytest.approx([2 * -0.25 / 3, 0, 0.5 * 0.25 / 3], abs=1e-6)


@given(batch=batches())
def test_full_supervision_with_weights_of_1_equals_that_without(
    batch: tuple[Tensor, Tensor],
) -> None:
    logits, targets = batch[0], (batch[1] == 1).float()
    weighted = torch.stack([targets, torch.ones_like(targets)], dim=-1)
    loss = FullSupervision(Task(targets, 1))
    value, gradient = value_and_gradient(loss, logits, targets)
    value_1, gradient_1 = value_and_gradient(loss, logits, weighted)
    assert value.item() == value_1.item()
    assert torch.equal(gradient, gradient_1)


def test_ignored_entries_do_not_change_the_weight_of_the_others() -> None:
    # Two batches of one image each; half of the second is ignored.
    logits = torch.tensor([[1.0, -2.0]])
    loss = FullSupervision(Task(torch.zeros(1, 2), 1))
    whole = value_and_gradient(loss, logits, torch.tensor([[[1.0, 1], [0, 1]]]))[1]
    half = value_and_gradient(loss, logits, torch.tensor([[[1.0, 1], [0, 0]]]))[1]
    assert half[0, 0] == whole[0, 0]
    assert half[0, 1] == 0


def test_full_supervision_is_finite_for_extreme_logits() -> None:
    logits = torch.tensor([[80.0, -80.0, 80.0, -80.0, 80.0, -80.0]])
    targets = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.5, 0.5]])
    value, gradient = value_and_gradient(FullSupervision(Task(targets, 1)), logits, targets)
    assert value.item() == pytest.approx((80 + 80 + 40 + 40) / 6)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_full_supervision_is_computed_in_float32(dtype: torch.dtype) -> None:
    logits, targets = torch.tensor([[3.1, -0.7, 5.3]]).to(dtype), torch.tensor([[1, 0, 1]])
    loss = FullSupervision(Task(targets, 1))
    value, _ = value_and_gradient(loss, logits, targets.to(torch.uint8))
    assert value.dtype == torch.float32
    assert value.item() == value_of(loss, logits.float(), targets.float())
