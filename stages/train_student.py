"""train_student: index, pseudo-labels -> data/student/model.safetensors, reports/train_student/."""

from functools import partial

import click
from pydantic import Field

from pipeline import curves, model_file, tables
from pipeline.losses.priors import PriorMatching
from pipeline.losses.student import FullSupervision
from pipeline.params import read_section
from pipeline.train import MakeLoss, TrainParams, train
from stages import DATA, PARAMS, REPORTS, Stage


class TrainStudentParams(TrainParams):
    """`train_student`."""

    prior_weight: float = Field(ge=0)


@click.command(cls=Stage)
def main() -> None:
    """Train the student on the pseudo-labels, under full supervision."""
    params = read_section(PARAMS, "train_student", TrainStudentParams)
    index = tables.read_index(DATA / "index.parquet")
    path = DATA / "pseudo_labels.parquet"
    pseudo = tables.read_pseudo_labels(path, index.classes)
    tables.check_same_images(path, pseudo.image_ids, index.ids(index.rows("train")))
    targets = pseudo.student_targets()
    embedded = DATA / "images.parquet"
    make_loss: MakeLoss = FullSupervision
    if params.prior_weight:
        make_loss = partial(PriorMatching, weight=params.prior_weight)
    trained = train("train_student", params, index, targets, make_loss, embedded)
    if trained is None:
        return
    model_file.save(DATA / "student" / "model.safetensors", trained.model)
    curves.write(REPORTS / "train_student", trained.history)
    click.echo(f"best epoch {trained.best.epoch}, val mAP {trained.best.val_mAP:.2f}")


if __name__ == "__main__":
    main()
