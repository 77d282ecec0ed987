"""The params of a training, and its phases."""

from typing import Literal

from pydantic import Field

from pipeline.core.params import Params, Values
from pipeline.models.classifier import ModelParams
from pipeline.training import optimiser
from pipeline.training.augment import AugmentParams
from pipeline.training.optimiser import FitParams, LinearParams

Mode = Literal["end_to_end", "linear", "linear_init"]
Phase = Literal["linear", "fit"]

# A phase has the name of the section with its settings.
PHASES: dict[Mode, tuple[Phase, ...]] = {
    "end_to_end": ("fit",),
    "linear": ("linear",),
    "linear_init": ("linear", "fit"),
}

# Keys of `fit` that `linear` replaces where the head alone is trained. (batch_size is not among
# them: features are computed in batches of fit's size.)
REPLACED_IN_LINEAR = ("fit.epochs", "fit.lr", "fit.head_lr_multiplier")


class SharedParams(Params):
    """`train`: the defaults of train_teacher and train_student."""

    model: ModelParams
    mode: Mode
    linear: LinearParams
    fit: FitParams
    augment: AugmentParams

    @classmethod
    def unused(cls, values: Values) -> set[str]:
        """Return the settings of phases that the mode does not have."""
        unused = {"end_to_end": {"linear"}, "linear": {"augment", *REPLACED_IN_LINEAR}}
        return super().unused(values) | unused.get(str(values.get("mode")), set())


class TrainParams(SharedParams):
    """The keys that the sections train_teacher and train_student share."""

    shared = ("train", SharedParams)

    seed: int = Field(ge=0, lt=2**32)

    def of_phase(self, phase: Phase) -> FitParams:
        """Return the settings of the optimiser in a phase."""
        return optimiser.of_linear(self.linear, self.fit) if phase == "linear" else self.fit
