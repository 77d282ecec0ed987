"""Finished runs, as objects and as folders, for the commands that compare them."""

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from ruamel.yaml import YAML

from experiments.finished import FinishedRun

BASE = {
    "prepare.source": "digits",
    "prepare.seed": 1200,
    "prepare.digits.n_train": 100,
    "prepare.table.file": "labels.csv",
    "train_teacher.seed": 0,
    "train_teacher.loss": "wan",
    "train_teacher.losses.wan.gamma": None,
    "train_teacher.losses.em.alpha": 0.1,
    "train_teacher.mode": "end_to_end",
    "train_teacher.linear.lr": 1e-3,
    "pseudo_label.tau": 0.4,
    "train_student.seed": 0,
    "train_student.fit.lr": 2e-3,
}


def run(name: str = "x", student: float = 90.0, val: float = 91.0, **changes: Any) -> FinishedRun:
    """Return a finished run; "train_teacher__loss" stands for the key train_teacher.loss."""
    params = BASE | {key.replace("__", "."): value for key, value in changes.items()}
    metrics = {
        "teacher.mAP": student - 1,
        "teacher.val_mAP": val - 2,
        "student.mAP": student,
        "student.val_mAP": val,
        "pseudo_labels.precision": 0.8,
        "pseudo_labels.recall": 0.7,
        "pseudo_labels.positives_per_image": 2.5,
        "classes_evaluated": 10,
    }
    return FinishedRun(name, params, metrics)


def sweep() -> list[FinishedRun]:
    """Return the runs of two losses, three taus and three seeds."""
    rng = np.random.RandomState(0)
    return [
        run(
            f"{loss}-{tau}-{seed}", *(90 + rng.rand(2)).tolist(), train_teacher__loss=loss,
            pseudo_label__tau=tau, train_teacher__seed=seed, train_student__seed=seed,
            prepare__seed=seed,
        )
        for loss, tau, seed in product(("wan", "em"), (0.5, 0.3, 0.4), range(3))
    ]  # fmt: skip


PARAMS = {"prepare": {"source": "digits", "seed": 1}, "pseudo_label": {"tau": 0.4}}
METRICS = {"student.mAP": 90.5, "pseudo_labels.precision": None}


def write(folder: Path, params: Any = PARAMS, metrics: Any = METRICS) -> Path:
    """Write a run; no metrics.json if `metrics` is None."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(params, file)
    if metrics is not None:
        (folder / "reports/evaluate").mkdir(parents=True)
        (folder / "reports/evaluate/metrics.json").write_text(json.dumps(metrics))
    return folder
