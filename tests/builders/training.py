"""Inputs of test trainings: a small index with images, params, and losses that count steps."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.artifacts import tables
from pipeline.artifacts.tables import Index
from pipeline.images import reading
from pipeline.losses.assume_negative import AN
from pipeline.losses.base import Loss, Task
from pipeline.training.train import MakeLoss, Trained, TrainingData, TrainParams, train

CLASSES = ("a", "b", "c", "d")
SIZE = 16
AUGMENT_OFF: dict[str, Any] = {
    "flip": 0.0, "shift": 0.0, "zoom": 0.0, "rand_augment": 0, "rand_magnitude": 9, "cutout": 0.0,
    "mixup": 0.0, "mixup_labels": "mean",
}  # fmt: skip


def make_index(n_train: int = 24, n_val: int = 12) -> Index:
    """Make an index of grey images with a bright patch in a corner per class.

    One positive of each train image is observed.
    """
    rng = np.random.RandomState(0)
    n = n_train + n_val
    labels = rng.rand(n, 4) < 0.4
    labels[np.arange(n), rng.randint(4, size=n)] = True
    targets = np.zeros((n, 4), np.int8)
    images = []
    for row, present in enumerate(labels):
        image = rng.randint(90, 110, (SIZE, SIZE, 3)).astype(np.uint8)
        for column in np.flatnonzero(present):
            top, left = 8 * (column // 2), 8 * (column % 2)
            image[top : top + 8, left : left + 8] += np.uint8([140, 60, 20])[
                np.roll([0, 1, 2], column)
            ]
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        images.append(buffer.getvalue())
        if row < n_train:
            targets[row, rng.choice(np.flatnonzero(present))] = 1
    image_ids = [f"i{row:03d}" for row in range(n)]
    splits = np.array(["train"] * n_train + ["val"] * n_val)
    sizes, sha256 = reading.fingerprints(images)
    tables.write_images(Path("images.parquet"), image_ids, images)
    val_labels = labels & (splits == "val")[:, None]
    return Index(CLASSES, image_ids, [None] * n, splits, targets, val_labels, sizes, sha256)


def make_params(
    seed: int = 0,
    model: dict[str, Any] | None = None,
    augment: dict[str, Any] | None = None,
    mode: str = "end_to_end",
    linear: dict[str, Any] | None = None,
    **settings: Any,
) -> TrainParams:
    defaults = {
        "epochs": 2, "batch_size": 8, "optimizer": "adamw", "lr": 2e-3, "head_lr_multiplier": 1.0,
        "momentum": 0.9, "weight_decay": 0.01, "schedule": "one_cycle", "early_stop_drop": None,
        "keep": "best", "ema": None, "precision": "32",
    }  # fmt: skip
    backbone = {
        "backbone": "small_cnn", "weights": None, "input_size": SIZE, "freeze_batch_norm": False,
        "boost_lu": None,
    }  # fmt: skip
    return TrainParams.model_validate(
        {
            "seed": seed,
            "model": backbone | (model or {}),
            "mode": mode,
            "linear": {
                "epochs": 3,
                "batch_size": 6,
                "lr": 1e-2,
                "standardise": False,
                "mirror": False,
            }
            | (linear or {}),
            "fit": defaults | settings,
            "augment": AUGMENT_OFF | {"flip": 0.5, "shift": 0.1, "zoom": 0.1} | (augment or {}),
        }
    )


def run(
    index: Index, params: TrainParams, make_loss: MakeLoss = AN, name: str = "train_x"
) -> Trained:
    targets = index.targets[index.rows("train")]
    trained = train(name, params, TrainingData(index, targets), make_loss)
    return trained


def weights(trained: Trained) -> dict[str, Tensor]:
    return {key: value.cpu() for key, value in trained.model.state_dict().items()}


def assert_equal_weights(one: Trained, other: Trained) -> None:
    """Check that the weights are equal bit for bit."""
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        assert torch.equal(value, theirs[key]), key


class Killed(Exception):  # noqa: N818
    """Simulates the end of a process."""


class Counting:
    """Makes losses that count their steps together and can end the run at one step."""

    def __init__(self, make_loss: MakeLoss = AN, killed_at: int | None = None):
        self.make_loss = make_loss
        self.steps = 0
        self.killed_at = killed_at

    def __call__(self, task: Task) -> Loss:
        """Make a loss that counts its steps."""
        loss = self.make_loss(task)
        loss.register_forward_pre_hook(self.count)
        return loss

    def count(self, loss: torch.nn.Module, args: Any) -> None:
        """Count a step; raise at step `killed_at`."""
        self.steps += 1
        if self.steps == self.killed_at:
            raise Killed


def checkpoints() -> list[str]:
    return [path.name for path in Path(".cache/resume").glob("*.ckpt")]
