"""What the run beside a model file says about it: data, labels, training, metrics.

Everything is optional. What is not there, or belongs to another training, is not known.
"""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.artifacts import curves, tables
from pipeline.artifacts.run import Role, Run
from pipeline.artifacts.spec import Spec
from pipeline.artifacts.tables import Index, PseudoLabels
from pipeline.core.errors import InputError
from pipeline.core.params import merged, read_values
from pipeline.pseudo_labels import rules

# Sections of params.yaml by role.
SECTIONS: dict[Role, str] = {"teacher": "train_teacher", "student": "train_student"}


@dataclass(frozen=True)
class Origin:
    """Facts about a model; None or empty: not known.

    Attributes:
        note: why nothing is known; "" if the run is the model's.
        data: the source and the number of images.
        observed: how labels were observed.
        loss: the loss and its settings; bce of a student takes the pseudo-labels as complete.
        teacher_loss: of a student: the loss of its teacher.
        training: mode, epochs and initial weights.
        rule: of a student: the label rule.
        metrics: those of evaluate for this model, by name without the role.
        per_class: rows of class, number of positives in test, and AP in percent.
    """

    note: str = ""
    data: str | None = None
    observed: str | None = None
    loss: str | None = None
    teacher_loss: str | None = None
    training: str | None = None
    rule: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    per_class: tuple[tuple[str, str, str], ...] = ()


def run_of(path: Path) -> Run | None:
    """Return the run whose folder of models holds the file; None if it lies elsewhere."""
    parents = path.absolute().parents
    run = Run.at(parents[2]) if len(parents) > 2 else None
    return run if run is not None and run.index.is_file() else None


def read(path: Path, spec: Spec) -> Origin:
    """Return what is known of a model.

    Args:
        path: its file.
        spec: its description.
    """
    run = run_of(path)
    if run is None:
        return Origin("The model file lies in no folder of a run.")
    try:
        index = run.read_index()
        pseudo = run.read_pseudo_labels(index) if spec.role == "student" else None
        students = [] if pseudo is None else run.students(index, pseudo)
        role, made_from = run.origin(path, index, students)
        tables.check_made_from(path, spec.made_from, **made_from)
        params = read_values(run.data.parent / "params.yaml")
        if role is None or not spec.made_from:
            return Origin("The run beside the model file does not say that it made it.")
        return _read(path, run, role, index, pseudo, params)
    except (InputError, LookupError, TypeError, ValueError) as error:
        return Origin(f"The run beside the model file cannot tell: {error}")


def _read(
    path: Path, run: Run, role: Role, index: Index, pseudo: PseudoLabels | None,
    params: dict[str, Any],
) -> Origin:  # fmt: skip
    known = {split: len(index.rows(split)) for split in ("train", "val", "test")}
    images = ", ".join(f"{count:,} {split}" for split, count in known.items())
    section = merged(params, SECTIONS[role], "train")
    metrics, per_class = _evaluated(path, run, role)
    return Origin(
        data=f"{params['prepare']['source']}: {images} images",
        observed=_observed(params["prepare"]["observe"], index),
        loss=_loss(section),
        teacher_loss=None if role == "teacher" else _teacher_loss(params),
        training=_training(section),
        rule=None if pseudo is None else _rule(run, pseudo),
        metrics=metrics,
        per_class=per_class,
    )


def _observed(observe: Mapping[str, Any], index: Index) -> str:
    targets = index.targets[index.rows("train")]
    positives, negatives = ((targets == sign).sum(axis=1).mean() for sign in (1, -1))
    return (
        f"process {observe['process']}; per training image {positives:.4g} observed positives and "
        f"{negatives:.4g} observed negatives, all other labels unknown"
    )


def _loss(section: Mapping[str, Any]) -> str:
    name = section["loss"]
    settings = section.get("losses", {}).get(name) or {}
    listed = ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
    return f"{name} ({listed})" if listed else str(name)


def _teacher_loss(params: dict[str, Any]) -> str:
    section = merged(params, "train_teacher", "train")
    if section.get("source") == "scores":
        return "no teacher was trained: the scores are those of another model"
    return _loss(section)


def _training(section: Mapping[str, Any]) -> str:
    epochs = section["linear" if section["mode"] == "linear" else "fit"]["epochs"]
    weights = section["model"]["weights"] or "random"
    return f"{section['mode']}, {epochs} epochs, initial weights: {weights}"


def _rule(run: Run, pseudo: PseudoLabels) -> str | None:
    rule = pseudo.rule
    if rule is None:
        return None
    try:
        return rules.in_words(rules.params_of(run.pseudo_labels, rule))
    except InputError:  # a rule of another program
        return ", ".join([rule.rule, *(f"{name} {text}" for name, text in rule.settings().items())])


def _evaluated(
    path: Path, run: Run, role: Role
) -> tuple[dict[str, float], tuple[tuple[str, str, str], ...]]:
    """Return the metrics and the AP by class of the evaluated teacher or student.

    Earlier generations and other members are not evaluated. Metrics may be older than the model;
    then their val mAP is not that of its training.
    """
    evaluated = {"teacher": run.teacher_model, "student": run.student_model}[role]
    if path.absolute() != evaluated.absolute() or not (run.evaluation / "metrics.json").is_file():
        return {}, ()
    values = json.loads((run.evaluation / "metrics.json").read_text(encoding="utf-8"))
    metrics = {
        name.removeprefix(f"{role}."): value
        for name, value in values.items()
        if name.startswith(f"{role}.") and value is not None
    }
    best = curves.read(run.curves(role)).best.val_mAP
    if abs(metrics.get("val_mAP", -1.0) - best) > 1e-3:
        return {}, ()
    with (run.evaluation / "per_class.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return metrics, tuple((r["class"], r["test_positives"], r[f"{role}_AP"]) for r in rows)
