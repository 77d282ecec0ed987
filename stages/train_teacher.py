"""train_teacher: index -> data/teacher/model.safetensors, reports/train_teacher/."""

import click

from pipeline import curves, models, tables
from pipeline.fit import TrainParams, train
from pipeline.losses import catalogue
from pipeline.losses.catalogue import LossesParams, LossName
from pipeline.params import read_section
from stages import DATA, PARAMS, REPORTS, Stage


class TrainTeacherParams(TrainParams):
    """`train_teacher`."""

    loss: LossName
    losses: LossesParams


@click.command(cls=Stage)
def main() -> None:
    """Train the teacher on the observed labels with an SPML loss."""
    params = read_section(PARAMS, "train_teacher", TrainTeacherParams)
    index = tables.read_index(DATA / "index.parquet")
    targets = index.targets[index.rows("train")]
    if params.loss == "bce" and not (targets == -1).any():
        click.echo("warning: bce learns from observed labels alone, and none is negative", err=True)
    loss = catalogue.build(params.loss, params.losses, len(index.classes))
    trained = train("train_teacher", params, index, targets, loss, DATA / "images.parquet")
    if trained is None:
        return
    models.save(DATA / "teacher" / "model.safetensors", trained.model)
    curves.write(REPORTS / "train_teacher", trained.history)
    click.echo(f"best epoch {trained.best.epoch}, val mAP {trained.best.val_mAP:.2f}")


if __name__ == "__main__":
    main()
