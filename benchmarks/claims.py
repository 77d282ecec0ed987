"""What a comparison establishes: the best student against everything that trains no student."""

from pathlib import Path

import numpy as np
import pandas as pd

from benchmarks import significance
from benchmarks.comparison import best_student, by_run
from benchmarks.methods import SINGLE_STAGE
from benchmarks.significance import LEVEL, Difference
from experiments import markdown
from pipeline.artifacts import tables
from pipeline.artifacts.run import Run
from pipeline.core.arrays import BoolMatrix, Probs
from pipeline.evaluation.bootstrap import ENOUGH_POSITIVES, enough_positives
from pipeline.evaluation.metrics import mean_average_precision

MIN_RUNS = 5


def table(results: pd.DataFrame, n_runs: int) -> str:
    """Return a table of the differences, and the sentence that may be claimed, as Markdown.

    A difference is established if it is above 0 over the runs (paired t-test, Holm's correction
    over all rows of the table) and over resampled test images. The rows are the losses alone,
    with twice the steps, as ensembles, with val's labels added, and val alone, as far as run.

    Args:
        results: as of `comparison.table`, with `test_scores`, the table of a cell's test scores,
            and `prepared`, the folder of its labels.
        n_runs: the runs of a complete cell.
    """
    results = results.assign(generation=results["generation"].fillna(0).astype(int))
    best = best_student(results[results["test_scores"].notna()], n_runs)
    alone = results[results["method"].isin(SINGLE_STAGE) & results["test_scores"].notna()]
    counts = alone.groupby(["method", "loss"], sort=False)["run"].nunique()
    cells = [(str(loss), str(method)) for method, loss in counts[counts == n_runs].index]
    if best is None or not cells:
        return ""
    labels = _test_labels(Path(results["prepared"].dropna().iloc[0]))
    student = _of_cell(results, *best)
    others = {_name(*cell): _of_cell(results, *cell, 0) for cell in cells}
    found = compare(labels, student, others)
    frequent = enough_positives(labels)
    highest = _mean_map(labels, student[1], frequent)
    rows = []
    for other_name, other in others.items():
        difference = found[other_name]
        rows.append(
            [
                other_name,
                f"{difference.mean:+.2f} ± {difference.std:.2f}",
                f"{difference.p:.3f}",
                f"{difference.low:+.2f} to {difference.high:+.2f}",
                f"{highest - _mean_map(labels, other[1], frequent):+.2f}",
                "yes" if difference.established and n_runs >= MIN_RUNS else "no",
            ]
        )
    name = f"{best[0]}, {best[1]}, generation {best[2]}"
    header = [
        f"{name}, above", "over runs", "p (Holm)", "95 % over test images",
        f"{int(frequent.sum())} classes with {ENOUGH_POSITIVES}+ positives", "established",
    ]  # fmt: skip
    return markdown.table(header, rows) + "\n" + sentence(name, found, n_runs) + "\n"


Cell = tuple[list[float], list[Probs]]


def compare(labels: BoolMatrix, cell: Cell, others: dict[str, Cell]) -> dict[str, Difference]:
    """Return the differences between a method and others, run by run.

    Args:
        labels: (N, C) complete test labels.
        cell: the test mAP and the (N, C) test scores of each run of the method.
        others: the same of each other method, by its name.
    """
    p_values = significance.holm([significance.paired_p(cell[0], o[0]) for o in others.values()])
    found = {}
    for (name, other), p in zip(others.items(), p_values, strict=True):
        differences = np.subtract(cell[0], other[0])
        std = float(differences.std(ddof=1)) if len(differences) > 1 else 0.0
        interval = significance.over_images(labels, cell[1], other[1])
        found[name] = Difference(float(differences.mean()), std, p, *interval)
    return found


def sentence(name: str, found: dict[str, Difference], n_runs: int) -> str:
    """Return the sentence that may be claimed of a method and the others."""
    if n_runs < MIN_RUNS:
        return f"Not established: {n_runs} runs are too few; {MIN_RUNS} are needed."
    holds = [other for other, difference in found.items() if difference.established]
    fails = [other for other in found if other not in holds]
    tests = f"p < {LEVEL:g} after Holm over {len(found)} comparisons, and over test images"
    if not holds:
        return f"Not established that {name} is above any of {'; '.join(fails)}."
    claim = f"{name} is above {'; '.join(holds)} ({tests})"
    return f"{claim}." if not fails else f"{claim}. Not established for {'; '.join(fails)}."


def _name(loss: str, method: str) -> str:
    return f"{loss} alone" if method == "teacher" else f"{loss}, {method}"


def _of_cell(results: pd.DataFrame, loss: str, method: str, generation: int) -> Cell:
    """Return test mAP and test scores of a cell, in the order of its runs."""
    maps = by_run(results, loss, method, generation).sort_index()
    cell = (results["loss"] == loss) & (results["method"] == method)
    paths = results[cell & (results["generation"] == generation)].set_index("run")["test_scores"]
    return maps.tolist(), [tables.read_scores(paths[run]).probs for run in maps.index]


def _test_labels(prepared: Path) -> BoolMatrix:
    run = Run.at(prepared)
    index = run.read_index()
    return run.read_truth(index).of(index, "test")


def _mean_map(labels: BoolMatrix, scores: list[Probs], classes: np.ndarray) -> float:
    """Return the mean test mAP over runs, of some classes alone."""
    chosen = labels[:, classes]
    return float(np.mean([mean_average_precision(chosen, each[:, classes]) for each in scores]))
