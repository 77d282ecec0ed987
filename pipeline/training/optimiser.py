"""The optimiser of a training: its settings, the learning-rate schedule, early stopping."""

from typing import Any, Literal

from pydantic import Field
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler, OneCycleLR

from pipeline.artifacts.curves import Epoch
from pipeline.core.params import Params, Values
from pipeline.inference.score import Precision
from pipeline.losses.base import Loss


class FitParams(Params):
    """`train.fit`: the optimiser and its epochs."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    optimizer: Literal["adam", "adamw", "sgd"]
    lr: float = Field(gt=0)
    head_lr_multiplier: float = Field(gt=0)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    schedule: Literal["constant", "one_cycle", "cosine"]
    early_stop_drop: float | None = Field(ge=0)
    keep: Literal["best", "last"]
    ema: float | None = Field(gt=0, lt=1)
    precision: Precision

    @classmethod
    def unused(cls, values: Values) -> set[str]:
        """Return the settings that the optimiser does not use."""
        return set() if values.get("optimizer") == "sgd" else {"momentum"}


class LinearParams(Params):
    """`train.linear`: the settings for training the head alone."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    lr: float = Field(gt=0)
    standardise: bool
    mirror: bool


def of_linear(linear: LinearParams, fit: FitParams) -> FitParams:
    """Return the settings of a linear phase: those of `fit`, updated by those of `linear`."""
    own = linear.model_dump(include=set(FitParams.model_fields))
    merged = fit.model_copy(update=own | {"head_lr_multiplier": 1.0})
    merged._keys = fit._keys | linear._keys  # messages then name the keys of the linear phase
    return merged


def build(network: nn.Module, head: nn.Module, loss: Loss, params: FitParams) -> Optimizer:
    """Return the optimiser: backbone, head and loss are groups, each with its learning rate.

    Args:
        network: the network to train: the head, or a network whose last layer is the head.
        head: the last layer.
        loss: its parameters, if any, are trained, too, without weight decay.
        params: the settings.
    """
    head_ids = {id(parameter) for parameter in head.parameters()}
    groups: list[dict[str, Any]] = [
        {"params": [p for p in network.parameters() if id(p) not in head_ids], "lr": params.lr},
        {"params": list(head.parameters()), "lr": params.lr * params.head_lr_multiplier},
        {
            "params": list(loss.parameters()),
            "lr": params.lr * loss.lr_multiplier,
            "weight_decay": 0.0,
        },
    ]
    groups = [group for group in groups if group["params"]]
    if params.optimizer == "sgd":
        return SGD(groups, momentum=params.momentum, weight_decay=params.weight_decay)
    kind = Adam if params.optimizer == "adam" else AdamW
    return kind(groups, weight_decay=params.weight_decay)


def schedule(optimizer: Optimizer, params: FitParams, n_batches: int) -> LRScheduler:
    """Return the learning-rate schedule. It steps after each of the n_batches of an epoch."""
    steps = params.epochs * n_batches
    if params.schedule == "one_cycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        # cycle_momentum=False: the momentum stays at its setting.
        return OneCycleLR(optimizer, peaks, total_steps=max(steps, 2), cycle_momentum=False)
    if params.schedule == "cosine":
        return CosineAnnealingLR(optimizer, T_max=steps)
    return LambdaLR(optimizer, lambda step: 1.0)


def kept(history: list[Epoch], keep: Literal["best", "last"]) -> Epoch:
    """Return the epoch whose model is kept: the first with the highest val mAP, or the last."""
    return history[-1] if keep == "last" else max(history, key=lambda epoch: epoch.val_mAP)


def should_stop(history: list[Epoch], drop: float | None) -> bool:
    """Return whether the val mAP of the last epoch fell too far below the best one before it.

    With a drop of 0, training stops at the first epoch that does not improve (Zhou 2022). With a
    drop of 2 or 3, it stops at the first epoch more than that many points of mAP below the best
    (Chen 2024, Kim 2022).
    """
    if drop is None or len(history) < 2:
        return False
    fall = max(epoch.val_mAP for epoch in history[:-1]) - history[-1].val_mAP
    return fall >= 0 if drop == 0 else fall > drop
