"""train_teacher: index -> data/teacher/model.safetensors, reports/train_teacher/."""

from functools import partial

import click

from pipeline import curves, model_file, tables
from pipeline.losses import catalogue
from pipeline.losses.catalogue import LossParams
from pipeline.params import read_section
from pipeline.train import TrainParams, train
from stages import DATA, PARAMS, REPORTS, Stage


class TrainTeacherParams(TrainParams, LossParams):
    """`train_teacher`."""


@click.command(cls=Stage)
def main() -> None:
    """Train the teacher on the observed labels with an SPML loss."""
    params = read_section(PARAMS, "train_teacher", TrainTeacherParams)
    index = tables.read_index(DATA / "index.parquet")
    targets = index.targets[index.rows("train")]
    if params.loss == "bce" and not (targets == -1).any():
        click.echo("warning: bce learns from observed labels alone, and none is negative", err=True)
    make_loss = partial(catalogue.build, params)
    trained = train("train_teacher", params, index, targets, make_loss, DATA / "images.parquet")
    if trained is None:
        return
    model_file.save(DATA / "teacher" / "model.safetensors", trained.model)
    curves.write(REPORTS / "train_teacher", trained.history)
    click.echo(f"best epoch {trained.best.epoch}, val mAP {trained.best.val_mAP:.2f}")


if __name__ == "__main__":
    main()
