"""Labels by thresholds, and the files that hold them: CSV or Parquet, written in a stream."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.artifacts import decisions
from pipeline.artifacts.decisions import Thresholds
from pipeline.artifacts.spec import Spec
from pipeline.core import files
from pipeline.core.arrays import Probs
from pipeline.core.errors import InputError, some

SUFFIXES = (".csv", ".parquet")
GROUP = 4096  # rows of a row group in Parquet


@dataclass(frozen=True)
class Rule:
    """How scores become labels.

    Attributes:
        classes: the C class names.
        thresholds: C; a class is a label if its score is above, never without one.
        calibration: of the scores that are reported; None: the model's own.
        calibrated_first: whether the thresholds are of calibrated scores.
    """

    classes: tuple[str, ...]
    thresholds: Thresholds
    calibration: decisions.Decisions | None = None
    calibrated_first: bool = False

    def apply(self, names: list[str], probs: Probs) -> "Labelled":
        """Return the labels of n images by their (n, C) scores."""
        reported = probs if self.calibration is None else self.calibration.calibrated(probs)
        judged = reported if self.calibrated_first else probs
        found = decisions.labels(judged, self.thresholds)
        # The highest score first.
        columns = [
            np.flatnonzero(row)[np.argsort(-scores[row], kind="stable")]
            for row, scores in zip(found, reported, strict=True)
        ]
        return Labelled(
            names,
            [[self.classes[column] for column in row] for row in columns],
            [scores[row] for row, scores in zip(columns, reported, strict=True)],
            reported,
        )


@dataclass(frozen=True)
class Labelled:
    """The labels of n images.

    Attributes:
        names: of the images.
        labels: the class names of each, the highest score first.
        scores: the score of each label.
        all_scores: (n, C).
    """

    names: list[str]
    labels: list[list[str]]
    scores: list[Probs]
    all_scores: Probs


def rule(
    source: str, spec: Spec, threshold: float | None, precision: float | None, calibrated: bool
) -> Rule:
    """Return the rule that the user chose.

    Args:
        source: the model file, for messages.
        spec: its description.
        threshold: one for all classes, of the reported scores; None: the model's own.
        precision: of the model's own thresholds; None: those of the best F1.
        calibrated: whether to report calibrated scores.

    Raises:
        InputError: the model has no thresholds or no calibration, or none of this precision;
            both a threshold and a precision are given.
    """
    if threshold is not None and precision is not None:
        raise InputError("--threshold and --precision: should be one of them")
    own, known = spec.decisions, threshold is not None
    if own is None and not (known and not calibrated):
        raise InputError(
            f"{source}: has no thresholds and no calibration: it was written by an earlier "
            f"version, or its val labels were incomplete; should be given a --threshold, such as "
            f"0.5, without --calibrated"
        )
    calibration = own if calibrated else None
    if threshold is not None:
        same = (threshold,) * len(spec.classes)
        return Rule(spec.classes, same, calibration, calibrated_first=calibrated)
    assert own is not None
    if precision is None:
        return Rule(spec.classes, own.thresholds, calibration)
    for point in own.at_precision:
        if abs(point.precision - precision) < 1e-9:
            return Rule(spec.classes, point.thresholds, calibration)
    stored = [f"{point.precision:g}" for point in own.at_precision]
    raise InputError(
        f"--precision = {precision:g}: {source} has no thresholds of it; should be one of "
        f"{some(stored, 20)}"
    )


# --- files -----------------------------------------------------------------------------

Add = Callable[[Labelled], None]


def check_suffix(path: Path) -> None:
    """Check that a file can be written in a known format.

    Raises:
        InputError: it has another suffix.
    """
    if path.suffix not in SUFFIXES:
        raise InputError(f"--out = {path}: should end in {' or '.join(SUFFIXES)}")


@contextmanager
def writing(path: Path, classes: tuple[str, ...], every_score: bool) -> Iterator[Add]:
    """Write results as they come; move the file to `path` when the block succeeds.

    The columns are image, labels and scores: the labels of each image, the highest score first,
    and their scores. In Parquet these are lists. In CSV they are separated by spaces, or by ";" if
    the name of a class holds a space.

    Args:
        path: ends in .csv or .parquet.
        classes: the C class names.
        every_score: whether to add a column score_CLASS for each class.

    Yields:
        A function that adds some images.
    """
    write = _csv if path.suffix == ".csv" else _parquet
    extra = [f"score_{name}" for name in classes] if every_score else []
    with files.atomic_write(path) as temporary, write(temporary, classes, extra) as add:
        yield add


@contextmanager
def _csv(path: Path, classes: tuple[str, ...], extra: list[str]) -> Iterator[Add]:
    between = ";" if any(len(name.split()) != 1 for name in classes) else " "

    def add(labelled: Labelled) -> None:
        rows = zip(*_columns(labelled, bool(extra)), strict=True)
        files.write_csv_rows(
            file,
            (
                [name, between.join(labels), between.join(map(_decimal, scores))]
                + [_decimal(score) for score in every]
                for name, labels, scores, *every in rows
            ),
        )

    with path.open("w", newline="", encoding="utf-8") as file:
        files.write_csv_rows(file, [["image", "labels", "scores", *extra]])
        yield add


@contextmanager
def _parquet(path: Path, classes: tuple[str, ...], extra: list[str]) -> Iterator[Add]:
    kinds = [pa.string(), pa.list_(pa.string()), pa.list_(pa.float32())]
    names = ["image", "labels", "scores", *extra]
    schema = pa.schema(list(zip(names, kinds + [pa.float32()] * len(extra), strict=True)))
    waiting: list[pa.Table] = []

    def add(labelled: Labelled) -> None:
        columns = _columns(labelled, bool(extra))
        arrays = [
            pa.array(column, kind) for column, kind in zip(columns, schema.types, strict=True)
        ]
        waiting.append(pa.Table.from_arrays(arrays, schema=schema))
        if sum(map(len, waiting)) >= GROUP:
            flush()

    def flush() -> None:
        file.write_table(pa.concat_tables(waiting), row_group_size=2 * GROUP)
        waiting.clear()

    with pq.ParquetWriter(path, schema, compression="zstd") as file:
        yield add
        if waiting:
            flush()


def _columns(labelled: Labelled, every_score: bool) -> list[object]:
    every = list(labelled.all_scores.T) if every_score else []
    return [labelled.names, labelled.labels, labelled.scores, *every]


def _decimal(score: float) -> str:
    return f"{score:.6f}"
