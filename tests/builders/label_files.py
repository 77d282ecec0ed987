"""Random pseudo-labels with matching scores, truth and index."""

from pathlib import Path

import click
import numpy as np

from pipeline.artifacts import tables
from pipeline.artifacts.rule import LabelRule
from pipeline.artifacts.tables import PseudoLabels, Truth
from pipeline.core.arrays import BoolMatrix, Probs
from pipeline.inspection.terminal import Parts, rendered
from tests.builders.index import index_of

CLASSES = ("cat", "dog", "sea lion")
# Names that must be escaped before they are printed to a terminal.
HOSTILE = (
    "[red]x[/red] :cat:",
    "cat\x1b[31m",
    "two\nlines",
    "猫と犬の写真",
    "a very long name of a class that goes on and on and never comes to an end, " * 3,
    "",
    "$5",
    "\u202egnp",
)


def lines_of(parts: Parts, cells: int = 80) -> list[str]:
    """Return the lines on a terminal that is `cells` wide, without colours."""
    return click.unstyle(rendered(parts, cells)).splitlines()


def write(
    folder: Path,
    taus: dict[str, float],
    n: int = 60,
    classes: tuple[str, ...] = CLASSES,
    image_ids: list[str] | None = None,
    negatives: float = 0.1,
    keep: bool = True,
    seed: int = 0,
    width: float | None = None,
) -> None:
    """Write index.parquet, truth.parquet and a file of pseudo-labels per name and tau.

    With a width, unobserved scores from tau - width to tau are ignored.

    Of each image one positive is observed. A random share `negatives` of the true negatives is
    observed, too.
    """
    rng = np.random.RandomState(seed)
    truth: BoolMatrix = rng.rand(n, len(classes)) < 0.5
    truth[np.arange(n), rng.randint(len(classes), size=n)] = True
    observed = np.zeros_like(truth)
    for row in range(n):
        observed[row, rng.choice(np.flatnonzero(truth[row]))] = True
    ruled_out = (rng.rand(*truth.shape) < negatives) & ~truth
    probs: Probs = (0.6 * rng.rand(*truth.shape) + 0.4 * truth).astype(np.float32)
    ids = image_ids or [f"photo-{row:03d}" for row in range(n)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, tau in taus.items():
        labels = probs > np.float32(tau)
        if keep:
            labels = (labels | observed) & ~ruled_out
        rule, weights = LabelRule("tau", tau=tau), None
        if width is not None:
            rule = LabelRule("band", tau=tau, width=width)
            ignored = ~labels & ~observed & ~ruled_out & (probs >= np.float32(tau - width))
            weights = (~ignored).astype(np.float32)
        pseudo = PseudoLabels(
            ids, observed, labels, np.where(labels, probs, np.float32(np.nan)), rule,
            weights=weights,
        )  # fmt: skip
        tables.write_pseudo_labels(folder / name, pseudo, classes)
    tables.write_truth(folder / "truth.parquet", Truth(ids, truth), classes)
    targets = observed.astype(np.int8) - ruled_out.astype(np.int8)
    index = index_of(["train"] * n, targets, classes=classes, image_ids=ids)
    tables.write_index(folder / "index.parquet", index)
