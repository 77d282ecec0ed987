"""The losses: by hand, by an independent formula, by property, against the papers' code."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from pipeline.losses import catalogue
from pipeline.losses.catalogue import LossesParams, LossName
from pipeline.losses.form import Loss
from pipeline.losses.student import FullSupervision
from pipeline.losses.teacher import AN, BCE, EM, WAN

DATA = Path(__file__).parent / "data"
CASES: list[dict[str, Any]] = json.loads((DATA / "loss_vectors.json").read_text())["cases"]
LOSSES: dict[str, Loss] = {"bce": BCE(), "an": AN(), "wan": WAN(0.25), "em": EM(0.1)}
LN3 = float(np.log(3))  # the logit of p = 0.75


def floats(low: float, high: float, **kwargs: Any) -> st.SearchStrategy[float]:
    """Floats without subnormal ones, which the device setting of `choose_device` flushes to 0."""
    return st.floats(low, high, allow_subnormal=False, **kwargs)


every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)


@st.composite
def batches(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Logits (B, C) float64 and targets (B, C) of 1, 0 and -1."""
    rows, classes = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    size = rows * classes
    logits = draw(st.lists(floats(-12, 12), min_size=size, max_size=size))
    targets = draw(st.lists(st.sampled_from([1, 0, -1]), min_size=size, max_size=size))
    shape = (rows, classes)
    return np.array(logits).reshape(shape), np.array(targets, dtype=np.int8).reshape(shape)


def naive(name: str, logits: np.ndarray, targets: np.ndarray) -> float:
    """The same losses in float64, from log(sigmoid), entry by entry."""
    terms = []
    for logit, target in zip(logits.ravel(), targets.ravel(), strict=True):
        p = 1 / (1 + np.exp(-logit))
        unknown = {
            "bce": 0.0,
            "an": -np.log(1 - p),
            "wan": -0.25 * np.log(1 - p),
            "em": 0.1 * (p * np.log(p) + (1 - p) * np.log(1 - p)),
        }[name]
        terms.append({1: -np.log(p), 0: unknown, -1: -np.log(1 - p)}[int(target)])
    return float(np.mean(terms))


def value_and_gradient(loss: torch.nn.Module, logits: Tensor, targets: Tensor) -> tuple[Any, Any]:
    logits = logits.clone().requires_grad_()
    value = loss(logits, targets)
    value.backward()
    return value.detach(), logits.grad


# --- teachers --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "unknown"),
    [(BCE(), 0.0), (AN(), 1.386294), (WAN(0.5), 0.693147), (EM(0.1), -0.0562335)],
    ids=["bce", "an", "wan", "em"],
)
def test_one_row_by_hand(loss: Loss, unknown: float) -> None:
    # p = .75 thrice: -log(.75) for the positive, -log(.25) for the negative
    value = loss(torch.tensor([[LN3, LN3, LN3]]), torch.tensor([[1, 0, -1]]))
    assert value.item() == pytest.approx((0.287682 + unknown + 1.386294) / 3, abs=1e-5)


@pytest.mark.parametrize("name", LOSSES)
@given(batch=batches())
@settings(deadline=None)
def test_each_loss_is_its_naive_formula(name: str, batch: tuple[np.ndarray, np.ndarray]) -> None:
    logits, targets = batch
    value = LOSSES[name](torch.from_numpy(logits), torch.from_numpy(targets))
    assert value.item() == pytest.approx(naive(name, logits, targets), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("case", CASES, ids=[f"{c['loss']}-{c['grad']}" for c in CASES])
def test_value_and_gradient_are_those_of_the_papers_code(case: dict[str, Any]) -> None:
    stored = np.load(DATA / "loss_vectors.npz")
    observed, truth = stored["observed"], stored["truth"]
    everything = np.where(truth == 1, 1, -1)
    loss, targets = {
        "bce": (BCE(), everything),
        "iun": (BCE(), np.where((observed == 0) & (truth == 0), -1, observed)),
        "an": (AN(), observed),
        "wan": (WAN(1 / 19), observed),
        "em": (EM(case.get("alpha", 0.0)), observed),
    }[case["loss"]]
    value, gradient = value_and_gradient(
        loss, torch.from_numpy(stored["logits"]).float(), torch.from_numpy(targets)
    )
    # Their log(p + 1e-5) changes a value by about 1e-4 and a gradient by a share of 1e-5 / p.
    assert value.item() == pytest.approx(case["value"], rel=1e-3, abs=1e-4)
    p = 1 / (1 + np.exp(-stored["logits"]))
    expected = stored[case["grad"]]
    allowed = 1e-5 + (1e-3 + 1e-5 / np.minimum(p, 1 - p)) * np.abs(expected)
    assert (np.abs(gradient.numpy() - expected) <= allowed).all()


def test_the_reference_cases_cover_every_loss_of_the_catalogue() -> None:
    assert {case["loss"] for case in CASES} >= set(get_args(LossName))


@given(batch=batches())
@settings(deadline=None)
def test_wan_runs_from_bce_to_an(batch: tuple[np.ndarray, np.ndarray]) -> None:
    logits, targets = torch.from_numpy(batch[0]), torch.from_numpy(batch[1])
    assert WAN(0.0)(logits, targets).item() == BCE()(logits, targets).item()
    assert WAN(1.0)(logits, targets).item() == AN()(logits, targets).item()


@given(batch=batches(), alpha=floats(0, 1))
@settings(deadline=None)
def test_em_takes_at_most_alpha_log_2_from_bce(
    batch: tuple[np.ndarray, np.ndarray], alpha: float
) -> None:
    logits, targets = torch.from_numpy(batch[0]), torch.from_numpy(batch[1])
    gain = (BCE()(logits, targets) - EM(alpha)(logits, targets)).item()
    share_unknown = (batch[1] == 0).mean()
    assert -1e-6 <= gain <= alpha * np.log(2) * share_unknown + 1e-6


@given(batch=batches())
@settings(deadline=None)
def test_em_gradient_of_an_unknown_logit_is_alpha_g_p_q(
    batch: tuple[np.ndarray, np.ndarray],
) -> None:
    logits, targets = batch
    alpha = 0.2
    _, gradient = value_and_gradient(EM(alpha), torch.from_numpy(logits), torch.from_numpy(targets))
    p = 1 / (1 + np.exp(-logits))
    expected = alpha * logits * p * (1 - p) / logits.size
    unknown = targets == 0
    np.testing.assert_allclose(gradient.numpy()[unknown], expected[unknown], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("start", [-2.5, -0.5, 0.5, 2.5])
def test_an_unknown_label_pulls_em_to_one_half(start: float) -> None:
    logit = torch.tensor([[start]], requires_grad=True)
    optimizer = torch.optim.SGD([logit], lr=5.0)
    for _ in range(200):
        optimizer.zero_grad()
        EM(0.2)(logit, torch.tensor([[0]])).backward()
        optimizer.step()
    assert torch.sigmoid(logit).item() == pytest.approx(0.5, abs=1e-3)


@every_loss
def test_an_observed_negative_costs_its_log_likelihood(loss: Loss) -> None:
    logits = torch.tensor([[-2.0, 1.0, 3.0]])
    value = loss(logits, torch.full((1, 3), -1, dtype=torch.int8))
    expected = binary_cross_entropy_with_logits(logits, torch.zeros(1, 3))
    assert value.item() == pytest.approx(expected.item(), rel=1e-6)


def test_bce_of_complete_labels_is_full_supervision() -> None:
    logits = torch.linspace(-4, 4, 12).reshape(3, 4)
    truth = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 1]])
    assert BCE()(logits, 2 * truth - 1).item() == pytest.approx(
        FullSupervision()(logits, truth).item(), rel=1e-6
    )


@pytest.mark.parametrize(
    ("loss", "value"),
    [(BCE(), 0.0), (AN(), 0.693147), (WAN(0.25), 0.173287), (EM(0.1), -0.0693147)],
    ids=["bce", "an", "wan", "em"],
)
def test_rows_without_any_observed_label_count_as_unknown(loss: Loss, value: float) -> None:
    logits, targets = torch.zeros(3, 4), torch.zeros(3, 4, dtype=torch.int8)
    assert loss(logits, targets).item() == pytest.approx(value, abs=1e-6)


@every_loss
def test_extreme_logits_give_finite_values_and_gradients(loss: Loss) -> None:
    logits = torch.tensor([[80.0, -80.0, 80.0, -80.0, 80.0, -80.0]])
    targets = torch.tensor([[1, 1, 0, 0, -1, -1]])
    value, gradient = value_and_gradient(loss, logits, targets)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    # A certain error keeps its full pull, a certain truth has none.
    assert gradient[0, 1].item() == pytest.approx(-1 / 6)
    assert gradient[0, 4].item() == pytest.approx(1 / 6)
    assert gradient[0, [0, 5]].abs().max().item() < 1e-6


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize(
    "loss", [*LOSSES.values(), FullSupervision()], ids=[*LOSSES, "full_supervision"]
)
def test_logits_of_any_type_are_computed_in_float32(
    loss: torch.nn.Module, dtype: torch.dtype
) -> None:
    logits = torch.tensor([[3.1, -0.7, 5.3], [-6.1, 0.3, 9.7]]).to(dtype)
    targets = torch.tensor([[1, 0, 0], [0, 0, 1]])
    value = loss(logits, targets)
    assert value.dtype == torch.float32
    assert value.item() == loss(logits.float(), targets).item()


@every_loss
def test_targets_may_be_int8_or_float(loss: Loss) -> None:
    logits = torch.tensor([[1.0, -2.0, 3.0]])
    targets = torch.tensor([[1, 0, -1]], dtype=torch.int8)
    assert loss(logits, targets).item() == loss(logits, targets.float()).item()


# --- students --------------------------------------------------------------------------


@given(batch=batches(), weights=st.lists(floats(0, 1), min_size=20, max_size=20))
@settings(deadline=None)
def test_full_supervision_is_binary_cross_entropy(
    batch: tuple[np.ndarray, np.ndarray], weights: list[float]
) -> None:
    logits = torch.from_numpy(batch[0]).float()
    soft = torch.tensor(weights[: logits.numel()]).reshape(logits.shape)
    for targets in (soft, soft.round()):
        value, gradient = value_and_gradient(FullSupervision(), logits, targets)
        expected, its_gradient = value_and_gradient(torch.nn.BCEWithLogitsLoss(), logits, targets)
        assert value.item() == pytest.approx(expected.item(), rel=1e-5, abs=1e-6)
        np.testing.assert_allclose(gradient.numpy(), its_gradient.numpy(), rtol=1e-4, atol=1e-6)


def test_full_supervision_by_hand() -> None:
    # p = .75: -log(.75), -log(.25), and half of each
    value = FullSupervision()(torch.full((1, 3), LN3), torch.tensor([[1.0, 0.0, 0.5]]))
    assert value.item() == pytest.approx((0.287682 + 1.386294 + 0.836988) / 3, abs=1e-5)


def test_full_supervision_is_finite_for_extreme_logits() -> None:
    logits = torch.tensor([[80.0, -80.0, 80.0, -80.0, 80.0, -80.0]])
    targets = torch.tensor([[1.0, 1.0, 0.0, 0.0, 0.5, 0.5]])
    value, gradient = value_and_gradient(FullSupervision(), logits, targets)
    assert value.item() == pytest.approx((80 + 80 + 40 + 40) / 6)
    assert torch.isfinite(gradient).all()


# --- the catalogue ---------------------------------------------------------------------


def params(gamma: float | None = None) -> LossesParams:
    return LossesParams.model_validate({"wan": {"gamma": gamma}, "em": {"alpha": 0.2}})


def test_the_catalogue_has_exactly_the_names_that_params_may_hold() -> None:
    assert set(catalogue.LOSSES) == set(get_args(LossName))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("bce", BCE), ("an", AN), ("wan", WAN), ("em", EM)],
    ids=["bce", "an", "wan", "em"],
)
def test_a_name_builds_its_loss(name: LossName, kind: type[Loss]) -> None:
    assert type(catalogue.build(name, params(), 20)) is kind


@pytest.mark.parametrize("n_classes", [2, 20, 312])
def test_gamma_null_gives_the_unknown_together_the_weight_of_one(n_classes: int) -> None:
    loss = catalogue.build("wan", params(), n_classes)
    assert isinstance(loss, WAN)
    assert loss.gamma * (n_classes - 1) == pytest.approx(1)


def test_settings_reach_their_loss() -> None:
    wan, em = (catalogue.build(name, params(0.03), 20) for name in ("wan", "em"))
    assert isinstance(wan, WAN)
    assert wan.gamma == 0.03
    assert isinstance(em, EM)
    assert em.alpha == 0.2


@pytest.mark.parametrize(
    "values",
    [
        {"wan": {"gamma": -0.1}, "em": {"alpha": 0.2}},
        {"wan": {"gamma": None}, "em": {"alpha": -0.2}},
        {"wan": {"gamma": None}, "em": {"alpha": None}},
        {"wan": {"gamma": None}, "em": {"alpha": 0.2}, "role": {}},
    ],
    ids=["negative gamma", "negative alpha", "no alpha", "unknown loss"],
)
def test_settings_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        LossesParams.model_validate(values)
