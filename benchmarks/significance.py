"""Whether a difference in mAP holds: over draws and seeds, and over other test images.

Two questions, since a paired test over runs says nothing about images that were not in the test
set, and a bootstrap over test images says nothing about other draws of the observed labels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from pipeline.core.arrays import BoolMatrix, Probs
from pipeline.evaluation.bootstrap import interval, resampled_map, resamples

LEVEL = 0.05


@dataclass(frozen=True)
class Difference:
    """A difference in test mAP between two methods, in points.

    Attributes:
        mean: over the runs.
        std: over the runs, n - 1 in the denominator.
        p: of the paired t-test over the runs, corrected by Holm over all comparisons.
        low: lower end of the 95 % interval over resampled test images.
        high: its upper end.
    """

    mean: float
    std: float
    p: float
    low: float
    high: float

    @property
    def established(self) -> bool:
        """Whether it is above 0 over the runs and over test images."""
        return self.mean > 0 and self.p < LEVEL and self.low > 0


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p values corrected for as many comparisons as there are.

    Source: Holm 1979, A Simple Sequentially Rejective Multiple Test Procedure.
    """
    n, corrected, highest = len(p_values), list(p_values), 0.0
    for rank, position in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, (n - rank) * p_values[position])
        corrected[position] = min(highest, 1.0)
    return corrected


def paired_p(values: Sequence[float], others: Sequence[float]) -> float:
    """Return the p value of a paired t-test, two-sided; 1 where fewer than two pairs tell.

    Args:
        values: of one method, a number per run.
        others: of another one, in the same runs.
    """
    differences = np.subtract(values, others)
    if len(differences) < 2 or not differences.any():
        return 1.0
    if np.ptp(differences) == 0:
        return 0.0
    return float(stats.ttest_rel(values, others).pvalue)


def over_images(
    labels: BoolMatrix, scores: Sequence[Probs], others: Sequence[Probs], seed: int = 0
) -> tuple[float, float]:
    """Return the 95 % interval of a difference in mAP over resampled test images, in points.

    The resamples are the same for all runs and both methods. The difference in a resample is the
    mean over runs.

    Args:
        labels: (N, C) complete labels.
        scores: of one method, (N, C) per run.
        others: of the other one, in the same runs.
        seed: of the resamples.
    """
    counts = resamples(len(labels), seed)
    drawn = np.zeros(counts.shape[1])
    for mine, other in zip(scores, others, strict=True):
        drawn += resampled_map(labels, mine, counts) - resampled_map(labels, other, counts)
    found = interval(drawn / len(scores))
    return found.low, found.high
