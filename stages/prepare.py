"""prepare: the source's images and annotations -> data/index.parquet, data/truth.parquet."""

import click

from pipeline import tables
from pipeline.datasets.prepare import PrepareParams, prepare
from pipeline.params import read_section
from stages import DATA, PARAMS, SoloStage


@click.command(cls=SoloStage)
def main() -> None:
    """Read the source, split it, draw the observed labels, write index and truth."""
    params = read_section(PARAMS, "prepare", PrepareParams)
    prepared = prepare(params)
    index = prepared.index
    tables.write_index(DATA / "index.parquet", index)
    tables.write_truth(DATA / "truth.parquet", prepared.truth, index.classes)
    embedded_ids = index.image_ids if prepared.pictures else []
    path = DATA / "images.parquet"
    tables.write_images(path, embedded_ids, prepared.pictures, prepared.names)
    click.echo(f"index of {len(index.image_ids):,} pictures: {DATA / 'index.parquet'}")


if __name__ == "__main__":
    main()
