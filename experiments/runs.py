"""Run stages in folders that are kept and named by a hash of everything they depend on.

Such a folder has the layout of the project after `dvc repro`: params.yaml, data/, reports/.
It is complete or absent, so after a kill or a stop call the same command again.
"""

import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from experiments.measure import TEST_SCORES
from experiments.used import put, used
from pipeline.artifacts.run import Run
from pipeline.core import hashes, identity, places
from pipeline.core.errors import InputError
from pipeline.datasets import inputs
from presets import preset
from stages.inputs import DESCRIBED

ROOT = Path(__file__).parent.parent
Values = dict[str, Any]
# Where the stages read and write.
PLACES = tuple(f"{folder.name}/" for folder in (Run().data, Run().reports))
_LOCKS: defaultdict[Path, Lock] = defaultdict(Lock)

AN: Values = {"train_teacher.source": "images", "train_teacher.loss": "an"}
FULL_LABELS: Values = {
    "prepare.observe.process": "uniform",
    "prepare.observe.num_pos": "all",
    "prepare.observe.num_neg": "all",
    "train_teacher.source": "images",
    "train_teacher.loss": "bce",
}
IUN: Values = {
    "prepare.observe.num_neg": "all",
    "train_teacher.source": "images",
    "train_teacher.loss": "iun",
}


# The stages of a run that come after its training.
AFTER_TRAINING = ("evaluate", "measure", "measure_student")


class NotKeptError(Exception):
    """A requested folder does not exist, and nothing is to be run."""


def read(params: Path) -> Values:
    """Read a params file."""
    values: Values = YAML(typ="safe", pure=True).load(params.read_text(encoding="utf-8"))
    return values


def read_or_preset(params: str) -> Values:
    """Read a params file, or the preset of that name.

    Raises:
        InputError: there is neither.
    """
    if params in preset.names():
        return preset.values(params)
    if not Path(params).is_file():
        raise InputError(
            f"{params}: no such file; should be a file or a preset: {', '.join(preset.names())}"
        )
    return read(Path(params))


def changed(base: Values, changes: Values) -> Values:
    """Return params with changes, given as "section.key"."""
    values: Values = json.loads(json.dumps(base))
    return put(values, changes)


def read_for_every_loss(params: str, sets: Sequence[str] = ()) -> Values:
    """Read a params file; losses without settings in it get the shipped ones.

    Args:
        params: the file, or the name of a preset.
        sets: changes, as "section.key=value" with the value in YAML.
    """
    yaml = YAML(typ="safe", pure=True)
    changes = {key: yaml.load(value) for key, _, value in (s.partition("=") for s in sets)}
    base = changed(read_or_preset(params), changes)
    shipped = preset.values(preset.DEFAULT)["train_teacher"]["losses"]
    base["train_teacher"]["losses"] = shipped | base["train_teacher"]["losses"]
    return base


def stages(
    out: Path,
    values: Values,
    names: list[str],
    *sources: Path,
    threads: int | None = None,
    kept: bool = False,
) -> Path:
    """Run stages in a folder below `out`, unless that was done before; return the folder.

    Several threads may call this at the same time. If they need the same folder, one of them
    does the work.

    Args:
        out: where the folders are kept. (Checkpoints and decoded images are in the cache folder,
            as with any stage.)
        values: all of params.yaml.
        names: the stages, in their order. "measure_teacher" and "measure_ensemble" may follow
            "train_teacher", "measure_student" may follow "train_student"; "prepare_val_added"
            and "prepare_val_alone" may take the place of "prepare".
        sources: folders with the files that the stages read and do not make. The first folder
            that has a file counts.
        threads: the number of threads that the stages may use; None: their own choice. Another
            number may change the last decimals of a result, since sums change their order.
        kept: run nothing; use only the folders that exist.

    Raises:
        InputError: a stage failed; its log stays.
        NotKeptError: the folder does not exist and `kept` is true.
    """
    folder = out / f"{names[-1]}-{run_name(values, names, *sources)[:16]}"
    with _LOCKS[folder]:
        if not folder.exists():
            if kept:
                raise NotKeptError(folder)
            unfinished = out / f"{folder.name}.{os.getpid()}.partial"
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            for path in _inputs(names):
                if path in EXTERNAL:
                    inputs.write(unfinished / path, EXTERNAL[path](values))
                else:
                    _link(_find(path, sources), unfinished / path)
            _run(unfinished, values, names, threads)
            unfinished.rename(folder)
    return folder


def threads_of(jobs: int) -> int | None:
    """Return the threads for each of several runs at a time; None, the own choice, for one."""
    return max((os.cpu_count() or 1) // jobs, 1) if jobs > 1 else None


def run_name(values: Values, names: list[str], *sources: Path) -> str:
    """Return a hash of everything the results of stages depend on; arguments as of `stages`.

    It covers the params in use, the code, the content of the files that the stages read, the
    external inputs (annotations, images, weights files) and the version of torch.

    Raises:
        InputError: a file is missing.
    """
    graph = [_stage(name) for name in names]
    return identity.name_of(
        {key: used(values).get(key) for stage in graph for key in stage["params"]},
        identity.code(*(stage["module"] for stage in graph)),
        {
            path: EXTERNAL[path](values) if path in EXTERNAL else digest(_find(path, sources))
            for path in _inputs(names)
        },
        version("torch"),
    )


def _run(folder: Path, values: Values, names: list[str], threads: int | None) -> None:
    """Run stages in the folder of their inputs; write params.yaml and seconds.json there."""
    buffer = io.StringIO()
    YAML().dump(values, buffer)
    (folder / "params.yaml").write_text(buffer.getvalue(), encoding="utf-8")
    seconds = {}
    for name in names:
        started = time.perf_counter()
        _call(folder, name, threads)
        seconds[name] = round(time.perf_counter() - started, 1)
    (folder / "seconds.json").write_text(json.dumps(seconds))


def check_inputs(names: list[str], *sources: Path) -> None:
    """Check that the files that `stages` would read exist.

    Raises:
        InputError: a file is missing.
    """
    for path in _inputs(names):
        if path not in EXTERNAL:
            _find(path, sources)


def forget_partial(out: Path) -> None:
    """Remove the folders that killed runs left; no other run may write below `out` meanwhile."""
    for folder in out.glob("*.partial"):
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class Progress:
    """A run that is not finished.

    Attributes:
        done: the finished part of its trainings' epochs, 0 to 1.
        text: the stage and, during a training, the epoch.
    """

    done: float
    text: str


def running(out: Path) -> list[Progress]:
    """Return the progress of the runs below `out`, from the logs of their stages."""
    found = []
    for folder in sorted(out.glob("*.partial")):
        with suppress(FileNotFoundError):  # the run ended meanwhile, and its folder was renamed
            logs = sorted(folder.glob("*.log"), key=lambda path: path.stat().st_mtime)
            if logs:
                text = logs[-1].read_text(encoding="utf-8", errors="replace")
                found.append(_progress(logs[-1].stem, text))
    return found


def _progress(stage: str, log: str) -> Progress:
    """Return the progress of a run, by the stage that runs and the log of that stage."""
    epochs = re.findall(r"^epoch (\d+)/(\d+) ", log, re.MULTILINE)
    if not epochs:
        return Progress(1.0 if stage in AFTER_TRAINING else 0.0, stage)
    epoch, last = epochs[-1]
    return Progress(int(epoch) / int(last), f"{stage} {epoch}/{last}")


def student_metrics(folder: Path) -> Values:
    """Return the metrics that `evaluate` wrote in a folder: student, pseudo-labels, teacher."""
    metrics = _metrics(Run.at(folder).evaluation)
    return {
        "val_mAP": metrics["student.val_mAP"],
        "test_mAP": metrics["student.mAP"],
        "positives_per_image": metrics["pseudo_labels.positives_per_image"],
        "precision": metrics.get("pseudo_labels.precision"),
        "recall": metrics.get("pseudo_labels.recall"),
        "teacher_val_mAP": metrics["teacher.val_mAP"],
        "teacher_mAP": metrics["teacher.mAP"],
        "true_positives_per_image": metrics.get("truth.positives_per_image"),
    }


def generation_metrics(folder: Path) -> list[Values]:
    """Return the metrics that `evaluate` wrote for each generation of students in a folder."""
    table = pd.read_csv(Run.at(folder).evaluation / "generations.csv")
    rows = table.rename(columns={"mAP": "test_mAP"}).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def measured(folder: Path) -> Values:
    """Return val_mAP and test_mAP that "measure_..." wrote in a folder."""
    return _metrics(Run.at(folder).reports / "measure")


def test_scores(folder: Path) -> Path:
    """Return the table of test scores that "measure_..." wrote in a folder."""
    return Run.at(folder).reports / "measure" / TEST_SCORES


def stage_seconds(folder: Path) -> dict[str, float]:
    """Return the seconds of each stage that ran in a folder."""
    seconds: dict[str, float] = json.loads((folder / "seconds.json").read_text())
    return seconds


def _metrics(folder: Path) -> Values:
    metrics: Values = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of a folder's files and their names."""
    if path.is_dir():
        return identity.name_of({file.name: digest(file) for file in sorted(path.iterdir())})
    return hashes.of_file(path)


# The outputs of the stage `inputs`. Each run makes them anew and never links older ones.
EXTERNAL: dict[str, Callable[[Values], Values]] = {
    f"data/inputs/{name}.json": describe for name, describe in DESCRIBED.items()
}


def spread(values: "pd.Series[float]") -> str:
    """Return mean ± standard deviation as text; the mean alone where all values are equal."""
    if values.nunique() == 1:
        return f"{values.iloc[0]:.2f}"
    return f"{values.mean():.2f} ± {values.std(ddof=1):.2f}"


@cache
def _graph() -> Values:
    """Return the stages of dvc.yaml: the module, params, inputs and outputs of each."""
    graph: Values = {}
    for name, stage in read(ROOT / "dvc.yaml")["stages"].items():
        graph[name] = {
            "module": f"stages.{name}",
            "params": stage.get("params", []),
            "data": [path for path in stage.get("deps", []) if path.startswith(PLACES)],
            "outs": stage["outs"],
        }
    run = Run()
    for how in ("added", "alone"):
        module = {"module": "experiments.complete_val", "arguments": [how]}
        graph[f"prepare_val_{how}"] = graph["prepare"] | module
    tested = [path.as_posix() for path in (run.index, run.images, run.truth)]
    for name, models in (("teacher", "teacher"), ("ensemble", "teacher"), ("student", "student")):
        graph[f"measure_{name}"] = {
            "module": "experiments.measure",
            "arguments": [name],
            "params": ["evaluate"],
            "data": tested + graph[f"train_{models}"]["outs"],
            "outs": [(run.reports / "measure").as_posix()],
        }
    return graph


def _stage(name: str) -> Values:
    stage: Values = _graph()[name]
    return stage


def _inputs(names: list[str]) -> list[str]:
    """Return the paths that stages read and none of them makes."""
    made = {path for name in names for path in _stage(name)["outs"]}
    return sorted({path for name in names for path in _stage(name)["data"]} - made)


def _find(path: str, sources: Sequence[Path]) -> Path:
    """Return the path of a file or folder in the first source that has it."""
    for folder in sources:
        if (folder / path).exists():
            return folder / path
    raise InputError(f"{path}: no such file; run `dvc repro` first")


def _link(source: Path, target: Path) -> None:
    """Hard-link a file or the files of a folder; safe, since stages replace files as a whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link_file)
    else:
        _link_file(source, target)


def _link_file(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _call(folder: Path, name: str, threads: int | None) -> None:
    """Run a stage as a command and keep its output in a log."""
    kept = str(places.cache_folder().resolve())
    environment = os.environ | {"PYTHONPATH": str(ROOT), "SPML_CACHE": kept}
    # Without this, a stage would outlive a killed sweep and run beside the restarted one.
    environment["SPML_ENDS_WITH_STARTER"] = "1"
    if root := os.environ.get("SPML_DATA_ROOT"):
        environment["SPML_DATA_ROOT"] = str(Path(root).resolve())
    if threads:
        environment["OMP_NUM_THREADS"] = str(threads)
    stage = _stage(name)
    command = [sys.executable, "-m", stage["module"], *stage.get("arguments", [])]
    log = folder / f"{name}.log"
    with log.open("w") as file:
        code = subprocess.run(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=file,
            stderr=subprocess.STDOUT, check=False,
        ).returncode  # fmt: skip
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        last = lines[-1].removeprefix("Error: ") if lines else f"exit code {code}"
        raise InputError(f"{name}: {last} (its log: {log})")
