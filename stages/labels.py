"""labels: a pseudo-label file -> reports/labels/, a page that shows it; not in dvc.yaml."""

from pathlib import Path

import click

from pipeline.artifacts.run import Run, RunTables
from pipeline.pseudo_labels.rules import needs_val_scores
from pipeline.viewer import page
from stages import SoloStage, say

FOLDER = click.Path(path_type=Path)


@click.command(cls=SoloStage)
@click.argument("file", required=False, type=FOLDER)
@click.option(
    "--data",
    default=Run().data,
    type=FOLDER,
    show_default=True,
    help="the other tables",
)
@click.option("--out", default=Run().reports / "labels", type=FOLDER, show_default=True)
@click.option("--most", default=5000, show_default=True, help="most images to show, evenly spaced")
@click.option(
    "--thumbnails/--no-thumbnails", "with_thumbnails", default=None,
    help="write small images beside the page, or load each image from its own file; thumbnails "
    f"up to {page.MOST_THUMBNAILS:,} images if neither is given",
)  # fmt: skip
def main(file: Path | None, data: Path, out: Path, most: int, with_thumbnails: bool | None) -> None:
    """Write a page that shows the labels of FILE, image by image.

    FILE is pseudo_labels.parquet of the data folder by default.
    """
    run = Run(data)
    path = file or run.pseudo_labels
    index = run.read_index()
    scores = run.read_scores(index)
    pseudo = run.read_pseudo_labels(index, path)
    truth = run.read_truth(index) if run.truth.exists() else None
    val_scores = None
    if pseudo.rule and needs_val_scores(pseudo.rule) and run.scores("val").exists():
        val_scores = run.read_scores(index, "val")
    of_run = RunTables(index, scores, pseudo, truth, val_scores)
    data_shown = page.write(out, path, of_run, most, with_thumbnails)
    for note in data_shown["notes"]:
        say(f"note: {note}")
    if data_shown["files"] is not None:
        say(f"note: the page loads the images from {data_shown['files']['folder']}")
    n_shown, n = len(data_shown["image_ids"]), len(pseudo.image_ids)
    of = "" if n_shown == n else f" of {n:,}"
    say(f"labels of {n_shown:,}{of} images: {out / page.PAGE}")


if __name__ == "__main__":
    main()
