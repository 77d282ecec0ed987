"""The training data of a model, and of each phase: images, or features for the head."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from pipeline.artifacts.tables import Index
from pipeline.core.arrays import Inputs, RowNumbers, Selection
from pipeline.images import decode_cache
from pipeline.inference import features
from pipeline.models.classifier import Classifier
from pipeline.training.fit import Examples
from pipeline.training.phases import Phase, TrainParams
from pipeline.training.standardise import Standardised


@dataclass(frozen=True)
class TrainingData:
    """The training data of a model.

    Attributes:
        index: the index.
        targets: (N_train, C), or (N_train, C, 2), in the order of the index's train rows; the
            loss gets them.
        rows: the positions, among the train rows, of those to learn from; None: all.
    """

    index: Index
    targets: np.ndarray
    rows: RowNumbers | None = None

    @cached_property
    def learned(self) -> np.ndarray:
        """The targets of the rows to learn from."""
        return self.targets if self.rows is None else self.targets[self.rows]

    def select(self, inputs: np.ndarray) -> Inputs:
        """Return the rows to learn from, of images or features of all train rows."""
        return inputs if self.rows is None else Selection(inputs, self.rows)


def examples_of(
    fabric: Fabric,
    params: TrainParams,
    phase: Phase,
    model: Classifier,
    data: TrainingData,
    keys: list[str],
) -> Examples:
    """Load the data of a phase: images, or features for the head.

    `keys` are the keys of the train and of the val images in the decode cache.
    """
    index, size = data.index, params.model.input_size
    splits = [index.rows("train"), index.rows("val")]
    inputs: list[np.ndarray] = [
        decode_cache.load(index, part, size, key) for part, key in zip(splits, keys, strict=True)
    ]
    mirrored = None
    if phase == "linear":
        images, batch_size = inputs[0], 4 * params.fit.batch_size
        if params.linear.mirror:
            found = features.load(fabric, model, images, keys[0], batch_size, mirror=True)
            mirrored = data.select(found)
        inputs = [
            features.load(fabric, model, images, key, batch_size)
            for images, key in zip(inputs, keys, strict=True)
        ]
    on_device = fabric.to_device(torch.from_numpy(data.learned))
    return Examples(data.select(inputs[0]), on_device, inputs[1], index.labels[splits[1]], mirrored)


def standardised_head(model: Classifier, examples: Examples) -> Standardised:
    """Return the head on standardised features of the training images."""
    assert isinstance(model.head, nn.Linear)
    views = [examples.inputs, examples.mirrored]
    return Standardised(model.head, [view for view in views if view is not None])
