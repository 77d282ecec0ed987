"""score: index, teacher -> data/scores.parquet."""

import click
from pydantic import Field

from pipeline import gallery, model_file, tables
from pipeline.params import Params, read_section
from pipeline.score import choose_device, describe_device, predict
from pipeline.tables import Scores
from stages import DATA, PARAMS, Stage


class ScoreParams(Params):
    """`score`."""

    batch_size: int = Field(ge=1)


@click.command(cls=Stage)
def main() -> None:
    """Score the training pictures with the teacher."""
    params = read_section(PARAMS, "score", ScoreParams)
    fabric = choose_device("32")
    index = tables.read_index(DATA / "index.parquet")
    model = model_file.load(DATA / "teacher" / "model.safetensors", index.classes)
    rows = index.rows("train")
    pictures = gallery.load(index, rows, model.spec.input_size, DATA / "images.parquet")
    probs = predict(fabric, fabric.to_device(model), pictures, params.batch_size)
    if not fabric.is_global_zero:
        return
    scores = Scores(index.ids(rows), probs)
    tables.write_scores(DATA / "scores.parquet", scores, index.classes)
    click.echo(f"device: {describe_device(fabric, '32')}")
    click.echo(f"scores of {len(rows):,} pictures: {DATA / 'scores.parquet'}")


if __name__ == "__main__":
    main()
