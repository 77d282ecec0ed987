"""The labels to look at first, as text for a terminal and as a table to fill in."""

from pathlib import Path

import numpy as np

from pipeline.artifacts.run import RunTables
from pipeline.core import files
from pipeline.inspection.label_words import MAX_NAME, Facts
from pipeline.inspection.terminal import Parts, Rows, escaped, facts, one_line, table, truncated
from pipeline.pseudo_labels.order import Floats, Order

# Precisions to reach, besides the one that is asked for.
PRECISIONS = (0.95, 0.98, 0.99)


def page(run: RunTables, order: Order, most: int) -> Parts:
    """Show how many labels to check, and the first of them.

    Args:
        run: the tables of the run.
        order: the order of its entries.
        most: how many entries to show.
    """
    rows, columns = order.first(most)
    cells: Rows = [
        [
            escaped(run.pseudo.image_ids[row]),
            one_line(truncated(escaped(run.index.classes[column]), MAX_NAME)),
            _label(run, row, column),
            f"{run.scores.probs[row, column]:.3f}",
            f"{order.wrong[row, column]:.3f}",
        ]
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True)
    ]
    header = ["image", "class", "label", "score", "wrong"]
    return [facts(_facts(run, order)), table(header, cells, n_texts=3)]


def write(path: Path, run: RunTables, order: Order, most: int) -> None:
    """Write the first entries as a CSV that `pseudo_label.corrections` reads once filled in.

    The column label is empty, which is no answer.
    """
    rows, columns = order.first(most)
    entries = list(zip(rows.tolist(), columns.tolist(), strict=True))
    with files.atomic_write(path) as temporary:
        files.write_csv(
            temporary,
            {
                "image_id": [run.pseudo.image_ids[row] for row in rows],
                "class": [run.index.classes[column] for column in columns],
                "label": [""] * len(entries),
                "now": [_label(run, *entry) for entry in entries],
                "score": [f"{run.scores.probs[entry]:.4f}" for entry in entries],
                "wrong": [f"{order.wrong[entry]:.4f}" for entry in entries],
            },
        )


def _facts(run: RunTables, order: Order) -> Facts:
    corrected = int(run.pseudo.corrected.sum())
    pairs = [
        ("entries", f"{order.free.sum():,} that nobody has named, {corrected:,} corrected"),
        ("wrong", f"the probability that a label is wrong, from {order.source}"),
    ]
    expected = order.precision()
    if expected is None:
        return pairs
    truth, known = run.known_truth()
    added = order.labels & order.free
    wrong: Floats | None = None
    text = f"{expected:.3f} of the added labels, expected"
    if known.all():
        wrong = (order.labels != truth).astype(np.float64)
        text += f"; {1 - wrong[added].mean():.3f} measured"
    pairs.append(("precision", text))
    for precision in PRECISIONS:
        checks = f"check {order.checks_to(precision):,} of the {added.sum():,}, expected"
        if wrong is not None:
            checks += f"; {order.checks_to(precision, wrong):,} measured"
        pairs.append((f"for {precision}", checks))
    return pairs


def _label(run: RunTables, row: int, column: int) -> str:
    if run.pseudo.labels[row, column]:
        return "present"
    return "ignored" if run.pseudo.ignored[row, column] else "absent"
