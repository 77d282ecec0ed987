"""score: index, teacher, outside scores -> data/scores.parquet and those of val and test."""

import click

from pipeline.artifacts import tables
from pipeline.artifacts.run import Run
from pipeline.artifacts.tables import SPLITS, Index, Scores
from pipeline.core import files
from pipeline.core.arrays import Probs
from pipeline.core.errors import InputError
from pipeline.core.params import read_section
from pipeline.inference import ensemble, outside
from pipeline.inference.score import ScoreParams, choose_device, describe_device
from pipeline.inference.scorer import Scorer
from pipeline.models import model_file
from stages import PARAMS, Stage


@click.command(cls=Stage)
def main() -> None:
    """Score the train and val images with the teacher, or take another model's scores."""
    params = read_section(PARAMS, "score", ScoreParams)
    fabric = choose_device("32")
    run = Run()
    index = run.read_index()
    given = None if params.outside.file is None else outside.read(params.outside, index)
    teacher = model_file.digest(run.teacher)
    if run.has_teacher:
        scorer = Scorer(fabric, params.batch_size, params.flip)
        probs = ensemble.score(scorer, run.teacher, index)
        about = tables.made_from(index=index.digest(), teacher=teacher)
        if params.flip:
            about |= tables.FLIPPED
        scores = _of_teacher(probs, index, about, given, params.outside.weight)
    elif given is not None:
        origin = tables.made_from(teacher=teacher)
        scores = {
            split: Scores(each.image_ids, each.probs, each.about | origin)
            for split, each in given.items()
        }
    else:
        raise InputError(
            "score.outside.file = null: no teacher was trained (train_teacher.source is scores); "
            "should be a table of another model's scores"
        )
    if not fabric.is_global_zero:
        return
    with files.atomic_write_all(*map(run.scores, SPLITS)) as paths:
        for split, path in zip(SPLITS, paths, strict=True):
            tables.write_scores(path, scores[split], index.classes)
    if run.has_teacher:
        click.echo(f"device: {describe_device(fabric, '32')}")
    click.echo(f"scores of {len(scores['train'].image_ids):,} images: {run.scores()}")


def _of_teacher(
    probs: dict[str, Probs],
    index: Index,
    about: dict[str, str],
    given: dict[str, Scores] | None,
    weight: float,
) -> dict[str, Scores]:
    """Return the teacher's scores, or their mean with given ones; none of test images."""
    scores = {"test": Scores([], probs["train"][:0], about)}
    for split in ensemble.SPLITS:
        values, origin = probs[split], about
        if given is not None:
            values = outside.mean(values, given[split].probs, weight)
            origin = given[split].about | about
        scores[split] = Scores(index.ids(index.rows(split)), values, origin)
    return scores


if __name__ == "__main__":
    main()
