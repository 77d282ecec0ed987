"""A pseudo-label file with counts of its labels, judged where the complete labels are known.

It imports neither torch nor scikit-learn: their import takes seconds, and `inspect` must be fast.
"""

from bisect import bisect_left
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.artifacts import parquet, tables
from pipeline.artifacts.tables import PseudoLabels
from pipeline.core.arrays import BoolMatrix, RowNumbers, Targets
from pipeline.core.errors import InputError, some
from pipeline.evaluation.kinds import Kind, Kinds, is_one_of, judged, kinds_of
from pipeline.inspection.terminal import escaped

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

# A misspelled name is compared with this many names, its neighbours in the alphabet.
MAX_COMPARED = 2000


@dataclass(frozen=True)
class LabelFile:
    """Pseudo-labels of N training images and C classes, and their complete labels if known.

    Attributes:
        path: the file.
        classes: the C class names.
        pseudo: the pseudo-labels.
        truth: (N, C) complete labels, False where they are unknown.
        known: (N,) True for images whose complete labels are known.
        negatives: (N, C) observed negatives; False where they are unknown.
        about_truth: a sentence on the source of `truth` and `negatives`.
    """

    path: Path
    classes: tuple[str, ...]
    pseudo: PseudoLabels
    truth: BoolMatrix
    known: npt.NDArray[np.bool_]
    negatives: BoolMatrix
    about_truth: str

    @cached_property
    def targets(self) -> Targets:
        """(N, C) observed labels: 1 positive, -1 negative, 0 unknown."""
        return self.pseudo.observed.astype(np.int8) - self.negatives.astype(np.int8)

    @cached_property
    def kinds(self) -> Kinds:
        """(N, C) the kind of each entry."""
        pseudo = self.pseudo
        return kinds_of(
            pseudo.labels, self.targets, pseudo.ignored, self.truth, self.known, pseudo.corrected
        )

    def is_kind(self, *kinds: Kind) -> BoolMatrix:
        """Return a mask of the entries of the given kinds, (N, C)."""
        return is_one_of(self.kinds, *kinds)

    @cached_property
    def added(self) -> BoolMatrix:
        """(N, C) labels that are not observed positives."""
        return self.pseudo.added

    @cached_property
    def judged(self) -> BoolMatrix:
        """(N, C) unobserved entries whose truth is known."""
        return judged(self.targets, self.known, self.pseudo.corrected)

    def row(self, image_id: str) -> int:
        """Return the row of an image.

        Raises:
            InputError: the file does not have this image.
        """
        return _find(image_id, self.pseudo.image_ids, f"{self.path}: has no image")

    def column(self, name: str) -> int:
        """Return the column of a class.

        Raises:
            InputError: the file does not have this class.
        """
        return _find(name, list(self.classes), f"{self.path}: has no class")


def read(path: Path) -> LabelFile:
    """Read a pseudo-label file without complete labels.

    Raises:
        InputError: the file is missing, is not a pseudo-label table, has no image, or has a
            label whose score is not a probability.
    """
    _, classes = parquet.read(path, "pseudo_labels", {})
    pseudo = tables.read_pseudo_labels(path, classes)
    if not pseudo.image_ids:
        raise InputError(f"{path}: has no image; it should be written by the stage pseudo_label")
    outside = pseudo.labels & ~((pseudo.probs >= 0) & (pseudo.probs <= 1))  # NaN, too
    for row, column in np.argwhere(outside):
        raise InputError(
            f"{path}: image_id {pseudo.image_ids[row]!r}, class {classes[column]!r}: score "
            f"{pseudo.probs[row, column]}: should be a probability, from 0 to 1"
        )
    none = np.zeros(pseudo.labels.shape, np.bool_)
    known = np.zeros(len(pseudo.labels), np.bool_)
    return LabelFile(path, classes, pseudo, none, known, none, "not used")


def summary(file: LabelFile) -> dict[str, int]:
    """Return the number of images and of labels of each kind, over all classes.

    "dropped" counts observed positives without a label, "against" added labels that are observed
    negatives: both are 0 unless `keep_observed` is false. "ignored" counts the entries that the
    student's loss leaves out.
    """
    labels, observed = file.pseudo.labels, file.pseudo.observed
    return {
        "images": len(labels),
        "images_with_added": int(file.added.any(axis=1).sum()),
        "images_without_label": int((~labels.any(axis=1)).sum()),
        "positives": int(labels.sum()),
        "observed": int(observed.sum()),
        "dropped": int(file.is_kind(Kind.DROPPED).sum()),
        "against": int(file.is_kind(Kind.AGAINST).sum()),
        "added": int(file.added.sum()),
        "ignored": int(file.is_kind(Kind.IGNORED).sum()),
        "corrected": int(file.pseudo.corrected.sum()),
        **{name: int(counts.sum()) for name, counts in _judged_counts(file).items()},
    }


def per_class(file: LabelFile) -> dict[str, Counts | Floats]:
    """Return the counts of each class and the scores of its added labels, (C,) each.

    "mean" and "lowest" are NaN for a class without added labels.
    """
    added = file.added
    count = added.sum(axis=0)
    scores = np.where(added, file.pseudo.probs, 0).sum(axis=0, dtype=np.float64)
    lowest = np.where(added, file.pseudo.probs, np.inf).min(axis=0, initial=np.inf)
    return {
        "positives": file.pseudo.labels.sum(axis=0),
        "observed": file.pseudo.observed.sum(axis=0),
        "added": count,
        "mean": np.where(count > 0, scores / np.maximum(count, 1), np.nan),
        "lowest": np.where(count > 0, lowest, np.nan),
        "ignored": file.is_kind(Kind.IGNORED).sum(axis=0),
        "corrected": file.pseudo.corrected.sum(axis=0),
        **_judged_counts(file),
    }


def _judged_counts(file: LabelFile) -> dict[str, Counts]:
    """Count the true positives, false positives and false negatives of each class.

    "hidden" counts all unobserved entries that are truly positive. Some of them may be ignored:
    these are neither right nor missed.
    """
    return {
        "right": file.is_kind(Kind.TRUE_POSITIVE).sum(axis=0),
        "wrong": file.is_kind(Kind.FALSE_POSITIVE).sum(axis=0),
        "missed": file.is_kind(Kind.FALSE_NEGATIVE).sum(axis=0),
        "hidden": (file.judged & file.truth).sum(axis=0),
    }


def evenly_spaced(rows: RowNumbers, most: int) -> RowNumbers:
    """Return at most `most` of the rows, evenly spaced."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(np.int64)]


def extreme_scores(file: LabelFile, column: int, most: int) -> tuple[RowNumbers, RowNumbers]:
    """Return the images whose added label of a class has the highest and the lowest scores.

    Each part has at most `most` images, the most extreme first. No image is in both.
    """
    rows = np.flatnonzero(file.added[:, column])
    rows = rows[np.argsort(-file.pseudo.probs[rows, column], kind="stable")]
    top = rows[:most]
    return top, rows[len(top) :][::-1][:most]


def histogram(file: LabelFile, column: int, step: float = 0.05) -> dict[str, Counts | Floats]:
    """Count the labels of a class by score, from the lowest filled bin to 1.

    Returns:
        "low" and "high" edges of the bins; counts of "observed", "right", "wrong" and "corrected"
        labels; and "added", the count of the added labels that are not judged.
    """
    edges = np.linspace(0, 1, round(1 / step) + 1)
    scores = file.pseudo.probs[:, column]
    unjudged = (Kind.UNKNOWN_POSITIVE, Kind.AGAINST)
    groups = {
        "observed": file.is_kind(Kind.OBSERVED)[:, column],
        "right": file.is_kind(Kind.TRUE_POSITIVE)[:, column],
        "wrong": file.is_kind(Kind.FALSE_POSITIVE)[:, column],
        "added": file.is_kind(*unjudged)[:, column],
        "corrected": file.is_kind(Kind.CORRECTED_POSITIVE)[:, column],
    }
    counts = {name: np.histogram(scores[group], edges)[0] for name, group in groups.items()}
    filled = np.flatnonzero(sum(counts.values()))
    first = filled[0] if len(filled) else len(edges) - 1
    return {
        "low": edges[first:-1],
        "high": edges[first + 1 :],
        **{name: count[first:] for name, count in counts.items()},
    }


def check_same_classes(path: Path, found: tuple[str, ...], file: LabelFile) -> None:
    """Check that another file has the classes of this one, in the same order.

    Raises:
        InputError: its classes differ.
    """
    if found != file.classes:
        raise InputError(
            f"{path}: its {len(found)} classes ({some(list(found), 5)}) should be the "
            f"{len(file.classes)} of {file.path} ({some(list(file.classes), 5)})"
        )


def _find(name: str, names: list[str], message: str) -> int:
    if name in names:
        return names.index(name)
    printed = [escaped(other) for other in names]
    if name in printed:  # copied from a terminal
        return printed.index(name)
    within = [other for other in names if name and name.casefold() in other.casefold()]
    if len(names) > MAX_COMPARED:
        # A comparison takes 0.1 ms.
        names = sorted(names)
        place = bisect_left(names, name)
        names = names[max(0, place - MAX_COMPARED // 2) : place + MAX_COMPARED // 2]
    lower = {other.casefold(): other for other in names}
    close = [lower[other] for other in get_close_matches(name.casefold(), lower)]
    likely = (within or close or names)[:3]
    raise InputError(f"{message} {name!r}; should be one such as {', '.join(likely)}")
