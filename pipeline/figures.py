"""Everything drawn. Colours are Okabe and Ito's, told apart by the colour-blind, too."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.images import Pictures
from pipeline.tables import BoolMatrix, Probs

TEACHER, STUDENT = "#0072B2", "#D55E00"
POSITIVE, NEGATIVE = "#009E73", "#999999"
OBSERVED, RIGHT, WRONG, MISSED = "#000000", "#00664B", "#B34700", "#5F5F5F"
MOST_CLASSES = 40
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 150,
    # A class may be called "$5".
    "text.parse_math": False,
}


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Figure]:
    """Give a figure of some inches; it is written to `path` when the block ends."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        # Without this matplotlib writes its version into the file.
        figure.savefig(path, metadata={"Software": None})


def curves(path: Path, histories: dict[str, dict[str, list[float]]]) -> None:
    """Draw val mAP and training loss by epoch.

    Args:
        path: the PNG to write.
        histories: for "teacher" and "student" the curves "val_mAP" and "loss".
    """
    colours = {"teacher": TEACHER, "student": STUDENT}
    with _figure(path, 11, 3.6) as figure:
        axes = figure.subplots(1, 3)
        for name, history in histories.items():
            epochs = np.arange(1, len(history["val_mAP"]) + 1)
            best = int(np.argmax(history["val_mAP"]))
            value = history["val_mAP"][best]
            label = f"{name}, best {value:.1f} %"
            axes[0].plot(epochs, history["val_mAP"], color=colours[name], label=label)
            axes[0].plot(epochs[best], value, "o", color=colours[name])
        axes[0].set(xlabel="epoch", ylabel="val mAP (%)", title="mean average precision")
        axes[0].legend(loc="lower right")
        for axis, (name, history) in zip(axes[1:], histories.items(), strict=True):
            epochs = np.arange(1, len(history["loss"]) + 1)
            axis.plot(epochs, history["loss"], color=colours[name])
            axis.set(xlabel="epoch", ylabel="training loss", title=f"loss of the {name}")
        for axis in axes:
            axis.xaxis.get_major_locator().set_params(integer=True)


def average_precision_per_class(
    path: Path,
    classes: tuple[str, ...],
    teacher: npt.NDArray[np.float64],
    student: npt.NDArray[np.float64],
) -> None:
    """Draw the test AP of each class, teacher against student, the largest gain on top.

    Of more than 40 classes those with the largest differences are drawn.
    """
    gain = student - teacher
    known = np.flatnonzero(~np.isnan(gain))
    shown = known[np.argsort(-np.abs(gain[known]), kind="stable")[:MOST_CLASSES]]
    shown = shown[np.argsort(gain[shown], kind="stable")]
    title = "test AP by class"
    if len(known) > len(shown):
        title += f", the {len(shown)} of {len(known)} that differ most"
    with _figure(path, 7, 1.6 + 0.3 * len(shown)) as figure:
        axis = figure.subplots()
        places = np.arange(len(shown))
        axis.hlines(places, teacher[shown], student[shown], color="#BBBBBB", linewidth=3)
        axis.plot(teacher[shown], places, "o", color=TEACHER, label="teacher")
        axis.plot(student[shown], places, "D", color=STUDENT, label="student")
        axis.set_yticks(places, [_short(classes[row]) for row in shown])
        axis.set(xlabel="average precision (%)", title=title)
        axis.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=2)


def score_histograms(
    path: Path, probs: Probs, truth: BoolMatrix, unobserved: BoolMatrix, tau: float
) -> None:
    """Draw how the teacher scored the unobserved entries of the train pictures.

    Args:
        path: the PNG to write.
        probs: (N, C) scores.
        truth: (N, C) complete labels.
        unobserved: (N, C) the entries to draw.
        tau: the threshold, marked.
    """
    bins = np.linspace(0, 1, 51).tolist()
    with _figure(path, 7, 4) as figure:
        axis = figure.subplots()
        groups = (
            ("truly absent", probs[unobserved & ~truth], NEGATIVE),
            ("truly present", probs[unobserved & truth], POSITIVE),
        )
        for name, values, colour in groups:
            label = f"{name} ({len(values):,})"
            axis.hist(values, bins, color=colour, alpha=0.55, label=label)
            axis.hist(values, bins, color=colour, histtype="step", linewidth=1.5)
        axis.axvline(tau, color="black", linestyle="--", label=f"tau = {tau:g}")
        axis.set_yscale("log")
        axis.set(
            xlabel="teacher's probability", ylabel="entries (log scale)", xlim=(0, 1),
            title="scores of labels that the annotator did not see",
        )  # fmt: skip
        figure.legend(loc="outside lower center", ncols=3)


def contact_sheet(
    path: Path,
    pictures: Pictures,
    classes: tuple[str, ...],
    truth: BoolMatrix,
    observed: BoolMatrix,
    labels: BoolMatrix,
) -> None:
    """Draw pictures with what is true, what was observed and what was pseudo-labelled.

    Args:
        path: the PNG to write.
        pictures: (n, H, W, 3) uint8, up to 24.
        classes: the C class names.
        truth: (n, C) complete labels.
        observed: (n, C) observed positives.
        labels: (n, C) pseudo-labels.
    """
    columns = 6
    lines = (("observed", OBSERVED), ("added, right", RIGHT), ("added, wrong", WRONG),
             ("missed", MISSED))  # fmt: skip
    with _figure(path, 2.1 * columns, 2.95 * -(-len(pictures) // columns)) as figure:
        axes = np.atleast_1d(figure.subplots(-(-len(pictures) // columns), columns)).ravel()
        for axis in axes:
            axis.axis("off")
        for row, picture in enumerate(pictures):
            axes[row].imshow(picture, interpolation="nearest" if len(picture) < 100 else None)
            seen, named, true = observed[row], labels[row], truth[row]
            groups = (seen, named & ~seen & true, named & ~true & ~seen, true & ~named & ~seen)
            for line, ((_, colour), group) in enumerate(zip(lines, groups, strict=True)):
                _caption(axes[row], line, "●+×?"[line], classes, group, colour)
        figure.suptitle("●  observed     +  added, right     ×  added, wrong     ?  missed")


def _caption(
    axis: Axes, line: int, sign: str, classes: tuple[str, ...], group: npt.NDArray[np.bool_],
    colour: str,
) -> None:  # fmt: skip
    """Write one line of class names below a picture."""
    names = ", ".join(classes[column] for column in np.flatnonzero(group))
    axis.text(
        0, -0.03 - 0.105 * line, f"{sign} {_short(names or '–')}", color=colour, fontsize=9,
        transform=axis.transAxes, verticalalignment="top", clip_on=False,
        alpha=1.0 if names else 0.35,
    )  # fmt: skip


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"
