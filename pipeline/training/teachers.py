"""Teachers: ensemble members with different seeds, and models cross-fitted over folds."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import Field

from pipeline.artifacts.cross_fitting import Fold
from pipeline.artifacts.run import NO_TEACHER
from pipeline.artifacts.tables import made_from
from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.core.params import Values
from pipeline.losses.catalogue import LossParams
from pipeline.training.outputs import writing
from pipeline.training.train import MakeLoss, Trained, TrainingData, TrainParams, train

log = logging.getLogger(__name__)


class TeachersParams(TrainParams):
    """The keys of `train_teacher` except those of the loss."""

    members: int = Field(ge=1)
    folds: int = Field(ge=1)


class TrainTeacherParams(TeachersParams, LossParams):
    """`train_teacher`.

    Attributes:
        source: "images": a teacher is trained. "scores": another model's scores take its place
            (`score.outside`), and nothing is trained.
    """

    source: Literal["images", "scores"]

    @classmethod
    def unused(cls, values: Values) -> set[str]:
        """Return all other keys if no teacher is trained."""
        if values.get("source") == "scores":
            return {*cls.model_fields} - {"source"}
        return super().unused(values)


@dataclass(frozen=True)
class Teacher:
    """One of the models: its file name, its seed, and the fold held out from its training."""

    name: str
    seed: int
    fold: Fold | None


def plan(params: TeachersParams, n: int) -> list[Teacher]:
    """Return the models to train on n images; the first is the evaluated teacher.

    The first model is trained on all images. Further members have the seeds that follow. With
    folds, each member is one model per fold, trained without this fold; the member's seed
    determines the folds. The first model is trained in addition.
    """
    teachers = [Teacher("model", params.seed, None)]
    for member in range(1, params.members + 1):
        seed, name = params.seed + member - 1, f"member-{member}"
        if params.folds > 1:
            prefix = "" if member == 1 else f"{name}-"
            for number in range(1, params.folds + 1):
                fold = Fold(number, params.folds, n, seed)
                teachers.append(Teacher(f"{prefix}fold-{number}-of-{params.folds}", seed, fold))
        elif member > 1:
            teachers.append(Teacher(name, seed, None))
    return teachers


def train_all(
    section: str,
    params: TeachersParams,
    data: TrainingData,
    make_loss: MakeLoss,
    live: Path | None = None,
) -> dict[str, Trained]:
    """Train every model of the plan, one after another, and return them by name.

    Finished models keep their checkpoints, so a killed run resumes with its current model.
    `write` removes the checkpoints.

    Args:
        section: the section of params.yaml, for messages.
        params: the settings, with the numbers of members and folds.
        data: the training data of all models.
        make_loss: as in `train`.
        live: as in `train`; each model replaces the curves of the one before.

    Returns:
        The models, in the order of the plan; none in the helper processes of a run on several
        devices.

    Raises:
        InputError: there are more folds than images; or as in `train`.
    """
    n = len(data.targets)
    if params.folds > n:
        raise InputError(
            f"{section}.folds = {params.folds}: there are {n} training images; should "
            f"be at most as many"
        )
    trainings: dict[str, Trained] = {}
    teachers = plan(params, n)
    for number, teacher in enumerate(teachers, start=1):
        # A model and its checkpoint do not depend on the number of other models.
        own_params = params.model_copy(update={"seed": teacher.seed, "members": 1, "folds": 1})
        rows = None if teacher.fold is None else teacher.fold.others()
        trained = train(section, own_params, replace(data, rows=rows), make_loss, True, live)
        if not trained.first:
            continue
        origin = made_from(index=data.index.digest())
        trained.describe(role="teacher", held_out=teacher.fold, made_from=origin)
        trained.model.cpu()  # frees memory of the device for the next model
        trainings[teacher.name] = trained
        if len(teachers) > 1:
            log.info(
                "%s, %d of %d models: best epoch %d, val mAP %.2f",
                teacher.name,
                number,
                len(teachers),
                trained.best.epoch,
                trained.best.val_mAP,
            )
    return trainings


def write_none(models: Path, histories: Path) -> None:
    """Write into both folders that no teacher was trained."""
    with files.atomic_write_all(models, histories) as folders:
        for folder in folders:
            folder.mkdir()
            files.write_json(folder / NO_TEACHER, {"train_teacher.source": "scores"})


def write(models: Path, histories: Path, trainings: dict[str, Trained]) -> None:
    """Write the models and their curves, as `outputs.writing` does."""
    with writing(models, histories, trainings):
        pass
