"""The teachers' mean scores; cross-fitted models score only images that they did not learn from."""

from pathlib import Path

import numpy as np

from pipeline.artifacts.run import MODEL
from pipeline.artifacts.tables import Index, check_made_from
from pipeline.core.arrays import Probs
from pipeline.core.errors import InputError
from pipeline.inference.scorer import Scorer
from pipeline.models import model_file
from pipeline.models.classifier import Classifier

SPLITS = ("train", "val")


def score(scorer: Scorer, folder: Path, index: Index) -> dict[str, Probs]:
    """Return the probabilities of the "train" and the "val" images.

    With cross-fitting only the models with a held-out fold score. Each scores the training images
    of its fold, on which it was not trained, and all val images. Without cross-fitting every model
    scores all images. The result is the mean over the models that score an image.

    Args:
        scorer: scores an image with a model.
        folder: the folder that `teachers.write` wrote.
        index: the index.

    Returns:
        (N_train, C) and (N_val, C), in the order of the index's rows.

    Raises:
        InputError: a model is missing, damaged or made for other data; images cannot be read.
    """
    n, models = len(index.rows("train")), load(folder, index)
    sums = np.zeros((n, len(index.classes)))
    counts = np.zeros((n, 1))
    for model in models:
        scorer.fabric.to_device(model)
        fold = model.spec.held_out
        rows = np.arange(n) if fold is None else fold.rows()
        sums[rows] += scorer.score(model, index, "train", rows)
        counts[rows] += 1
    missed = int((counts == 0).sum())
    if missed:
        raise InputError(
            f"{folder}: {missed} of {n} training images are in the fold of no model; should hold "
            f"a model per fold: run train_teacher again"
        )
    train = (sums / counts).astype(np.float32)
    return {"train": train, "val": mean_score(scorer, models, index, "val")}


def mean_score(scorer: Scorer, models: list[Classifier], index: Index, split: str) -> Probs:
    """Return the mean probabilities of the models for the images of a split, (N, C)."""
    total = np.zeros((len(index.rows(split)), len(index.classes)))
    for model in models:
        scorer.fabric.to_device(model)
        total += scorer.score(model, index, split)
    return (total / len(models)).astype(np.float32)


def load(folder: Path, index: Index) -> list[Classifier]:
    """Return the models that score: those with a held-out fold if there are any, else all.

    Raises:
        InputError: a model is missing, damaged or made for other data.
    """
    first = folder / MODEL
    others = sorted(set(folder.glob("*.safetensors")) - {first})
    models = {path: model_file.load(path, index.classes, "teacher") for path in [first, *others]}
    n = len(index.rows("train"))
    for path, model in models.items():
        fold = model.spec.held_out
        if fold is not None and fold.images != n:
            raise InputError(
                f"{path}: left a fold of {fold.images} training images out, and the index has "
                f"{n}; it was made for other data: run `dvc repro`"
            )
    for path, model in models.items():
        check_made_from(path, model.spec.made_from, index=index.digest())
    left_out = [model for model in models.values() if model.spec.held_out is not None]
    return left_out or list(models.values())
