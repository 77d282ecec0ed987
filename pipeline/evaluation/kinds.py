"""The kind of each pseudo-label entry; an entry is one class of one image. NumPy only.

Metrics, figures, reports, `inspect` and the page of labels all use these definitions:

- Observed entries, positive or negative, are not judged: they are no true or false positives or
  negatives. With `keep_observed: false` a label may contradict them; these are separate kinds.
- An unobserved entry without a label and with weight 0 in the student's loss is ignored. It is
  neither missed nor negative, whatever the truth. Recall is the share of the unobserved positives
  that are found, so an ignored positive counts as not found.
- An entry with a label is never ignored, whatever its weight.
- Entries that a person corrected are not judged either: present, absent or unknown, they do not
  come from the rule.
- The added labels, `PseudoLabels.added`, are all labels that are not observed positives, including
  labels on observed negatives. Precision is the share of true positives among the judged ones.
"""

from enum import IntEnum
from itertools import product

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import BoolMatrix, Targets

Kinds = npt.NDArray[np.int8]


class Kind(IntEnum):
    """The kind of an entry."""

    OBSERVED = 0  # observed positive with a label
    DROPPED = 1  # observed positive without a label
    AGAINST = 2  # observed negative with a label
    RULED_OUT = 3  # observed negative without a label
    TRUE_POSITIVE = 4
    FALSE_POSITIVE = 5
    UNKNOWN_POSITIVE = 6  # a label; truth unknown
    IGNORED = 7
    FALSE_NEGATIVE = 8  # missed
    TRUE_NEGATIVE = 9
    UNKNOWN_NEGATIVE = 10  # no label; truth unknown
    CORRECTED_POSITIVE = 11  # a person said present
    CORRECTED_NEGATIVE = 12  # a person said absent, or could not decide


NEGATIVE = (Kind.FALSE_NEGATIVE, Kind.TRUE_NEGATIVE)
JUDGED = (Kind.TRUE_POSITIVE, Kind.FALSE_POSITIVE, *NEGATIVE)


def _kind(
    label: bool, seen: bool, ruled_out: bool, ignored: bool, known: bool, present: bool,
    corrected: bool,
) -> Kind:  # fmt: skip
    for decided, positive, negative in (
        (corrected, Kind.CORRECTED_POSITIVE, Kind.CORRECTED_NEGATIVE),
        (seen, Kind.OBSERVED, Kind.DROPPED),
        (ruled_out, Kind.AGAINST, Kind.RULED_OUT),
    ):
        if decided:
            return positive if label else negative
    if ignored and not label:
        return Kind.IGNORED
    if not known:
        return Kind.UNKNOWN_POSITIVE if label else Kind.UNKNOWN_NEGATIVE
    if label:
        return Kind.TRUE_POSITIVE if present else Kind.FALSE_POSITIVE
    return Kind.FALSE_NEGATIVE if present else Kind.TRUE_NEGATIVE


# The kind by the facts about an entry as bits, the lowest first: label, observed positive, observed
# negative, ignored, truth known, present, corrected. The page of labels uses this table, too.
BY_BITS = tuple(_kind(*bits[::-1]) for bits in product((False, True), repeat=7))


def kinds_of(
    labels: BoolMatrix,
    targets: Targets,
    ignored: BoolMatrix | None = None,
    truth: BoolMatrix | None = None,
    known: npt.NDArray[np.bool_] | None = None,
    corrected: BoolMatrix | None = None,
) -> Kinds:
    """Return the `Kind` of every entry, (N, C).

    Args:
        labels: (N, C) the positives that the student sees.
        targets: (N, C) observed labels: 1 positive, -1 negative, 0 unknown.
        ignored: (N, C) entries with weight 0 in the student's loss; None: none.
        truth: (N, C) complete labels; None: unknown.
        known: (N,) mask of the images whose complete labels are known; None: all, if `truth` is
            given.
        corrected: (N, C) entries that a person answered; None: none.
    """
    bits = labels.astype(np.int8)
    bits |= (targets == 1).astype(np.int8) << 1
    bits |= (targets == -1).astype(np.int8) << 2
    if ignored is not None:
        bits |= ignored.astype(np.int8) << 3
    if truth is not None:
        has_truth = np.ones(len(truth), np.bool_) if known is None else known
        bits |= has_truth[:, None].astype(np.int8) << 4
        bits |= truth.astype(np.int8) << 5
    if corrected is not None:
        bits |= corrected.astype(np.int8) << 6
    return np.array(BY_BITS, np.int8)[bits]


def is_one_of(kinds: Kinds, *which: Kind) -> BoolMatrix:
    """Return a mask of the entries of the given kinds, (N, C)."""
    found = np.zeros(len(Kind), np.bool_)
    found[list(which)] = True
    return found[kinds]


def judged(
    targets: Targets,
    known: npt.NDArray[np.bool_] | None = None,
    corrected: BoolMatrix | None = None,
) -> BoolMatrix:
    """Return a mask of the entries, not observed or corrected, whose truth is known, (N, C).

    Args:
        targets: as in `kinds_of`.
        known: as in `kinds_of`; None: all.
        corrected: as in `kinds_of`.
    """
    unobserved: BoolMatrix = targets == 0
    if corrected is not None:
        unobserved &= ~corrected
    return unobserved if known is None else unobserved & known[:, None]
