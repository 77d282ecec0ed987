"""evaluate: index, truth, models, scores, pseudo-labels, curves -> reports/evaluate/."""

import json
from pathlib import Path

import click
import numpy as np
from pydantic import Field

from pipeline import curves, figures, images, models, report, tables
from pipeline.evaluate import Evaluation, evaluate
from pipeline.params import Params, read_section
from pipeline.score import Precision, choose_device, describe_device, predict
from pipeline.tables import BoolMatrix, Index, Probs, PseudoLabels
from stages import DATA, PARAMS, REPORTS, Stage

EMBEDDED = DATA / "images.parquet"
ON_CONTACT_SHEET = 24
CONTACT_SIZE = 160  # pixels


class EvaluateParams(Params):
    """`evaluate`."""

    batch_size: int = Field(ge=1)
    precision: Precision


@click.command(cls=Stage)
def main() -> None:
    """Evaluate teacher, student and pseudo-labels; the only stage that reads the truth."""
    params = read_section(PARAMS, "evaluate", EvaluateParams)
    index = tables.read_index(DATA / "index.parquet")
    truth = tables.read_truth(DATA / "truth.parquet")
    pseudo = tables.read_pseudo_labels(DATA / "pseudo_labels.parquet")
    scores = tables.read_scores(DATA / "scores.parquet")
    train, test = truth.of(index, "train"), truth.of(index, "test")
    histories = {name: curves.read(REPORTS / f"train_{name}") for name in ("teacher", "student")}
    probs = _predict_test(params, index)
    if probs is None:
        return
    best = {name: max(history["val_mAP"]) for name, history in histories.items()}
    evaluation = evaluate(index, train, test, probs["teacher"], probs["student"], pseudo, best)
    with tables.replacing(REPORTS / "evaluate") as folder:
        folder.mkdir()
        metrics = json.dumps(evaluation.metrics, indent=2)
        (folder / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
        tables.write_csv(folder / "per_class.csv", evaluation.per_class)
        (folder / "index.html").write_text(report.page(evaluation), encoding="utf-8")
        _draw(folder, index, train, evaluation, scores.probs, pseudo, histories)
    for name, value in evaluation.metrics.items():
        click.echo(f"{name:34} {'-' if value is None else value}")
    empty = len(index.classes) - int(test.any(axis=0).sum())
    if empty:
        click.echo(f"warning: {empty} classes have no positive in test; each counts 0 in mAP")
    click.echo(f"report: {REPORTS / 'evaluate' / 'index.html'}")


def _predict_test(params: EvaluateParams, index: Index) -> dict[str, Probs] | None:
    """Return both models' scores of the test pictures; None in helper processes."""
    fabric = choose_device(params.precision)
    probs = {}
    for name in ("teacher", "student"):
        model = models.load(DATA / name / "model.safetensors")
        pictures = images.load(index, index.rows("test"), model.spec.input_size, EMBEDDED)
        probs[name] = predict(fabric, fabric.setup_module(model), pictures, params.batch_size)
    if not fabric.is_global_zero:
        return None
    click.echo(f"device: {describe_device(fabric, params.precision)}")
    return probs


def _draw(
    folder: Path,
    index: Index,
    truth: BoolMatrix,
    evaluation: Evaluation,
    probs: Probs,
    pseudo: PseudoLabels,
    histories: dict[str, dict[str, list[float]]],
) -> None:
    rows = index.rows("train")
    unobserved = index.targets[rows] == 0
    figures.curves(folder / "curves.png", histories)
    figures.average_precision_per_class(
        folder / "per_class_ap.png", index.classes, evaluation.teacher_aps, evaluation.student_aps
    )
    tau = float(pseudo.rule["spml.rule.tau"])
    figures.score_histograms(folder / "score_histograms.png", probs, truth, unobserved, tau)
    # Evenly spaced rows: the same pictures at every tau, so that two sheets compare.
    n_shown = min(ON_CONTACT_SHEET, len(rows))
    shown = np.linspace(0, len(rows) - 1, n_shown).astype(np.int64)
    pictures = images.load(index, rows[shown], CONTACT_SIZE, EMBEDDED)
    figures.contact_sheet(
        folder / "contact_sheet.png",
        pictures,
        index.classes,
        truth[shown],
        pseudo.observed[shown],
        pseudo.labels[shown],
    )


if __name__ == "__main__":
    main()
