"""Compare every loss alone, its controls, and students by each label rule, over several runs.

    python -m benchmarks.compare params.yaml --runs 5 --jobs 2
    python -m benchmarks.compare params.yaml --runs 5 --losses an,wan --methods teacher,shipped
    python -m benchmarks.compare params.yaml --tune train_teacher.train.fit.lr=4e-3,8e-3,1.6e-2
    python -m benchmarks.compare params.yaml --set prepare.val_labels=observed \
        --methods oracle,teacher,band_of_observed    # nothing has complete labels, not even val
    python -m benchmarks.compare params.yaml --runs 5 --kept       # only the kept runs

A run number sets the draw of the observed labels and the seeds of all trainings. Run 3 has the
same images, observed labels and seeds in every cell, so cells are compared run by run. The
methods are in benchmarks/methods.py. Cells are run in the order of --methods, then of --losses:
put the most important first. Each training is kept below --out, so the command can be stopped
and called again, also with more runs, losses or methods. tau, the epoch, the generation and the
best student are chosen by val, and so is each value of --tune, for each loss, in run 0. Test mAP
is only reported. ("val alone" has no val left. Test chooses its values, which favours it.) The
last table and sentence say what is established (benchmarks/claims.py).
"""

import itertools
from pathlib import Path

import click
import pandas as pd

from benchmarks import claims, comparison
from benchmarks.cells import TAU, Cell, Cells, Chosen
from benchmarks.methods import METHODS, Method
from benchmarks.options import names
from experiments import runs
from experiments.runs import Values
from pipeline.core import files
from pipeline.core.errors import InputError, some
from pipeline.losses.catalogue import LOSSES as CATALOGUE
from stages import Stage

LOSSES = ("wan", "an", "em", "gr", "em_apl", "ll_r")

# The candidates of each key that is chosen.
Candidates = dict[str, list[float]]


@click.command(cls=Stage)
@click.argument("params")
@click.option("--runs", "n_runs", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--losses", default=",".join(LOSSES), show_default=True)
@click.option("--methods", default=",".join(METHODS), show_default=True)
@click.option("--tune", multiple=True, help="a key and its candidates, as section.key=1e-3,1e-2")
@click.option("--set", "sets", multiple=True, help="a changed parameter, as section.key=value")
@click.option("--jobs", default=1, show_default=True, help="runs at a time; they share the cores")
@click.option("--kept", is_flag=True, help="train nothing; make the table of the kept runs")
@click.option("--out", default=Path(".cache/compare"), type=click.Path(path_type=Path))
def main(
    params: str, n_runs: int, losses: str, methods: str, tune: tuple[str, ...],
    sets: tuple[str, ...], jobs: int, kept: bool, out: Path,
) -> None:  # fmt: skip
    """Compare the methods with PARAMS, a file or a preset; write results.csv, table.md to --out."""
    base = runs.read_for_every_loss(params, sets)
    candidates = dict(_candidates(given) for given in tune)
    named = names("--losses", losses, CATALOGUE)
    out.mkdir(parents=True, exist_ok=True)
    work = Cells(out, base, jobs, kept)
    rows: list[Values] = []
    notes: dict[str, None] = {}
    for name in names("--methods", methods, METHODS):
        method = METHODS[name]
        # A loss has the same values in all of its rows: those that suit it alone.
        alone = method if method.losses else METHODS["teacher"]
        chosen = _choose(work, alone, dict.fromkeys(method.losses or named, ()), candidates)
        notes |= dict.fromkeys(_at_edges(chosen, candidates))
        if method.taus:
            chosen = _choose(work, method, chosen, {TAU: list(method.taus)})
        cells = [
            Cell(loss, method, run, values)
            for run in range(n_runs)
            for loss, values in chosen.items()
        ]
        rows += [row for _, found in work.run(cells) for row in found]
    if not rows:
        raise InputError(f"{out}: keeps no run of these methods and losses")
    results = pd.DataFrame(rows)
    table = comparison.table(results, n_runs) + "".join(f"\n{note}\n" for note in notes)
    if "test_scores" in results:
        table += "\n" + claims.table(results, n_runs)
        results = results.drop(columns=["test_scores", "prepared"])
    with files.atomic_write(out / "results.csv") as temporary:
        results.to_csv(temporary, index=False)
    with files.atomic_write(out / "table.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    click.echo(table)
    if work.failed:
        raise InputError(f"{len(work.failed)} cells failed: {some(work.failed, 3)}")


def _candidates(given: str) -> tuple[str, list[float]]:
    """Split "section.key=1e-3,1e-2"; refuse anything else."""
    key, _, values = given.partition("=")
    try:
        return key, [float(value) for value in values.split(",")]
    except ValueError:
        raise InputError(f"--tune {given!r}: should be section.key=1e-3,1e-2") from None


def _choose(
    work: Cells, method: Method, before: dict[str, Chosen], candidates: Candidates
) -> dict[str, Chosen]:
    """Choose values of params for each loss, in run 0: those with the highest val mAP.

    Args:
        work: runs the cells.
        method: the method to run.
        before: the values chosen so far, by loss.
        candidates: the values to choose from.

    Returns:
        The values of `before` and the chosen ones, by loss. With `kept`, without the losses that
        have no kept cell.
    """
    if not candidates:
        return before
    tried = [
        Cell(loss, method, 0, (*values, *zip(candidates, point, strict=True)))
        for loss, values in before.items()
        for point in itertools.product(*candidates.values())
    ]
    by = "test_mAP" if method.val == "alone" else "val_mAP"
    best: dict[str, tuple[float, Chosen]] = {}
    for cell, rows in work.run(tried):
        found = max(row[by] for row in rows)
        if cell.loss not in best or found > best[cell.loss][0]:
            best[cell.loss] = found, cell.chosen
    return {loss: chosen for loss, (_, chosen) in best.items()}


def _at_edges(chosen: dict[str, Chosen], candidates: Candidates) -> list[str]:
    """Return a note for each chosen value that is the lowest or highest of its candidates."""
    return [
        f"{loss}: {key} = {value:g} is at the edge of its candidates."
        for loss, values in chosen.items()
        for key, value in values
        if value in (min(candidates[key]), max(candidates[key]))
    ]


if __name__ == "__main__":
    main()
