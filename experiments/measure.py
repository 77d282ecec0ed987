"""measure: index, truth, a model -> reports/measure/, for comparisons of runs.

Run `python -m experiments.measure` in a folder where `train_teacher` ran, or with `student` where
`train_student` ran. `evaluate` needs a student, which the references of a sweep do not have, and
keeps no scores of test images, which a bootstrap over these needs.
"""

import json
from typing import get_args

import click

from pipeline.artifacts import curves, tables
from pipeline.artifacts.run import Role, Run
from pipeline.artifacts.tables import Scores
from pipeline.core import files
from pipeline.core.params import read_section
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.inference.score import choose_device
from pipeline.inference.scorer import Scorer
from pipeline.models import model_file
from stages import PARAMS, Stage
from stages.evaluate import EvaluateParams

TEST_SCORES = "test_scores.parquet"


@click.command(cls=Stage)
@click.argument("role", type=click.Choice(get_args(Role)), default="teacher")
def main(role: Role) -> None:
    """Write val and test mAP of the teacher or the student, and its scores of the test images."""
    params = read_section(PARAMS, "evaluate", EvaluateParams)
    fabric = choose_device("32")
    run = Run()
    index = run.read_index()
    truth = run.read_truth(index)
    path = run.teacher_model if role == "teacher" else run.student_model
    model = model_file.load(path, index.classes, role)
    fabric.to_device(model)
    probs = Scorer(fabric, params.batch_size).score(model, index, "test")
    if not fabric.is_global_zero:
        return
    metrics = {
        f"{role}.val_mAP": round(curves.read(run.curves(role)).best.val_mAP, 4),
        f"{role}.mAP": round(mean_average_precision(truth.of(index, "test"), probs), 4),
    }
    with files.atomic_write(run.reports / "measure") as folder:
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        scores = Scores(index.ids(index.rows("test")), probs)
        tables.write_scores(folder / TEST_SCORES, scores, index.classes)


if __name__ == "__main__":
    main()
