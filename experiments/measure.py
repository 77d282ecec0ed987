"""measure: index, truth, models -> reports/measure/, for comparisons of runs.

Run `python -m experiments.measure` in a folder where `train_teacher` ran, or with `student` where
`train_student` ran. `evaluate` needs a student, which the references of a sweep do not have, and
keeps no scores of test images, which a bootstrap over these needs. `ensemble` measures the mean
score of all teachers of the run.
"""

import json
from typing import Literal, get_args

import click

from pipeline.artifacts import curves, tables
from pipeline.artifacts.run import Role, Run
from pipeline.artifacts.tables import Scores
from pipeline.core import files
from pipeline.core.params import read_section
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.inference import ensemble
from pipeline.inference.score import choose_device
from pipeline.inference.scorer import Scorer
from pipeline.models import model_file
from stages import PARAMS, Stage
from stages.evaluate import EvaluateParams

TEST_SCORES = "test_scores.parquet"


@click.command(cls=Stage)
@click.argument("what", type=click.Choice([*get_args(Role), "ensemble"]), default="teacher")
def main(what: Role | Literal["ensemble"]) -> None:
    """Write val and test mAP of a model or of all teachers, and the scores of the test images."""
    params = read_section(PARAMS, "evaluate", EvaluateParams)
    fabric = choose_device("32")
    run = Run()
    index = run.read_index()
    truth = run.read_truth(index)
    scorer = Scorer(fabric, params.batch_size)
    if what == "ensemble":
        models = ensemble.load(run.teacher, index)
        val = ensemble.mean_score(scorer, models, index, "val")
        val_map = mean_average_precision(index.labels[index.rows("val")], val)
    else:
        path = run.teacher_model if what == "teacher" else run.student_model
        models = [model_file.load(path, index.classes, what)]
        val_map = curves.read(run.curves(what)).best.val_mAP
    probs = ensemble.mean_score(scorer, models, index, "test")
    if not fabric.is_global_zero:
        return
    test_map = mean_average_precision(truth.of(index, "test"), probs)
    metrics = {"val_mAP": round(val_map, 4), "test_mAP": round(test_map, 4)}
    with files.atomic_write(run.reports / "measure") as folder:
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
        scores = Scores(index.ids(index.rows("test")), probs)
        tables.write_scores(folder / TEST_SCORES, scores, index.classes)


if __name__ == "__main__":
    main()
