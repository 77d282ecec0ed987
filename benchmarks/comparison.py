"""The tables of benchmarks.compare: means over runs, and differences run by run."""

from typing import Any, TypeAlias

import pandas as pd
from scipy import stats

from experiments import markdown
from experiments.runs import spread

Series: TypeAlias = "pd.Series[float]"
CELL = ["loss", "method", "generation"]
# The methods whose losses are not those of the other rows.
REFERENCES = ("oracle", "oracle control", "val alone")


def table(results: pd.DataFrame, n_runs: int) -> str:
    """Return the tables as Markdown.

    Args:
        results: a row per loss, method, run and generation of students, with the columns of
            these names (generation NaN where there is no student), tau, val_mAP, test_mAP.
        n_runs: the runs of a complete cell. An incomplete cell shows its number of runs.
    """
    results = results.assign(generation=results["generation"].fillna(0).astype(int))
    parts = [_by_method(results, n_runs), _references(results), _paired(results, n_runs)]
    return "\n".join(part for part in parts if part)


def by_run(results: pd.DataFrame, loss: str, method: str, generation: int = 0) -> Series:
    """Return the test mAP of a cell, by run."""
    cell = (results["loss"] == loss) & (results["method"] == method)
    return results[cell & (results["generation"] == generation)].set_index("run")["test_mAP"]


def difference(values: Series, others: Series) -> str:
    """Return the mean difference of paired values, its deviation and the p of a paired t-test."""
    pairs = pd.concat([values, others], axis=1, join="inner").to_numpy()
    differences = pairs[:, 0] - pairs[:, 1]
    if len(pairs) < 2:
        return f"{differences[0]:+.2f}" if len(pairs) else ""
    p = stats.ttest_rel(pairs[:, 0], pairs[:, 1]).pvalue
    p_text = "p < .001" if p < 0.001 else f"p = {p:.3f}"
    return f"{differences.mean():+.2f} ± {differences.std(ddof=1):.2f} ({p_text})"


def closed(values: Series, low: Series, high: Series) -> str:
    """Return the share of the distance from low to high that is closed, by the means over runs."""
    three = pd.concat([values, low, high], axis=1, join="inner")
    if three.empty:
        return ""
    mean = three.mean().to_numpy()
    return f"{100 * (mean[0] - mean[1]) / (mean[2] - mean[1]):.0f} %"


def best_student(results: pd.DataFrame, n_runs: int) -> tuple[str, str, int] | None:
    """Return loss, method and generation of the student with the highest mean val mAP.

    Only cells with all runs count. None: there is none.
    """
    students = results[results["generation"] > 0].groupby(CELL)["val_mAP"]
    means = students.mean()[students.count() == n_runs]
    if means.empty:
        return None
    cell: Any = means.idxmax()  # of an index of three levels: a tuple
    loss, method, generation = cell
    return str(loss), str(method), int(generation)


def _by_method(results: pd.DataFrame, n_runs: int) -> str:
    """Return a row per method, a column per loss."""
    of_losses = results[~results["method"].isin(REFERENCES)]
    losses = list(dict.fromkeys(of_losses["loss"]))
    if not losses:
        return ""
    best = best_student(results, n_runs)
    rows = []
    for method, generation in dict.fromkeys(
        zip(of_losses["method"], of_losses["generation"], strict=True)
    ):
        name = method if generation < 2 else f"{method}, generation {generation}"
        cells = []
        for loss in losses:
            values = by_run(results, loss, method, generation)
            cell = "" if values.empty else spread(values)
            if 0 < len(values) < n_runs:
                cell += f" ({len(values)})"
            if (loss, method, generation) == best:
                cell = f"**{cell}**"
            cells.append(cell)
        rows.append([name, *cells])
    note = f"Mean ± standard deviation over the runs ({n_runs}, or the number in brackets)"
    if best:
        note += "; bold: the best student on val"
    return markdown.table(["test mAP", *losses], rows) + f"\n{note}.\n"


def _references(results: pd.DataFrame) -> str:
    """Return a row for each oracle and for val alone, with each training's settings."""
    references = results[results["method"].isin(REFERENCES)]
    if references.empty:
        return ""
    rows = []
    for loss in dict.fromkeys(references["loss"]):
        of_loss = references[references["loss"] == loss]
        cells = {method: spread(of["test_mAP"]) for method, of in of_loss.groupby("method")}
        name = "BCE on val alone" if "val alone" in cells else loss
        alone = cells.get("val alone", cells.get("oracle", ""))
        rows.append([name, alone, cells.get("oracle control", "")])
    return markdown.table(["reference", "the teacher's settings", "the student's settings"], rows)


def _paired(results: pd.DataFrame, n_runs: int) -> str:
    """Return the differences of the best student on val from each loss alone, run by run."""
    best = best_student(results, n_runs)
    if best is None:
        return ""
    student = by_run(results, *best)
    name = f"{best[0]}, {best[1]}, generation {best[2]}"
    rows = []
    rest = results[results["method"].isin(["teacher", "control", "oracle", "oracle control"])]
    for loss in dict.fromkeys(rest["loss"]):
        pair = ("oracle", "oracle control")
        pair = pair if loss in ("full_labels", "iun") else ("teacher", "control")
        cells = [difference(student, by_run(results, loss, method)) for method in pair]
        rows.append([loss, *cells])
    shares = [
        closed(student, by_run(results, "an", alone), by_run(results, "full_labels", oracle))
        for alone, oracle in (("teacher", "oracle"), ("control", "oracle control"))
    ]
    rows.append(["closed of AN to all labels", *shares])
    return markdown.table([f"{name}, above", "alone", "with the student's settings"], rows)
