"""evaluate: index, truth, models, scores, pseudo-labels, curves -> reports/evaluate/."""

from pathlib import Path

import click
from pydantic import Field

from pipeline.artifacts import curves
from pipeline.artifacts.decisions import Thresholds
from pipeline.artifacts.run import Run, RunTables, Student
from pipeline.artifacts.tables import Index
from pipeline.core.arrays import Probs
from pipeline.core.params import Params, read_section, read_values
from pipeline.evaluation.evaluate import by_generation, evaluate
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.inference.score import choose_device, describe_device
from pipeline.inference.scorer import Scorer
from pipeline.models import model_file
from pipeline.reports import run_report, words
from stages import PARAMS, Stage, say


class EvaluateParams(Params):
    """`evaluate`."""

    batch_size: int = Field(ge=1)


@click.command(cls=Stage)
def main() -> None:
    """Evaluate teacher, student and pseudo-labels; the only stage that reads the truth."""
    params = read_section(PARAMS, "evaluate", EvaluateParams)
    fabric = choose_device("32")
    scorer, run = Scorer(fabric, params.batch_size), Run()
    index = run.read_index()
    truth = run.read_truth(index)
    scores = run.read_scores(index, teacher=model_file.digest(run.teacher))
    pseudo = run.read_pseudo_labels(index, scores=scores.digest())
    test = truth.of(index, "test")
    roles = ("teacher", "student") if run.has_teacher else ("student",)
    histories = {role: curves.read(run.curves(role)) for role in roles}
    students = run.students(index, pseudo)
    val_maps = [curves.read(student.curves).best.val_mAP for student in students]
    paths = [run.teacher_model] if run.has_teacher else []
    paths += [student.model for student in students]
    scored = [_scored(scorer, run, index, path, students) for path in paths]
    if not fabric.is_global_zero:
        return
    say(f"device: {describe_device(fabric, '32')}")
    models = {
        "teacher": scored[0] if run.has_teacher else _outside(run, index),
        "student": scored[-1],
    }
    probs = {role: found for role, (found, _) in models.items() if found is not None}
    thresholds = {role: chosen for role, (_, chosen) in models.items()}
    of_students = [found for found, _ in scored[-len(students) :]]
    best = histories["teacher"].best.val_mAP if run.has_teacher else _outside_val_map(run, index)
    val_map = {"teacher": best, "student": val_maps[-1]}
    evaluation = evaluate(index, truth, pseudo, probs, val_map, thresholds)
    learned = [student.pseudo for student in students]
    generations = by_generation(index, truth, learned, of_students, val_maps)
    of_run = RunTables(index, scores, pseudo, truth)
    made_with = words.of_run(read_values(PARAMS), index, run.pseudo_labels, pseudo.rule)
    run_report.write(run.evaluation, of_run, evaluation, histories, generations, made_with)
    for metric, value in evaluation.metrics.items():
        say(f"{metric:34} {'-' if value is None else value}")
    for sentence in run_report.told(evaluation):
        say(f"note: {sentence}")
    empty = len(index.classes) - int(test.any(axis=0).sum())
    if empty:
        say(f"warning: {empty} classes have no positive in test; each counts 0 in mAP")
    say(f"report: {run.evaluation / 'index.html'}")


def _outside(run: Run, index: Index) -> tuple[Probs | None, None]:
    """Return another model's scores of the test images, which may lack; it has no thresholds."""
    scores = run.read_scores(index, "test")
    return scores.probs if scores.image_ids else None, None


def _outside_val_map(run: Run, index: Index) -> float:
    """Return the mAP of another model's scores on the val labels, in percent."""
    labels = index.labels[index.rows("val")]
    return mean_average_precision(labels, run.read_scores(index, "val").probs)


def _scored(
    scorer: Scorer, run: Run, index: Index, path: Path, students: list[Student]
) -> tuple[Probs, Thresholds | None]:
    """Return a model's scores of the test images, and its thresholds, if it has any.

    A model that does not fit the run is refused.
    """
    model = model_file.load(path, index.classes, *run.origin(path, index, students))
    scorer.fabric.to_device(model)
    probs = scorer.score(model, index, "test")
    model.cpu()
    decisions = model.spec.decisions
    return probs, None if decisions is None else decisions.thresholds


if __name__ == "__main__":
    main()
