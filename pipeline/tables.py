"""The Parquet files between the stages: schemas, checked reads, atomic writes.

Every file opens with pandas, pyarrow, DuckDB and Hugging Face `datasets` without any code
from here: lists of classes are plain list<int64> columns, and the schema metadata tells
`datasets` the names (ClassLabel). No time stamp, host, path or revision is written, so equal
content gives equal bytes.
"""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.errors import InputError

SCHEMA_VERSION = "1"

BoolMatrix = npt.NDArray[np.bool_]
Targets = npt.NDArray[np.int8]
Probs = npt.NDArray[np.float32]
RowNumbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Index:
    """What is known before training: one entry per picture, sorted by image_id (N in all).

    Attributes:
        classes: the C class names.
        image_ids: N unique names.
        paths: N posix paths, relative to the data root (absolute where the source gave such
            a path); None where the picture is in images.parquet.
        splits: N of "train", "val", "test".
        targets: (N, C) int8, 1 observed positive, -1 observed negative, 0 unknown.
        labels: (N, C) bool, the labels that pick the best epoch; False outside "val".
        sizes: N int64, bytes of each picture's file; -1 where it was not looked at.
        sha256: N hex digests of each picture's file; None where it was not read.
    """

    classes: tuple[str, ...]
    image_ids: list[str]
    paths: list[str | None]
    splits: npt.NDArray[np.str_]
    targets: Targets
    labels: BoolMatrix
    sizes: npt.NDArray[np.int64]
    sha256: list[str | None]

    def rows(self, split: str) -> RowNumbers:
        """Return the row numbers of a split, ascending."""
        return np.flatnonzero(self.splits == split)

    def ids(self, rows: RowNumbers) -> list[str]:
        """Return the image_ids of some rows."""
        return [self.image_ids[row] for row in rows]


@dataclass(frozen=True)
class Truth:
    """The complete labels of the train and test pictures. Only `evaluate` may read them."""

    image_ids: list[str]
    labels: BoolMatrix

    def of(self, index: Index, split: str) -> BoolMatrix:
        """Return the labels of a split, in the order of the index's rows.

        Raises:
            InputError: a picture of the split has no truth.
        """
        row_of = {name: row for row, name in enumerate(self.image_ids)}
        try:
            rows = [row_of[name] for name in index.ids(index.rows(split))]
        except KeyError as error:
            raise InputError(f"truth.parquet: has no image_id {error}; run prepare again") from None
        labels: BoolMatrix = self.labels[rows]
        return labels


@dataclass(frozen=True)
class Scores:
    """The teacher's probabilities of the training pictures, (N_train, C) float32."""

    image_ids: list[str]
    probs: Probs


@dataclass(frozen=True)
class PseudoLabels:
    """The labels that the student takes as complete, (N_train, C), sorted by image_id.

    Attributes:
        observed: what the annotator confirmed.
        labels: the positives that the student sees.
        probs: the teacher's probabilities, NaN where `labels` is False.
        rule: the rule that made them and its settings, as written to the metadata.
    """

    image_ids: list[str]
    observed: BoolMatrix
    labels: BoolMatrix
    probs: Probs
    rule: dict[str, str]


# --- writing ---------------------------------------------------------------------------


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it becomes `path` when the block ends well.

    The temporary path lies beside `path`. When the block raises, it is removed and what
    stood at `path` stays as it was. Works for a file and for a folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if temporary.is_dir() and path.exists():
            shutil.rmtree(path)
        temporary.replace(path)
    finally:
        if temporary.is_dir():
            shutil.rmtree(temporary)
        else:
            temporary.unlink(missing_ok=True)


def write_index(path: Path, index: Index) -> None:
    """Write index.parquet."""
    val = index.splits == "val"
    annotated = index.splits != "test"  # no annotator has seen the test pictures
    columns = {
        "image_id": pa.array(index.image_ids, pa.string()),
        "path": pa.array(index.paths, pa.string()),
        "split": pa.array(index.splits.tolist(), pa.string()),
        "observed": _lists(index.targets == 1, annotated),
        "observed_negatives": _lists(index.targets == -1, annotated),
        "labels": _lists(index.labels, val),
        "size": pa.array(index.sizes, pa.int64(), mask=index.sizes < 0),
        "sha256": pa.array(index.sha256, pa.string()),
    }
    _write(path, columns, index.classes)


def write_truth(path: Path, truth: Truth, classes: tuple[str, ...]) -> None:
    """Write truth.parquet."""
    columns = {
        "image_id": pa.array(truth.image_ids, pa.string()),
        "labels": _lists(truth.labels),
    }
    _write(path, columns, classes)


def write_images(path: Path, image_ids: list[str], pictures: list[bytes]) -> None:
    """Write images.parquet: the encoded pictures that have no file of their own."""
    image = pa.StructArray.from_arrays(
        [
            pa.array(pictures, pa.binary()),
            pa.array([f"{name}.png" for name in image_ids], pa.string()),
        ],
        fields=[pa.field("bytes", pa.binary()), pa.field("path", pa.string())],
    )
    _write(path, {"image_id": pa.array(image_ids, pa.string()), "image": image}, ())


def write_scores(path: Path, scores: Scores, classes: tuple[str, ...]) -> None:
    """Write scores.parquet."""
    n_classes = scores.probs.shape[1]
    flat = pa.array(scores.probs.ravel(), pa.float32())
    columns = {
        "image_id": pa.array(scores.image_ids, pa.string()),
        "probs": pa.FixedSizeListArray.from_arrays(flat, n_classes),
    }
    _write(path, columns, classes)


def write_pseudo_labels(path: Path, pseudo: PseudoLabels, classes: tuple[str, ...]) -> None:
    """Write pseudo_labels.parquet."""
    labels = _lists(pseudo.labels)
    names = pa.array(classes, pa.string()).take(labels.values)
    scores = pa.array(pseudo.probs[pseudo.labels], pa.float32())
    columns = {
        "image_id": pa.array(pseudo.image_ids, pa.string()),
        "observed": _lists(pseudo.observed),
        "labels": labels,
        "label_names": pa.ListArray.from_arrays(labels.offsets, names),
        "scores": pa.ListArray.from_arrays(labels.offsets, scores),
        "n_added": pa.array((pseudo.labels & ~pseudo.observed).sum(axis=1), pa.int64()),
    }
    _write(path, columns, classes, pseudo.rule)


def write_csv(path: Path, columns: dict[str, list[object]]) -> None:
    """Write columns of equal length as CSV, for people and for `dvc plots`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


def _lists(matrix: BoolMatrix, known: npt.NDArray[np.bool_] | None = None) -> pa.ListArray:
    """Turn each row of a (N, C) matrix into the ascending list of its True columns.

    Rows where `known` is False become null.
    """
    lengths = matrix.sum(axis=1)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    values = pa.array(np.nonzero(matrix)[1], pa.int64())
    mask = None if known is None else pa.array(~known)
    return pa.ListArray.from_arrays(offsets, values, mask=mask)


def _write(
    path: Path,
    columns: dict[str, pa.Array],
    classes: tuple[str, ...],
    rule: dict[str, str] | None = None,
) -> None:
    features = {name: _feature(name, column.type, classes) for name, column in columns.items()}
    metadata = {
        "huggingface": json.dumps({"info": {"features": features}}),
        "spml.schema_version": SCHEMA_VERSION,
        "spml.classes": json.dumps(classes, ensure_ascii=False),
        **(rule or {}),
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _feature(name: str, dtype: pa.DataType, classes: tuple[str, ...]) -> dict[str, Any]:
    """Describe a column as Hugging Face `datasets` does in its schema metadata."""
    if pa.types.is_struct(dtype):
        return {"_type": "Image"}
    if pa.types.is_list(dtype) or pa.types.is_fixed_size_list(dtype):
        item = _feature(name, dtype.value_type, classes)
        if pa.types.is_int64(dtype.value_type):
            item = {"names": list(classes), "_type": "ClassLabel"}
        length = dtype.list_size if pa.types.is_fixed_size_list(dtype) else -1
        # "Sequence" is what versions before 4 know and later ones still read.
        return {"feature": item, "length": length, "_type": "Sequence"}
    # pyarrow calls float32 "float", which datasets would take for another type
    return {"dtype": {"float": "float32"}.get(str(dtype), str(dtype)), "_type": "Value"}


# --- reading ---------------------------------------------------------------------------


def read_index(path: Path) -> Index:
    """Read index.parquet.

    Raises:
        InputError: the file is missing, or is not an index.
    """
    columns = ["image_id", "path", "split", "observed", "observed_negatives", "labels"]
    table, classes = _read(path, [*columns, "size", "sha256"], "prepare")
    n_classes = len(classes)
    observed = _matrix(path, table["observed"], n_classes)
    negatives = _matrix(path, table["observed_negatives"], n_classes)
    return Index(
        classes=classes,
        image_ids=table["image_id"].to_pylist(),
        paths=table["path"].to_pylist(),
        splits=np.array(table["split"].to_pylist(), dtype=np.str_),
        targets=observed.astype(np.int8) - negatives.astype(np.int8),
        labels=_matrix(path, table["labels"], n_classes),
        sizes=pc.fill_null(table["size"], -1).to_numpy(),
        sha256=table["sha256"].to_pylist(),
    )


def read_truth(path: Path) -> Truth:
    """Read truth.parquet.

    Raises:
        InputError: the file is missing, or is not a truth table.
    """
    table, classes = _read(path, ["image_id", "labels"], "prepare")
    return Truth(table["image_id"].to_pylist(), _matrix(path, table["labels"], len(classes)))


def read_images(path: Path, image_ids: list[str]) -> list[bytes]:
    """Read the encoded pictures of some image_ids from images.parquet, in their order.

    Raises:
        InputError: the file or one of the pictures is missing.
    """
    table, _ = _read(path, ["image_id", "image"], "prepare")
    row_of = {name: row for row, name in enumerate(table["image_id"].to_pylist())}
    absent = [name for name in image_ids if name not in row_of]
    if absent:
        raise InputError(f"{path}: has no picture {absent[0]!r}; run prepare again")
    rows = pa.array([row_of[name] for name in image_ids], pa.int64())
    encoded: list[bytes] = pc.struct_field(table["image"].take(rows), "bytes").to_pylist()
    return encoded


def read_scores(path: Path) -> Scores:
    """Read scores.parquet.

    Raises:
        InputError: the file is missing, or is not a table of scores.
    """
    table, classes = _read(path, ["image_id", "probs"], "score")
    probs = table["probs"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return Scores(table["image_id"].to_pylist(), probs.reshape(-1, len(classes)))


def read_pseudo_labels(path: Path) -> PseudoLabels:
    """Read pseudo_labels.parquet.

    Raises:
        InputError: the file is missing, or is not a table of pseudo-labels.
    """
    columns = ["image_id", "observed", "labels", "scores"]
    table, classes = _read(path, columns, "pseudo_label")
    labels = _matrix(path, table["labels"], len(classes))
    probs = np.full(labels.shape, np.nan, dtype=np.float32)
    probs[labels] = pc.list_flatten(table["scores"]).to_numpy()
    metadata = {key.decode(): value.decode() for key, value in table.schema.metadata.items()}
    return PseudoLabels(
        image_ids=table["image_id"].to_pylist(),
        observed=_matrix(path, table["observed"], len(classes)),
        labels=labels,
        probs=probs,
        rule={key: value for key, value in metadata.items() if key.startswith("spml.rule")},
    )


def check_same_images(path: Path, found: list[str], expected: list[str]) -> None:
    """Check that a table is about exactly the expected pictures, in their order.

    Raises:
        InputError: it is not.
    """
    if found != expected:
        raise InputError(
            f"{path}: its {len(found)} image_ids are not the {len(expected)} of the index; "
            f"it was made for other data: run `dvc repro`"
        )


def _read(path: Path, columns: list[str], stage: str) -> tuple[pa.Table, tuple[str, ...]]:
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage {stage} first") from None
    except (pa.ArrowInvalid, OSError) as error:  # damage inside a column is an OSError
        raise InputError(f"{path}: cannot be read as Parquet: {_one_line(error)}") from None
    missing = [name for name in columns if name not in table.column_names]
    metadata = table.schema.metadata or {}
    if missing or b"spml.classes" not in metadata:
        what = f"column {missing[0]!r}" if missing else "metadata 'spml.classes'"
        raise InputError(f"{path}: has no {what}; it should be written by the stage {stage}")
    return table, tuple(json.loads(metadata[b"spml.classes"]))


def _matrix(path: Path, column: pa.ChunkedArray, n_classes: int) -> BoolMatrix:
    """Turn lists of class numbers into a (N, C) bool matrix; null becomes no class."""
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    values = pc.list_flatten(column).to_numpy()
    outside = values[(values < 0) | (values >= n_classes)]
    if len(outside):
        raise InputError(
            f"{path}: class number {outside[0]}: should be from 0 to {n_classes - 1}, "
            f"one of its {n_classes} classes"
        )
    matrix = np.zeros((len(column), n_classes), dtype=np.bool_)
    matrix[np.repeat(np.arange(len(column)), lengths), values] = True
    return matrix


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
