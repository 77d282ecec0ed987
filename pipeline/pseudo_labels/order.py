"""Which labels a person should look at first, and how many, from the scores. No truth is used."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.artifacts.tables import Index, PseudoLabels, Scores
from pipeline.core.arrays import BoolMatrix, RowNumbers, Targets
from pipeline.core.errors import InputError
from pipeline.pseudo_labels.calibrate import Evidence, elkan_noto, isotonic

Floats = npt.NDArray[np.float64]


# The gain of an ignored entry, as a share of that of a wrong one: an ignored positive is missing,
# a wrong label also misleads the student.
IGNORED = 0.5


@dataclass(frozen=True)
class Order:
    """An order of the entries that nobody has named: neither observed nor corrected.

    Attributes:
        source: where the probabilities come from, in words.
        present: (N, C) the probability that the class is present.
        wrong: (N, C) the probability that the entry's label is wrong, 0 for a named entry. An
            ignored entry counts as a negative: it is wrong if the class is present.
        gain: (N, C) `wrong`, of ignored entries times IGNORED, divided by the expected number of
            positives of the class, since each class counts the same in mAP.
        labels: (N, C) the positives.
        free: (N, C) the entries that nobody has named.
    """

    source: str
    present: Floats
    wrong: Floats
    gain: Floats
    labels: BoolMatrix
    free: BoolMatrix

    def first(self, most: int) -> tuple[RowNumbers, RowNumbers]:
        """Return the rows and columns of the entries with the highest gain, the highest first.

        Among equal gains, earlier images and classes come first.
        """
        order = np.argsort(-self.gain, axis=None, kind="stable")
        order = order[self.free.ravel()[order]][:most]
        rows, columns = np.unravel_index(order, self.gain.shape)
        return rows, columns

    def precision(self) -> float | None:
        """Return the expected precision of the positives that nobody has named; None: none."""
        added = self.labels & self.free
        return float(1 - self.wrong[added].mean()) if added.any() else None

    def checks_to(self, precision: float, wrong: Floats | None = None) -> int | None:
        """Return how many positives a person must check until their precision is reached.

        They are checked in the order of `wrong`, and those found wrong are removed.

        Args:
            precision: the precision to reach, 0 to 1.
            wrong: (N, C) where a label is in fact wrong, 0 or 1; None: the expected number.

        Returns:
            The number, 0 if it is reached already; None if there is no such positive.
        """
        added = self.labels & self.free
        if not added.any():
            return None
        order = np.argsort(-self.wrong[added], kind="stable")
        removed = np.concatenate(
            [[0], np.cumsum((self.wrong if wrong is None else wrong)[added][order])]
        )
        left = len(order) - removed
        false = removed[-1] - removed
        # Where all positives were removed, none is false.
        reached = false <= (1 - precision) * left + 1e-9
        return int(np.argmax(reached))


def order_of(
    index: Index, scores: Scores, val_scores: Scores | None, pseudo: PseudoLabels
) -> Order:
    """Return the order of a run's entries.

    The probabilities come from val by isotonic regression. They come from the observed positives,
    as by calibrate elkan_noto, if the scores or the complete labels of val are missing, or if
    these are all equal.

    Args:
        index: the index.
        scores: the teacher's scores of the train images.
        val_scores: those of the val images; None if they are missing.
        pseudo: the pseudo-labels.

    Raises:
        InputError: neither val nor the observed labels have what is needed.
    """
    targets: Targets = index.targets[index.rows("train")]
    val_labels = index.complete_val_labels
    by_val = val_scores is not None and val_labels is not None and 0 < val_labels.mean() < 1
    if not by_val and not (targets == 1).any():
        raise InputError(
            "val_scores.parquet: no probability can be learned: should be there, with a positive "
            "among complete val labels, or some train image should have an observed positive"
        )
    evidence = Evidence(
        probs=scores.probs,
        targets=targets,
        val_labels=val_labels,
        val_probs=None if val_scores is None else val_scores.probs,
        prior="val",
    )
    present = (isotonic if by_val else elkan_noto)(evidence).scores.astype(np.float64)
    free = (targets == 0) & ~pseudo.corrected
    wrong = np.where(free, np.where(pseudo.labels, 1 - present, present), 0)
    positives = np.maximum(np.where(targets == 0, present, targets == 1).sum(axis=0), 1)
    return Order(
        source="isotonic regression on val" if by_val else "the scores of observed positives",
        present=present,
        wrong=wrong,
        gain=np.where(pseudo.ignored & ~pseudo.labels, IGNORED, 1) * wrong / positives,
        labels=pseudo.labels,
        free=free,
    )
