"""Group runs into the rows of a table, with their means and the best row on val."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from statistics import mean, stdev
from typing import Any

from experiments.finished import FinishedRun
from experiments.keys import ALWAYS, as_json, differing, in_use
from experiments.markdown import table as markdown_table
from pipeline.inspection.terminal import escaped, truncated

# The metrics of the table and their headings. Those of mAP are in percent.
METRICS = {
    "teacher.mAP": "teacher mAP",
    "teacher.val_mAP": "teacher val mAP",
    "student.mAP": "student mAP",
    "student.val_mAP": "student val mAP",
    "pseudo_labels.precision": "precision",
    "pseudo_labels.recall": "recall",
    "pseudo_labels.positives_per_image": "positives per image",
}
CHOSEN_BY = "student.val_mAP"
TEACHER_BY = "teacher.val_mAP"
# Keys that are always shown if they differ.
FIRST = (*ALWAYS, "prepare.source", "train_teacher.mode")
MOST_KEYS = 8  # columns; with more, those that distinguish no rows are left out
LONGEST = 40  # width of a value in a table, in terminal cells


@dataclass(frozen=True)
class Row:
    """Runs with equal values of the grouping keys.

    Attributes:
        values: the values of the grouping keys; None also where the runs lack the key.
        runs: the runs.
        preferred: whether this row has the highest mean val mAP on its data.
    """

    values: tuple[Any, ...]
    runs: list[FinishedRun]
    preferred: bool = False

    def measured(self, metric: str) -> list[float]:
        """Return the values of a metric from the runs that have it."""
        values = [run.metrics.get(metric) for run in self.runs]
        return [float(value) for value in values if value is not None and isfinite(value)]

    @property
    def best_on_val(self) -> str:
        """The metric of the model that val prefers: of the teachers if their mean is higher."""
        students, teachers = self.measured(CHOSEN_BY), self.measured(TEACHER_BY)
        by_teachers = students and teachers and mean(teachers) > mean(students)
        return TEACHER_BY if by_teachers else CHOSEN_BY


def without_duplicates(runs: Iterable[FinishedRun]) -> list[FinishedRun]:
    """Return the runs; of several with equal params and metrics, only the first."""
    kept: dict[str, FinishedRun] = {}
    for run in runs:
        metrics = {name: value for name, value in run.metrics.items() if value is not None}
        kept.setdefault(as_json([in_use(run.params), metrics]), run)
    return list(kept.values())


def rows(runs: list[FinishedRun], keys: list[str]) -> list[Row]:
    """Group the runs by the values of the keys; return the rows, sorted by these values.

    Rows with equal values of `prepare` are on the same data. Each data set has one preferred row.
    """
    groups: dict[str, Row] = {}
    for run in runs:
        used = in_use(run.params)
        values = tuple(used.get(key) for key in keys)
        groups.setdefault(as_json(values), Row(values, [])).runs.append(run)
    ordered = sorted(groups.values(), key=lambda row: [_rank(value) for value in row.values])
    data = [column for column, key in enumerate(keys) if key.startswith("prepare.")]
    best: dict[str, Row] = {}
    for row in (row for row in ordered if row.measured(CHOSEN_BY)):
        key = as_json([row.values[column] for column in data])
        if key not in best or mean(row.measured(CHOSEN_BY)) > mean(best[key].measured(CHOSEN_BY)):
            best[key] = row
    chosen = {id(row) for row in best.values()}
    return [Row(row.values, row.runs, id(row) in chosen) for row in ordered]


def needed(table: list[Row], keys: list[str]) -> list[str]:
    """Return the keys that a table shows: all, or of many only those that distinguish its rows.

    Runs on two data sets, for example, differ in dozens of params that always change together.
    """
    if len(keys) <= MOST_KEYS:
        return keys
    chosen = [key for key in keys if key in FIRST]
    distinct = _distinct_rows(table, keys, chosen)
    for key in keys:
        with_key = _distinct_rows(table, keys, [*chosen, key])
        if with_key > distinct:
            chosen.append(key)
            distinct = with_key
    return [key for key in keys if key in chosen]


def _distinct_rows(table: list[Row], keys: list[str], chosen: list[str]) -> int:
    """Return the number of distinct rows by the chosen keys."""
    columns = [keys.index(key) for key in chosen]
    return len({as_json([row.values[column] for column in columns]) for row in table})


def mixed(table: list[Row]) -> list[str]:
    """Return the keys, except seeds, that differ between runs of one row."""
    return list(dict.fromkeys(key for row in table for key in differing(row.runs)))


def repeated(table: list[Row]) -> list[FinishedRun]:
    """Return the runs whose params, seeds included, equal those of an earlier run in the table.

    Their code or machine differs.
    """
    seen: set[str] = set()
    found = []
    for run in (run for row in table for run in row.runs):
        params = as_json(in_use(run.params))
        if params in seen:
            found.append(run)
        seen.add(params)
    return found


def markdown(table: list[Row], keys: list[str], columns: list[str]) -> str:
    """Return the table as Markdown: mean ± standard deviation, the best on val in bold.

    A student is not bold if its teachers have the higher val mAP; then theirs is.

    Args:
        table: the rows.
        keys: the keys of their values.
        columns: the keys to show.
    """
    shown = in_words(table, keys, columns, "**{}**")
    return markdown_table([*shown], zip(*shown.values(), strict=True))


def in_words(
    table: list[Row], keys: list[str], columns: list[str], mark: str
) -> dict[str, list[str]]:
    """Return the columns of the table as text.

    Args:
        table: the rows.
        keys: the keys of their values.
        columns: the keys to show.
        mark: the text of the best number on val, with {} for the number.
    """
    header = [*(ALWAYS.get(key, escaped(key)) for key in columns), "runs", *METRICS.values()]
    lines = []
    for row in table:
        values = dict(zip(keys, row.values, strict=True))
        cells = [truncated(as_text(values[key]), LONGEST) for key in columns]
        cells.append(str(len(row.runs)))
        for metric in METRICS:
            spread = _spread(row.measured(metric))
            is_best = row.preferred and metric == row.best_on_val
            cells.append(mark.format(spread) if is_best else spread)
        lines.append(cells)
    return {name: [line[at] for line in lines] for at, name in enumerate(header)}


def notes(table: list[Row], keys: list[str], columns: list[str]) -> list[str]:
    """Return a sentence on each best row whose teachers have the higher val mAP."""
    return [
        f"Val prefers the teacher of the best row, {label(row, keys, columns)}: it has "
        f"{mean(row.measured(TEACHER_BY)):.2f} mAP on val, the student "
        f"{mean(row.measured(CHOSEN_BY)):.2f}."
        for row in table
        if row.preferred and row.best_on_val == TEACHER_BY
    ]


def columns_of_rows(table: list[Row], keys: list[str]) -> dict[str, list[object]]:
    """Return columns with an entry per row: the keys, mean and deviation of each metric."""
    columns: dict[str, list[object]] = {
        key: [_cell(row.values[number]) for row in table] for number, key in enumerate(keys)
    }
    columns["runs"] = [len(row.runs) for row in table]
    for metric in METRICS:
        values = [row.measured(metric) for row in table]
        columns[metric] = [round(mean(each), 4) if each else None for each in values]
        columns[f"{metric}.std"] = [
            round(stdev(each), 4) if len(each) > 1 else None for each in values
        ]
    columns["preferred"] = [str(row.preferred).lower() for row in table]
    return columns


def columns_of_runs(table: list[Row], keys: list[str]) -> dict[str, list[object]]:
    """Return columns with an entry per run: name, grouping keys, other differing keys, metrics."""
    runs = [run for row in table for run in row.runs]
    seeds = dict.fromkeys(key for run in runs for key in run.params if key.endswith(".seed"))
    columns: dict[str, list[object]] = {"run": [run.name for run in runs]}
    for key in dict.fromkeys([*keys, *differing(runs), *seeds]):
        columns[key] = [_cell(in_use(run.params).get(key)) for run in runs]
    for metric in METRICS:
        columns[metric] = [run.metrics.get(metric) for run in runs]
    return columns


def label(row: Row, keys: list[str], columns: list[str]) -> str:
    """Return a short label of a row, as "wan, tau 0.4"; arguments as of `markdown`."""
    names = {key: ALWAYS.get(key, _brief(key)) for key in columns}
    parts = []
    for key, value in zip(keys, row.values, strict=True):
        text = as_text(value)
        if text and key in columns:
            is_unique = list(names.values()).count(names[key]) == 1
            name = names[key] if is_unique else key.removeprefix("train_")
            parts.append(text if name in ("loss", "rule") else f"{name} {text}")
    return ", ".join(parts) or "all runs"


def _brief(key: str) -> str:
    """Return the last part of a key, after "teacher" or "student" for a key of a training."""
    section, _, rest = key.partition(".")
    last = rest.rpartition(".")[2]
    return f"{section.removeprefix('train_')} {last}" if section.startswith("train_") else last


def as_text(value: object) -> str:
    """Return the value of a param as text for a table; "" for null."""
    return "" if value is None else escaped(value if isinstance(value, str) else as_json(value))


def _cell(value: object) -> object:
    return value if isinstance(value, str) or value is None else as_json(value)


def _rank(value: object) -> tuple[int, float, str]:
    """Return a sort key: None first, then numbers by size, then other values by their text."""
    if value is None:
        return 0, 0.0, ""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 1, float(value), ""
    return 2, 0.0, as_text(value)


def _spread(values: list[float]) -> str:
    if not values:
        return ""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")
