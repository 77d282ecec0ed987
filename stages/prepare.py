"""prepare: the source's images and annotations -> data/index.parquet, data/truth.parquet."""

import click

from pipeline.artifacts import tables
from pipeline.core import files
from pipeline.core.params import read_section
from pipeline.datasets.prepare import PrepareParams, prepare
from stages import DATA, PARAMS, SoloStage


@click.command(cls=SoloStage)
def main() -> None:
    """Read the source, split it, draw the observed labels, write index and truth."""
    params = read_section(PARAMS, "prepare", PrepareParams)
    prepared = prepare(params)
    index = prepared.index
    embedded_ids = index.image_ids if prepared.pictures else []
    outputs = [DATA / f"{name}.parquet" for name in ("images", "truth", "index")]
    with files.replacing_all(*outputs) as (images_path, truth_path, index_path):
        tables.write_images(images_path, embedded_ids, prepared.pictures, prepared.names)
        tables.write_truth(truth_path, prepared.truth, index.classes)
        tables.write_index(index_path, index)
    click.echo(f"index of {len(index.image_ids):,} pictures: {DATA / 'index.parquet'}")


if __name__ == "__main__":
    main()
