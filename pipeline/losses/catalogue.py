"""The losses of teachers and of students by name, with their settings.

The settings of a loss are the arguments of its constructor besides the task. Their names, types
and bounds define its section of params.yaml.
"""

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, get_type_hints

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
    student,
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


def _sections(name: str, key: str, losses: Mapping[str, type[Loss]]) -> type[Params]:
    """Return the class of a section with a section for each loss."""
    fields: dict[str, Any] = {
        name: (settings_of(loss, complete=False) | None, None) for name, loss in losses.items()
    }
    doc = f"`{key}`: a section per loss; those not in use may be left out."
    return create_model(name, __base__=Params, __doc__=doc, **fields)


if TYPE_CHECKING:
    LossesParams = Params
    StudentLossesParams = Params
else:
    LossesParams = _sections("LossesParams", "train_teacher.losses", LOSSES)
    StudentLossesParams = _sections("StudentLossesParams", "train_student.losses", student.LOSSES)


class LossParams(Params):
    """The keys of `train_teacher` that choose the loss.

    Attributes:
        catalogue: the losses to choose from.
    """

    catalogue: ClassVar[Mapping[str, type[Loss]]] = LOSSES

    loss: str
    losses: LossesParams

    @field_validator("loss")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in cls.catalogue:
            raise ValueError(f"is no loss; should be one of {', '.join(cls.catalogue)}")
        return name

    @field_validator("losses")
    @classmethod
    def _chosen_is_complete(cls, losses: LossesParams, info: ValidationInfo) -> LossesParams:
        name = info.data.get("loss")
        kind = cls.catalogue.get(str(name))
        needed = {} if kind is None else settings_of(kind).model_fields
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
        others = set(cls.catalogue) - {str(values.get("loss"))}
        return super().unused(values) | {f"losses.{name}" for name in others}


class StudentLossParams(LossParams):
    """The keys of `train_student` that choose the loss."""

    catalogue: ClassVar[Mapping[str, type[Loss]]] = student.LOSSES

    losses: StudentLossesParams


def build(params: LossParams, task: Task) -> Loss:
    """Return the loss that params choose, with its settings.

    Raises:
        InputError: its settings do not fit the task.
    """
    kind = params.catalogue[params.loss]
    settings = getattr(params.losses, params.loss, None)
    needed = settings_of(kind).model_fields
    given = {f"{name}_" if name == "lambda" else name: getattr(settings, name) for name in needed}
    return kind(task, **given)
