"""A loss for the user's own training loop: no params.yaml, the papers' values as defaults."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.core.errors import InputError, excerpt
from pipeline.core.params import check_section
from pipeline.losses.assume_negative import IUN
from pipeline.losses.base import Loss, Task
from pipeline.losses.catalogue import LOSSES, LossParams, settings_of
from pipeline.losses.catalogue import build as build_chosen
from pipeline.losses.crisp import CRISP

# The values of params.yaml, which has a comment on each; a test compares the two.
DEFAULTS: dict[str, dict[str, Any]] = {
    "dw": {"gamma": 0.5},
    "wan": {"gamma": None},
    "l1r": {"lambda": 1e-5},
    "l2r": {"lambda": 1e-5},
    "ls": {"epsilon": 0.1},
    "n_ls": {"epsilon": 0.1},
    "epr": {"expected_positives": None},
    "role": {"expected_positives": None, "lr_multiplier": 10.0},
    "em": {"alpha": 0.1},
    "entmin": {"alpha": 0.1},
    "em_apl": {"alpha": 0.1, "beta": 0.2, "theta": 0.9, "warmup_epochs": 5},
    "focal": {"gamma": 2.0},
    "asl": {"gamma_pos": 1.0, "gamma_neg": 4.0, "margin": 0.05, "focusing_gradient": False},
    "hill": {"lambda": 1.5, "margin": 1.0, "gamma": 2.0},
    "splc": {"tau": 0.6, "margin": 1.0, "gamma": 2.0},
    "ll_r": {"delta": 0.2},
    "ll_ct": {"delta": 0.2},
    "ll_cp": {"delta": 0.1},
    "gr": {
        "w": [0.0, 2.0],
        "b": [-2.0, -2.0],
        "mu": [0.5, 0.8],
        "sigma": [2.0, 0.5],
        "q2": 0.01,
        "q3": 1.0,
    },
    "crisp": {"warmup_epochs": 2, "delta": 0.01, "tau": 0.01},
    "plc": {"tau": 0.6, "lambda": 1.0, "cutout": 0.5, "rand_augment": 2, "rand_magnitude": 9},
}


def build(
    name: str,
    num_classes: int,
    epochs: int,
    targets: Tensor | np.ndarray | None = None,
    seed: int = 0,
    **settings: Any,
) -> Loss:
    """Return a loss by its name, for the user's own training loop.

    The loop calls `loss(logits, targets, rows)` for the mean over a batch, and sets `loss.epoch`
    to 1, 2, ... `Loss` defines the other methods that a loop may have to call; docs/api.md lists
    the losses that need them.

    Args:
        name: a name of docs/losses.md, such as "gr".
        num_classes: C, at least 2.
        epochs: the number of epochs; schedules run from the first to the last.
        targets: (N, C), the observed labels of the training images: 1 positive, -1 negative,
            0 unknown. Required by em_apl, role and ll_cp, which store state of every image, and
            by iun and crisp.
        seed: seeds the random numbers that the loss draws (role).
        settings: settings of the loss, as in params.yaml, that replace the defaults; `lambda` is
            written `lambda_`. epr and role require `expected_positives`, the mean number of
            positives of an image.

    Raises:
        InputError: there is no such loss or setting, a value is out of range, or a required
            argument is missing.
    """
    if name not in LOSSES:
        known = ", ".join(LOSSES)
        raise InputError(f"losses.build: name = {excerpt(name)}: should be one of {known}")
    for key, value, least in (("num_classes", num_classes, 2), ("epochs", epochs, 1)):
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(
                f"losses.build: {key} = {excerpt(value)}: should be a whole number >= {least}"
            )
    given = {"lambda" if key == "lambda_" else key: value for key, value in settings.items()}
    merged = DEFAULTS.get(name, {}) | given
    checked = check_section("losses.build", name, {name: merged}, settings_of(LOSSES[name]))
    if merged.get("expected_positives", 1) is None:
        raise InputError(
            f"losses.build: {name}.expected_positives = None: should be a number > 0, the mean "
            f"number of positives of an image"
        )
    chosen = LossParams.model_validate({"loss": name, "losses": {name: checked.model_dump()}})
    return build_chosen(chosen, Task(_observed(name, num_classes, targets), epochs, seed=seed))


def _observed(name: str, num_classes: int, targets: Tensor | np.ndarray | None) -> Tensor:
    """Return the targets as a tensor, (N, C); (0, C) if none are given."""
    if targets is None:
        if LOSSES[name].per_image or issubclass(LOSSES[name], IUN | CRISP):
            raise InputError(
                f"losses.build: targets = None: should be the observed labels of the training "
                f"images, (N, {num_classes}), which {name} needs"
            )
        return torch.zeros(0, num_classes)
    observed = torch.as_tensor(targets)
    if observed.dim() != 2 or observed.shape[1] != num_classes:
        raise InputError(
            f"losses.build: targets of shape {tuple(observed.shape)}: should be "
            f"(N, {num_classes}), a row for each training image"
        )
    if not ((observed == 1) | (observed == 0) | (observed == -1)).all():
        raise InputError("losses.build: targets: should be 1, 0 or -1")
    return observed
