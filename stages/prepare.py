"""prepare: the source's images and annotations -> data/index.parquet, data/truth.parquet."""

import click

from pipeline.artifacts import tables
from pipeline.artifacts.run import Run
from pipeline.core import files
from pipeline.core.params import read_section
from pipeline.datasets.prepare import Prepared, PrepareParams, prepare
from stages import PARAMS, SoloStage


@click.command(cls=SoloStage)
def main() -> None:
    """Read the source, split it, draw the observed labels, write index and truth."""
    params = read_section(PARAMS, "prepare", PrepareParams)
    write(Run(), prepare(params))


def write(run: Run, prepared: Prepared) -> None:
    """Write the tables of a run's data, all or none."""
    index = prepared.index
    embedded_ids = index.image_ids if prepared.images else []
    with files.atomic_write_all(run.images, run.truth, run.index) as (images, truth, table):
        tables.write_images(images, embedded_ids, prepared.images, prepared.names)
        tables.write_truth(truth, prepared.truth, index.classes)
        tables.write_index(table, index)
    click.echo(f"index of {len(index.image_ids):,} images: {run.index}")


if __name__ == "__main__":
    main()
