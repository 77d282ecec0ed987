"""The losses against the papers' own code: stored inputs, values and gradients of float64.

Each case has three tests. With the authors' epsilon in log(p + epsilon), and in no other term,
the numbers agree. This is tested in float64 for every loss that is the mean of its terms, and in
float32, the type of all computations, for every loss. Without epsilon, as in training, they
agree unless p is so near to 0 or 1 that epsilon changes the reference.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.losses import base
from pipeline.losses.base import EntrywiseLoss, Loss, Task
from pipeline.losses.catalogue import LOSSES
from tests.builders.losses import PAPERS
from tests.conftest import ROOT

FILES = sorted((ROOT / "tests" / "data").glob("loss_vectors*.json"))
EPSILON = {"Cole": 1e-5, "Zhou": 1e-5, "Chen": 1e-7}
OUR_NAME = {"bce_ls": "ls"}  # ls with all labels observed

OUR_KEY = {"smoothing": "epsilon", "lamb": "lambda_"}
NO_SETTING = {"loss", "value", "grad", "grad_role_logits", "targets", "source", "epoch", "epochs"}
LARGE_LOSS = ("ll_r", "ll_ct", "ll_cp")

NO_CASE = {
    "dw": "is wan with another gamma, which is not published",
    "l1r": "is an with a penalty, which has a test by hand",
    "l2r": "is an with a penalty, which has a test by hand",
    "ll_cp": "is ll_ct within a batch; its state has separate tests",
    "plc": "is an with a term of a second view, which has tests by hand in test_consistency.py",
    "crisp": "has no public code; it has tests by hand in test_crisp.py",
}


@dataclass(frozen=True)
class Case:
    """A loss with its settings, and the results of the authors' code."""

    file: Path
    facts: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.file.stem}-{self.facts['grad']}-{self.facts['loss']}"

    def array(self, name: str) -> Tensor:
        """Return one of the stored arrays."""
        with np.load(self.file.with_suffix(".npz")) as stored:
            return torch.from_numpy(stored[name])

    @property
    def epsilon(self) -> float:
        """Return the authors' epsilon; 0 if their code works on logits."""
        source = self.facts["source"]
        return next((value for author, value in EPSILON.items() if author in source), 0.0)


CASES = [
    Case(file, facts) for file in FILES for facts in json.loads(file.read_text("utf-8"))["cases"]
]
every_case = pytest.mark.parametrize("case", CASES, ids=str)
# These are the mean of their terms. The others always compute in float32.
MEANS = [case for case in CASES if case.facts["loss"] not in ("epr", "role", "em_apl", *LARGE_LOSS)]


def settings(facts: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of our loss; those without an equivalent have no effect here."""
    name = facts["loss"]
    arguments = {
        OUR_KEY.get(key, key): value for key, value in facts.items() if key not in NO_SETTING
    }
    if name == "gr":
        w0, w1, b0, b1 = arguments.pop("beta")
        mu0, sigma0, mu1, sigma1 = arguments.pop("alpha")
        arguments["q2"], arguments["q3"] = arguments.pop("q")
        arguments |= {"w": [w0, w1], "b": [b0, b1], "mu": [mu0, mu1], "sigma": [sigma0, sigma1]}
    if name in LARGE_LOSS:
        arguments = {"delta": 100 * arguments["reject_rate"]}
    without_equivalent: dict[str, dict[str, Any]] = {
        "wan": {"gamma": None},
        "role": {"lr_multiplier": 10.0},
        "asl": {"focusing_gradient": True},  # see the tests of the gradient of focusing weights
        "em_apl": {"theta": 0.9, "warmup_epochs": 5},
    }
    return arguments | without_equivalent.get(name, {})


def targets_and_soft(case: Case) -> tuple[Tensor, Tensor | None]:
    """Return the observed labels, and the scores of soft negatives, -1 elsewhere."""
    observed, truth = case.array("observed"), case.array("truth")
    match case.facts["loss"]:
        case "bce" | "bce_ls":
            return 2 * truth - 1, None
        case "iun":
            return torch.where((observed == 0) & (truth == 0), -1, observed), None
        case "em_apl":  # the authors store -s in the matrix of labels
            mixed = case.array("apl_targets")
            return (mixed == 1).double(), torch.where(mixed < 0, -mixed, -1.0).float()
    return observed, None


def epoch(facts: dict[str, Any]) -> int:
    """Return the epoch, counted from 1 as in our code."""
    if facts["loss"] in LARGE_LOSS:
        return 2  # the share of changed labels is then delta
    first = 0 if facts["loss"] == "splc" else 1  # the number of the authors' first epoch
    return int(facts.get("epoch", first)) + 1 - first


def prepared(case: Case) -> tuple[Loss, Tensor]:
    """Return our loss in the state of the authors' loss, and its targets."""
    targets, soft = targets_and_soft(case)
    name = OUR_NAME.get(case.facts["loss"], case.facts["loss"])
    loss = LOSSES[name](Task(targets, case.facts.get("epochs", 10)), **settings(case.facts))
    loss.epoch = epoch(case.facts)
    if soft is not None:
        loss.load_state_dict({"soft": soft})
    if "grad_role_logits" in case.facts:
        loss.load_state_dict({"estimates": case.array("role_logits").float()})
    return loss, targets


def value_and_gradients(case: Case) -> tuple[float, list[tuple[Tensor, Tensor, Tensor]]]:
    """Return the value, and for each input: its logits, our gradient and the authors'."""
    loss, targets = prepared(case)
    exact = case.array("logits")
    logits = exact.float().requires_grad_()
    value = loss(logits, targets, torch.arange(len(logits)))
    value.backward()
    assert logits.grad is not None
    found = [(exact, logits.grad, case.array(case.facts["grad"]))]
    if "grad_role_logits" in case.facts:
        estimates = next(loss.parameters())
        assert estimates.grad is not None
        theirs = case.array(case.facts["grad_role_logits"])
        found.append((case.array("role_logits"), estimates.grad, theirs))
    return value.item(), found


@every_case
def test_with_the_authors_epsilon_value_and_gradients_equal_those_of_their_code(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "EPSILON", case.epsilon)
    value, gradients = value_and_gradients(case)
    assert value == pytest.approx(case.facts["value"], rel=1e-6)
    for _, ours, theirs in gradients:
        np.testing.assert_array_less(
            (ours - theirs).abs(), torch.clamp(1e-5 * theirs.abs(), min=1e-9)
        )


@pytest.mark.parametrize("case", MEANS, ids=str)
def test_in_float64_the_terms_equal_those_of_their_code_to_12_digits(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base, "EPSILON", case.epsilon)
    loss, targets = prepared(case)
    assert isinstance(loss, EntrywiseLoss)
    logits = case.array("logits").requires_grad_()
    value = loss.terms(logits, targets).mean()
    value.backward()
    assert value.item() == pytest.approx(case.facts["value"], rel=1e-12)
    assert logits.grad is not None
    theirs = case.array(case.facts["grad"])
    np.testing.assert_allclose(logits.grad.numpy(), theirs.numpy(), rtol=1e-12, atol=1e-18)


@every_case
def test_as_trained_value_and_gradients_differ_from_the_authors_by_their_epsilon(
    case: Case,
) -> None:
    assert base.EPSILON == 0
    value, gradients = value_and_gradients(case)
    # log(p + 1e-5) is wrong by 1e-5 / p, which is .03 at the most extreme logits. The mean over
    # a matrix of logits changes by up to 3e-4.
    allowed = 3e-4 if case.epsilon else 1e-5
    assert value == pytest.approx(case.facts["value"], rel=1e-3, abs=allowed)
    for exact, ours, theirs in gradients:
        # The derivative 1 / (p + epsilon) is smaller than 1 / p by a share of epsilon / p.
        p = torch.sigmoid(exact)
        share = case.epsilon / torch.minimum(p, 1 - p)
        bound = torch.clamp(1e-3 * theirs.abs(), min=1e-5) + share * theirs.abs()
        np.testing.assert_array_less((ours - theirs).abs(), bound)


def test_the_cases_are_of_the_size_that_their_file_says() -> None:
    assert FILES
    for file in FILES:
        facts = json.loads(file.read_text("utf-8"))
        shape = (facts["batch"], facts["classes"])
        arrays = {name for case in facts["cases"] for name in case.values() if "grad_" in str(name)}
        for name in ("logits", "truth", "observed", *arrays):
            assert Case(file, {}).array(name).shape == shape


def test_the_cases_cover_every_loss_of_the_papers_except_those_with_a_reason() -> None:
    named = {OUR_NAME.get(case.facts["loss"], case.facts["loss"]) for case in CASES}
    assert named | NO_CASE.keys() == set(PAPERS)


def test_the_stored_gradients_of_focal_hill_splc_and_asl_flow_through_the_focusing_weight() -> None:
    # The test above compares our gradients through the weight. Without it they differ much.
    apart = {}
    for case in CASES:
        name = case.facts["loss"]
        if name not in ("focal", "hill", "splc", "asl"):
            continue
        logits = case.array("logits").requires_grad_()
        p = torch.sigmoid(logits)
        shifted = torch.sigmoid(logits - case.facts.get("margin", 0.0))
        gamma = case.facts.get("gamma", case.facts.get("gamma_pos"))
        stopped = -((1 - (p if name == "asl" else shifted)).detach() ** gamma)
        stopped = stopped * torch.log(p if name == "asl" else shifted)
        positive = case.array("observed") == 1
        stopped[positive].sum().backward()
        assert logits.grad is not None
        theirs = case.array(case.facts["grad"])[positive] * logits.numel()
        apart[name] = float((logits.grad[positive] - theirs).abs().max())
    assert apart.keys() == {"focal", "hill", "splc", "asl"}
    assert min(apart.values()) > 0.1
