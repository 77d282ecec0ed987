"""analyse: two models, index, truth, scores, pseudo-labels -> reports/analyse/.

A command over the files of a finished run, not a stage of dvc.yaml.
"""

from dataclasses import replace
from pathlib import Path

import click

from pipeline.artifacts.run import Run
from pipeline.artifacts.tables import Index
from pipeline.core.errors import InputError, one_line, some
from pipeline.evaluation.analysis.analyse import analyse
from pipeline.evaluation.analysis.landscape import Grid, landscape
from pipeline.evaluation.analysis.scored import score
from pipeline.evaluation.analysis.scores import Split
from pipeline.inference.score import choose_device, describe_device
from pipeline.inference.scorer import Scorer
from pipeline.models import model_file
from pipeline.reports import analysis_report, overview
from stages import Stage, say

RUN = Run()
MODELS = [
    f"teacher={RUN.teacher_model.as_posix()}",
    f"student={RUN.student_model.as_posix()}",
]


@click.command(cls=Stage)
@click.option(
    "--model", "models", multiple=True, metavar="NAME=PATH",
    default=MODELS, show_default=True,
    help="a model with the run's classes and its name; give two. A model of the run should fit the "
    "run's tables, as for evaluate; a model from elsewhere may have any training data",
)  # fmt: skip
@click.option(
    "--split", type=click.Choice(["train", "test"]), default="train", show_default=True,
    help="the labels to compare: the unobserved labels of train, or all labels of test",
)  # fmt: skip
@click.option(
    "--class", "class_name", help="the class to draw; else the one where the models differ most"
)
@click.option(
    "--landscape/--no-landscape",
    "with_landscape",
    default=True,
    help="whether to compute the loss around the models",
)
@click.option("--landscape-images", type=click.IntRange(1), default=256, show_default=True)
@click.option("--landscape-grid", type=click.IntRange(3, 101), default=11, show_default=True)
@click.option("--landscape-seed", type=click.IntRange(0, 2**32 - 1), default=0, show_default=True)
@click.option("--batch-size", type=click.IntRange(1), default=256, show_default=True)
def main(
    models: tuple[str, ...], split: Split, class_name: str | None, with_landscape: bool,
    landscape_images: int, landscape_grid: int, landscape_seed: int, batch_size: int,
) -> None:  # fmt: skip
    """Compare two models: their scores, the gain per class, the loss around them."""
    if landscape_grid % 2 == 0:
        raise InputError(
            f"--landscape-grid {landscape_grid}: should be odd, so that the model is a grid point"
        )
    paths = _paths(models)
    fabric = choose_device("32")
    scorer = Scorer(fabric, batch_size)
    index = RUN.read_index()
    column = None if class_name is None else _column(index, class_name)
    truth = RUN.read_truth(index)
    pseudo = RUN.read_pseudo_labels(index)
    known = bool(truth.known_of(index, "train")[1].any())
    has_teacher = RUN.teacher_model in paths.values()
    teacher = RUN.read_scores(index).probs if known and has_teacher else None
    # Load both models before scoring, so that a wrong path fails at once.
    students = RUN.students(index, pseudo)
    loaded = {
        name: model_file.load(path, index.classes, *RUN.origin(path, index, students))
        for name, path in paths.items()
    }
    scored = []
    for name, model in loaded.items():
        if fabric.is_global_zero:
            say(f"scoring with {name}", err=True)
        fabric.to_device(model)
        is_scored = teacher is not None and paths[name] == RUN.teacher_model
        found = score(scorer, index, name, model, known and not is_scored)
        scored.append(replace(found, train=teacher) if is_scored else found)
    around = None
    if with_landscape:
        grid = Grid(landscape_grid, landscape_seed)
        test = truth.of(index, "test")
        if fabric.is_global_zero:
            say("computing the loss around both models", err=True)
        around = landscape(scorer, index, test, loaded, grid, landscape_images)
    if not fabric.is_global_zero:
        return
    folder = RUN.reports / "analyse"
    say(f"device: {describe_device(fabric, '32')}")
    both = (scored[0], scored[1])
    say("drawing", err=True)
    analysis = analyse(index, truth, pseudo, both, split, column)
    analysis = replace(analysis, landscape=around)
    analysis_report.write(folder, analysis)
    overview.refresh(RUN)
    for number, value in analysis_report.summary(analysis).items():
        say(f"{number:34} {'-' if value is None else value}")
    for note in analysis.notes:
        say(f"note: {note}")
    say(f"report: {folder / 'index.html'}")


def _paths(models: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of the two models by their names."""
    for model in models:
        if not all(model.partition("=")):
            raise InputError(f"--model {model!r}: should be NAME=PATH")
    paths = {name: Path(path) for name, _, path in (model.partition("=") for model in models)}
    if len(models) != 2 or len(paths) != 2:
        raise InputError(
            f"--model: {len(models)} given, named {one_line(', '.join(paths))}; should be two with "
            f"different names, or none"
        )
    return paths


def _column(index: Index, name: str) -> int:
    if name not in index.classes:
        classes = one_line(some(list(index.classes)))
        raise InputError(f"--class {name!r}: is not a class of the run; should be one of {classes}")
    return index.classes.index(name)


if __name__ == "__main__":
    main()
