"""train_teacher: index -> data/teacher/, reports/train_teacher/."""

from functools import partial

import click

from pipeline.artifacts.run import Run
from pipeline.core import launch
from pipeline.core.params import read_section
from pipeline.losses import catalogue
from pipeline.training import teachers
from pipeline.training.teachers import TrainTeacherParams
from pipeline.training.train import TrainingData
from stages import PARAMS, Stage


@click.command(cls=Stage)
def main() -> None:
    """Train the teacher, or several, on the observed labels with an SPML loss."""
    params = read_section(PARAMS, "train_teacher", TrainTeacherParams)
    run = Run()
    if params.source == "scores":
        if not launch.is_helper():
            teachers.write_none(run.teacher, run.curves("teacher"))
            click.echo("no teacher is trained: `score` takes the scores of score.outside.file")
        return
    index = run.read_index()
    targets = index.targets[index.rows("train")]
    if params.loss == "bce" and not (targets == -1).any():
        click.echo("warning: bce learns from observed labels alone; none is negative", err=True)
    make_loss = partial(catalogue.build, params)
    data = TrainingData(index, targets)
    made = teachers.train_all("train_teacher", params, data, make_loss, run.live("teacher"))
    if not made:
        return
    teachers.write(run.teacher, run.curves("teacher"), made)
    best = made["model"].best
    click.echo(f"best epoch {best.epoch}, val mAP {best.val_mAP:.2f}")


if __name__ == "__main__":
    main()
