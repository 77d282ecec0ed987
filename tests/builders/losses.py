"""Losses with the settings of params.yaml, their values and gradients, and random batches."""

from typing import Any

import pytest
import torch
from hypothesis import strategies as st
from ruamel.yaml import YAML
from torch import Tensor

from pipeline.losses import catalogue
from pipeline.losses.base import Loss, Task
from pipeline.losses.catalogue import LossParams
from tests.conftest import PARAMS

SHIPPED: dict[str, dict[str, Any]] = YAML(typ="safe", pure=True).load(PARAMS.read_text("utf-8"))[
    "train_teacher"
]["losses"]
NAMES = list(catalogue.LOSSES)
EPOCHS = 8
# A new loss needs only an entry in BY_HAND of test_losses.py; these have more tests.
PAPERS = [
    "bce",
    "iun",
    "an",
    "dw",
    "wan",
    "l1r",
    "l2r",
    "ls",
    "n_ls",
    "epr",
    "role",
    "em",
    "entmin",
    "em_apl",
    "focal",
    "asl",
    "hill",
    "splc",
    "ll_r",
    "ll_ct",
    "ll_cp",
    "gr",
    "crisp",
    "plc",
]
every_loss = pytest.mark.parametrize("name", NAMES)


def shipped(name: str, targets: Tensor, epoch: int = 1, **task: Any) -> Loss:
    """Build a loss with the shipped settings, for a training of 8 epochs."""
    params = LossParams.model_validate({"loss": name, "losses": SHIPPED})
    loss = catalogue.build(params, Task(targets, **{"epochs": EPOCHS, **task}))
    loss.epoch = epoch
    return loss


def value_and_gradient(
    loss: Loss, logits: Tensor, targets: Tensor, rows: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return the loss of a batch and its gradient; `rows` None means the first rows."""
    logits = logits.detach().clone().requires_grad_()
    value = loss(logits, targets, torch.arange(len(logits)) if rows is None else rows)
    value.backward()
    assert logits.grad is not None
    return value.detach(), logits.grad


def value_of(loss: Loss, logits: Tensor, targets: Tensor) -> float:
    return value_and_gradient(loss, logits, targets)[0].item()


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Draw logits (B, C) float32 in steps of 1/64, and targets (B, C) int8 of 1, 0 and -1."""
    rows, classes = draw(st.integers(1, 4)), draw(st.integers(2, 5))
    size = rows * classes
    steps = draw(st.lists(st.integers(-768, 768), min_size=size, max_size=size))
    targets = draw(st.lists(st.sampled_from([1, 0, -1]), min_size=size, max_size=size))
    shape = (rows, classes)
    logits = torch.tensor(steps).reshape(shape) / 64
    return logits, torch.tensor(targets, dtype=torch.int8).reshape(shape)
