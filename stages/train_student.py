"""train_student: index, pseudo-labels -> data/student/, reports/train_student/."""

from functools import partial

import click

from pipeline.artifacts.run import Run
from pipeline.core.params import read_section
from pipeline.losses import catalogue
from pipeline.losses.priors import PriorMatching
from pipeline.pseudo_labels.rules import params_of, pseudo_labels
from pipeline.training import generations
from pipeline.training.generations import StudentParams
from pipeline.training.train import MakeLoss
from stages import PARAMS, Stage


@click.command(cls=Stage)
def main() -> None:
    """Train the student, or generations of students, on the pseudo-labels."""
    params = read_section(PARAMS, "train_student", StudentParams)
    run = Run()
    index = run.read_index()
    pseudo = run.read_pseudo_labels(index)
    make_loss: MakeLoss = partial(catalogue.build, params)
    if params.prior_weight:
        make_loss = partial(PriorMatching, weight=params.prior_weight)
    # Each generation labels images for the next by the rule and the corrections in the
    # pseudo-label file.
    relabel = None
    if params.generations > 1:
        rule = params_of(run.pseudo_labels, pseudo.rule)
        relabel = partial(pseudo_labels, rule, index, answers=pseudo.answers)
    live = run.live("student")
    made = generations.train_all("train_student", params, index, pseudo, relabel, make_loss, live)
    if not made[-1].trained.first:
        return
    generations.write(run.student, run.curves("student"), made, index.classes)
    best = made[-1].trained.best
    click.echo(f"best epoch {best.epoch}, val mAP {best.val_mAP:.2f}")


if __name__ == "__main__":
    main()
