"""Compute the data of the analysis figures from a run and two models."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.artifacts.tables import Index, PseudoLabels, Truth
from pipeline.core.arrays import BoolMatrix
from pipeline.evaluation import kinds
from pipeline.evaluation.analysis.landscape import Landscape
from pipeline.evaluation.analysis.scored import Scored
from pipeline.evaluation.analysis.scores import (
    Densities,
    Gains,
    ScoreBins,
    Split,
    Wasserstein,
    densities,
    gains,
    score_bins,
    wasserstein,
)


@dataclass(frozen=True)
class Analysis:
    """The data of the figures; None for a figure that is left out.

    Attributes:
        models: the names of the first and the second model.
        classes: the C class names.
        split: the split of the first three figures.
        wasserstein: distances between the scores of positives and of negatives.
        densities: the scores of one class.
        reliability: the entries by score, for each model.
        missed_positives: the unobserved train entries that are labelled negative, by score, for
            each model; without ignored entries.
        ap_gain: the test AP of the second model minus that of the first.
        landscape: the loss around both models. `analyse` sets None, since it needs the models.
        notes: a sentence on each figure that is left out, with the reason.
    """

    models: tuple[str, str]
    classes: tuple[str, ...]
    split: Split
    wasserstein: Wasserstein | None
    densities: Densities | None
    reliability: tuple[ScoreBins, ScoreBins] | None
    missed_positives: tuple[ScoreBins, ScoreBins] | None
    ap_gain: Gains | None
    landscape: Landscape | None
    notes: tuple[str, ...]


def analyse(
    index: Index,
    truth: Truth,
    pseudo: PseudoLabels,
    models: tuple[Scored, Scored],
    split: Split = "train",
    column: int | None = None,
) -> Analysis:
    """Compare two models on entries whose truth is known.

    On train images only unobserved entries with known truth count, on test images all entries.

    Args:
        index: the index.
        truth: the complete labels of the test images, and of the train images where known.
        pseudo: the pseudo-labels of the train images.
        models: the scores of the first and of the second model.
        split: the split of wasserstein, densities and reliability.
        column: the class of `densities`; None: the class where the models differ most.
    """
    first, second = models
    test_truth = truth.of(index, "test")
    train_truth, train_known = truth.known_of(index, "train")
    targets = index.targets[index.rows("train")]
    unobserved = kinds.judged(targets, train_known, pseudo.corrected)
    labels, judged = (train_truth, unobserved) if split == "train" else (test_truth, None)
    probs = [scored.train if split == "train" else scored.test for scored in (first, second)]
    notes = _notes(train_known, unobserved, split)

    apart, shown, bins = None, None, None
    judged = np.ones_like(labels) if judged is None else judged
    if judged.any() and probs[0] is not None and probs[1] is not None:
        apart = wasserstein(labels, judged, probs[0], probs[1])
        column = apart.differs_most if column is None else column
        if column is not None:
            shown = densities(labels, judged, probs[0], probs[1], column)
        bins = (score_bins(labels, judged, probs[0]), score_bins(labels, judged, probs[1]))
        if not len(apart.compared):
            apart = None
            notes.append(
                "No class has both positives and negatives: the figure of Wasserstein distances "
                "is left out."
            )

    of_train = kinds.kinds_of(
        pseudo.labels, targets, pseudo.ignored, train_truth, train_known, pseudo.corrected
    )
    missed, negative = None, kinds.is_one_of(of_train, *kinds.NEGATIVE)
    if negative.any() and first.train is not None and second.train is not None:
        missed = (
            score_bins(train_truth, negative, first.train),
            score_bins(train_truth, negative, second.train),
        )
    elif unobserved.any():
        notes.append(
            "The pseudo-labels leave no unobserved entry negative: the figure of missed positives "
            "is left out."
        )

    gain = None
    if train_known.any():
        gain = gains(train_truth[train_known], test_truth, first.test, second.test)
        if not len(gain.compared):
            gain = None
            notes.append(
                "No class has both train and test positives: the figure of the gain by class is "
                "left out."
            )
    return Analysis(
        (first.name, second.name), index.classes, split, apart, shown, bins, missed, gain,
        None, tuple(notes),
    )  # fmt: skip


def _notes(known: npt.NDArray[np.bool_], unobserved: BoolMatrix, split: Split) -> list[str]:
    """Return sentences on the figures that unknown train truth leaves out or restricts."""
    notes = []
    scores = "the figures of scores and of missed positives"
    if split == "test":
        scores = "the figure of missed positives"
    if not known.any():
        return [
            f"The truth of the training images is unknown: {scores} and the gain by class "
            f"are left out."
        ]
    if not known.all():
        notes.append(
            f"The truth of {(~known).sum():,} of the {len(known):,} training images is "
            f"unknown: the figures of training images use the other {known.sum():,}."
        )
    if not unobserved.any():
        notes.append(
            f"Every label of the training images with known truth is observed: "
            f"{scores} are left out."
        )
    return notes
