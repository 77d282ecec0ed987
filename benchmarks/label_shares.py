"""Test mAP against the share of all labels that is observed, for losses alone and a student.

    python -m benchmarks.label_shares params.yaml --runs 3
    python -m benchmarks.label_shares params.yaml --losses an,gr --students gr --shares 0.1,1

A share of .1 means that a tenth of all labels of the training images, positive and negative, was
given by the annotator (`prepare.observe.process: fraction`). The figure shows how much accuracy
further labels buy, and how much of it a loss or a student gives without them. A run sets the draw
of the labels and the seeds, as in benchmarks.compare. A smaller share of a run is a subset of a
larger one. Each training is kept below --out, so the command can be stopped and called again.
"""

from pathlib import Path

import click
import numpy as np
import pandas as pd

from benchmarks.cells import Cell, Cells
from benchmarks.methods import METHODS
from benchmarks.options import names
from experiments import markdown, runs
from experiments.runs import Values, spread
from pipeline.core import files
from pipeline.core.errors import InputError, some
from pipeline.figures.canvas import canvas
from pipeline.losses.catalogue import LOSSES
from stages import Stage

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#999999", "#000000")


@click.command(cls=Stage)
@click.argument("params")
@click.option("--shares", default="0.1,0.2,0.5,0.8,1", show_default=True)
@click.option("--runs", "n_runs", default=3, show_default=True, type=click.IntRange(min=1))
@click.option("--losses", default="an,em,gr", show_default=True, help="losses alone")
@click.option("--students", default="gr", show_default=True, help="losses whose student is shown")
@click.option("--set", "sets", multiple=True, help="a changed parameter, as section.key=value")
@click.option("--jobs", default=1, show_default=True, help="runs at a time; they share the cores")
@click.option("--out", default=Path(".cache/label_shares"), type=click.Path(path_type=Path))
def main(
    params: str, shares: str, n_runs: int, losses: str, students: str, sets: tuple[str, ...],
    jobs: int, out: Path,
) -> None:  # fmt: skip
    """Train with PARAMS, a file or a preset; write a table and a figure to --out."""
    base = runs.read_for_every_loss(params, sets)
    lines = [(loss, "teacher") for loss in names("--losses", losses, LOSSES)]
    if students:
        lines += [(loss, "shipped") for loss in names("--students", students, LOSSES)]
    out.mkdir(parents=True, exist_ok=True)
    rows: list[Values] = []
    failed: list[str] = []
    for share in _shares(shares):
        fraction = {"prepare.observe.process": "fraction", "prepare.observe.fraction": share}
        work = Cells(out, runs.changed(base, fraction), jobs, failed=failed)
        cells = [Cell(loss, METHODS[name], run) for run in range(n_runs) for loss, name in lines]
        rows += [{"share": share} | found[-1] for _, found in work.run(cells)]
    if not rows:
        raise InputError(f"all cells failed: {some(failed, 3)}")
    results = pd.DataFrame(rows).drop(columns=["test_scores", "prepared"])
    results["line"] = [
        loss if method == "teacher" else f"student of {loss}"
        for loss, method in zip(results["loss"], results["method"], strict=True)
    ]
    with files.atomic_write(out / "shares.csv") as temporary:
        results.to_csv(temporary, index=False)
    with files.atomic_write(out / "shares.md") as temporary:
        temporary.write_text(table(results), encoding="utf-8")
    draw(out / "shares.png", results)
    click.echo(table(results), nl=False)
    if failed:
        raise InputError(f"{len(failed)} cells failed: {some(failed, 3)}")


def table(results: pd.DataFrame) -> str:
    """Return a row per line and a column per share, as Markdown."""
    shares = sorted(results["share"].unique())
    rows = []
    for line, of_line in results.groupby("line", sort=False):
        by_share = dict(list(of_line.groupby("share")["test_mAP"]))
        rows.append([str(line), *(spread(by_share[share]) for share in shares)])
    return markdown.table(["test mAP", *(f"{share:.0%} of labels" for share in shares)], rows)


def draw(path: Path, results: pd.DataFrame) -> None:
    """Draw mean test mAP against the share, with its standard deviation over the runs."""
    with canvas(path, width=7, height=4.6) as figure:
        axes = figure.subplots()
        for number, (line, of_line) in enumerate(results.groupby("line", sort=False)):
            of_share = of_line.groupby("share")["test_mAP"]
            mean, std = of_share.mean(), of_share.std(ddof=1).fillna(0.0)
            colour = COLOURS[number % len(COLOURS)]
            dashes = "-" if str(line).startswith("student") else "--"
            axes.plot(mean.index, mean, color=colour, linestyle=dashes, marker="o", label=line)
            axes.fill_between(mean.index, mean - std, mean + std, color=colour, alpha=0.15)
        axes.set(
            xlabel="share of all labels that is observed", ylabel="test mAP, %",
            title="How much accuracy further labels buy", xlim=(0, 1.02),
            xticks=np.unique(results["share"]),
        )  # fmt: skip
        figure.legend(loc="outside lower center", ncols=3)


def _shares(given: str) -> list[float]:
    try:
        shares = [float(share) for share in given.split(",")]
    except ValueError:
        shares = [0.0]
    if not all(0 < share <= 1 for share in shares):
        raise InputError(f"--shares {given!r}: should be shares above 0, at most 1, as 0.1,0.5,1")
    return shares


if __name__ == "__main__":
    main()
