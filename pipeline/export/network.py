"""The network that other programs run: images as they are decoded in, scores out."""

import json
from collections.abc import Callable
from dataclasses import asdict
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.artifacts.spec import Spec
from pipeline.core.arrays import Images, Probs
from pipeline.core.errors import InputError
from pipeline.inference.score import to_float
from pipeline.models.classifier import Classifier

INPUT, OUTPUT = "images", "scores"
# The most that a score of another library may differ from ours. Sums in another order change a
# score by some 1e-6.
MOST_DIFFERENT = 1e-4
BATCH = 16  # images at a time, in checks

Run = Callable[[Images], Probs]


class Served(nn.Module):
    """A classifier with all that belongs to it besides the resizing."""

    def __init__(self, model: Classifier):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return scores (B, C), after the sigmoid and not calibrated.

        Args:
            images: (B, H, W, 3) uint8, RGB, H and W the input size.
        """
        return torch.sigmoid(self.model(to_float(images)))


def metadata(spec: Spec) -> dict[str, str]:
    """Return the description of a served network, names to texts; values are JSON."""
    decisions = spec.decisions
    described = {
        "backbone": spec.backbone,
        "classes": spec.classes,
        "input": f"{INPUT}: uint8, batch x {spec.input_size} x {spec.input_size} x 3",
        "input_size": spec.input_size,
        "resize": asdict(spec.resize),
        "output": f"{OUTPUT}: float32, batch x classes, after the sigmoid, not calibrated",
        # A class is a label of an image if its score is above the threshold.
        "thresholds": decisions and decisions.thresholds,
        "at_precision": decisions and [asdict(point) for point in decisions.at_precision],
        # Pairs a, b: sigmoid(a logit(score) + b) is the probability of the class.
        "calibration": decisions and decisions.calibration,
    }
    return {
        f"spml.{name}": json.dumps(value, ensure_ascii=False) for name, value in described.items()
    }


@torch.inference_mode()
def scores(model: Classifier, images: Images) -> Probs:
    """Return a model's scores of (N, H, W, 3) uint8 images, (N, C) float32."""
    served = Served(model).eval()
    return in_batches(lambda batch: served(torch.from_numpy(batch)).numpy(), images)


def in_batches(run: Run, images: Images) -> Probs:
    """Return scores in batches of several sizes, which shows that any number of images works."""
    starts = [0, 1, *range(1 + BATCH, len(images), BATCH), len(images)]
    return np.concatenate([run(images[a:b]) for a, b in pairwise(starts) if b > a])


def check_same(model: Classifier, by: str, ours: Probs, theirs: Probs) -> float:
    """Return the largest difference between our scores and another library's.

    Args:
        model: the exported model.
        by: the library.
        ours: (N, C) scores.
        theirs: (N, C) scores of the same images.

    Raises:
        InputError: it is above MOST_DIFFERENT, or not a number.
    """
    largest = float(np.abs(ours - theirs).max())
    if not largest <= MOST_DIFFERENT:
        raise InputError(
            f"{model.source}: {by} gives scores that differ from PyTorch's by up to "
            f"{largest:.2g}, more than {MOST_DIFFERENT}; nothing was written"
        )
    return largest
