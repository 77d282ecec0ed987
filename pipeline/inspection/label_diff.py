"""The difference between two pseudo-label files of the same images."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pipeline.core.arrays import BoolMatrix
from pipeline.core.errors import InputError
from pipeline.evaluation.kinds import Kind
from pipeline.inspection.label_file import Counts, LabelFile, check_same_classes


@dataclass(frozen=True)
class LabelDiff:
    """Two files of the same N images and C classes, with the same complete labels."""

    before: LabelFile
    after: LabelFile

    @cached_property
    def gained(self) -> BoolMatrix:
        """(N, C) labels that only the second file has."""
        return self.after.pseudo.labels & ~self.before.pseudo.labels

    @cached_property
    def lost(self) -> BoolMatrix:
        """(N, C) labels that only the first file has."""
        return self.before.pseudo.labels & ~self.after.pseudo.labels

    @cached_property
    def right(self) -> BoolMatrix:
        """(N, C) truly present entries that are unobserved in both files; truth known."""
        return self.before.judged & self.after.judged & self.before.truth

    @cached_property
    def wrong(self) -> BoolMatrix:
        """(N, C) truly absent entries that are unobserved in both files; truth known."""
        return self.before.judged & self.after.judged & ~self.before.truth


def compare(before: LabelFile, after: LabelFile) -> LabelDiff:
    """Compare two files; the complete labels of the first judge both.

    Raises:
        InputError: their classes or images differ.
    """
    check_same_classes(after.path, after.classes, before)
    ids, others = before.pseudo.image_ids, after.pseudo.image_ids
    if ids != others:
        shared = len(set(ids) & set(others))
        raise InputError(
            f"{after.path}: its {len(others):,} images should be the {len(ids):,} of "
            f"{before.path} in the same order; {shared:,} are in both"
        )
    after = replace(
        after, truth=before.truth, known=before.known, negatives=before.negatives,
        about_truth=before.about_truth,
    )  # fmt: skip
    return LabelDiff(before, after)


def summary(diff: LabelDiff) -> dict[str, int]:
    """Return the number of images that differ and of labels gained and lost."""
    return {
        "images": len(diff.gained),
        "images_changed": int((diff.gained | diff.lost).any(axis=1).sum()),
        **{name: int(counts.sum()) for name, counts in per_class(diff).items()},
        "other_observed": int(
            (diff.before.pseudo.observed != diff.after.pseudo.observed).any(axis=1).sum()
        ),
    }


def same_scores(diff: LabelDiff) -> bool:
    """Return whether the labels in both files have equal scores, so come from one teacher."""
    both = diff.before.pseudo.labels & diff.after.pseudo.labels
    return np.array_equal(diff.before.pseudo.probs[both], diff.after.pseudo.probs[both])


def per_class(diff: LabelDiff) -> dict[str, Counts]:
    """Count each class's labels before, after, gained and lost, and its ignored entries.

    (C,) each.
    """
    counts = {
        "ignored_before": diff.before.is_kind(Kind.IGNORED),
        "ignored_after": diff.after.is_kind(Kind.IGNORED),
        "before": diff.before.pseudo.labels,
        "after": diff.after.pseudo.labels,
        "gained": diff.gained,
        "gained_right": diff.gained & diff.right,
        "gained_wrong": diff.gained & diff.wrong,
        "lost": diff.lost,
        "lost_right": diff.lost & diff.right,
        "lost_wrong": diff.lost & diff.wrong,
    }
    return {name: entries.sum(axis=0) for name, entries in counts.items()}
