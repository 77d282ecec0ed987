"""Sweep tau: one teacher, one scoring, a student for each tau and seed.

    python -m experiments.sweep [--taus 0.3,0.5] [--seeds 0,1,2]

Each run is kept in a folder below .cache/sweep, named by a hash of everything it depends on. A
stopped sweep goes on where it stopped, and another tau or seed costs only its own runs.
"""

import sys
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import click
import filelock
import numpy as np
import pandas as pd
from pydantic import Field, field_validator
from tqdm import tqdm

from experiments import markdown, runs
from experiments.runs import Values, spread
from pipeline.artifacts.run import Run
from pipeline.core import files, places
from pipeline.core.errors import InputError, some
from pipeline.core.params import Params, read_section
from pipeline.figures.sweep import CAPTIONS, Sweep, draw
from pipeline.reports import overview, results_page
from stages import PARAMS, Stage, ready, say

STUDENT = ["pseudo_label", "train_student", "evaluate"]
REFERENCES: dict[str, Values] = {"an": runs.AN, "full_labels": runs.FULL_LABELS}
COLUMNS = ("val_mAP", "test_mAP", "positives_per_image", "precision", "recall")


class SweepParams(Params):
    """`sweep`: the taus, seeds and references to run."""

    taus: list[Annotated[float, Field(ge=0, lt=1)]] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0)]] = Field(min_length=1)
    references: list[Literal["an", "full_labels"]]

    @field_validator("taus", "seeds")
    @classmethod
    def _distinct(cls, values: list[float]) -> list[float]:
        if len(set(values)) < len(values):
            raise ValueError("should name each value once")
        return sorted(values)


@click.command(cls=Stage)
@click.option("--taus", help="thresholds, as 0.3,0.5; without it, those of params.yaml")
@click.option(
    "--seeds", help="seeds of students and references, as 0,1,2; without it, those of params.yaml"
)
@click.option(
    "--jobs",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="number of runs at a time; they share the cores",
)
@click.option("--repro/--no-repro", default=True, help="first bring data/scores.parquet up to date")
def main(taus: str | None, seeds: str | None, jobs: int, repro: bool) -> None:
    """Train a student for each tau and seed, and write reports/sweep/."""
    params = _params(taus, seeds)
    if repro:
        _repro()
    runs.check_inputs(STUDENT, Path())
    out = places.cache_folder() / "sweep"
    out.mkdir(parents=True, exist_ok=True)
    with _alone(out):
        runs.forget_partial(out)
        rows, failed = _all(_planned(out, params, jobs), jobs, out)
    if any(row["method"] == "student" for row in rows):
        folder = Run().reports / "sweep"
        write(folder, pd.DataFrame(rows), _calibrated())
        overview.refresh(Run())
        click.echo((folder / "table.md").read_text(encoding="utf-8"))
        for note in notes(pd.DataFrame(rows)):
            say(f"note: {note}")
        say(f"figures and results.csv: {folder / 'index.html'}; each run's own files: {out}")
    if failed:
        raise InputError(f"{len(failed)} runs failed: {some(failed, 3)}")


def _params(taus: str | None, seeds: str | None) -> SweepParams:
    """Read the section of params.yaml; options replace its values."""
    params = read_section(PARAMS, "sweep", SweepParams)
    changes: Values = {}
    for key, given, kind in (("taus", taus, float), ("seeds", seeds, int)):
        if given is not None:
            try:
                changes[key] = [kind(value) for value in given.split(",")]
            except ValueError:
                raise InputError(f"--{key} {given!r}: should be numbers, as 0,1,2") from None
    for key, value in changes.items():
        try:
            params = SweepParams.model_validate(params.model_dump() | {key: value})
        except ValueError:
            raise InputError(
                f"--{key} {value}: should be different numbers, taus from 0 to below 1, "
                f"seeds from 0"
            ) from None
    return params


def _repro() -> None:
    """Bring the inputs of the students up to date with DVC: one teacher and one scoring at most."""
    for line in ready.make_ready():
        say(line)
    code = ready.run_dvc("repro", "score")
    if code:
        raise InputError("`dvc repro score` failed; its messages are above")


def _alone(out: Path) -> AbstractContextManager[object]:
    """Lock the folder; return the context manager that releases it."""
    try:
        return filelock.FileLock(out / ".lock", blocking=False).acquire()
    except filelock.Timeout:
        raise InputError(f"{out}: another sweep is running here") from None


Planned = tuple[str, float | None, int, Callable[[], Values]]


def _planned(out: Path, params: SweepParams, jobs: int) -> list[Planned]:
    """Return method, tau, seed and a function for each run; all runs of a seed come together."""
    base = runs.read(PARAMS)
    threads = runs.threads_of(jobs)
    planned: list[Planned] = []
    for seed in params.seeds:
        for tau in params.taus:
            changes = {"pseudo_label.tau": tau, "train_student.seed": seed}
            values = runs.changed(base, changes)
            planned.append(("student", tau, seed, partial(_student, out, values, threads)))
        for name in params.references:
            values = runs.changed(base, REFERENCES[name] | {"train_teacher.seed": seed})
            planned.append((name, None, seed, partial(_reference, out, values, threads)))
    return planned


def _all(planned: list[Planned], jobs: int, out: Path) -> tuple[list[Values], list[str]]:
    """Run what is not kept yet; return a row per run, in their order, and a line per failure."""
    rows: list[Values] = []
    failed = []
    with ThreadPoolExecutor(jobs) as pool, _Bar(len(planned), out) as bar:
        futures = [pool.submit(run) for *_, run in planned]
        try:
            bar.follow(futures)
            for (method, tau, seed, _), future in zip(planned, futures, strict=True):
                name = ", ".join(
                    [method, *([] if tau is None else [f"tau {tau:g}"]), f"seed {seed}"]
                )
                try:
                    rows.append({"method": method, "tau": tau, "seed": seed} | future.result())
                except InputError as error:
                    failed.append(f"{name}: {error}")
        except BaseException:  # stopped: start no further run
            pool.shutdown(cancel_futures=True)
            raise
    return rows, failed


class _Bar:
    """The progress bar of a sweep: finished runs, epochs of the running ones, time left."""

    FORMAT = "{desc} {percentage:3.0f}%|{bar}| {elapsed}<{remaining}{postfix}"

    def __init__(self, total: int, out: Path) -> None:
        self._out, self._total = out, total
        self._bar = tqdm(total=total, bar_format=self.FORMAT)
        # A file gets a line a minute.
        self._seconds = 1.0 if sys.stderr.isatty() else 60.0

    def follow(self, futures: Sequence["Future[Values]"]) -> None:
        """Show the progress until all are done."""
        waiting = set(futures)
        while waiting:
            _, waiting = wait(waiting, self._seconds, FIRST_COMPLETED)
            self.show(len(futures) - len(waiting), runs.running(self._out))

    def show(self, done: int, now: list[runs.Progress]) -> None:
        """Show a state: the number of finished runs, and the running ones."""
        self._bar.n = min(done + sum(each.done for each in now), self._total)
        self._bar.set_description_str(f"runs {done}/{self._total}", refresh=False)
        self._bar.set_postfix_str(", ".join(each.text for each in now), refresh=False)
        self._bar.refresh()

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _student(out: Path, values: Values, threads: int | None) -> Values:
    """Run the stages of a student in a kept folder; return its metrics."""
    folder = runs.stages(out, values, STUDENT, Path(), threads=threads)
    seconds = sum(runs.stage_seconds(folder).values())
    return runs.student_metrics(folder) | {"seconds": round(seconds, 1)}


def _reference(out: Path, values: Values, threads: int | None) -> Values:
    """Train and measure a reference of the sweep; return its metrics."""
    prepared = runs.stages(out, values, ["prepare"], threads=threads)
    folder = runs.stages(
        out, values, ["train_teacher", "measure_teacher"], prepared, threads=threads
    )
    return runs.measured(folder)


def write(folder: Path, results: pd.DataFrame, calibrated: str = "none") -> None:
    """Write results.csv, seconds.csv, table.md, the figures and index.html: all or none.

    Args:
        folder: the folder to write.
        results: a row per run, as `_all` returns them, with at least one student.
        calibrated: the calibration of the teacher's scores, which tau is a threshold on.
    """
    students = results[results["method"] == "student"]
    shared = students.iloc[0]
    teacher = {"val_mAP": shared["teacher_val_mAP"], "test_mAP": shared["teacher_mAP"]}
    truth = {"positives_per_image": shared["true_positives_per_image"]}
    beside = pd.DataFrame([{"method": "teacher"} | teacher, {"method": "truth"} | truth])
    columns = ["method", "tau", "seed", *COLUMNS]
    tidy = pd.concat([results, beside]).reindex(columns=columns)
    tidy["seed"] = tidy["seed"].astype("Int64")
    summary = students.groupby("tau")[list(COLUMNS)].agg(["mean", "std"])
    summary.columns = ["_".join(names) for names in summary.columns]
    with files.atomic_write(folder) as temporary:
        temporary.mkdir()
        tidy.to_csv(temporary / "results.csv", index=False)
        summary.to_csv(temporary / "by_tau.csv")
        students[["tau", "seed", "seconds"]].to_csv(temporary / "seconds.csv", index=False)
        (temporary / "table.md").write_text(table(tidy), encoding="utf-8")
        drawn = draw(temporary, _drawn(tidy, calibrated))
        (temporary / "index.html").write_text(_page(tidy, drawn), encoding="utf-8")


def table(tidy: pd.DataFrame) -> str:
    """Return results.csv as Markdown: mean and standard deviation over seeds."""
    columns = in_words(tidy, " **(chosen by val)**")
    return markdown.table([*columns], zip(*columns.values(), strict=True))


def in_words(tidy: pd.DataFrame, mark: str) -> dict[str, list[str]]:
    """Return the columns of a table: mean and standard deviation over seeds, a row per method.

    Args:
        tidy: results.csv.
        mark: the text after the chosen tau.
    """
    names = {
        "student": "student, tau {:g}",
        "teacher": "teacher",
        "an": "AN",
        "full_labels": "all labels known (oracle)",
        "truth": "truth",
    }
    columns: dict[str, list[str]] = {"": [], **{name.replace("_", " "): [] for name in COLUMNS}}
    best = chosen(tidy)
    for method, name in names.items():
        for tau, group in tidy[tidy["method"] == method].groupby("tau", dropna=False):
            is_best = method == "student" and tau == best
            known = [group[column].dropna() for column in COLUMNS]
            cells = [spread(values) if len(values) else "" for values in known]
            row = [name.format(tau) + (mark if is_best else ""), *cells]
            for column, cell in zip(columns.values(), row, strict=True):
                column.append(cell)
    return columns


def notes(tidy: pd.DataFrame) -> list[str]:
    """Return sentences on the choice of tau that a reader should not miss."""
    best, told = chosen(tidy), []
    taus = sorted(tidy[tidy["method"] == "student"]["tau"].unique())
    if len(taus) > 1 and best in (taus[0], taus[-1]):
        below = "lower" if best == taus[0] else "higher"
        told.append(
            f"Val chooses tau {best:g}, at the edge of the grid from {taus[0]:g} to {taus[-1]:g}. "
            f"A {below} tau may be better: add some to sweep.taus."
        )
    return told


def _page(tidy: pd.DataFrame, drawn: list[str]) -> str:
    captions = {name: CAPTIONS[name] for name in drawn if name in CAPTIONS}
    return results_page.page(
        "Sweep of tau",
        "A student for each tau and seed: mean ± standard deviation over the seeds, mAP in "
        "percent. Choose tau by val and report test.",
        notes(tidy),
        {"Results": in_words(tidy, " (chosen by val)")},
        {f"{name}.png": caption for name, caption in captions.items()},
        ["results.csv", "by_tau.csv", "seconds.csv", "table.md"],
    )


def chosen(tidy: pd.DataFrame) -> float:
    """Return the tau of the highest mean val mAP."""
    students = tidy[tidy["method"] == "student"]
    best: float = students.groupby("tau")["val_mAP"].mean().idxmax()  # type: ignore[assignment]
    return best


def _calibrated() -> str:
    """Return the calibration that the runs of a sweep have in common."""
    values = runs.read(PARAMS).get("pseudo_label") or {}
    return str(values.get("calibrate", "none"))


def _drawn(tidy: pd.DataFrame, calibrated: str = "none") -> Sweep:
    """Return the data of the figures, from the seeds that every tau has."""
    students = tidy[tidy["method"] == "student"]
    by_seed = {name: students.pivot(index="tau", columns="seed", values=name) for name in COLUMNS}
    whole = by_seed["test_mAP"].notna().all(axis=0)
    if not whole.any():  # no seed has every tau yet
        taus = by_seed["test_mAP"].notna().sum(axis=1)
        raise InputError(f"no seed has a run of every tau; runs by tau: {taus.to_dict()}")
    truth = tidy[tidy["method"] == "truth"]["positives_per_image"].dropna()
    # A teacher from outside may have no test scores.
    measured = tidy[tidy["test_mAP"].notna()]
    methods = measured[~measured["method"].isin(["student", "truth"])].groupby("method")
    return Sweep(
        taus=by_seed["test_mAP"].index.tolist(),
        values={name: table.loc[:, whole].to_numpy(np.float64) for name, table in by_seed.items()},
        references={str(name): group["test_mAP"].tolist() for name, group in methods},
        true_positives_per_image=float(truth.iloc[0]) if len(truth) else None,
        chosen=chosen(tidy),
        calibrated=calibrated,
    )


if __name__ == "__main__":
    main()
