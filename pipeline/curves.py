"""The curves of a training, as files that `dvc plots` and people read."""

import csv
import json
from dataclasses import dataclass
from pathlib import Path

from dvclive.live import Live

from pipeline import files
from pipeline.errors import InputError

CURVES = ("loss", "lr", "val_mAP")


@dataclass(frozen=True)
class Epoch:
    """What is known after an epoch: mean loss, learning rate of the backbone, val mAP (%)."""

    epoch: int
    loss: float
    lr: float
    val_mAP: float  # noqa: N815


@dataclass(frozen=True)
class History:
    """The epochs of a training, and the one whose model was kept.

    Attributes:
        epochs: of all phases, numbered through.
        best: the one that was kept: of highest val mAP in the last phase. An epoch of an earlier
            phase may have a higher one, but its model is gone.
    """

    epochs: list[Epoch]
    best: Epoch


def write(folder: Path, history: History) -> None:
    """Write a training's history to a folder by DVCLive: a TSV per curve, metrics.json."""
    with (
        files.replacing(folder) as temporary,
        # DVCLive would otherwise write dvc.yaml and save an experiment.
        Live(str(temporary), dvcyaml=None, save_dvc_exp=False) as live,
    ):
        for epoch in history.epochs:
            live.step = epoch.epoch
            for name in CURVES:
                live.log_metric(name, getattr(epoch, name))
        live.summary |= {
            "best_epoch": history.best.epoch,
            "best_val_mAP": history.best.val_mAP,
        }


def read(folder: Path) -> History:
    """Read a history again.

    Raises:
        InputError: a file is missing, or is not as `write` writes it.
    """
    curves = folder / "plots" / "metrics"
    columns = [_numbers(curves / f"{name}.tsv", name) for name in CURVES]
    lengths = {len(column) for column in columns}
    numbers = list(range(1, max(lengths) + 1))
    path = folder / "metrics.json"
    try:
        kept = json.loads(_text(path))["best_epoch"]
    except (ValueError, KeyError, TypeError):
        kept = None
    if len(lengths) > 1 or not isinstance(kept, int) or kept not in numbers:
        raise InputError(
            f"{path}: best_epoch = {kept!r}: should be one of the epochs that {', '.join(CURVES)} "
            f"in {curves} have alike; run the training stage again"
        )
    epochs = [Epoch(*values) for values in zip(numbers, *columns, strict=True)]
    return History(epochs, epochs[kept - 1])


def _numbers(path: Path, name: str) -> list[float]:
    """Return the numbers of a curve, an epoch each."""
    values: list[float] = []
    for line, row in enumerate(csv.DictReader(_text(path).splitlines(), delimiter="\t"), start=2):
        try:
            values.append(float(row[name]))
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path}: line {line}: should hold a number as {name}; run the training stage again"
            ) from None
    return values


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the training stage first") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: is not UTF-8 text; run the training stage again") from None
