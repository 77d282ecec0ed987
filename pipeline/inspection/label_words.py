"""Texts about a pseudo-label file that label_text and label_diff_text share."""

import json
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.text import Text

from pipeline.evaluation.kinds import Kind
from pipeline.inspection.label_file import Counts, LabelFile
from pipeline.inspection.terminal import escaped, truncated

MAX_CLASSES = 40
MAX_LABELS = 8  # of an image in a table of images
MAX_NAME = 40  # terminal cells

Facts = list[tuple[str, str]]


def heading(file: LabelFile) -> Facts:
    """Return a file's path, its label rule, and the source of its complete labels."""
    return [
        ("file", escaped(str(file.path))),
        ("rule", rule(file)),
        ("truth", escaped(file.about_truth)),
    ]


def rule(file: LabelFile) -> str:
    """Return the label rule in the file, with its settings."""
    found = file.pseudo.rule
    if found is None:
        return "not named in the file"
    settings = ", ".join(f"{name} {setting(value)}" for name, value in found.settings().items())
    return escaped(found.rule + (f" ({settings})" if settings else ""))


def setting(value: str) -> str:
    """Return a rule's setting for reading: a float with four digits, a list as its range."""
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):  # a text, or no setting at all
        return value
    if isinstance(found, float):
        return f"{found:.4g}"
    if isinstance(found, list):
        numbers = [number for number in found if number is not None]
        if numbers and all(type(number) in (int, float) for number in numbers):
            return f"{min(numbers):.4g} to {max(numbers):.4g}"
    return value


def quality(counts: dict[str, Any]) -> str:
    """Return precision and recall, given the counts of `label_file.summary`."""
    return (
        f"precision {precision(counts)} of the added labels, recall {recall(counts)} "
        f"of the unobserved positives"
    )


def precision(counts: dict[str, Any]) -> str:
    """Return TP / (TP + FP) of the added labels that are judged."""
    return share(counts["right"], counts["right"] + counts["wrong"])


def recall(counts: dict[str, Any]) -> str:
    """Return TP / all unobserved positives; an ignored positive counts as not found."""
    return share(counts["right"], counts["hidden"])


def share(part: int, whole: int) -> str:
    """Return part / whole with three decimals, "-" if `whole` is 0."""
    return f"{part / whole:.3f}" if whole else "-"


# The text and the style of each kind of entry.
WORDS = {
    Kind.OBSERVED: ("observed", "observed"),
    Kind.DROPPED: ("observed, dropped", "observed"),
    Kind.AGAINST: ("added, but observed negative", "observed"),
    Kind.RULED_OUT: ("observed negative", "observed"),
    Kind.TRUE_POSITIVE: ("right", "right"),
    Kind.FALSE_POSITIVE: ("wrong", "wrong"),
    Kind.UNKNOWN_POSITIVE: ("added", ""),
    Kind.IGNORED: ("ignored", "ignored"),
    Kind.FALSE_NEGATIVE: ("missed", "missed"),
    Kind.TRUE_NEGATIVE: ("", ""),
    Kind.UNKNOWN_NEGATIVE: ("", ""),
    Kind.CORRECTED_POSITIVE: ("corrected", "observed"),
    Kind.CORRECTED_NEGATIVE: ("corrected, no label", "observed"),
}


def entry(file: LabelFile, row: int, column: int) -> Text:
    """Return the text of an entry's kind."""
    text, style = WORDS[Kind(file.kinds[row, column])]
    return Text(text, style)


def listed(file: LabelFile, row: int, entries: npt.NDArray[np.bool_], scores: bool) -> Text:
    """Return the classes of an image where `entries`, (C,), is True, one per line, at most 8."""
    columns = np.flatnonzero(entries)
    lines = []
    for column in columns[:MAX_LABELS]:
        judgement = entry(file, row, int(column))
        text = class_name(file, int(column))
        if scores:
            text += f" {file.pseudo.probs[row, column]:.3f}"
            if judgement.plain != "added":
                text += f" {judgement.plain}"
        lines.append(Text(text, judgement.style))
    if len(columns) > MAX_LABELS:
        lines.append(Text(f"and {len(columns) - MAX_LABELS} more"))
    return Text("\n").join(lines)


def classes_shown(ranks: Counts, every_class: bool) -> tuple[list[int], str]:
    """Choose the classes of a table: all in their order, or the 40 with the highest `ranks`.

    Returns:
        Their columns, and a sentence on the number of classes left out, "" if none is.
    """
    if every_class or len(ranks) <= MAX_CLASSES:
        return list(range(len(ranks))), ""
    columns = np.argsort(-ranks, kind="stable")[:MAX_CLASSES].tolist()
    return columns, f"{len(ranks) - MAX_CLASSES:,} more classes are left out; --all shows them"


def class_name(file: LabelFile, column: int) -> str:
    """Return the name of a class, truncated to 40 cells."""
    return truncated(escaped(file.classes[column]), MAX_NAME)
