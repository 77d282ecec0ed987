"""Read the params and metrics of finished runs from their folders."""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from experiments.used import by_training, put, used
from pipeline.artifacts.run import Run
from pipeline.core.errors import InputError

METRICS = Run().evaluation / "metrics.json"
# Folders that hold no finished run. .dvc keeps unfinished experiments.
SKIPPED = {".git", ".dvc", ".venv", "__pycache__"}
# The folders inside a run.
PARTS = {Run().data.name, Run().reports.name}
# Keys whose value is a mapping and not a section.
MAPPINGS = {"prepare.observe.class_weights"}

Values = dict[str, Any]


@dataclass(frozen=True)
class FinishedRun:
    """The params and metrics of a run.

    Attributes:
        name: the run's folder or experiment.
        params: "section.key" to value. Shared values of teacher and student are given for both.
        metrics: name to number, as evaluate wrote them; an unknown one is None or absent.
    """

    name: str
    params: Values
    metrics: Values


@dataclass
class Found:
    """The runs that were found.

    Attributes:
        runs: the runs with metrics.
        left_out: the names of the other runs, each with the reason.
    """

    runs: list[FinishedRun] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def in_folders(folders: Iterable[Path]) -> Found:
    """Find the runs in folders and below them.

    Raises:
        InputError: a folder is missing, or no params.yaml is in it or below it.
    """
    found, seen = Found(), set()
    for top in folders:
        if not top.is_dir():
            raise InputError(f"{top}: no such folder; should hold runs")
        places = list(_places(top))
        if not places:
            raise InputError(
                f"{top}: holds no params.yaml, nor does a folder below; should hold runs"
            )
        for place in places:
            if place.resolve() not in seen:
                seen.add(place.resolve())
                _add(found, place)
    return found


def flat(values: Values, before: str = "") -> Values:
    """Turn sections within sections into "section.key"."""
    keys: Values = {}
    for key, value in values.items():
        name = f"{before}{key}"
        is_section = isinstance(value, dict) and value and name not in MAPPINGS
        keys |= flat(value, f"{name}.") if is_section else {name: value}
    return keys


def add(found: Found, name: str, params: Values, metrics: Values, lock: str) -> None:
    """Add a run, or leave it out with the reason.

    Args:
        found: the runs found so far; changed in place.
        name: of the run.
        params: its params.yaml.
        metrics: its metrics; empty if it has none.
        lock: the text of its dvc.lock; "" if there is none.
    """
    metrics = flat(metrics)
    invalid = [key for key, value in metrics.items() if not isinstance(value, int | float | None)]
    reason = out_of_date(lock, params) if lock else ""
    if not params or not metrics:
        reason = "no metrics" if params else "no params"
    elif invalid:
        reason = f"{invalid[0]} = {metrics[invalid[0]]!r} is no number"
    if reason:
        found.left_out.append(f"{name} ({reason})")
    else:
        found.runs.append(FinishedRun(name, flat(by_training(params)), metrics))


def out_of_date(lock: str, params: Values) -> str:
    """Return why the metrics beside this dvc.lock do not belong to the params; "" if they do.

    Old metrics stay after a change of params.yaml and after a `dvc repro` that failed half way.
    """
    try:
        stages = YAML(typ="safe").load(lock)["stages"]
        made = {out["path"]: out.get("md5") for each in stages.values() for out in each["outs"]}
    except (YAMLError, LookupError, TypeError, AttributeError):
        return "dvc.lock cannot be read"
    for name, stage in stages.items():
        then = stage.get("params", {}).get("params.yaml", {})
        now = {key: value_at(params, key) for key in then}
        before, after = (flat(used(put({}, values))) for values in (then, now))
        for key in before | after:
            if before.get(key) != after.get(key):
                return f"{key} was changed after the run"
        for dep in stage.get("deps", []):
            if made.get(dep["path"], dep.get("md5")) != dep.get("md5"):
                return f"{name} was not run with the new {dep['path']}"
    return ""


def value_at(params: Values, key: str) -> Any:
    """Return the value of "section.key"; None where there is none."""
    value: Any = params
    for name in key.split("."):
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _places(top: Path) -> Iterator[Path]:
    for folder, below, names in os.walk(top):
        is_run = "params.yaml" in names
        below[:] = sorted(set(below) - SKIPPED - (PARTS if is_run else set()))
        # A sweep also keeps folders of teachers and data, which never have these metrics.
        is_intermediate = "seconds.json" in names and not (Path(folder) / METRICS).exists()
        if is_run and not is_intermediate:
            yield Path(folder)


def _add(found: Found, folder: Path) -> None:
    contents: list[Values] = []
    for path in (folder / "params.yaml", folder / METRICS):
        try:
            text = path.read_text(encoding="utf-8") if path.exists() else "{}"
            contents.append(_load(text) if path.suffix == ".yaml" else json.loads(text))
        except (YAMLError, ValueError):
            found.left_out.append(f"{folder} ({path.name} cannot be read)")
            return
        if not isinstance(contents[-1], dict):
            found.left_out.append(f"{folder} ({path.name} holds no names and values)")
            return
    lock = folder / "dvc.lock"
    text = lock.read_text(encoding="utf-8") if lock.exists() else ""
    add(found, str(folder), contents[0], contents[1], lock=text)


def _load(text: str) -> Values:
    values: Values = YAML(typ="safe", pure=True).load(text)
    return values
