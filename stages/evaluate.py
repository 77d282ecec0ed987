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
    histories = {role: curves.read(run.curves(role)) for role in ("teacher", "student")}
    students = run.students(index, pseudo)
    val_maps = [curves.read(student.curves).best.val_mAP for student in students]
    paths = [run.teacher_model, *(student.model for student in students)]
    scored = [_scored(scorer, run, index, path, students) for path in paths]
    if not fabric.is_global_zero:
        return
    say(f"device: {describe_device(fabric, '32')}")
    (of_teacher, *of_students), chosen = zip(*scored, strict=True)
    evaluation = evaluate(
        index, truth, pseudo, {"teacher": of_teacher, "student": of_students[-1]},
        {"teacher": histories["teacher"].best.val_mAP, "student": val_maps[-1]},
        {"teacher": chosen[0], "student": chosen[-1]},
    )  # fmt: skip
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
