"""The losses of teachers by name, with their settings."""

from collections.abc import Callable
from typing import Literal

from pydantic import Field

from pipeline.losses.form import Loss
from pipeline.losses.teacher import AN, BCE, EM, WAN
from pipeline.params import Params

LossName = Literal["bce", "an", "wan", "em"]


class WANParams(Params):
    """`losses.wan`: gamma, the weight of unknown labels; null for 1/(C - 1)."""

    gamma: float | None = Field(ge=0)


class EMParams(Params):
    """`losses.em`: alpha, the weight of the entropy."""

    alpha: float = Field(ge=0)


class LossesParams(Params):
    """`train_teacher.losses`: the settings of every loss that has any."""

    wan: WANParams
    em: EMParams


LOSSES: dict[LossName, Callable[[LossesParams, int], Loss]] = {
    "bce": lambda params, n_classes: BCE(),
    "an": lambda params, n_classes: AN(),
    "wan": lambda params, n_classes: WAN(
        1 / (n_classes - 1) if params.wan.gamma is None else params.wan.gamma
    ),
    "em": lambda params, n_classes: EM(params.em.alpha),
}


def build(name: LossName, params: LossesParams, n_classes: int) -> Loss:
    """Return the loss of that name with its settings from params."""
    return LOSSES[name](params, n_classes)
