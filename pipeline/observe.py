"""What the annotator saw: the split off train, and the observed labels.

Both follow the papers' public protocol bit for bit, which is why they use the legacy
`RandomState` and draw more than they keep.
"""

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BeforeValidator

from pipeline.arrays import BoolMatrix, RowNumbers, Targets
from pipeline.params import Params


def _count(value: Any) -> Any:
    if value == "all" or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise ValueError("should be a number >= 0, or all")


Count = Annotated[int | Literal["all"], BeforeValidator(_count)]


class ObserveParams(Params):
    """`prepare.observe`: how many labels of each picture the annotator confirmed.

    The papers' setting is one positive and no negative. Two oracles are observations, too:
    "all" and "all" is full supervision; one positive and "all" negatives is IUN.
    """

    num_pos: Count
    num_neg: Count


def observe(truth: BoolMatrix, params: ObserveParams, seed: int) -> Targets:
    """Draw the observed labels of an official part.

    Per picture, in order, its positives are shuffled and the first `num_pos` kept, then the
    same with its negatives. The negatives are shuffled even where none is kept: that moves
    the generator on, and without it every later picture would show another label.

    Args:
        truth: (N, C) the complete labels, pictures in the source's order.
        params: how many to keep.
        seed: 1200 in the papers.

    Returns:
        (N, C) int8: 1 observed positive, -1 observed negative, 0 unknown. A picture without
        any positive has no observed positive.

    Source: Cole et al. 2021, public code.
    """
    rng = np.random.RandomState(seed)
    targets = np.zeros(truth.shape, dtype=np.int8)
    keep_pos = None if params.num_pos == "all" else params.num_pos
    keep_neg = None if params.num_neg == "all" else params.num_neg
    for row, labels in enumerate(truth):
        positives = np.flatnonzero(labels)
        rng.shuffle(positives)
        targets[row, positives[:keep_pos]] = 1
        negatives = np.flatnonzero(~labels)
        rng.shuffle(negatives)
        targets[row, negatives[:keep_neg]] = -1
    return targets


def split_off_val(n: int, fraction: float, seed: int) -> tuple[RowNumbers, RowNumbers]:
    """Divide n pictures into train and val, each ascending.

    Source: Cole et al. 2021, public code: the last round(fraction * n) of a permutation,
    fraction .2 and seed 1200 in the papers.
    """
    order = np.random.RandomState(seed).permutation(n)
    n_train = n - round(fraction * n)
    return np.sort(order[:n_train]), np.sort(order[n_train:])
