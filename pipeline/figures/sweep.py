"""Draw the figures of a sweep over tau: mAP of the student, number and quality of the labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

from pipeline.figures.canvas import MISSED, POSITIVE, STUDENT, TEACHER, UNKNOWN, canvas

# The reference lines by name: colour, dashes, label.
LINES = {
    "full_labels": ("#000000", "-", "all labels known (oracle)"),
    "teacher": (TEACHER, "--", "teacher"),
    "an": (UNKNOWN, "-.", "AN: unknown labels as negative"),
}


@dataclass(frozen=True)
class Sweep:
    """The data of the figures; T thresholds by R seeds.

    Attributes:
        taus: (T,) ascending.
        values: (T, R) by name: "test_mAP" and "val_mAP" of the student in percent,
            "positives_per_image", "precision", "recall"; NaN for unknown values.
        references: the test mAP of each seed in percent, by name in LINES.
        true_positives_per_image: positives per image in the complete labels; None if unknown.
        chosen: the tau that val mAP chooses.
        calibrated: the calibration of the scores that tau is a threshold on.
    """

    taus: Sequence[float]
    values: Mapping[str, npt.NDArray[np.float64]]
    references: Mapping[str, Sequence[float]] = field(default_factory=dict)
    true_positives_per_image: float | None = None
    chosen: float | None = None
    calibrated: str = "none"


# Title and caption of each figure.
CAPTIONS = {
    "test_mAP": (
        "Test mAP by tau",
        "The mean over seeds, with a band of one standard deviation. The vertical line is the tau "
        "that val chooses.",
    ),
    "val_mAP": ("Val mAP by tau", "The mean over seeds of the student's best epoch."),
    "positives": ("Number of labels by tau", "The dashed line is the complete labels."),
    "quality": (
        "Precision and recall by tau",
        "Precision is the share of the added labels that are right, recall the share of the "
        "unobserved positives that are found.",
    ),
}


def draw(folder: Path, sweep: Sweep) -> list[str]:
    """Draw each figure and all of them together, as PNG and SVG; return their names."""
    drawn = {name: panel for name, panel in PANELS.items() if _has(sweep, name)}
    for name, panel in drawn.items():
        paths = (folder / f"{name}.png", folder / f"{name}.svg")
        with canvas(*paths, width=7, height=4.6) as figure:
            panel(figure.subplots(), sweep)
            figure.legend(loc="outside lower center", ncols=2)
    rows = -(-len(drawn) // 2)
    with canvas(folder / "sweep.png", folder / "sweep.svg", width=13, height=4.6 * rows) as figure:
        parts = figure.subfigures(rows, 2, squeeze=False).ravel()
        for part, panel in zip(parts, drawn.values(), strict=False):
            panel(part.subplots(), sweep)
            part.legend(loc="outside lower center", ncols=2)
    return ["sweep", *drawn]


def _has(sweep: Sweep, name: str) -> bool:
    """Return whether a figure has data; precision and recall need complete train labels."""
    return name != "quality" or not np.isnan(sweep.values["precision"]).all()


def _test_map(axis: Axes, sweep: Sweep) -> None:
    for name, (colour, dashes, title) in LINES.items():
        if name in sweep.references:
            values = np.asarray(sweep.references[name])
            label = f"{title}: {values.mean():.1f}"
            axis.axhline(values.mean(), color=colour, linestyle=dashes, label=label, zorder=1)
            if len(values) > 1:
                low, high = values.mean() - values.std(ddof=1), values.mean() + values.std(ddof=1)
                axis.axhspan(low, high, color=colour, alpha=0.08, linewidth=0)
    _curve(axis, sweep, "test_mAP", STUDENT, "o-", "student")
    _finish(axis, sweep, "test mAP (%)", "test mAP of the student")


def _val_map(axis: Axes, sweep: Sweep) -> None:
    _curve(axis, sweep, "val_mAP", STUDENT, "o-", "student, best epoch")
    _finish(axis, sweep, "val mAP (%)", "val mAP of the student, which chooses tau")


def _positives(axis: Axes, sweep: Sweep) -> None:
    if sweep.true_positives_per_image is not None:
        label = f"truth: {sweep.true_positives_per_image:.2f}"
        axis.axhline(sweep.true_positives_per_image, color=POSITIVE, linestyle="--", label=label)
    _curve(axis, sweep, "positives_per_image", "#000000", "s-", "pseudo-labels")
    axis.set_ylim(bottom=0)
    _finish(axis, sweep, "positives per image", "number of pseudo-labels per image")


def _quality(axis: Axes, sweep: Sweep) -> None:
    _curve(axis, sweep, "precision", TEACHER, "o-", "precision of the added labels")
    _curve(axis, sweep, "recall", STUDENT, "s--", "recall of the unobserved positives")
    axis.set_ylim(-0.02, 1.02)
    _finish(axis, sweep, "share", "quality of the added labels")


PANELS: dict[str, Callable[[Axes, Sweep], None]] = {
    "test_mAP": _test_map,
    "val_mAP": _val_map,
    "positives": _positives,
    "quality": _quality,
}


def _curve(axis: Axes, sweep: Sweep, name: str, colour: str, style: str, label: str) -> None:
    """Draw the mean over seeds, and a band of one standard deviation for several seeds."""
    values = sweep.values[name]
    mean = values.mean(axis=1)
    axis.plot(sweep.taus, mean, style, color=colour, label=label, zorder=3)
    if values.shape[1] > 1:
        deviation = values.std(axis=1, ddof=1)
        band = (sweep.taus, mean - deviation, mean + deviation)
        axis.fill_between(*band, color=colour, alpha=0.2, linewidth=0)


def _finish(axis: Axes, sweep: Sweep, ylabel: str, title: str) -> None:
    if sweep.chosen is not None:
        at_edge = len(sweep.taus) > 1 and sweep.chosen in (sweep.taus[0], sweep.taus[-1])
        label = f"tau chosen by val: {sweep.chosen:g}{', edge of the grid' * at_edge}"
        axis.axvline(sweep.chosen, color=MISSED, linestyle=":", linewidth=2, label=label)
    scores = "the teacher's score"
    if sweep.calibrated != "none":
        scores += f", calibrated by {sweep.calibrated}"
    axis.set(xlabel=f"tau (threshold on {scores})", ylabel=ylabel, title=title)
