"""The curves of a training, as files for `dvc plots` and for people."""

import csv
import hashlib
import json
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dvclive.live import Live

from pipeline.core import files
from pipeline.core.errors import InputError, excerpt, one_line

CURVES = ("loss", "lr", "val_mAP")
METRICS = "metrics.json"
# Digests of the files that `read` reads, in the format of the program sha256sum.
SUMS = "SHA256SUMS"
SUMMED = (METRICS, *(f"plots/metrics/{name}.tsv" for name in CURVES))


@dataclass(frozen=True)
class Epoch:
    """The metrics of an epoch: mean loss, learning rate of the backbone, val mAP (%)."""

    epoch: int
    loss: float
    lr: float
    val_mAP: float  # noqa: N815


@dataclass(frozen=True)
class History:
    """The epochs of a training, and the one whose model was kept.

    Attributes:
        epochs: of all phases, numbered consecutively.
        best: the epoch whose model was kept: the one with the highest val mAP in the last phase.
            An epoch of an earlier phase may have a higher one, but its model was not kept.
    """

    epochs: list[Epoch]
    best: Epoch


def write(folder: Path, history: History) -> None:
    """Write a training's history to a folder with DVCLive: a TSV per curve, metrics.json."""
    with files.atomic_write(folder) as temporary:
        # DVCLive would otherwise write dvc.yaml and save an experiment.
        with Live(str(temporary), dvcyaml=None, save_dvc_exp=False) as live:
            for epoch in history.epochs:
                _log(live, epoch)
            live.summary |= {
                "best_epoch": history.best.epoch,
                "best_val_mAP": history.best.val_mAP,
            }
        (temporary / SUMS).write_text("".join(_sum(temporary, path) for path in SUMMED))


# Takes the number of epochs of earlier phases, and the epochs of this phase so far.
Follow = Callable[[int, list[Epoch]], None]
# Lets `dvc plots show` and editors find the curves in a folder that git ignores.
PLOTS = "plots:\n- plots/metrics:\n    x: step\n"


@contextmanager
def followed(folder: Path | None) -> Iterator[Follow]:
    """Yield a function that adds the new epochs of a training to the curves in a folder.

    The folder exists for the time of the block. It is for people who watch a running training;
    `write` writes the curves that are kept.

    Args:
        folder: None: the function does nothing.
    """
    if folder is None:
        yield lambda before, epochs: None
        return
    shutil.rmtree(folder, ignore_errors=True)  # of a killed training
    shown = 0
    live: Any = None  # the folder begins with the first epoch

    def follow(before: int, epochs: list[Epoch]) -> None:
        nonlocal shown, live
        live = live or Live(str(folder), dvcyaml=None, save_dvc_exp=False)
        for epoch in epochs[shown - before :]:
            _log(live, replace(epoch, epoch=before + epoch.epoch))
        shown = before + len(epochs)
        live.make_summary()
        (folder / "dvc.yaml").write_text(PLOTS)

    try:
        yield follow
    finally:
        if live is not None:
            live.end()
            shutil.rmtree(folder, ignore_errors=True)


def read(folder: Path) -> History:
    """Read a history that `write` wrote.

    Raises:
        InputError: a file is missing, damaged or in another format.
    """
    columns = [_values(folder / _path(name), name) for name in CURVES]
    counts = [len(values) for values in columns]
    if len(set(counts)) > 1:
        found = ", ".join(f"{count} of {name}" for count, name in zip(counts, CURVES, strict=True))
        raise InputError(f"{folder}: has epochs {found}; should have the same number of each")
    numbers = list(range(1, counts[0] + 1))
    path = folder / METRICS
    try:
        kept = json.loads(_text(path))["best_epoch"]
    except (ValueError, KeyError, TypeError, RecursionError):
        kept = None
    if type(kept) is not int or kept not in numbers:
        raise InputError(
            f"{path}: best_epoch = {excerpt(kept)}: should be an epoch, from 1 to {counts[0]}; run "
            f"the training stage again"
        )
    sums = folder / SUMS
    if sums.exists():
        wanted = sums.read_bytes().splitlines(keepends=True)
        for name in SUMMED:
            if _sum(folder, name).encode() not in wanted:
                raise InputError(
                    f"{folder / name}: is damaged, or {sums} is: their digests differ; "
                    f"run the training stage again"
                )
    epochs = [Epoch(*values) for values in zip(numbers, *columns, strict=True)]
    return History(epochs, epochs[kept - 1])


def _log(live: Live, epoch: Epoch) -> None:
    live.step = epoch.epoch
    for name in CURVES:
        live.log_metric(name, getattr(epoch, name))


def _path(name: str) -> str:
    return f"plots/metrics/{name}.tsv"


def _sum(folder: Path, path: str) -> str:
    return f"{hashlib.sha256((folder / path).read_bytes()).hexdigest()}  {path}\n"


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the training stage first") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; run the training stage again") from None


def _values(path: Path, name: str) -> list[float]:
    """Read a curve: a number for each of the epochs 1, 2, ..."""
    try:
        rows = list(csv.DictReader(_text(path).splitlines(), delimiter="\t", strict=True))
    except csv.Error as error:
        raise InputError(f"{path}: cannot be read as TSV: {one_line(error)}") from None
    values = []
    for epoch, row in enumerate(rows, start=1):
        try:
            value = float(row[name])
        except (KeyError, TypeError, ValueError):
            value = math.nan
        if row.get("step") != str(epoch) or not math.isfinite(value):
            raise InputError(
                f"{path}: line {epoch + 1}: {one_line(row)[:80]}: should be step {epoch} and a "
                f"number in the column {name!r}; run the training stage again"
            )
        values.append(value)
    if not values:
        raise InputError(f"{path}: has no epoch; run the training stage again")
    return values
