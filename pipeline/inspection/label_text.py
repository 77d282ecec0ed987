"""A pseudo-label file as text for a terminal, with the numbers of label_file.py."""

from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.table import Table

from pipeline.core.arrays import RowNumbers
from pipeline.evaluation.kinds import Kind
from pipeline.inspection import label_file
from pipeline.inspection.label_file import LabelFile
from pipeline.inspection.label_words import (
    class_name,
    classes_shown,
    entry,
    heading,
    listed,
    precision,
    quality,
    recall,
)
from pipeline.inspection.terminal import (
    Parts,
    Rows,
    escaped,
    facts,
    grid,
    one_line,
    stacked_bar,
    table,
    titled,
)

BAR = 40  # terminal cells of the longest bar


def page(
    file: LabelFile, name: str | None, image_id: str | None, max_examples: int, every_class: bool
) -> Parts:
    """Show one class, one image, or all if neither is named.

    Args:
        file: the pseudo-label file.
        name: the class.
        image_id: the image.
        max_examples: the number of example images, at most.
        every_class: show all classes in a table, not only 40.

    Raises:
        InputError: the file does not have this class or image.
    """
    if name is not None:
        return one_class(file, file.column(name), max_examples)
    if image_id is not None:
        return one_image(file, file.row(image_id))
    return overview(file, max_examples, every_class)


def overview(file: LabelFile, max_examples: int, every_class: bool) -> Parts:
    """Show all labels: counts, a table of classes, some images with added labels."""
    counts = label_file.summary(file)
    n = counts["images"]
    about = [
        *heading(file),
        (
            "images",
            f"{n:,}: {counts['images_with_added']:,} with added labels, "
            f"{counts['images_without_label']:,} without any label; {len(file.classes):,} classes",
        ),
        (
            "positives",
            f"{counts['positives'] / n:.2f} per image; {counts['observed'] / n:.2f} observed, "
            f"{counts['added'] / n:.2f} added",
        ),
        ("added", _added(counts)),
    ]
    if counts["dropped"]:
        about.append(("dropped", f"{counts['dropped']:,} observed positives have no label"))
    if counts["ignored"]:
        about.append(("ignored", _ignored(counts)))
    if counts["corrected"]:
        about.append(("corrected", f"{counts['corrected']:,} entries, by a person"))
    if counts["against"]:
        about.append(("against", f"{counts['against']:,} added labels are observed negatives"))
    if file.known.any():
        about.append(("quality", quality(counts)))
    parts: Parts = [facts(about), _class_table(file, every_class)]
    added = np.flatnonzero(file.added.any(axis=1))
    examples = label_file.evenly_spaced(added, max_examples)
    if len(examples):
        title = f"{len(examples):,} of the {len(added):,} images with added labels"
        parts.append(titled(title, _images(file, examples)))
    return parts


def one_class(file: LabelFile, column: int, max_examples: int) -> Parts:
    """Show one class: its counts, a histogram, its added labels with extreme scores."""
    per_class = label_file.per_class(file)
    counts = {name: values[column].item() for name, values in per_class.items()}
    n = len(file.pseudo.labels)
    about = [
        ("class", escaped(file.classes[column])),
        *heading(file),
        (
            "positives",
            f"{counts['positives']:,} of {n:,} images ({counts['positives'] / n:.1%}); "
            f"{counts['observed']:,} observed, {counts['added']:,} added",
        ),
        ("added", _added(counts)),
    ]
    if counts["ignored"]:
        about.append(("ignored", _ignored(counts)))
    if counts["corrected"]:
        about.append(("corrected", f"{counts['corrected']:,} entries, by a person"))
    if file.known.any():
        about.append(("quality", quality(counts)))
    parts: Parts = [facts(about), _histogram(file, column)]
    top, bottom = label_file.extreme_scores(file, column, max_examples)
    for which, chosen in (("highest", top), ("lowest", bottom)):
        if len(chosen):
            title = f"{len(chosen)} added labels with the {which} scores"
            parts.append(titled(title, scored_images(file, column, chosen)))
    return parts


def one_image(file: LabelFile, row: int) -> Parts:
    """Show one image: its labels with their scores, its ignored entries and missed positives."""
    labels, observed = file.pseudo.labels[row], file.pseudo.observed[row]
    ignored = file.is_kind(Kind.IGNORED)[row]
    truth = "unknown"
    if file.known[row]:
        truth = (
            ", ".join(class_name(file, c) for c in np.flatnonzero(file.truth[row]).tolist())
            or "no class"
        )
    about = [
        ("image", escaped(file.pseudo.image_ids[row])),
        *heading(file),
        ("shows", truth),
    ]
    of_interest = np.flatnonzero(
        labels
        | observed
        | ignored
        | file.truth[row]
        | file.negatives[row]
        | file.pseudo.corrected[row]
    )
    # The highest scores first. An entry without a label has no score in the file.
    scores = np.where(labels, file.pseudo.probs[row], -1)[of_interest]
    rows: Rows = [
        [
            f"{file.pseudo.probs[row, column]:.4f}" if labels[column] else "-".rjust(6),
            entry(file, row, int(column)),
            escaped(file.classes[column]),
        ]
        for column in of_interest[np.argsort(-scores, kind="stable")]
    ]
    return [facts(about), grid(rows) if rows else "no label and no observed label"]


def scored_images(file: LabelFile, column: int, rows: RowNumbers) -> Table:
    """Return a table of images with the score and the kind of their label of one class."""
    return grid(
        [
            [
                f"{file.pseudo.probs[row, column]:.3f}",
                entry(file, int(row), column),
                escaped(file.pseudo.image_ids[row]),
            ]
            for row in rows
        ]
    )


def _class_table(file: LabelFile, every_class: bool) -> Group:
    counts: dict[str, Any] = label_file.per_class(file)
    columns, left_out = classes_shown(counts["positives"], every_class)
    header = ["class", "observed", "added", "mean", "lowest"]
    any_ignored = bool(counts["ignored"].any())
    if any_ignored:
        header.append("ignored")
    if file.known.any():
        header += ["right", "wrong", "missed", "prec.", "recall"]
    rows: Rows = []
    for column in columns:
        of_class = {name: values[column].item() for name, values in counts.items()}
        cells = [f"{of_class['observed']:,}", f"{of_class['added']:,}"]
        scores = [of_class["mean"], of_class["lowest"]]
        cells += [f"{score:.3f}" if of_class["added"] else "-" for score in scores]
        if any_ignored:
            cells.append(f"{of_class['ignored']:,}")
        if file.known.any():
            cells += [f"{of_class[name]:,}" for name in ("right", "wrong", "missed")]
            cells += [precision(of_class), recall(of_class)]
        rows.append([one_line(escaped(file.classes[column])), *cells])
    return Group(table(header, rows), *([left_out] if left_out else []))


def _images(file: LabelFile, rows: RowNumbers) -> Table:
    """Return a table of images with their observed, added, missed and ignored labels."""
    columns = {"observed": file.pseudo.observed, "added": file.added}
    if file.known.any():
        columns["missed"] = file.is_kind(Kind.FALSE_NEGATIVE)
    ignored = file.is_kind(Kind.IGNORED)
    if ignored.any():
        columns["ignored"] = ignored
    cells: Rows = [
        [
            escaped(file.pseudo.image_ids[row]),
            *(
                listed(file, row, entries[row], scores=name == "added")
                for name, entries in columns.items()
            ),
        ]
        for row in rows.tolist()
    ]
    return table(["image", *columns], cells, n_texts=1 + len(columns))


def _histogram(file: LabelFile, column: int) -> RenderableType:
    bins = label_file.histogram(file, column)
    signs = {"observed": "o", "right": "+", "wrong": "x", "added": "?" if file.known.any() else "+",
             "corrected": "c"}  # fmt: skip
    present = [name for name in signs if bins[name].any()]
    legend = ", ".join(f"{signs[name]} {name}" for name in present)
    if not present:
        return "no label of this class"
    totals = np.sum([bins[name] for name in signs], axis=0)
    if totals.max() > BAR:
        legend += f"; a sign is about {totals.max() / BAR:.2g} labels"
    width = len(f"{totals.max():,}")
    rows: Rows = []
    for place, (low, high) in enumerate(zip(bins["low"], bins["high"], strict=True)):
        lengths = [(signs[name], int(bins[name][place])) for name in present]
        bar = stacked_bar(lengths, int(totals.max()), BAR)
        rows.append([f"{low:.2f}-{high:.2f}", f"{totals[place]:>{width},}", bar])
    return titled(f"labels of the class by score ({legend})", grid(rows))


def _ignored(counts: dict[str, Any]) -> str:
    return f"{counts['ignored']:,} entries, left out of the student's loss"


def _added(counts: dict[str, Any]) -> str:
    added, judged = counts["added"], counts["right"] + counts["wrong"]
    if not judged and not counts["missed"]:
        return f"{added:,}"
    rest = added - judged
    text = f"{added:,}: {counts['right']:,} right, {counts['wrong']:,} wrong"
    text += f", {rest:,} not judged" if rest else ""
    return f"{text}; {counts['missed']:,} missed"
