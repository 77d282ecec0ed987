"""Decisions by scores: thresholds and a calibration per class, as a model file holds them."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import Field

from pipeline.core.arrays import BoolMatrix, Probs

Share = Annotated[float, Field(ge=0, le=1)]
Thresholds = tuple[Share | None, ...]

# Scores are moved this far into the open interval from 0 to 1, so that their logits are finite.
MARGIN = 1e-7


@dataclass(frozen=True)
class OperatingPoint:
    """The thresholds at which each class has a precision on val.

    Attributes:
        precision: the least share of true positives among the labels of a class.
        thresholds: C, the lowest with this precision; None for a class that does not reach it.
    """

    precision: Share
    thresholds: Thresholds


@dataclass(frozen=True)
class Decisions:
    """What `thresholds.choose` chose for C classes from the scores and complete labels of val.

    Attributes:
        thresholds: C, of the best F1. A class is a label of an image if its score is above.
        at_precision: thresholds of other precisions, ascending.
        calibration: C pairs a, b: sigmoid(a logit(score) + b) is the probability of the class.
        val_positives: C, the positives in val. A class with few has the values of all classes
            together, see `thresholds.choose`.
    """

    thresholds: tuple[Share, ...]
    at_precision: tuple[OperatingPoint, ...]
    calibration: tuple[tuple[float, float], ...]
    val_positives: tuple[Annotated[int, Field(ge=0)], ...]

    def __post_init__(self) -> None:
        """Check that all have the same number of classes."""
        lists = [point.thresholds for point in self.at_precision]
        counts = {len(self.calibration), len(self.val_positives), *map(len, lists)}
        if counts != {len(self.thresholds)}:
            raise ValueError(f"should have {len(self.thresholds)} values, one per class")

    def calibrated(self, probs: Probs) -> Probs:
        """Return the calibrated scores of (N, C) scores, float32."""
        p = np.clip(probs.astype(np.float64), MARGIN, 1 - MARGIN)
        a, b = np.array(self.calibration).T
        calibrated: Probs = (1 / (1 + np.exp(-(a * np.log(p / (1 - p)) + b)))).astype(np.float32)
        return calibrated


def labels(probs: Probs, thresholds: Thresholds) -> BoolMatrix:
    """Return the labels by (N, C) scores; a class without a threshold is never a label."""
    found: npt.NDArray[np.bool_] = probs > np.array(
        [np.inf if threshold is None else threshold for threshold in thresholds]
    )
    return found
