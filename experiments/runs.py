"""What the benchmarks share: changed params, stages run in folders that are kept, the oracles."""

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pandas as pd
from ruamel.yaml import YAML

ROOT = Path(__file__).parent.parent
Values = dict[str, Any]

FULL_LABELS: Values = {
    "prepare.observe.num_pos": "all",
    "prepare.observe.num_neg": "all",
    "train_teacher.loss": "bce",
}
IUN: Values = {"prepare.observe.num_neg": "all", "train_teacher.loss": "iun"}


def read(params: Path) -> Values:
    """Read a params file."""
    values: Values = YAML(typ="safe", pure=True).load(params.read_text(encoding="utf-8"))
    return values


def changed(base: Values, changes: Values) -> Values:
    """Return params with changes, given as "section.key"."""
    values: Values = json.loads(json.dumps(base))
    for key, value in changes.items():
        *parents, last = key.split(".")
        place = values
        for name in parents:
            place = place[name]
        place[last] = value
    return values


def name_of(*what: Any) -> str:
    """Return a short name for all that a result depends on."""
    return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:16]


def stages(out: Path, values: Values, names: list[str], before: Path | None) -> Path:
    """Run stages in a folder named by all that their result depends on; return the folder."""
    needed = {stage: values[stage] for stage in names}
    name = f"{names[0]}-{name_of(needed, before.name if before else None)}"
    folder = out / name
    if folder.exists():
        return folder
    partial = out / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    if before:
        shutil.copytree(before / "data", partial / "data", copy_function=os.link)
    else:
        partial.mkdir(parents=True)
    buffer = io.StringIO()
    YAML().dump(values, buffer)
    (partial / "params.yaml").write_text(buffer.getvalue())
    seconds = {}
    for stage in names:
        started = time.perf_counter()
        _call(partial, stage, out)
        seconds[stage] = round(time.perf_counter() - started, 1)
    (partial / "seconds.json").write_text(json.dumps(seconds))
    partial.rename(folder)
    return folder


def _call(folder: Path, stage: str, out: Path) -> None:
    """Run a stage as a command, its output kept in a log."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SPML_CACHE": str(out.resolve() / "kept")}
    with (folder / f"{stage}.log").open("w") as log:
        command = [sys.executable, "-m", f"stages.{stage}"]
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        said = (folder / f"{stage}.log").read_text().strip().splitlines()
        raise click.ClickException(f"{folder}: {stage} failed: {said[-1] if said else ''}")


def spread(values: "pd.Series[float]") -> str:
    """Write mean and standard deviation."""
    if len(values) == 1:
        return f"{values.iloc[0]:.2f}"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"
