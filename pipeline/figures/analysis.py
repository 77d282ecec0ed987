"""Draw the figures that compare two models: scores, gain by class, loss landscape.

The first model has the teacher's colour, the second the student's. Each function takes the files
to write, .png or .svg, and the result of a function in pipeline.evaluation.analysis.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.ticker import FixedLocator, MaxNLocator, NullFormatter

from pipeline.evaluation.analysis.landscape import Landscape
from pipeline.evaluation.analysis.scores import (
    Densities,
    Floats,
    Gains,
    ScoreBins,
    Split,
    Wasserstein,
)
from pipeline.figures.canvas import NEGATIVE, POSITIVE, STUDENT, TEACHER, canvas, legible
from pipeline.figures.names import MAX_NAME, beside

Names = tuple[str, str]
COLOURS = (TEACHER, STUDENT)
MARKERS = ("o", "D")
WHERE: dict[Split, str] = {"train": "train, unobserved", "test": "test"}
MAX_NAMED = 15
LEVELS = 12


def wasserstein(
    paths: Sequence[Path], models: Names, classes: tuple[str, ...], found: Wasserstein, split: Split
) -> None:
    """Draw a dot per class: the distance between scores of positives and negatives, by model."""
    first, second = _models(models)
    shown = found.compared
    x, y = found.distances[:, shown]
    limits = _limits(found.distances[:, shown])
    with canvas(*paths, width=6.1, height=6.4, names=(*models, *classes)) as figure:
        axes = figure.subplots()
        axes.plot(limits, limits, color="black", linewidth=1, linestyle="--")
        _dots(axes, x, y, y - x)
        axes.set(
            xlim=limits, ylim=limits, aspect="equal",
            xlabel=f"Wasserstein distance, {first}", ylabel=f"Wasserstein distance, {second}",
            title=_wasserstein_title(found, split),
        )  # fmt: skip
        diagonal = np.repeat(np.linspace(*limits, 200)[:, None], 2, axis=1)
        beside(axes, x, y, _named(classes, shown, y - x), diagonal)


def _wasserstein_title(found: Wasserstein, split: Split) -> str:
    if not len(found.compared):
        return "no class has positives and negatives"
    share, n_classes = 100 * found.share_above, len(found.compared)
    return (
        f"separation of positives and negatives ({WHERE[split]})\n"
        f"{share:.0f} % of {n_classes} classes are above the diagonal"
    )


def _limits(values: Floats) -> tuple[float, float]:
    """Return limits for both axes that include all values, with a margin for names."""
    if not values.size:
        return 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    margin = max(0.12 * (high - low), 0.01)
    return max(low - margin, -0.03 * high), high + margin


def densities(
    paths: Sequence[Path], models: Names, classes: tuple[str, ...], found: Densities, split: Split
) -> None:
    """Draw the densities of one class's scores, a panel per model with shared axes."""
    name = legible(classes[found.column], f"number {found.column}", 40)
    with canvas(*paths, width=9, height=4.2, names=(*models, *classes)) as figure:
        row = figure.subplots(1, 2, sharex=True, sharey=True, gridspec_kw={"wspace": 0.06})
        for axes, model, values in zip(row, _models(models), found.values, strict=True):
            for height, colour in zip(values, (NEGATIVE, POSITIVE), strict=True):
                axes.stairs(height, found.edges, fill=True, color=colour, alpha=0.45)
                axes.stairs(height, found.edges, color=colour, linewidth=2)
            axes.set(xlabel="score", title=model, xlim=(0, 1))
        row[0].set(ylabel="density of scores")
        negatives, positives = found.entries[0].sum(axis=-1)
        figure.suptitle(f"scores of class {name} ({WHERE[split]})")
        figure.legend(
            row[0].patches[::2],
            [f"truly absent ({negatives:,} entries)", f"truly present ({positives:,})"],
            loc="outside lower center", ncols=2,
        )  # fmt: skip


def reliability(
    paths: Sequence[Path], models: Names, found: tuple[ScoreBins, ScoreBins], split: Split
) -> None:
    """Draw P(truly positive | score) of both models, and the number of entries in each bin."""
    labels = [
        f"{name}, expected calibration error {bins.calibration_error:.3f}"
        for name, bins in zip(_models(models), found, strict=True)
    ]
    _by_score(
        paths, found, labels, f"reliability of the scores ({WHERE[split]})",
        "share truly positive\nP(positive | score)", diagonal=True,
    )  # fmt: skip


def missed_positives(
    paths: Sequence[Path], models: Names, found: tuple[ScoreBins, ScoreBins]
) -> None:
    """Draw the share of missed positives among entries labelled negative, by score."""
    labels = [f"{name}, by its scores" for name in _models(models)]
    _by_score(
        paths, found, labels,
        f"missed positives: {100 * found[0].share:.1f} % of the entries\n"
        f"labelled negative ({WHERE['train']})",
        "share of missed positives\nFN / (FN + TN)", diagonal=False,
    )  # fmt: skip


def _by_score(
    paths: Sequence[Path], found: tuple[ScoreBins, ScoreBins], labels: list[str], title: str,
    ylabel: str, diagonal: bool,
) -> None:  # fmt: skip
    """Draw the share of positives by score, and below it the number of entries in each bin."""
    with canvas(*paths, width=7, height=6, names=labels) as figure:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        handles = []
        for model, bins in enumerate(found):
            filled = bins.entries > 0
            handles += upper.plot(
                bins.mean_scores[filled], bins.shares[filled], MARKERS[model] + "-",
                color=COLOURS[model], markersize=7,
            )  # fmt: skip
            width = np.diff(bins.edges) * 0.42
            left = bins.edges[:-1] + (0.06 + 0.46 * model) * np.diff(bins.edges)
            lower.bar(left, bins.entries, width, align="edge", color=COLOURS[model])
        if diagonal:
            handles += upper.plot([0, 1], [0, 1], color="black", linewidth=1, linestyle="--")
            labels = [*labels, "perfectly calibrated"]
        top = 1.0 if diagonal else max(float(np.nanmax([*bins.shares, 0.01])) for bins in found)
        upper.set(title=title, ylabel=ylabel, xlim=(0, 1), ylim=(-0.03 * top, 1.05 * top))
        most = max(int(bins.entries.max()) for bins in found)
        lower.set_yscale("log")
        lower.set_ylim(0.7, max(most * 2, 10))
        # The default formatter of log axes needs math text, which is off because of class names.
        lower.yaxis.set_major_formatter("{x:,.0f}")
        lower.set(xlabel="score (mean of each bin)", ylabel="entries\n(log scale)")
        figure.legend(handles, labels, loc="outside lower center")


def ap_gain(paths: Sequence[Path], models: Names, classes: tuple[str, ...], found: Gains) -> None:
    """Draw a dot per class: the gain in test AP of the second model, against class frequency."""
    first, second = _models(models)
    shown = found.compared
    x, y = found.train_positives[shown].astype(np.float64), found.values[shown]
    rank = found.rank_correlation
    # Rounded first and added to 0, so that -0.001 is not written as "-0.00".
    value = "undefined" if np.isnan(rank) else f"{round(rank, 2) + 0.0:.2f}".replace("-", "−")
    with canvas(*paths, width=8, height=5, names=(*models, *classes)) as figure:
        axes = figure.subplots()
        axes.axhline(0, color="black", linewidth=1)
        _dots(axes, x, y, y)
        axes.set(
            xlabel="training images that truly show the class (log scale)",
            ylabel=f"gain in test AP of {second}\nover {first} (points)",
            title=f"gain by class; Spearman's rank correlation with frequency: {value}",
        )  # fmt: skip
        _log_frequencies(axes, x)
        axes.margins(y=0.12)
        across = np.geomspace(*axes.get_xlim(), 300)
        beside(axes, x, y, _named(classes, shown, y), np.column_stack([across, 0 * across]))


def _log_frequencies(axes: Axes, x: Floats) -> None:
    """Make the x axis logarithmic, with round numbers at its ticks."""
    low, high = (float(x.min()), float(x.max())) if len(x) else (1.0, 10.0)
    margin = max((high / low) ** 0.08, 1.03)
    low, high = low / margin, high * margin
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    if high / low > 8:
        decades = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
        each = (1, 2, 5) if high / low < 300 else (1,)
        ticks = np.array([digit * 10.0**decade for decade in decades for digit in each])
    else:
        locator = MaxNLocator(6, steps=[1, 2, 2.5, 5, 10], integer=True)
        ticks = np.asarray(locator.tick_values(low, high))
    inside = [tick for tick in ticks if max(low, 1) <= tick <= high]
    axes.xaxis.set_major_locator(FixedLocator(inside))
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.xaxis.set_minor_formatter(NullFormatter())


def landscape(paths: Sequence[Path], models: Names, found: Landscape) -> None:
    """Draw the loss around both models as contours with the same levels and colours."""
    finite = found.losses[np.isfinite(found.losses)]
    low, high = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    low, high = max(low, 1e-6), max(high, low + 1e-6, 1e-5)
    # The loss grows by orders of magnitude away from a trained model.
    spaced = np.geomspace if high / low > 10 else np.linspace
    levels = spaced(low * 0.999, high * 1.001, LEVELS + 1)
    norm = BoundaryNorm(levels, 256)
    with canvas(*paths, width=9.6, height=4.4, names=models) as figure:
        row = figure.subplots(1, 2, sharex=True, sharey=True)
        for axes, model, losses, centre in zip(
            row, _models(models), found.losses, found.centres, strict=True
        ):
            clipped = np.clip(losses.T, levels[0], levels[-1])
            drawn = axes.contourf(
                found.steps, found.steps, clipped, levels=levels, norm=norm, cmap="viridis"
            )
            axes.contour(found.steps, found.steps, clipped, levels=levels, colors="white",
                         linewidths=0.6)  # fmt: skip
            axes.plot(0, 0, "+", color="white", markersize=12, markeredgewidth=2)
            axes.set(
                title=f"{model}\n{centre:.3g} at the centre", aspect="equal",
                xlabel="step along direction 1",
            )  # fmt: skip
            axes.grid(visible=False)
        row[0].set(ylabel="step along direction 2")
        bar = figure.colorbar(drawn, ax=list(row), ticks=levels[::2])
        bar.ax.set_yticks(levels[::2], [f"{level:.2g}" for level in levels[::2]])
        bar.ax.minorticks_off()
        bar.set_label("binary cross-entropy on test images")


def _models(names: Names) -> Names:
    """Return the names of the models; a name that the font cannot draw is replaced."""
    return legible(names[0], "model a", MAX_NAME), legible(names[1], "model b", MAX_NAME)


def _dots(axes: Axes, x: Floats, y: Floats, gain: Floats) -> None:
    """Draw a dot per class, in the colour of the better model."""
    groups = ((gain == 0, NEGATIVE, "o"), (gain < 0, TEACHER, "o"), (gain > 0, STUDENT, "D"))
    for group, colour, marker in groups:
        axes.plot(
            x[group], y[group], marker, color=colour, markersize=6, markeredgecolor="white",
            markeredgewidth=0.5,
        )  # fmt: skip


def _named(classes: tuple[str, ...], shown: "np.ndarray", extreme: Floats) -> dict[int, str]:
    """Return the names of the most extreme dots, by their position in `shown`."""
    order = np.argsort(-np.abs(extreme), kind="stable")[:MAX_NAMED]
    return {int(at): legible(classes[shown[at]], f"class {shown[at]}", MAX_NAME) for at in order}
