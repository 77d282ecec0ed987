"""Generations of students: each labels the training images for the next."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from pipeline.artifacts import run, tables
from pipeline.artifacts.tables import Index, PseudoLabels, Scores
from pipeline.core import files
from pipeline.inference.score import choose_device
from pipeline.inference.scorer import Scorer
from pipeline.losses import student
from pipeline.losses.catalogue import StudentLossParams
from pipeline.models.classifier import Classifier
from pipeline.pseudo_labels.rules import summary
from pipeline.training.outputs import MAIN, writing
from pipeline.training.train import MakeLoss, Trained, TrainingData, TrainParams, train

log = logging.getLogger(__name__)

# Labels the training images, given the scores of the train and of the val images.
Relabel = Callable[[Scores, Scores], PseudoLabels]


class StudentParams(TrainParams, StudentLossParams):
    """`train_student`."""

    generations: int = Field(ge=1)
    prior_weight: float = Field(ge=0)

    @field_validator("prior_weight")
    @classmethod
    def _fits_the_loss(cls, weight: float, info: ValidationInfo) -> float:
        if weight and info.data.get("loss", "bce") != "bce":
            raise ValueError(f"should be 0, since loss is {info.data['loss']}")
        return weight


@dataclass(frozen=True)
class Generation:
    """A student and its training labels."""

    trained: Trained
    pseudo: PseudoLabels


def train_all(
    section: str,
    params: StudentParams,
    index: Index,
    pseudo: PseudoLabels,
    relabel: Relabel | None,
    make_loss: MakeLoss,
    live: Path | None = None,
) -> list[Generation]:
    """Train a student; it scores and labels the images for the next student, and so on.

    Each student is trained from the start, with the seed of the previous one plus 1. Finished
    students keep their checkpoints, so a killed run resumes with its current generation. `write`
    removes the checkpoints.

    Args:
        section: the section of params.yaml, for messages.
        params: the settings, and the number of generations.
        index: the index.
        pseudo: the labels of the first student.
        relabel: makes labels from scores; None if there is one generation.
        make_loss: as in `train`.
        live: as in `train`; each student replaces the curves of the one before.

    Raises:
        InputError: as in `train`, or as in the rule.
    """
    # All generations score images with or without the flip, as the first labels did.
    flip = pseudo.rule is not None and pseudo.rule.flip
    generations: list[Generation] = []
    observed = index.targets[index.rows("train")]
    for number in range(1, params.generations + 1):
        own_params = params.model_copy(update={"seed": params.seed + number - 1, "generations": 1})
        targets = student.LOSSES[params.loss].targets_of(pseudo, observed)
        data = TrainingData(index, targets)
        trained = train(section, own_params, data, make_loss, True, live)
        trained.describe("student", tables.made_from(pseudo_labels=pseudo.digest()))
        generations.append(Generation(trained, pseudo))
        if params.generations > 1 and trained.first:
            positives = summary(pseudo)["positives_per_image"]
            log.info(
                "generation %d/%d: %.2f positives an image, best val mAP %.2f",
                number,
                params.generations,
                positives,
                trained.best.val_mAP,
            )
        if number < params.generations:
            assert relabel is not None
            scorer = Scorer(choose_device("32"), 4 * params.fit.batch_size, flip)
            pseudo = relabel(*_scores(scorer, trained.model, index))
    return generations


def _scores(scorer: Scorer, model: Classifier, index: Index) -> tuple[Scores, Scores]:
    """Return a student's scores of the train and of the val images."""
    scorer.fabric.to_device(model)
    scores = []
    for split in ("train", "val"):
        probs = scorer.score(model, index, split)
        about = tables.FLIPPED if scorer.flip else {}
        scores.append(Scores(index.ids(index.rows(split)), probs, about))
    model.cpu()  # frees memory of the device for the next student
    return scores[0], scores[1]


def write(
    models: Path, histories: Path, generations: list[Generation], classes: tuple[str, ...]
) -> None:
    """Write the students, their training labels and curves, and a table of the generations.

    `run.generation` gives the names of the files. The labels of each generation after the first
    are written in the format of pseudo_labels.parquet. `outputs.writing` writes the rest.
    """
    names = [run.generation(number) for number in range(1, len(generations))]
    trained = [generation.trained for generation in generations]
    students = dict(zip([*names, MAIN], trained, strict=True))
    with writing(models, histories, students) as (models_folder, histories_folder):
        for number, generation in enumerate(generations[1:], start=2):
            path = models_folder / f"{run.generation(number)}.parquet"
            tables.write_pseudo_labels(path, generation.pseudo, classes)
        files.write_csv(histories_folder / "generations.csv", _table(generations))


def _table(generations: list[Generation]) -> dict[str, list[object]]:
    """Return, as the columns of a table, label statistics and best epoch of each generation."""
    stats = [summary(generation.pseudo) for generation in generations]
    best = [generation.trained.best for generation in generations]
    return {
        "generation": list(range(1, len(generations) + 1)),
        "positives_per_image": [round(each["positives_per_image"], 4) for each in stats],
        "added_per_image": [round(each["added_per_image"], 4) for each in stats],
        "best_epoch": [epoch.epoch for epoch in best],
        "val_mAP": [round(epoch.val_mAP, 4) for epoch in best],
    }
