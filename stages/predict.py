"""predict: a model and images -> their labels; not in dvc.yaml.

python -m stages.predict photos/
python -m stages.predict student.safetensors photos/*.jpg --out labels.csv
"""

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import click
from tqdm.auto import tqdm

from pipeline.artifacts.run import Run
from pipeline.core.arrays import Probs
from pipeline.core.errors import InputError, some
from pipeline.core.places import WEIGHTS_SUFFIXES
from pipeline.inference.score import choose_device, describe_device
from pipeline.models import model_file
from pipeline.prediction import find, results, sheet, stream
from pipeline.prediction.find import Named
from pipeline.prediction.results import Labelled
from stages import Stage, say

FILE = click.Path(path_type=Path)
MOST_LISTED = 1000  # unreadable images
SHARE = click.FloatRange(0, 1)


@click.command(cls=Stage)
@click.argument("given", metavar="[MODEL] IMAGES...", nargs=-1, required=True)
@click.option("--out", type=FILE, help="Write a .csv or .parquet file instead of the terminal.")
@click.option("--scores", "every_score", is_flag=True, help="Add a column of scores per class.")
@click.option("--threshold", type=SHARE, help="One for all classes; else the model's own.")
@click.option("--precision", type=SHARE, help="Take the thresholds of this precision on val.")
@click.option("--calibrated", is_flag=True, help="Turn scores into probabilities, as on val.")
@click.option("--sheet", "sheet_path", type=FILE, help="Draw the first images into a .png file.")
def main(
    given: tuple[str, ...],
    out: Path | None,
    every_score: bool,
    threshold: float | None,
    precision: float | None,
    calibrated: bool,
    sheet_path: Path | None,
) -> None:
    """Label new images with a model.

    MODEL is a .safetensors file, by default the student. IMAGES are files, folders, patterns, or
    tables (.csv, .parquet) with a column image.
    """
    if out is not None:
        results.check_suffix(out)
    elif every_score:
        raise InputError("--scores: has no columns on the terminal; should come with --out")
    if sheet_path is not None:
        sheet.check_suffix(sheet_path)
    has_model = Path(given[0]).suffix in WEIGHTS_SUFFIXES
    path, named = (Path(given[0]), given[1:]) if has_model else (Run().student_model, given)
    if not named:
        raise InputError(f"{path}: no image is given; should be followed by files or folders")
    images = find.images(named)
    model = model_file.load(path)
    rule = results.rule(str(path), model.spec, threshold, precision, calibrated)
    fabric = choose_device("32")
    fabric.to_device(model)
    done, unreadable = Tally(), list[tuple[str, str]]()
    shown: list[tuple[Named, list[str], Probs]] = []
    hidden = None if fabric.is_global_zero and out is not None else True
    write = results.writing(out, rule.classes, every_score) if out else nullcontext(_print)
    # Helper processes score their share, and the first one has all results.
    with write if fabric.is_global_zero else nullcontext(_ignore) as add:
        with tqdm(unit=" images", disable=hidden, leave=False) as bar:
            for scored in stream.score(fabric, model, images):
                labelled = rule.apply([image.name for image in scored.images], scored.probs)
                add(labelled)
                done.add(labelled)
                unreadable += scored.unreadable
                if sheet_path is not None and len(shown) < sheet.MOST:
                    shown += zip(scored.images, labelled.labels, labelled.scores, strict=True)
                bar.update(len(scored.images) + len(scored.unreadable))
        if not done.images:
            raise InputError(_nothing(named, unreadable))
    if not fabric.is_global_zero:
        return
    if sheet_path is not None:
        sheet.draw(sheet_path, *zip(*shown[: sheet.MOST], strict=True))
    _report(done, unreadable, rule, describe_device(fabric, "32"), [out, sheet_path])


@dataclass
class Tally:
    """Counts of what was labelled."""

    images: int = 0
    labels: int = 0
    without: int = 0

    def add(self, labelled: Labelled) -> None:
        """Count some images."""
        self.images += len(labelled.names)
        self.labels += sum(map(len, labelled.labels))
        self.without += sum(not labels for labels in labelled.labels)


def _print(labelled: Labelled) -> None:
    """Print a line per image: its name, and its labels with their scores."""
    width = max(map(len, labelled.names), default=0)
    for name, labels, scores in zip(labelled.names, labelled.labels, labelled.scores, strict=True):
        found = (f"{label} {score:.2f}" for label, score in zip(labels, scores, strict=True))
        say(f"{name:{width}}  {'  '.join(found) or '-'}")


def _ignore(labelled: Labelled) -> None:
    pass


def _nothing(given: tuple[str, ...], unreadable: list[tuple[str, str]]) -> str:
    """Return the message if no image was read."""
    if not unreadable:
        return f"{some(list(given))}: no image there; should hold files such as .jpg or .png"
    failed = [f"{name} ({reason})" for name, reason in unreadable]
    return f"none of the {len(failed):,} images can be read: {some(failed)}"


def _report(
    done: Tally,
    unreadable: list[tuple[str, str]],
    rule: results.Rule,
    device: str,
    written: list[Path | None],
) -> None:
    """Print counts, files and what went wrong; on the error stream, since labels go to output."""
    mean = done.labels / done.images
    where = ", ".join(str(path) for path in written if path is not None)
    say(
        f"{done.images:,} images, {mean:.2f} labels each, {done.without:,} without a label"
        f"{': ' * bool(where)}{where} ({device})",
        err=True,
    )
    never = [
        name
        for name, threshold in zip(rule.classes, rule.thresholds, strict=True)
        if threshold is None
    ]
    if never:
        say(
            f"note: {len(never)} of {len(rule.classes)} classes did not reach this precision on "
            f"val, and are never labels: {some(never)}",
            err=True,
        )
    if unreadable:
        n = len(unreadable)
        say(f"warning: {n:,} of {done.images + n:,} images cannot be read:", err=True)
        for name, reason in unreadable[:MOST_LISTED]:
            say(f"  {name} ({reason})", err=True)
        if n > MOST_LISTED:
            say(f"  and {n - MOST_LISTED:,} more", err=True)


if __name__ == "__main__":
    main()
