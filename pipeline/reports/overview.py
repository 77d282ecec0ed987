"""Write reports/index.html: the result of the run, what it was made with, and all of its pages.

Unlike the pages it links, this one names commit, dates and seconds. It is no output of a stage,
since equal runs would give it other bytes.
"""

import csv
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pipeline.artifacts.run import Run
from pipeline.core import files, seconds
from pipeline.core.errors import InputError
from pipeline.core.seconds import Note
from pipeline.evaluation.findings import signed
from pipeline.reports import pages, run_report
from pipeline.reports.words import Columns

PAGE = "index.html"
# The pages: folder, title, content, and the command that writes it.
PAGES = (
    ("evaluate", "Evaluation", "Metrics, curves, classes and a sample of images.", "make repro"),
    ("labels", "Labels", "The training images with their labels.", "python -m stages.labels"),
    ("analyse", "Analysis", "Scores, gain by class and loss landscape of teacher and student.",
     "python -m stages.analyse"),
    ("sweep", "Sweep", "mAP and quality of the labels for each tau.", "make sweep"),
    ("compare", "Comparison", "All kept runs in one table.", "python -m experiments.compare"),
)  # fmt: skip
# The references of a sweep, which have neither teacher nor pseudo-labels.
REFERENCES = {"an": "AN: unknown labels as negative", "full_labels": "all labels known (oracle)"}


@dataclass(frozen=True)
class Linked:
    """A page of the run; `written` is empty if it does not exist."""

    title: str
    content: str
    command: str
    link: str
    written: str
    is_old: bool


def refresh(run: Run) -> Path:
    """Write the page of the run in the working folder, as `write` does; return its path."""
    return write(run, _commit(), seconds.read())


def numbers(run: Run) -> list[str]:
    """Return a line for the test mAP of each model and for their difference, as far as known."""
    metrics = _json(run.evaluation / "metrics.json")
    lines = []
    for name, write_value in (("teacher", "{:.2f}".format), ("student", "{:.2f}".format),
                              ("difference", signed)):  # fmt: skip
        value, span = metrics.get(f"{name}.mAP"), _span(metrics, f"{name}.mAP", write_value)
        if value is not None:
            interval = f"   95 % interval {span}" if span else ""
            lines.append(f"{name + ' mAP on test':22} {write_value(value)}{interval}")
    return lines


def write(run: Run, commit: str | None, notes: Mapping[str, Note]) -> Path:
    """Write the page from the files in the folder of the reports; return its path.

    Args:
        run: the run.
        commit: the commit of the working folder; None without git.
        notes: the last run of each stage by its name.

    Raises:
        InputError: a file in the folder of the reports is damaged.
    """
    path = run.reports / PAGE
    metrics = _json(run.evaluation / "metrics.json")
    made = _json(run.evaluation / run_report.MADE_WITH)
    text = pages.render(
        "reports/overview.html",
        styles=["reports/report.css"],
        told=made.get("findings", []),
        methods=_methods(metrics, _references(run.reports / "sweep" / "results.csv")),
        pages=_linked(run),
        facts=_facts(run, made.get("made_with", {}), commit),
        seconds=_seconds(notes),
    )
    with files.atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path


def _methods(metrics: Mapping[str, Any], references: Mapping[str, list[str]]) -> Columns:
    """Return the table of methods with mAP on test and val; no column without an evaluation."""
    if "teacher.mAP" not in metrics:
        return {}
    rows = [
        [name, *(_percent(metrics, f"{name}.{key}") for key in ("mAP", "val_mAP")),
         _span(metrics, f"{name}.mAP", "{:.2f}".format)]
        for name in ("teacher", "student")
    ]  # fmt: skip
    if "difference.mAP" in metrics:
        on_val = metrics["student.val_mAP"] - metrics["teacher.val_mAP"]
        rows.append(["student minus teacher", signed(metrics["difference.mAP"]), signed(on_val),
                     _span(metrics, "difference.mAP", signed)])  # fmt: skip
    rows += [[f"{name}, of the last sweep", *values, None] for name, values in references.items()]
    headings = ["", "mAP on test (%)", "mAP on val (%)", "95 % interval on test"]
    return dict(zip(headings, map(list, zip(*rows, strict=True)), strict=True))


def _percent(metrics: Mapping[str, Any], name: str) -> str | None:
    value = metrics.get(name)
    return None if value is None else f"{value:.2f}"


def _span(metrics: Mapping[str, Any], name: str, write: Any) -> str | None:
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return None if low is None or high is None else f"{write(low)} to {write(high)}"


def _references(path: Path) -> dict[str, list[str]]:
    """Return test and val mAP of the references in a sweep's results.csv, over its seeds."""
    if not path.exists():
        return {}
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    found = {}
    for method, title in REFERENCES.items():
        own = [row for row in rows if row.get("method") == method]
        if own:
            found[title] = [_spread(path, own, key) for key in ("test_mAP", "val_mAP")]
    return found


def _spread(path: Path, rows: list[dict[str, str]], key: str) -> str:
    try:
        values = [float(row[key]) for row in rows]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{path}: has no number in {key!r}; should be as `make sweep` writes it"
        ) from None
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def _linked(run: Run) -> list[Linked]:
    """Return the pages; one that is older than the evaluation is marked."""
    evaluated = _time(run.evaluation / PAGE)
    linked = []
    for folder, title, content, command in PAGES:
        written = _time(run.reports / folder / PAGE)
        is_old = folder in ("labels", "analyse") and 0 < written < evaluated
        linked.append(Linked(title, content, command, f"{folder}/{PAGE}", _date(written), is_old))
    return linked


def _facts(run: Run, made_with: Mapping[str, str], commit: str | None) -> Columns:
    """Return what the run was made with; after the settings the machine, commit and date."""
    facts = dict(made_with)
    for role in ("teacher", "student"):
        machine = _json(run.curves("teacher" if role == "teacher" else "student").joinpath(
            "environment.json"))  # fmt: skip
        if machine:
            facts[f"machine of the {role}"] = ", ".join(
                f"{key.replace('_', ' ')} {value}" for key, value in machine.items()
            )
    if facts.get("machine of the teacher") == facts.get("machine of the student"):
        facts |= {"machine": facts.pop("machine of the teacher", "")}
        facts.pop("machine of the student", None)
    facts["commit"] = commit or ""
    facts["evaluated"] = _date(_time(run.evaluation / PAGE))
    facts = {name: value for name, value in facts.items() if value}
    return {"": [*facts], "value": [*facts.values()]}


def _seconds(notes: Mapping[str, Note]) -> Columns:
    return {
        "stage": [*notes],
        "seconds": [f"{note.seconds:.1f}" for note in notes.values()],
        "ended": [_date(note.ended) for note in notes.values()],
    }


def _commit() -> str | None:
    """Return the commit of the working folder, and whether files differ; None without git."""
    head = _git("rev-parse", "--short", "HEAD")
    if head is None:
        return None
    return f"{head}, with changes" if _git("status", "--porcelain", "-uno") else head


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, encoding="utf-8", check=False
        )
    except FileNotFoundError:
        return None
    return None if done.returncode else done.stdout.strip()


def _time(path: Path) -> float:
    """Return when a file was written, in seconds since 1970; 0 if it does not exist."""
    return path.stat().st_mtime if path.exists() else 0.0


def _date(seconds: float) -> str:
    """Return a time to the minute; empty for 0."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC") if seconds else ""


def _json(path: Path) -> dict[str, Any]:
    """Return the values in a file; none if it does not exist."""
    if not path.exists():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict):
        raise InputError(f"{path}: should hold names and values in JSON; run its stage again")
    return values
