"""evaluate: index, truth, models, scores, pseudo-labels, curves -> reports/evaluate/."""

import click
from pydantic import Field

from pipeline import curves, gallery, model_file, report, tables
from pipeline.evaluate import evaluate
from pipeline.params import Params, read_section
from pipeline.score import choose_device, describe_device, predict
from stages import DATA, PARAMS, REPORTS, Stage

EMBEDDED = DATA / "images.parquet"


class EvaluateParams(Params):
    """`evaluate`."""

    batch_size: int = Field(ge=1)


@click.command(cls=Stage)
def main() -> None:
    """Evaluate teacher, student and pseudo-labels; the only stage that reads the truth."""
    params = read_section(PARAMS, "evaluate", EvaluateParams)
    fabric = choose_device("32")
    index = tables.read_index(DATA / "index.parquet")
    truth = tables.read_truth(DATA / "truth.parquet", index.classes)
    scores = tables.read_scores(DATA / "scores.parquet", index.classes)
    pseudo = tables.read_pseudo_labels(DATA / "pseudo_labels.parquet", index.classes)
    ids = index.ids(index.rows("train"))
    tables.check_same_images(DATA / "scores.parquet", scores.image_ids, ids)
    tables.check_same_images(DATA / "pseudo_labels.parquet", pseudo.image_ids, ids)
    test = truth.of(index, "test")
    train, known = truth.known_of(index, "train")
    histories, probs = {}, {}
    for name in ("teacher", "student"):
        histories[name] = curves.read(REPORTS / f"train_{name}")
        model = model_file.load(DATA / name / "model.safetensors", index.classes)
        pictures = gallery.load(index, index.rows("test"), model.spec.input_size, EMBEDDED)
        probs[name] = predict(fabric, fabric.to_device(model), pictures, params.batch_size)
    if not fabric.is_global_zero:
        return
    click.echo(f"device: {describe_device(fabric, '32')}")
    best = {name: max(history["val_mAP"]) for name, history in histories.items()}
    evaluation = evaluate(
        index, train, known, test, probs["teacher"], probs["student"], pseudo, best
    )
    folder = REPORTS / "evaluate"
    report.write(folder, evaluation, index, train, known, scores.probs, pseudo, histories, EMBEDDED)
    for metric, value in evaluation.metrics.items():
        click.echo(f"{metric:34} {'-' if value is None else value}")
    if evaluation.note:
        click.echo(f"note: {evaluation.note}")
    empty = len(index.classes) - int(test.any(axis=0).sum())
    if empty:
        click.echo(f"warning: {empty} classes have no positive in test; each counts 0 in mAP")
    click.echo(f"report: {folder / 'index.html'}")


if __name__ == "__main__":
    main()
