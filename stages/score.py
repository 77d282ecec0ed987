"""score: index, teacher -> data/scores.parquet, data/val_scores.parquet."""

import click
from pydantic import Field

from pipeline import gallery, model_file, tables
from pipeline.params import Params, read_section
from pipeline.score import choose_device, describe_device, predict
from pipeline.tables import Scores
from stages import DATA, PARAMS, Stage

FILES = {"scores.parquet": "train", "val_scores.parquet": "val"}


class ScoreParams(Params):
    """`score`."""

    batch_size: int = Field(ge=1)


@click.command(cls=Stage)
def main() -> None:
    """Score the training and the val pictures with the teacher."""
    params = read_section(PARAMS, "score", ScoreParams)
    fabric = choose_device("32")
    index = tables.read_index(DATA / "index.parquet")
    model = model_file.load(DATA / "teacher" / "model.safetensors", index.classes)
    scores = {}
    for name, split in FILES.items():
        rows = index.rows(split)
        pictures = gallery.load(index, rows, model.spec.input_size, DATA / "images.parquet")
        probs = predict(fabric, fabric.to_device(model), pictures, params.batch_size)
        scores[name] = Scores(index.ids(rows), probs)
    if not fabric.is_global_zero:
        return
    click.echo(f"device: {describe_device(fabric, '32')}")
    for name, of_split in scores.items():
        tables.write_scores(DATA / name, of_split, index.classes)
        click.echo(f"scores of {len(of_split.image_ids):,} pictures: {DATA / name}")


if __name__ == "__main__":
    main()
