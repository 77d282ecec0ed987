"""The data of the page as compact JSON."""

from pathlib import Path
from typing import TypedDict

import numpy as np
import numpy.typing as npt

from pipeline.artifacts.answers import Answer
from pipeline.artifacts.rule import LabelRule
from pipeline.artifacts.run import RunTables
from pipeline.artifacts.tables import PseudoLabels, Scores
from pipeline.core.arrays import RowNumbers
from pipeline.core.errors import InputError
from pipeline.evaluation.kinds import BY_BITS
from pipeline.inspection.label_words import setting
from pipeline.pseudo_labels.order import Order, order_of
from pipeline.pseudo_labels.rules import PseudoLabelParams, in_words
from pipeline.viewer.encoding import bits, floats
from pipeline.viewer.linked import Files
from pipeline.viewer.slider import SliderData, slider


class RuleData(TypedDict):
    """The label rule in a pseudo-label file: in words, and all settings, shortened for reading."""

    words: str
    settings: dict[str, str]


class PageData(TypedDict):
    """The data of the page: n images, C classes.

    Arrays are texts from `encoding`, image by image: scores are `floats`, the others `bits`.

    Attributes:
        file: the name of the pseudo-label file.
        rule: its label rule; None if the file names none.
        tau: the tau of the rule; None if it has none.
        slider: what the rule needs at another tau; None: tau is fixed, and a note says why.
        n_train: the number of training images, including those not on the page.
        classes: C names.
        image_ids: n names.
        scores: (n, C) the scores that are compared with tau; the teacher's if tau is fixed.
        teacher: (n, C) the teacher's scores; "" if they are `scores`.
        calibration: the reason why `scores` are not the teacher's, in words; "" if they are.
        labels: (n, C) labels in the file.
        ignored: (n, C) entries that the student's loss leaves out.
        observed: (n, C) observed positives.
        observed_negatives: (n, C) observed negatives.
        truth: (n, C) complete labels, False where they are unknown.
        known: (n,) True for images whose complete labels are known.
        files: the addresses of the image files; None: there are thumbnails.
        png: (n,) True for thumbnails that are PNG files.
        shape: median of height / width of the images.
        kinds: the kind of an entry by its bits, from `kinds.BY_BITS`.
        digest: the digest of the pseudo-labels, under which a browser keeps its marks.
        answers: every correction in the file, also of images that are not on the page: image_id,
            class number, and present, absent or unknown.
        gain: (n,) `Order.gain` of the image's entry to look at first; "" without an order.
        look: n class numbers of these entries.
        notes: sentences on a fixed tau, on unknown truth and on scores that differ.
    """

    file: str
    rule: RuleData | None
    tau: float | None
    slider: SliderData | None
    n_train: int
    classes: list[str]
    image_ids: list[str]
    scores: str
    teacher: str
    calibration: str
    labels: str
    ignored: str
    observed: str
    observed_negatives: str
    truth: str
    known: str
    files: Files | None
    png: str
    shape: float
    kinds: list[str]
    digest: str
    answers: list[tuple[str, int, str]]
    gain: str
    look: list[int]
    notes: list[str]


def evenly_spaced(n_images: int, most: int) -> RowNumbers:
    """Return at most `most` evenly spaced row numbers, from the first image to the last.

    Raises:
        InputError: `most` is below 1.
    """
    if most < 1:
        raise InputError(f"most = {most}: should be at least 1")
    return np.linspace(0, n_images - 1, min(most, n_images)).astype(np.int64)


def page_data(file: Path, tables: RunTables, shown: RowNumbers) -> PageData:
    """Return the data of the page.

    Args:
        file: the pseudo-label file; the page shows only its name.
        tables: the tables of the run, with the pseudo-labels of the file.
        shown: (n,) row numbers of the train images on the page.

    Raises:
        InputError: the observed labels of the pseudo-labels and of the index differ.
    """
    index, scores, pseudo = tables.index, tables.scores, tables.pseudo
    targets = index.targets[index.rows("train")]
    if not np.array_equal(pseudo.observed, targets == 1):
        raise InputError(
            f"{file}: its observed labels differ from those of the index, so it was made for "
            f"other data; should be made again: run `dvc repro`"
        )
    labels, known = tables.known_truth()
    rule, moved, (order, problem) = pseudo.rule, slider(file, tables), _order(tables)
    gain = np.zeros((0, 1)) if order is None else order.gain[shown]
    same = np.array_equal(moved.scores, scores.probs)
    return {
        "file": file.name,
        "rule": None if rule is None else _rule(rule, moved.params),
        "tau": None if rule is None else rule.tau,
        "slider": moved.data(shown),
        "n_train": len(targets),
        "classes": list(index.classes),
        "image_ids": [pseudo.image_ids[row] for row in shown],
        "scores": floats(moved.scores[shown]),
        "teacher": "" if same else floats(scores.probs[shown]),
        "calibration": "" if same or rule is None else _calibration(rule),
        "labels": bits(pseudo.labels[shown]),
        "ignored": bits(pseudo.ignored[shown]),
        "observed": bits(targets[shown] == 1),
        "observed_negatives": bits(targets[shown] == -1),
        "truth": bits(labels[shown]),
        "known": bits(known[shown]),
        "files": None,  # set with the images, as "png" and "shape"
        "png": "",
        "shape": 1.0,
        "kinds": [kind.name.lower() for kind in BY_BITS],
        "digest": pseudo.digest(),
        "answers": _answers(pseudo),
        "gain": "" if order is None else floats(gain.max(axis=1).astype(np.float32)),
        "look": gain.argmax(axis=1).tolist(),
        "notes": [*filter(None, (moved.fixed, problem)), *_notes(known[shown], scores, pseudo)],
    }


def _order(tables: RunTables) -> tuple[Order | None, str]:
    """Return the order to look at labels, or None and a sentence on what it lacks."""
    try:
        return order_of(tables.index, tables.scores, tables.val_scores, tables.pseudo), ""
    except InputError as error:
        return None, f"The images have no order of what to look at first: {error}."


def _answers(pseudo: PseudoLabels) -> list[tuple[str, int, str]]:
    if pseudo.answers is None:
        return []
    return [
        (pseudo.image_ids[row], int(column), Answer(pseudo.answers[row, column]).name.lower())
        for row, column in np.argwhere(pseudo.corrected)
    ]


def _rule(rule: LabelRule, params: PseudoLabelParams | None) -> RuleData:
    words = rule.rule if params is None else in_words(params)
    if rule.keep_observed is False:
        words += ", observed labels not kept"
    settings = {name: setting(text) for name, text in rule.settings().items()}
    return {"words": words, "settings": {"rule": rule.rule, **settings}}


def _calibration(rule: LabelRule) -> str:
    """Return what the rule does to the teacher's scores before it compares them with tau."""
    words = [] if rule.calibrate == "none" else [f"calibrated by {rule.calibrate}"]
    if rule.annotator != "ignored":
        words.append("given the named classes")
    return ", ".join(words)


def _notes(known: npt.NDArray[np.bool_], scores: Scores, pseudo: PseudoLabels) -> list[str]:
    """Return sentences on unknown truth and on scores that differ."""
    notes = []
    if not known.any():
        notes.append(
            "The truth of these images is unknown: the page cannot show which labels are right, "
            "wrong or missed."
        )
    elif not known.all():
        notes.append(
            f"The truth of {(~known).sum():,} of these {len(known):,} images is unknown: right, "
            f"wrong and missed labels are counted on the other {known.sum():,}."
        )
    in_file = pseudo.probs[pseudo.labels]
    differ = int((in_file != scores.probs[pseudo.labels]).sum())
    if differ:
        notes.append(
            f"{differ:,} of the {len(in_file):,} scores in the file differ from scores.parquet; "
            f"the page shows scores.parquet."
        )
    return notes
