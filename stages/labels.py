"""labels: a pseudo-label file -> a page in reports/labels/, or a table for other tools.

This command is not in dvc.yaml.
"""

from pathlib import Path

import click

from pipeline.artifacts.run import Run, RunTables
from pipeline.core.errors import InputError
from pipeline.label_exports import formats
from pipeline.reports import overview
from pipeline.viewer import page
from stages import SoloStage, say

FOLDER = click.Path(path_type=Path)
PAGE = "page"


@click.command(cls=SoloStage)
@click.argument("file", required=False, type=FOLDER)
@click.option(
    "--data",
    default=Run().data,
    type=FOLDER,
    show_default=True,
    help="the other tables",
)
@click.option(
    "--to",
    default=PAGE,
    type=click.Choice([PAGE, *formats.FILES]),
    show_default=True,
    help="the page, or the labels in the format of a table, of COCO or of FiftyOne",
)
@click.option("--out", type=FOLDER, help="the folder to write; of the page: reports/labels")
@click.option("--most", default=5000, show_default=True, help="most images to show, evenly spaced")
@click.option(
    "--thumbnails/--no-thumbnails", "with_thumbnails", default=None,
    help="write small images beside the page, or load each image from its own file; thumbnails "
    f"up to {page.MOST_THUMBNAILS:,} images if neither is given",
)  # fmt: skip
def main(
    file: Path | None, data: Path, to: str, out: Path | None, most: int,
    with_thumbnails: bool | None,
) -> None:  # fmt: skip
    """Write a page that shows the labels of FILE, image by image, or export them.

    FILE is pseudo_labels.parquet of the data folder by default.
    """
    run = Run(data)
    path = file or run.pseudo_labels
    if to == PAGE:
        write_page(run, path, out or Run().reports / "labels", most, with_thumbnails)
    elif out is None:
        raise InputError(f"--to {to}: needs --out, the folder to write, such as --out {to}")
    else:
        index = run.read_index()
        pseudo, truth = run.read_pseudo_labels(index, path), run.read_truth(index)
        content = formats.write(out, to, index, pseudo, truth)
        say(f"labels of {len(content.image_ids):,} images: {out}")


def write_page(run: Run, path: Path, out: Path, most: int, with_thumbnails: bool | None) -> None:
    """Write the page of a pseudo-label file."""
    index = run.read_index()
    scores = run.read_scores(index)
    pseudo = run.read_pseudo_labels(index, path)
    truth = run.read_truth(index) if run.truth.exists() else None
    val_scores = None
    if run.scores("val").exists():  # of isotonic, and of the order to look at labels
        val_scores = run.read_scores(index, "val")
    of_run = RunTables(index, scores, pseudo, truth, val_scores)
    data_shown = page.write(out, path, of_run, most, with_thumbnails)
    overview.refresh(Run())
    for note in data_shown["notes"]:
        say(f"note: {note}")
    if data_shown["files"] is not None:
        say(f"note: the page loads the images from {data_shown['files']['folder']}")
    n_shown, n = len(data_shown["image_ids"]), len(pseudo.image_ids)
    of = "" if n_shown == n else f" of {n:,}"
    say(f"labels of {n_shown:,}{of} images: {out / page.PAGE}")


if __name__ == "__main__":
    main()
