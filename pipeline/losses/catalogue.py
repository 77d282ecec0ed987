"""The losses of teachers by name, with their settings.

The settings of a loss are the arguments of its constructor besides the task. Their names, types
and bounds define its section of params.yaml.
"""

import inspect
from typing import TYPE_CHECKING, Any, get_type_hints

from pydantic import ValidationError, ValidationInfo, create_model, field_validator
from pydantic_core import InitErrorDetails

from pipeline.core.params import Params, Values
from pipeline.losses import (
    assume_negative,
    consistency,
    crisp,
    entropy,
    expected_positives,
    focal,
    generalized_robust,
    large_loss,
)
from pipeline.losses.base import Loss, Task

LOSSES: dict[str, type[Loss]] = {
    **assume_negative.LOSSES,
    **expected_positives.LOSSES,
    **entropy.LOSSES,
    **focal.LOSSES,
    **large_loss.LOSSES,
    **generalized_robust.LOSSES,
    **crisp.LOSSES,
    **consistency.LOSSES,
}


def settings_of(loss: type[Loss], complete: bool = True) -> type[Params]:
    """Return the class of a loss's settings.

    Args:
        loss: the loss.
        complete: whether all settings are required, as for the chosen loss.
    """
    hints = get_type_hints(loss.__init__, include_extras=True)
    names = [name for name in inspect.signature(loss).parameters if name != "task"]
    default = ... if complete else None
    # `lambda` is a keyword of Python, so the argument is lambda_.
    fields: dict[str, Any] = {name.rstrip("_"): (hints[name], default) for name in names}
    return create_model(f"{loss.__name__}Params", __base__=Params, **fields)


if TYPE_CHECKING:
    LossesParams = Params
else:
    LossesParams = create_model(
        "LossesParams",
        __base__=Params,
        __doc__="`train_teacher.losses`: a section per loss; those not in use may be left out.",
        **{name: (settings_of(loss, complete=False) | None, None) for name, loss in LOSSES.items()},
    )


class LossParams(Params):
    """The keys of `train_teacher` that choose the loss."""

    loss: str
    losses: LossesParams

    @field_validator("loss")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in LOSSES:
            raise ValueError(f"is no loss; should be one of {', '.join(LOSSES)}")
        return name

    @field_validator("losses")
    @classmethod
    def _chosen_is_complete(cls, losses: LossesParams, info: ValidationInfo) -> LossesParams:
        name = info.data.get("loss")
        needed = settings_of(LOSSES[name]).model_fields if name in LOSSES else {}
        given = getattr(losses, str(name), None)
        missing = [
            InitErrorDetails(type="missing", loc=(str(name), key), input=given)
            for key in needed
            if given is None or key not in given.model_fields_set
        ]
        if missing:
            raise ValidationError.from_exception_data("losses", missing)
        return losses

    @classmethod
    def unused(cls, values: Values) -> set[str]:
        """Return the settings of losses that are not chosen."""
        others = set(LOSSES) - {str(values.get("loss"))}
        return super().unused(values) | {f"losses.{name}" for name in others}


def build(params: LossParams, task: Task) -> Loss:
    """Return the loss that params choose, with its settings.

    Raises:
        InputError: its settings do not fit the task.
    """
    kind = LOSSES[params.loss]
    settings = getattr(params.losses, params.loss, None)
    needed = settings_of(kind).model_fields
    given = {f"{name}_" if name == "lambda" else name: getattr(settings, name) for name in needed}
    return kind(task, **given)
