"""evaluate: index, truth, models, scores, pseudo-labels, curves -> reports/evaluate/."""

from pathlib import Path

import click
from pydantic import Field

from pipeline.artifacts import curves
from pipeline.artifacts.run import Run, RunTables, Student
from pipeline.artifacts.tables import Index
from pipeline.core.arrays import Probs
from pipeline.core.params import Params, read_section
from pipeline.evaluation.evaluate import by_generation, evaluate
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.inference.score import choose_device, describe_device
from pipeline.inference.scorer import Scorer
from pipeline.models import model_file
from pipeline.reports import run_report
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
    teacher = _teacher(scorer, run, index, students)
    of_students = [_probs(scorer, run, index, each.model, students) for each in students]
    if not fabric.is_global_zero:
        return
    say(f"device: {describe_device(fabric, '32')}")
    probs = ({} if teacher is None else {"teacher": teacher}) | {"student": of_students[-1]}
    best = histories["teacher"].best.val_mAP if run.has_teacher else _outside_val_map(run, index)
    val_map = {"teacher": best, "student": val_maps[-1]}
    evaluation = evaluate(index, truth, pseudo, probs, val_map)
    learned = [student.pseudo for student in students]
    generations = by_generation(index, truth, learned, of_students, val_maps)
    of_run = RunTables(index, scores, pseudo, truth)
    run_report.write(run.evaluation, of_run, evaluation, histories, generations)
    for metric, value in evaluation.metrics.items():
        say(f"{metric:34} {'-' if value is None else value}")
    if evaluation.note:
        say(f"note: {evaluation.note}")
    empty = len(index.classes) - int(test.any(axis=0).sum())
    if empty:
        say(f"warning: {empty} classes have no positive in test; each counts 0 in mAP")
    say(f"report: {run.evaluation / 'index.html'}")


def _teacher(scorer: Scorer, run: Run, index: Index, students: list[Student]) -> Probs | None:
    """Return the teacher's scores of the test images; None if those from outside have none."""
    if run.has_teacher:
        return _probs(scorer, run, index, run.teacher_model, students)
    scores = run.read_scores(index, "test")
    return scores.probs if scores.image_ids else None


def _outside_val_map(run: Run, index: Index) -> float:
    """Return the mAP of the scores from outside on the val labels, in percent."""
    labels = index.labels[index.rows("val")]
    return mean_average_precision(labels, run.read_scores(index, "val").probs)


def _probs(scorer: Scorer, run: Run, index: Index, path: Path, students: list[Student]) -> Probs:
    """Return a model's scores of the test images; refuse a model that does not fit the run."""
    model = model_file.load(path, index.classes, *run.origin(path, index, students))
    scorer.fabric.to_device(model)
    probs = scorer.score(model, index, "test")
    model.cpu()
    return probs


if __name__ == "__main__":
    main()
