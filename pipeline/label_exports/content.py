"""What all formats hold: the images of a run with their labels, as arrays."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.artifacts import tables
from pipeline.artifacts.answers import Answer
from pipeline.artifacts.tables import Index, PseudoLabels, Truth
from pipeline.core.arrays import BoolMatrix, Probs
from pipeline.images import reading

IMAGES = "images"


@dataclass(frozen=True)
class Content:
    """The N images of an index and their labels of C classes.

    Attributes:
        classes: the C names.
        image_ids: N names.
        paths: N paths, relative to the data root or absolute; relative to the folder of the
            export for an image that it holds.
        inside: (N,) True for these images.
        splits: (N,) of train, val, test.
        labels: (N, C) the pseudo-labels of train, the complete labels of val and test.
        known: (N,) whether `labels` are known; False for val images without complete labels.
        observed: (N, C) observed positives, and entries that a person corrected to present.
        ruled_out: (N, C) observed negatives, and entries corrected to absent.
        corrected: (N, C) entries that a person answered.
        ignored: (N, C) entries that the student's loss ignores.
        scores: (N, C) the teacher's probability of each pseudo-label, else NaN.
        truth: (N, C) the complete labels of train and test images, False where unknown.
        truth_known: (N,) whether an image's complete labels are known.
    """

    classes: tuple[str, ...]
    image_ids: list[str]
    paths: list[str]
    inside: npt.NDArray[np.bool_]
    splits: npt.NDArray[np.str_]
    labels: BoolMatrix
    known: npt.NDArray[np.bool_]
    observed: BoolMatrix
    ruled_out: BoolMatrix
    corrected: BoolMatrix
    ignored: BoolMatrix
    scores: Probs
    truth: BoolMatrix
    truth_known: npt.NDArray[np.bool_]

    def names(self, entries: BoolMatrix, row: int) -> list[str]:
        """Return the names of the classes of an image where `entries`, (N, C), is True."""
        return [self.classes[column] for column in np.flatnonzero(entries[row])]

    def source(self, row: int, column: int) -> str:
        """Return where a label comes from: corrected, observed or added; truth outside train."""
        if self.splits[row] != "train":
            return "truth"
        if self.corrected[row, column]:
            return "corrected"
        return "observed" if self.observed[row, column] else "added"


def gather(folder: Path, index: Index, pseudo: PseudoLabels, truth: Truth) -> Content:
    """Return the content of an export, and write the images that have no file of their own.

    Args:
        folder: the folder of the export, which exists; such images become files in `images/`.
        index: the index.
        pseudo: the pseudo-labels of the train images.
        truth: the complete labels.

    Raises:
        InputError: an image is missing.
    """
    shape, train = index.targets.shape, index.rows("train")
    complete, truth_known = truth.labels_of(index.image_ids)
    labels = np.where((index.splits == "val")[:, None], index.labels, complete)
    labels[train] = pseudo.labels
    known = np.where(index.splits == "val", index.complete_val_labels is not None, truth_known)
    known[train] = True
    answers, ignored = np.zeros(shape, np.int8), np.zeros(shape, np.bool_)
    scores = np.full(shape, np.nan, np.float32)
    answers[train] = 0 if pseudo.answers is None else pseudo.answers
    ignored[train], scores[train] = pseudo.ignored & ~pseudo.labels, pseudo.probs
    unanswered = answers == Answer.NONE
    paths, inside = _paths(folder, index)
    return Content(
        classes=index.classes,
        image_ids=index.image_ids,
        paths=paths,
        inside=inside,
        splits=index.splits,
        labels=labels,
        known=known,
        observed=((index.targets == 1) & unanswered) | (answers == Answer.PRESENT),
        ruled_out=((index.targets == -1) & unanswered) | (answers == Answer.ABSENT),
        corrected=~unanswered,
        ignored=ignored,
        scores=scores,
        truth=complete,
        truth_known=truth_known,
    )


def _paths(folder: Path, index: Index) -> tuple[list[str], npt.NDArray[np.bool_]]:
    """Return the paths of the images; write those without a file.

    Their names are numbers, since an image_id may not be a valid file name.
    """
    inside = np.array([path is None for path in index.paths], np.bool_)
    if not inside.any():
        return [str(path) for path in index.paths], inside
    rows = np.flatnonzero(inside)
    (folder / IMAGES).mkdir()
    paths = list(index.paths)
    for row, encoded in zip(rows, tables.read_images(index.images, index.ids(rows)), strict=True):
        name = reading.file_name(f"{row:06}", encoded)
        (folder / IMAGES / name).write_bytes(encoded)
        paths[row] = f"{IMAGES}/{name}"
    return [str(path) for path in paths], inside
