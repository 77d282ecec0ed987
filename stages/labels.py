"""labels: a pseudo-label file -> reports/labels/, a page that shows it; not in dvc.yaml."""

from pathlib import Path

import click

from pipeline.artifacts.run import Run, RunTables
from pipeline.reports import overview
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
def main(file: Path | None, data: Path, out: Path, most: int) -> None:
    """Write a page that shows the labels of FILE, image by image.

    FILE is pseudo_labels.parquet of the data folder by default.
    """
    run = Run(data)
    path = file or run.pseudo_labels
    index = run.read_index()
    scores = run.read_scores(index)
    pseudo = run.read_pseudo_labels(index, path)
    truth = run.read_truth(index) if run.truth.exists() else None
    data_shown = page.write(out, path, RunTables(index, scores, pseudo, truth), most)
    overview.refresh(Run())
    for note in data_shown["notes"]:
        say(f"note: {note}")
    n_shown, n = len(data_shown["image_ids"]), len(pseudo.image_ids)
    of = "" if n_shown == n else f" of {n:,}"
    say(f"labels of {n_shown:,}{of} images: {out / page.PAGE}")


if __name__ == "__main__":
    main()
