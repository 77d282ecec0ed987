"""Measure precision and recall of each label rule over the range of tau, with a run's scores.

    python -m benchmarks.label_rules --out docs/rules.png
    python -m benchmarks.label_rules --data "digits=runs/digits/data" --data photographs=...

Nothing is trained: index, scores, val_scores and truth of a finished run are read. The truth is
used only to judge the labels. Only entries that the annotator did not see are judged.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from experiments import markdown
from pipeline.artifacts.run import Run
from pipeline.artifacts.tables import Index, PseudoLabels, Scores
from pipeline.core.arrays import BoolMatrix
from pipeline.core.errors import InputError
from pipeline.evaluation.kinds import judged
from pipeline.evaluation.metrics import pseudo_label_quality
from pipeline.figures.canvas import canvas
from pipeline.pseudo_labels.rules import PseudoLabelParams, pseudo_labels

TAUS = np.arange(1, 200) / 200
ENOUGH = 0.8  # the precision at which recalls are compared
PLAIN: dict[str, Any] = {
    "rule": "tau", "calibrate": "none", "prior": "val",
    "annotator": "ignored", "top_k": 1, "width": 0.3,
    "weights": "none", "keep_observed": True, "corrections": None,
}  # fmt: skip
BLACK, ORANGE, BLUE, GREEN, RED = (
    "#000000", "#E69F00", "#0072B2", "#009E73", "#D55E00",
)  # fmt: skip


@dataclass(frozen=True)
class Curve:
    """A rule: its name in figure and table, its line style, its settings except tau."""

    name: str
    colour: str
    dashes: str
    settings: dict[str, Any]


CURVES = (
    Curve("none", BLACK, "-", {}),
    Curve("affine", RED, ":", {"calibrate": "affine"}),
    Curve("elkan_noto", ORANGE, "-", {"calibrate": "elkan_noto"}),
    Curve("isotonic", BLUE, "-", {"calibrate": "isotonic"}),
    Curve("isotonic, uniform", BLUE, ":", {"calibrate": "isotonic", "annotator": "uniform"}),
    Curve("prior, val", GREEN, "-", {"calibrate": "prior"}),
    Curve("prior, best_bin", GREEN, "--", {"calibrate": "prior", "prior": "best_bin"}),
    Curve("none, top_k", BLACK, "--", {"rule": "top_k"}),
    Curve("isotonic, top_k", BLUE, "--", {"rule": "top_k", "calibrate": "isotonic"}),
)
# The curves of the figure, where all of them would overlap; the tables have all.
DRAWN = ("none", "isotonic", "prior, val", "prior, best_bin", "none, top_k")
# The rule of the shipped params.
SHIPPED = "prior, val"
# Positive, ignored and negative take about a third of the scale each.
BANDS = {name: {"rule": "band", "tau": 0.65, "width": 0.3} for name in ("none", "isotonic")} | {
    # As many positives as .75 of the prior; the entries after 1.35 of it are negative.
    "prior, val": {"rule": "band", "tau": 0.625, "width": 0.3}
}


@dataclass(frozen=True)
class ScoredRun:
    """The tables of a finished run, and the truth of its training images where it is known."""

    name: str
    index: Index
    scores: Scores
    val_scores: Scores
    truth: BoolMatrix
    known: npt.NDArray[np.bool_]

    def labels(self, settings: dict[str, Any]) -> PseudoLabels:
        """Return the pseudo-labels of some settings; the val labels give top_k by default."""
        val = self.index.complete_val_labels
        if val is None:
            raise InputError(f"{self.name}: prepare.val_labels = 'observed': should be clean")
        top_k = max(int(np.ceil(val.sum(axis=1).mean())), 1)
        params = PseudoLabelParams.model_validate(PLAIN | {"top_k": top_k} | settings)
        return pseudo_labels(params, self.index, self.scores, self.val_scores)

    def quality(self, settings: dict[str, Any]) -> tuple[float, float, float]:
        """Return precision, recall and F1 of the added positives; precision NaN without any."""
        labels = self.labels(settings).labels
        targets = self.index.targets[self.index.rows("train")]
        counts = pseudo_label_quality(labels, targets, self.truth, self.known)
        right, wrong, hidden = (int(counts[key].sum()) for key in ("right", "wrong", "hidden"))
        added = right + wrong
        return (right / added if added else np.nan), right / hidden, 2 * right / (added + hidden)

    def brier(self, settings: dict[str, Any]) -> float:
        """Return the mean squared error of the soft targets over the unknown labels."""
        targets = self.labels(settings | {"rule": "soft", "tau": 0.5}).targets
        unknown = judged(self.index.targets[self.index.rows("train")], self.known)
        assert targets is not None
        return float(((targets - self.truth)[unknown] ** 2).mean())


def read(name: str, data: Path) -> ScoredRun:
    """Read a run's data folder."""
    run = Run(data)
    index = run.read_index()
    truth, known = run.read_truth(index).known_of(index, "train")
    scores, val_scores = run.read_scores(index), run.read_scores(index, "val")
    return ScoredRun(name, index, scores, val_scores, truth, known)


def sweep(run: ScoredRun, curve: Curve) -> npt.NDArray[np.float64]:
    """Return precision, recall and F1 at each of TAUS, (T, 3)."""
    return np.array([run.quality(curve.settings | {"tau": tau}) for tau in TAUS.tolist()])


def row(run: ScoredRun, curve: Curve, values: npt.NDArray[np.float64]) -> list[str]:
    """Return a rule's row of the table."""
    brier = "" if "rule" in curve.settings else f"{run.brier(curve.settings):.4f}"
    precision, recall, f1 = values.T
    best = int(np.argmax(f1))
    half = int(np.flatnonzero(TAUS == 0.5)[0])
    enough = np.flatnonzero(np.nan_to_num(precision) >= ENOUGH)
    found = "never"
    if len(enough):
        first = int(enough[np.argmax(recall[enough])])
        found = f"{recall[first]:.3f} (tau {TAUS[first]:g})"
    return [
        curve.name,
        f"{f1[best]:.3f} (tau {TAUS[best]:g})",
        f"{precision[best]:.2f} / {recall[best]:.2f}",
        f"{f1[half]:.3f}",
        found,
        brier,
    ]


def print_table(run: ScoredRun, swept: dict[str, npt.NDArray[np.float64]]) -> None:
    """Print the rules, then the bands."""
    click.echo(f"\n{run.name}\n")
    header = [
        "rule", "best F1", "its precision / recall", "F1 at tau 0.5",
        f"best recall at a precision of {ENOUGH}", "Brier score",
    ]  # fmt: skip
    click.echo(markdown.table(header, [row(run, curve, swept[curve.name]) for curve in CURVES]))
    bands = []
    unknown = judged(run.index.targets[run.index.rows("train")], run.known)
    for curve in CURVES:
        if curve.name not in BANDS:
            continue
        settings = curve.settings | BANDS[curve.name]
        made = run.labels(settings)
        precision, recall, _ = run.quality(settings)
        kept, below = (unknown & ~made.labels & where for where in (~made.ignored, True))
        bands.append(
            [
                f"{curve.name}, tau {settings['tau']}, width {settings['width']}",
                f"{made.ignored[unknown].mean():.1%}",
                f"{precision:.2f} / {recall:.2f}",
                f"{run.truth[kept].mean():.1%}, {run.truth[below].mean():.1%}",
            ]
        )
    header = ["band", "ignored", "precision / recall", "truly present: kept negatives, all"]
    click.echo(markdown.table(header, bands), nl=False)


def draw(path: Path, runs: dict[str, tuple[ScoredRun, dict[str, npt.NDArray[np.float64]]]]) -> None:
    """Draw a row of two panels for each run, with the shipped band in both."""
    with canvas(path, width=11, height=0.9 + 4.3 * len(runs)) as figure:
        for axes, (run, swept) in zip(
            figure.subplots(len(runs), 2, squeeze=False), runs.values(), strict=True
        ):
            for curve in CURVES:
                if curve.name in DRAWN:
                    _line(axes, curve, swept[curve.name])
            _band(axes, run)
            # The corner of the rules' best points: an F1 of .93 needs precision and recall of .86.
            best = np.nanmax([values[:, 2].max() for values in swept.values()])
            low = max(np.floor((2 * best - 1) * 10) / 10 - 0.2, 0)
            axes[0].set(
                xlabel="recall of added positives", ylabel="precision of added positives",
                title=f"{run.name}: precision by recall", xlim=(low, 1),
                ylim=(low, 1 + (1 - low) / 50),
            )  # fmt: skip
            axes[1].set(
                xlabel="tau (of the calibrated score)", ylabel="F1 of added positives",
                title=f"{run.name}: F1 by tau", xlim=(0, 1), ylim=(0, None),
            )  # fmt: skip
        handles, names = figure.axes[0].get_legend_handles_labels()
        handles, names = [*handles, *figure.axes[1].patches[:1]], [*names, "ignored by this band"]
        figure.legend(handles, names, loc="outside lower center", ncols=4)


def _line(axes: npt.NDArray[Any], curve: Curve, values: npt.NDArray[np.float64]) -> None:
    """Draw a rule in both panels; the shipped one is thicker."""
    precision, recall, f1 = values.T
    width = 3.2 if curve.name == SHIPPED else 1.6
    style: dict[str, Any] = {"color": curve.colour, "linestyle": curve.dashes, "linewidth": width}
    axes[0].plot(recall, precision, label=curve.name, **style)
    axes[1].plot(TAUS, f1, **style)


def _band(axes: npt.NDArray[Any], run: ScoredRun) -> None:
    """Mark the shipped band: its precision and recall, and the scores that it ignores."""
    settings = next(c.settings for c in CURVES if c.name == SHIPPED) | BANDS[SHIPPED]
    precision, recall, f1 = run.quality(settings)
    tau, width = settings["tau"], settings["width"]
    axes[1].axvspan(tau - width, tau, color=GREEN, alpha=0.15, linewidth=0)
    star: dict[str, Any] = {
        "color": GREEN, "marker": "*", "markersize": 18, "markeredgecolor": BLACK, "linestyle": "",
    }  # fmt: skip
    axes[0].plot(recall, precision, label=f"the shipped band, tau {tau}", zorder=5, **star)
    axes[1].plot(tau, f1, zorder=5, **star)


@click.command()
@click.option("--data", "sources", multiple=True, default=("data",), help="NAME=FOLDER or FOLDER")
@click.option("--out", default=Path("docs/rules.png"), type=click.Path(path_type=Path))
def main(sources: tuple[str, ...], out: Path) -> None:
    """Draw precision, recall and F1 of each rule, and print them as tables."""
    runs = {}
    for source in sources:
        name, _, folder = source.rpartition("=")
        run = read(name or folder, Path(folder))
        swept = {curve.name: sweep(run, curve) for curve in CURVES}
        print_table(run, swept)
        runs[source] = (run, swept)
    draw(out, runs)


if __name__ == "__main__":
    main()
