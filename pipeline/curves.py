"""The curves of a training, as files that `dvc plots` and people read."""

import csv
import hashlib
import math
from dataclasses import dataclass
from pathlib import Path

from dvclive.live import Live

from pipeline import files
from pipeline.errors import InputError, one_line

CURVES = ("loss", "lr", "val_mAP")
# A digest of each file of a curve, as the program sha256sum writes and checks it.
SUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch: mean loss, learning rate of the backbone, val mAP (%)."""

    epoch: int
    loss: float
    lr: float
    val_mAP: float  # noqa: N815


def write(folder: Path, history: list[Epoch]) -> None:
    """Write a training's history to a folder by DVCLive: a TSV per curve, metrics.json."""
    best = max(history, key=lambda epoch: epoch.val_mAP)
    with files.replacing(folder) as temporary:
        # DVCLive would otherwise write dvc.yaml and save an experiment.
        with Live(str(temporary), dvcyaml=None, save_dvc_exp=False) as live:
            for epoch in history:
                live.step = epoch.epoch
                for name in CURVES:
                    live.log_metric(name, getattr(epoch, name))
            live.summary |= {"best_epoch": best.epoch, "best_val_mAP": best.val_mAP}
        paths = [_path(name) for name in CURVES]
        (temporary / SUMS).write_text("".join(_sum(temporary, path) for path in paths))


def read(folder: Path) -> dict[str, list[float]]:
    """Read the curves again: for each its values, an epoch each, the first first.

    Raises:
        InputError: a file is missing or damaged, or is no curve.
    """
    curves = {name: _values(folder / _path(name), name) for name in CURVES}
    epochs = {name: len(values) for name, values in curves.items()}
    if len(set(epochs.values())) > 1:
        counts = ", ".join(f"{count} of {name}" for name, count in epochs.items())
        raise InputError(f"{folder}: has epochs {counts}; should have as many of each")
    sums = folder / SUMS
    if sums.exists():
        wanted = sums.read_bytes().splitlines(keepends=True)
        for name in CURVES:
            if _sum(folder, _path(name)).encode() not in wanted:
                raise InputError(
                    f"{folder / _path(name)}: is damaged, or {sums} is: it has another digest than "
                    f"there; run the training stage again"
                )
    return curves


def _path(name: str) -> str:
    return f"plots/metrics/{name}.tsv"


def _sum(folder: Path, path: str) -> str:
    return f"{hashlib.sha256((folder / path).read_bytes()).hexdigest()}  {path}\n"


def _values(path: Path, name: str) -> list[float]:
    """Read a curve: a number for each of the epochs 1, 2, ..."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = list(csv.DictReader(lines, delimiter="\t", strict=True))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the training stage first") from None
    except (UnicodeDecodeError, csv.Error) as error:
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
