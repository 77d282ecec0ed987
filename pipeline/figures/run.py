"""Draw the figures of a run: training curves, AP by class, scores, a contact sheet."""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.artifacts.curves import History
from pipeline.core.arrays import BoolMatrix, Images, Probs
from pipeline.evaluation.kinds import JUDGED, Kind, Kinds, is_one_of
from pipeline.figures.canvas import (
    ADDED,
    IGNORED,
    MISSED,
    NEGATIVE,
    OBSERVED,
    POSITIVE,
    RIGHT,
    STUDENT,
    TEACHER,
    UNKNOWN,
    WRONG,
    canvas,
    legible,
    short,
)

MAX_CLASSES = 40
# Widths on the contact sheet in inches: of an image with its margin, and of a legend entry.
CELL, LEGEND = 2.12, 1.5


def curves(path: Path, histories: dict[str, History]) -> None:
    """Draw val mAP and training loss by epoch, and mark the epoch of the saved checkpoint.

    Args:
        path: the PNG to write.
        histories: the training histories of "teacher" and "student"; the teacher has none if its
            scores come from outside.
    """
    colours = {"teacher": TEACHER, "student": STUDENT}
    with canvas(path, width=11, height=4) as figure:
        axes = figure.subplots(1, 1 + len(histories))
        for name, history in histories.items():
            epochs, best = [epoch.epoch for epoch in history.epochs], history.best
            values = [epoch.val_mAP for epoch in history.epochs]
            label = f"{name}, checkpoint of epoch {best.epoch}: val mAP {best.val_mAP:.1f} %"
            axes[0].plot(epochs, values, color=colours[name], label=label)
            axes[0].plot(best.epoch, best.val_mAP, "o", color=colours[name])
        axes[0].set(xlabel="epoch", ylabel="val mAP (%)", title="mean average precision")
        figure.legend(loc="outside lower center", ncols=2)
        for axis, (name, history) in zip(axes[1:], histories.items(), strict=True):
            epochs = [epoch.epoch for epoch in history.epochs]
            losses = [epoch.loss for epoch in history.epochs]
            axis.plot(epochs, losses, ".-", color=colours[name])
            axis.set(xlabel="epoch", ylabel="training loss", title=f"loss of the {name}")
        for axis in axes:
            axis.xaxis.get_major_locator().set_params(integer=True, min_n_ticks=1)


def average_precision_per_class(
    path: Path,
    classes: tuple[str, ...],
    teacher: npt.NDArray[np.float64],
    student: npt.NDArray[np.float64],
) -> None:
    """Draw the test AP of teacher and student by class, the largest gain on top.

    Of more than 40 classes, the 40 with the largest differences are drawn. If the teacher's APs
    are unknown, all NaN, the student's are drawn alone.
    """
    is_compared = bool((~np.isnan(teacher)).any())
    gain = student - teacher if is_compared else student
    known = np.flatnonzero(~np.isnan(gain))
    shown = known[np.argsort(-np.abs(gain[known]), kind="stable")[:MAX_CLASSES]]
    shown = shown[np.argsort(gain[shown], kind="stable")]
    title = f"test AP by class, the largest{' gain' if is_compared else ''} on top"
    if len(known) > len(shown):
        title = f"test AP of the {len(shown)} of {len(known)} classes "
        title += "that differ most" if is_compared else "with the highest"
    with canvas(path, width=8, height=1.6 + 0.3 * len(shown), names=classes) as figure:
        axis = figure.subplots()
        places = np.arange(len(shown))
        # A marker at 100 %, the end of the axis, is drawn as a whole.
        if is_compared:
            axis.hlines(places, teacher[shown], student[shown], color="#BBBBBB", linewidth=3)
            axis.plot(teacher[shown], places, "o", color=TEACHER, label="teacher", clip_on=False)
        axis.plot(student[shown], places, "D", color=STUDENT, label="student", clip_on=False)
        axis.set_yticks(places, [legible(classes[row], f"class {row}", 40) for row in shown])
        # The axis starts at the multiple of ten below the lowest AP.
        aps = np.concatenate([teacher[shown] if is_compared else [], student[shown]])
        lowest = float(aps.min()) if len(aps) else 0.0
        axis.set(
            xlabel="average precision (%)", title=title, xlim=(max(lowest // 10 * 10 - 2, 0), 100)
        )
        axis.set_ylim(-0.7, max(len(shown), 1) - 0.3)
        axis.grid(axis="y", visible=False)
        figure.legend(loc="outside lower center", ncols=2)


def score_histograms(
    path: Path,
    probs: Probs,
    truth: BoolMatrix,
    unobserved: BoolMatrix,
    tau: float | None,
    known: npt.NDArray[np.bool_] | None = None,
) -> None:
    """Draw a histogram of the teacher's scores of the unobserved entries of the train images.

    Args:
        path: the PNG to write.
        probs: (N, C) scores.
        truth: (N, C) complete labels.
        unobserved: (N, C) mask of the entries to draw.
        tau: the threshold to mark; None if there is no single one for all classes.
        known: (N,) mask of the images whose complete labels are known; None: all.
    """
    has_truth = np.ones((len(probs), 1), np.bool_) if known is None else known[:, None]
    bins = np.linspace(0, 1, 51).tolist()
    with canvas(path, width=7, height=4) as figure:
        axis = figure.subplots()
        groups = (
            ("truly absent", probs[unobserved & ~truth & has_truth], NEGATIVE, has_truth.any()),
            ("truly present", probs[unobserved & truth & has_truth], POSITIVE, has_truth.any()),
            ("truth unknown", probs[unobserved & ~has_truth], UNKNOWN, not has_truth.all()),
        )
        for name, values, colour in [group[:3] for group in groups if group[3]]:
            label = f"{name} ({len(values):,})"
            axis.hist(values, bins, color=colour, alpha=0.55, label=label)
            axis.hist(values, bins, color=colour, histtype="step", linewidth=1.5)
        if tau is not None:
            axis.axvline(tau, color="black", linestyle="--", label=f"tau = {tau:g}")
        # The lower limit is above 0, since all bins may be empty on the log scale.
        axis.set_ylim(0.7, max(axis.get_ylim()[1] * 2, 10))
        axis.set_yscale("log")
        # The default formatter of log axes needs math text, which is off because of class names.
        axis.yaxis.set_major_formatter("{x:,.0f}")
        axis.set(
            xlabel="teacher's probability", ylabel="entries (log scale)", xlim=(0, 1),
            title="teacher's scores of unobserved labels",
        )  # fmt: skip
        n_columns = 4 if has_truth.any() != has_truth.all() else 3
        figure.legend(loc="outside lower center", ncols=n_columns)


def contact_sheet(
    path: Path,
    images: Images,
    classes: tuple[str, ...],
    kinds: Kinds,
) -> None:
    """Draw images with their observed, added, missed and ignored labels.

    Rare kinds have a line only if they occur: unknown truth, ignored entries, labels on observed
    negatives, corrected labels.

    Args:
        path: the PNG to write.
        images: (n, H, W, 3) uint8, up to 24.
        classes: the C class names.
        kinds: (n, C) the kind of each entry, from `kinds_of`.
    """
    unknown = is_one_of(kinds, Kind.UNKNOWN_POSITIVE, Kind.UNKNOWN_NEGATIVE).any()
    is_judged = is_one_of(kinds, *JUDGED).any() or not unknown
    occurs = np.bincount(kinds.ravel(), minlength=len(Kind)) > 0
    corrected = occurs[Kind.CORRECTED_POSITIVE]
    lines = [
        (sign, meaning, colour, is_one_of(kinds, *group))
        for sign, meaning, colour, group, is_shown in (
            ("●", "observed", OBSERVED, (Kind.OBSERVED, Kind.DROPPED), True),
            ("+", "added, right", RIGHT, (Kind.TRUE_POSITIVE,), is_judged),
            ("×", "added, wrong", WRONG, (Kind.FALSE_POSITIVE,), is_judged),
            ("?", "missed", MISSED, (Kind.FALSE_NEGATIVE,), is_judged),
            ("+", "added, truth unknown", ADDED, (Kind.UNKNOWN_POSITIVE,), unknown),
            ("⊗", "on observed negative", WRONG, (Kind.AGAINST,), occurs[Kind.AGAINST]),
            ("~", "ignored", IGNORED, (Kind.IGNORED,), occurs[Kind.IGNORED]),
            ("◆", "corrected", OBSERVED, (Kind.CORRECTED_POSITIVE,), corrected),
        )
        if is_shown
    ]
    # Wide enough for a legend of one line above the images.
    needed = -(-(0.1 + LEGEND * len(lines)) // CELL)
    columns = int(min(6, max(needed, len(images))))
    # Lengths in inches.
    side, line_height, top = 2.0, 0.19, 0.4
    cell_height = side + 0.25 + line_height * len(lines)
    width, height = columns * CELL, top + -(-len(images) // columns) * cell_height
    with canvas(path, width=width, height=height, layout=None, names=classes) as figure:
        for line, (sign, meaning, colour, _) in enumerate(lines):
            figure.text((0.1 + LEGEND * line) / width, 1 - 0.28 / height, f"{sign}  {meaning}",
                        color=colour)  # fmt: skip
        for row, image in enumerate(images):
            x = row % columns * CELL + 0.06
            y = height - top - (row // columns + 1) * cell_height
            place = (x / width, y / height, CELL / width, cell_height / height)
            axis = figure.add_axes(place)
            smooth = None if len(image) >= 100 else "nearest"
            axis.imshow(image, extent=(0, side, side, 0), interpolation=smooth)
            axis.set(xlim=(0, CELL), ylim=(cell_height, 0))
            axis.axis("off")
            for line, (sign, _, colour, group) in enumerate(lines):
                names = ", ".join(
                    legible(classes[column], f"class {column}", 24)
                    for column in np.flatnonzero(group[row])
                )
                axis.text(
                    0, side + 0.05 + line_height * line, f"{sign} {short(names or '–', 24)}",
                    color=colour, fontsize=9, verticalalignment="top", clip_on=True,
                    alpha=1.0 if names else 0.35,
                )  # fmt: skip
