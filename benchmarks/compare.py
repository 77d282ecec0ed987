"""Compare every loss alone, its control, and students by each label rule, over several runs.

    python -m benchmarks.compare params.yaml --runs 5 --jobs 2
    python -m benchmarks.compare params.yaml --runs 5 --losses an,wan --methods teacher,shipped
    python -m benchmarks.compare params.yaml --runs 5 --kept       # only the kept runs

A run number sets the draw of the observed labels and the seeds of all trainings. Run 3 has the
same images, observed labels and seeds in every cell, so cells are compared run by run. The
methods are in benchmarks/methods.py. Cells are run in the order of --methods, then of --losses:
put the most important first. Each training is kept below --out, so the command can be stopped
and called again, also with more runs, losses or methods. tau, the epoch, the generation and the
best student are chosen by val. Test mAP is only reported. The last table and sentence say what is
established (benchmarks/claims.py).
"""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import click
import pandas as pd
from tqdm import tqdm

from benchmarks import claims, comparison
from benchmarks.methods import METHODS, ORACLES, Method
from experiments import runs
from experiments.runs import Values
from experiments.sweep import STUDENT
from pipeline.core import files
from pipeline.core.errors import InputError, some
from pipeline.losses.catalogue import LOSSES as CATALOGUE
from stages import Stage

LOSSES = ("wan", "an", "em", "gr", "em_apl", "ll_r")


@dataclass(frozen=True)
class Cell:
    """A loss, a method, a run, and a tau if val chooses it."""

    loss: str
    method: Method
    run: int
    tau: float | None = None

    def __str__(self) -> str:
        tau = "" if self.tau is None else f" {self.tau:g}"
        return f"{self.loss}, {self.method.name}{tau}, run {self.run}"


@click.command(cls=Stage)
@click.argument("params")
@click.option("--runs", "n_runs", default=5, show_default=True, type=click.IntRange(min=1))
@click.option("--losses", default=",".join(LOSSES), show_default=True)
@click.option("--methods", default=",".join(METHODS), show_default=True)
@click.option("--set", "sets", multiple=True, help="a changed parameter, as section.key=value")
@click.option("--jobs", default=1, show_default=True, help="runs at a time; they share the cores")
@click.option("--kept", is_flag=True, help="train nothing; make the table of the kept runs")
@click.option("--out", default=Path(".cache/compare"), type=click.Path(path_type=Path))
def main(
    params: str, n_runs: int, losses: str, methods: str, sets: tuple[str, ...], jobs: int,
    kept: bool, out: Path,
) -> None:  # fmt: skip
    """Compare the methods with PARAMS, a file or a preset; write results.csv, table.md to --out."""
    base = runs.read_for_every_loss(params, sets)
    out.mkdir(parents=True, exist_ok=True)
    grid = Grid(out, base, max((os.cpu_count() or 1) // jobs, 1) if jobs > 1 else None, kept)
    rows: list[Values] = []
    failed: list[str] = []
    for name in _names("--methods", methods, METHODS):
        method = METHODS[name]
        of_method = list(ORACLES) if method.oracle else _names("--losses", losses, CATALOGUE)
        chosen: dict[str, float | None] = dict.fromkeys(of_method)
        if method.taus:  # val chooses the tau of all runs in run 0
            tried = [Cell(loss, method, 0, tau) for tau in method.taus for loss in of_method]
            chosen = _best_taus(_all(grid, tried, jobs, failed))
        cells = [
            Cell(loss, method, run, chosen[loss])
            for run in range(n_runs)
            for loss in of_method
            if loss in chosen
        ]
        rows += _all(grid, cells, jobs, failed)
    if not rows:
        raise InputError(f"{out}: keeps no run of these methods and losses")
    results = pd.DataFrame(rows)
    table = comparison.table(results, n_runs)
    if "test_scores" in results:
        table += "\n" + claims.table(results, n_runs)
        results = results.drop(columns=["test_scores", "prepared"])
    with files.atomic_write(out / "results.csv") as temporary:
        results.to_csv(temporary, index=False)
    with files.atomic_write(out / "table.md") as temporary:
        temporary.write_text(table, encoding="utf-8")
    click.echo(table)
    if failed:
        raise InputError(f"{len(failed)} cells failed: {some(failed, 3)}")


def _names(option: str, given: str, known: Iterable[str]) -> list[str]:
    """Split a list of names; refuse an unknown one."""
    names = given.split(",")
    for name in names:
        if name not in known:
            raise InputError(f"{option} {name!r}: should be of {', '.join(known)}")
    return names


def _best_taus(rows: list[Values]) -> dict[str, float | None]:
    """Return the tau with the highest val mAP, by loss."""
    best: dict[str, Values] = {}
    for row in rows:
        before = best.setdefault(row["loss"], row)
        if row["val_mAP"] > before["val_mAP"]:
            best[row["loss"]] = row
    return {loss: row["tau"] for loss, row in best.items()}


@dataclass(frozen=True)
class Grid:
    """The folder of the kept cells, and the settings to run them."""

    out: Path
    base: Values
    threads: int | None
    kept: bool

    def rows(self, cell: Cell) -> list[Values]:
        """Run a cell, or read the kept one; return a row per generation of students."""
        method = cell.method
        seeds = {
            "prepare.observe.seed": cell.run,
            # Members and generations take the next seeds.
            "train_teacher.seed": 100 * cell.run,
            "train_student.seed": 100 * cell.run,
        }
        values = runs.changed(self.base, seeds)
        loss = ORACLES[cell.loss] if method.oracle else {"train_teacher.loss": cell.loss}
        values = runs.changed(method.params(values), loss)
        about = {"loss": cell.loss, "method": method.name, "run": cell.run, "tau": cell.tau}
        prepared = self._stages(values, ["prepare"])
        teacher = self._stages(values, ["train_teacher"], prepared)
        if not method.student:
            measured = self._stages(values, ["measure"], teacher, prepared)
            row = about | {"generation": None} | runs.teacher_metrics(measured)
            return [row | {"test_scores": runs.test_scores(measured), "prepared": prepared}]
        if cell.tau is not None:
            values = runs.changed(values, {"pseudo_label.tau": cell.tau})
        scored = self._stages(values, ["score"], teacher, prepared)
        folder = self._stages(values, STUDENT, scored, teacher, prepared)
        rows = [about | row for row in runs.generation_metrics(folder)]
        rows[-1] |= self._of_student(values, folder, prepared)
        return rows

    def _of_student(self, values: Values, trained: Path, prepared: Path) -> Values:
        """Return the student's test scores, and the folder of the test labels."""
        try:
            measured = self._stages(values, ["measure_student"], trained, prepared)
        except runs.NotKeptError:  # the comparison was stopped before it
            return {}
        return {"test_scores": runs.test_scores(measured), "prepared": prepared}

    def _stages(self, values: Values, names: list[str], *before: Path) -> Path:
        return runs.stages(self.out, values, names, *before, threads=self.threads, kept=self.kept)


def _all(grid: Grid, cells: list[Cell], jobs: int, failed: list[str]) -> list[Values]:
    """Run the cells; return their rows. With `grid.kept` only kept cells have rows."""
    rows = []
    pool = ThreadPoolExecutor(jobs)
    try:
        futures = [pool.submit(grid.rows, cell) for cell in cells]
        for cell, future in zip(cells, tqdm(futures, disable=None, leave=False), strict=True):
            try:
                found = future.result()
            except runs.NotKeptError:
                continue
            except InputError as error:
                failed.append(f"{cell}: {error}")
                continue
            rows += found
            if not grid.kept:
                last = found[-1]
                tqdm.write(f"{cell}: val {last['val_mAP']:.2f}, test {last['test_mAP']:.2f}")
    finally:  # if stopped: start no further cell
        pool.shutdown(cancel_futures=True)
    return rows


if __name__ == "__main__":
    main()
