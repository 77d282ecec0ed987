"""The curves of a training, as files that `dvc plots` and people read."""

import csv
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


def write(folder: Path, history: list[Epoch]) -> None:
    """Write a training's history to a folder by DVCLive: a TSV per curve, metrics.json."""
    best = max(history, key=lambda epoch: epoch.val_mAP)
    with (
        files.replacing(folder) as temporary,
        # DVCLive would otherwise write dvc.yaml and save an experiment.
        Live(str(temporary), dvcyaml=None, save_dvc_exp=False) as live,
    ):
        for epoch in history:
            live.step = epoch.epoch
            for name in CURVES:
                live.log_metric(name, getattr(epoch, name))
        live.summary |= {"best_epoch": best.epoch, "best_val_mAP": best.val_mAP}


def read(folder: Path) -> dict[str, list[float]]:
    """Read the curves again: for each its values, an epoch each, the first first.

    Raises:
        InputError: a file is missing.
    """
    curves: dict[str, list[float]] = {}
    for name in CURVES:
        path = folder / "plots" / "metrics" / f"{name}.tsv"
        try:
            lines = path.read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            raise InputError(f"{path}: no such file; run the training stage first") from None
        curves[name] = [float(row[name]) for row in csv.DictReader(lines, delimiter="\t")]
    return curves
