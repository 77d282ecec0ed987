"""Metrics and settings of a run in words, as the rows of the pages' tables."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.artifacts.rule import LabelRule
from pipeline.artifacts.tables import SPLITS, Index
from pipeline.core.errors import InputError
from pipeline.core.params import merged
from pipeline.evaluation import multilabel
from pipeline.evaluation.findings import signed
from pipeline.pseudo_labels.rules import in_words, params_of

Columns = dict[str, list[object]]
Metrics = Mapping[str, float | int | None]

# Metrics of teacher and student, by the part of their name after "teacher." and "student.". A
# metric without words has its name in the table.
OF_MODELS = {
    "mAP": "mAP on test (%)",
    "mAP_frequent": "mAP on test, classes with 10 or more positives (%)",
    "val_mAP": "mAP on val (%)",
    **multilabel.WORDS,
}
IN_WORDS = {
    "pseudo_labels.precision": "precision: share of the added labels that are right",
    "pseudo_labels.recall": "recall: share of the unobserved positives that are found",
    "pseudo_labels.positives_per_image": "positives per image",
    "pseudo_labels.ignored_share": "share of all labels that the student ignores",
    "truth.positives_per_image": "positives per image in the complete labels",
    "classes_evaluated": "classes with a test positive",
}
OF_CLASSES = {
    "test_positives": "test positives",
    "teacher_AP": "AP of the teacher",
    "student_AP": "AP of the student",
    "observed": "observed labels",
    "added": "added labels",
}
OF_GENERATIONS = {"positives_per_image": "positives per image", "val_mAP": "mAP on val",
                  "mAP": "mAP on test"}  # fmt: skip
_ENDS = ("_low", "_high")
_BASE = "difference."
_LABELS = ("pseudo_labels.", "truth.")


def of_models(metrics: Metrics) -> Columns:
    """Return the table of the metrics of teacher and student, a row per metric.

    The last column is the student minus the teacher. A metric with an interval, `NAME_low` and
    `NAME_high`, has it in the next row.
    """
    columns: Columns = {"": [], "teacher": [], "student": [], "student minus teacher": []}
    for name in _of_models(metrics):
        teacher, student = (metrics.get(f"{role}.{name}") for role in ("teacher", "student"))
        known = teacher is not None and student is not None
        difference = signed(student - teacher) if known else None  # type: ignore[operator]
        _add(columns, OF_MODELS.get(name, name), teacher, student, difference)
        spans = [_interval(metrics, f"{role}.{name}") for role in ("teacher", "student")]
        if any(spans):
            _add(columns, "its 95 % interval", *spans, _interval(metrics, _BASE + name, signed))
    return columns


def of_labels(metrics: Metrics) -> Columns:
    """Return the table of the metrics of the pseudo-labels, a row per metric."""
    return _rows(metrics, [name for name in metrics if name.startswith(_LABELS)])


def of_the_rest(metrics: Metrics) -> Columns:
    """Return the table of the metrics that no other table has, a row per metric."""
    shown = {f"{role}.{name}" for name in _of_models(metrics) for role in ("teacher", "student")}
    return _rows(
        metrics,
        [
            name
            for name in metrics
            if name not in shown
            and not name.startswith((*_LABELS, _BASE))
            and not name.endswith(_ENDS)
        ],
    )


def _rows(metrics: Metrics, names: list[str]) -> Columns:
    return {"": [IN_WORDS.get(name, name) for name in names], "value": [metrics[n] for n in names]}


def per_class(columns: Columns) -> Columns:
    """Return the table per class with its headings in words."""
    return {OF_CLASSES.get(name, name): values for name, values in columns.items()}


def per_generation(columns: Columns) -> Columns:
    """Return the table of generations with its headings in words."""
    return {OF_GENERATIONS.get(name, name): values for name, values in columns.items()}


def of_run(params: Mapping[str, Any], index: Index, path: Path, rule: LabelRule | None) -> Columns:
    """Return what a run was made with: data, trainings and label rule.

    Args:
        params: all sections of params.yaml; a run without one of them lacks its row.
        index: the index.
        path: of the pseudo-labels, for messages.
        rule: the rule in their metadata.
    """
    counts = ", ".join(f"{len(index.rows(split)):,} {split}" for split in SPLITS)
    observed = index.targets[index.rows("train")]
    positives, negatives = ((observed == sign).sum(axis=1).mean() for sign in (1, -1))
    rows = {
        "data": _joined([_value(params, "prepare", "source"), f"{len(index.classes):,} classes"]),
        "images": counts,
        "observed labels": f"per training image {positives:.2f} positive, {negatives:.2f} negative",
    }
    for name, title in (("train_teacher", "teacher"), ("train_student", "student")):
        if isinstance(params.get(name), dict):
            rows[title] = _training(merged(dict(params), name, "train"))
    if _value(params, "train_teacher", "source") == "scores":
        file = (params.get("score") or {}).get("outside", {}).get("file")
        rows["teacher"] = f"scores of another model, {Path(str(file)).name}"
    rows["label rule"] = _rule(path, rule)
    return {"": [*rows], "value": [*rows.values()]}


def _training(values: dict[str, Any]) -> str:
    """Return the settings of a training that tell runs apart, with shared values merged in."""
    model, fit = values.get("model") or {}, values.get("fit") or {}
    phase = (values.get("linear") or {}) if values.get("mode") == "linear" else fit
    several = [
        f"{values[key]} {key}" for key in ("members", "folds", "generations")
        if values.get(key, 1) != 1
    ]  # fmt: skip
    size = model.get("input_size")
    parts = [
        f"loss {values['loss']}" if "loss" in values else "",
        model.get("backbone"), f"{size} pixels" if size else "",
        f"weights {Path(str(model['weights'])).name}" if model.get("weights") else "",
        str(values.get("mode", "")).replace("_", " "),
        f"{phase['epochs']} epochs" if "epochs" in phase else "",
        f"learning rate {phase['lr']:g}" if "lr" in phase else "",
        *several, f"seed {values['seed']}" if "seed" in values else "",
    ]  # fmt: skip
    return _joined(parts)


def _rule(path: Path, rule: LabelRule | None) -> str:
    """Return the label rule in words; for another program's rule its name."""
    if rule is None:
        return "not named in the file"
    try:
        return in_words(params_of(path, rule))
    except InputError:  # another program's rule
        return rule.rule


def _of_models(metrics: Metrics) -> list[str]:
    """Return the names of the metrics that a model has, without the model."""
    split = [name.partition(".") for name in metrics]
    names = dict.fromkeys(name for role, _, name in split if role in ("teacher", "student"))
    return [name for name in names if not name.endswith(_ENDS)]


def _interval(metrics: Metrics, name: str, write: Any = "{:.2f}".format) -> str | None:
    low, high = (metrics.get(f"{name}{end}") for end in _ENDS)
    return None if low is None or high is None else f"{write(low)} to {write(high)}"


def _add(columns: Columns, *cells: object) -> None:
    for column, cell in zip(columns.values(), cells, strict=True):
        column.append(cell)


def _value(params: Mapping[str, Any], section: str, key: str) -> str:
    return str((params.get(section) or {}).get(key) or "")


def _joined(parts: Iterable[object]) -> str:
    return ", ".join(str(part) for part in parts if part)
