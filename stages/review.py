"""review: which labels a person should look at first; not in dvc.yaml.

python -m stages.review --first 100 --out corrections.csv
"""

import shutil
from pathlib import Path

import click

from pipeline.artifacts.run import Run, RunTables
from pipeline.core.errors import InputError
from pipeline.inspection import first_text
from pipeline.inspection.terminal import rendered
from pipeline.pseudo_labels.order import order_of
from stages import SoloStage, say

FILE = click.Path(path_type=Path)


@click.command(cls=SoloStage)
@click.argument("file", required=False, type=FILE)
@click.option("--data", default=Run().data, type=FILE, show_default=True, help="the other tables")
@click.option("--first", default=20, type=click.IntRange(min=0), show_default=True)
@click.option("--out", type=FILE, help="a .csv to fill in, for pseudo_label.corrections")
def main(file: Path | None, data: Path, first: int, out: Path | None) -> None:
    """Show the labels of FILE to look at first, and how many to check for a precision.

    FILE is pseudo_labels.parquet of the data folder by default. A label comes first if it is
    probably wrong and its class is rare. The truth, where it is known, is only compared.
    """
    if out is not None and out.suffix != ".csv":
        raise InputError(f"--out {out}: should be a .csv file")
    run = Run(data)
    index = run.read_index()
    truth = run.read_truth(index) if run.truth.exists() else None
    pseudo = run.read_pseudo_labels(index, file)
    tables = RunTables(index, run.read_scores(index), pseudo, truth)
    val_scores = run.read_scores(index, "val") if run.scores("val").exists() else None
    order = order_of(index, tables.scores, val_scores, pseudo)
    parts = first_text.page(tables, order, first)
    click.echo(rendered(parts, shutil.get_terminal_size().columns), nl=False)
    if out is not None:
        first_text.write(out, tables, order, first)
        say(f"fill in the column label (present, absent or unknown): {out}")


if __name__ == "__main__":
    main()
