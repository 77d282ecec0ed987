"""The difference between two pseudo-label files as text for a terminal."""

import numpy as np
from rich.console import Group
from rich.table import Table

from pipeline.core.arrays import RowNumbers
from pipeline.evaluation.kinds import Kind
from pipeline.inspection import label_diff, label_file, label_words
from pipeline.inspection.label_diff import LabelDiff
from pipeline.inspection.label_text import scored_images
from pipeline.inspection.label_words import Facts, classes_shown, entry, listed, precision, recall
from pipeline.inspection.terminal import Parts, Rows, escaped, facts, one_line, table, titled


def page(
    diff: LabelDiff, name: str | None, image_id: str | None, max_examples: int, every_class: bool
) -> Parts:
    """Show the changes of one class, of one image, or of all if neither is named.

    Args:
        diff: the two files.
        name: the class.
        image_id: the image.
        max_examples: the number of example images, at most.
        every_class: show all classes in a table, not only 40.

    Raises:
        InputError: the files do not have this class or image.
    """
    if name is not None:
        return one_class(diff, diff.before.column(name), max_examples)
    if image_id is not None:
        return one_image(diff, diff.before.row(image_id))
    return overview(diff, max_examples, every_class)


def overview(diff: LabelDiff, max_examples: int, every_class: bool) -> Parts:
    """Show the changes: totals, a table of classes, some of the changed images."""
    counts = label_diff.summary(diff)
    about = heading(diff, counts)
    about += [
        ("images", f"{counts['images']:,}; the labels of {counts['images_changed']:,} changed"),
        *_totals(diff, counts),
    ]
    if diff.before.known.any():
        before, after = (label_file.summary(file) for file in (diff.before, diff.after))
        about.append(("quality", f"precision {precision(before)} -> {precision(after)}, "
                                 f"recall {recall(before)} -> {recall(after)}"))  # fmt: skip
    parts: Parts = [facts(about), _class_table(diff, every_class)]
    changed = np.flatnonzero((diff.gained | diff.lost).any(axis=1))
    examples = label_file.evenly_spaced(changed, max_examples)
    if len(examples):
        title = f"{len(examples):,} of the {len(changed):,} images whose labels changed"
        parts.append(titled(title, _images(diff, examples)))
    return parts


def one_class(diff: LabelDiff, column: int, max_examples: int) -> Parts:
    """Show the gained and the lost labels of one class, the highest scores first."""
    counts = {name: int(values[column]) for name, values in label_diff.per_class(diff).items()}
    name = escaped(diff.before.classes[column])
    about = [("class", name), *heading(diff), *_totals(diff, counts)]
    parts: Parts = [facts(about)]
    for change, entries, file in (
        ("gained", diff.gained, diff.after),
        ("lost", diff.lost, diff.before),
    ):
        chosen = np.flatnonzero(entries[:, column])
        chosen = chosen[np.argsort(-file.pseudo.probs[chosen, column], kind="stable")][
            :max_examples
        ]
        if len(chosen):
            n_entries = f"{entries[:, column].sum():,}"
            title = f"{change}: the {len(chosen)} of {n_entries} labels with the highest scores"
            parts.append(titled(title, scored_images(file, column, chosen)))
    return parts


def one_image(diff: LabelDiff, row: int) -> Parts:
    """Show which labels of one image were kept, gained and lost, and which entries are ignored."""
    about = [("image", escaped(diff.before.pseudo.image_ids[row])), *heading(diff)]
    before, after = diff.before.pseudo, diff.after.pseudo
    rows: Rows = []
    was, now = (file.is_kind(Kind.IGNORED)[row] for file in (diff.before, diff.after))
    for column in np.flatnonzero(before.labels[row] | after.labels[row] | was | now):
        place = row, column
        change = "gained" if diff.gained[place] else "lost" if diff.lost[place] else "kept"
        # The kind of the label, or of the ignored entry if there is no label.
        in_first = diff.lost[place] or not (after.labels[place] or now[column])
        file = diff.before if in_first else diff.after
        if not (before.labels[place] or after.labels[place]):
            change = "" if was[column] and now[column] else "now" if now[column] else "no longer"
        cells = [
            f"{labels.probs[place]:.4f}" if labels.labels[place] else "ignored" if out else "-"
            for labels, out in ((before, was[column]), (after, now[column]))
        ]
        name = one_line(escaped(diff.before.classes[column]))
        rows.append([name, *cells, change, entry(file, row, int(column))])
    if not rows:
        return [facts(about), "no label in either file"]
    return [facts(about), table(["class", "before", "after", "change", "kind"], rows)]


def heading(diff: LabelDiff, counts: dict[str, int] | None = None) -> Facts:
    """Return the files, their rules, and the differences that do not come from the rules."""
    counts = counts or label_diff.summary(diff)
    pairs = [
        (name, f"{escaped(str(file.path))}: {label_words.rule(file)}")
        for name, file in (("before", diff.before), ("after", diff.after))
    ]
    pairs.append(("truth", escaped(diff.before.about_truth)))
    if not label_diff.same_scores(diff):
        pairs.append(("teacher", "differs: labels in both files have different scores"))
    if counts["other_observed"]:
        pairs.append(("observed", f"labels differ in {counts['other_observed']:,} images"))
    return pairs


def _totals(diff: LabelDiff, counts: dict[str, int]) -> Facts:
    pairs = [("labels", f"{counts['before']:,} -> {counts['after']:,}")]
    for name in ("gained", "lost"):
        text = f"{counts[name]:,}"
        if diff.before.known.any():
            right, wrong = counts[f"{name}_right"], counts[f"{name}_wrong"]
            text += f": {right:,} right, {wrong:,} wrong"
            if rest := counts[name] - right - wrong:
                text += f", {rest:,} observed or truth unknown"
        pairs.append((name, text))
    if counts["ignored_before"] or counts["ignored_after"]:
        pairs.append(("ignored", f"{counts['ignored_before']:,} -> {counts['ignored_after']:,}"))
    return pairs


def _class_table(diff: LabelDiff, every_class: bool) -> Group:
    counts = label_diff.per_class(diff)
    columns, left_out = classes_shown(counts["gained"] + counts["lost"], every_class)
    judged = diff.before.known.any()
    names = ["before", "after"]
    header = ["class", *names]
    for name in ("gained", "lost"):
        names += [name, f"{name}_right", f"{name}_wrong"] if judged else [name]
        header += [name, "right", "wrong"] if judged else [name]
    rows: Rows = [
        [
            one_line(escaped(diff.before.classes[column])),
            *(f"{counts[name][column]:,}" for name in names),
        ]
        for column in columns
    ]
    if counts["ignored_before"].any() or counts["ignored_after"].any():
        header.append("ignored")
        for row, column in zip(rows, columns, strict=True):
            row.append(
                f"{counts['ignored_before'][column]:,} -> {counts['ignored_after'][column]:,}"
            )
    return Group(table(header, rows), *([left_out] if left_out else []))


def _images(diff: LabelDiff, rows: RowNumbers) -> Table:
    """Return a table of images with their observed, gained and lost labels."""
    before, after = diff.before, diff.after
    header = ["image", "observed", "gained", "lost"]
    cells: Rows = [
        [
            escaped(before.pseudo.image_ids[row]),
            listed(before, row, before.pseudo.observed[row], scores=False),
            listed(after, row, diff.gained[row], scores=True),
            listed(before, row, diff.lost[row], scores=True),
        ]
        for row in rows.tolist()
    ]
    return table(header, cells, n_texts=len(header))
