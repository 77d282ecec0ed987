"""The format of the tables: lists of classes as columns, class names in the metadata.

Every file opens with pandas, pyarrow, DuckDB and Hugging Face `datasets` without any code
from here: lists of classes are plain list<int64> columns, and the schema metadata tells
`datasets` the names (ClassLabel). No time stamp, host, path or revision is written, so equal
content gives equal bytes.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.arrays import BoolMatrix
from pipeline.errors import InputError, one_line, some
from pipeline.files import replacing

SCHEMA_VERSION = "1"


def write(
    path: Path,
    columns: dict[str, pa.Array],
    classes: tuple[str, ...],
    about: dict[str, str] | None = None,
) -> None:
    """Write columns with the class names, and what else is to be known, in the metadata."""
    features = {name: _feature(name, column.type, classes) for name, column in columns.items()}
    metadata = {
        "huggingface": json.dumps({"info": {"features": features}}),
        "spml.schema_version": SCHEMA_VERSION,
        "spml.classes": json.dumps(classes, ensure_ascii=False),
        **(about or {}),
    }
    table = pa.table(columns).replace_schema_metadata(metadata)
    with replacing(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read(
    path: Path,
    columns: dict[str, pa.DataType],
    stage: str,
    optional: dict[str, pa.DataType] | None = None,
) -> tuple[pa.Table, tuple[str, ...]]:
    """Read a table and its class names.

    Args:
        path: the file.
        columns: the columns that it should have, and their types. What another program has
            written in a type like it (large_string for string) is converted.
        stage: the stage that writes it, for messages.
        optional: columns that it may have, and their types.

    Raises:
        InputError: the file is missing, is no Parquet, lacks a column or the names, or has them
            in another type.
    """
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; run the stage {stage} first") from None
    except (pa.ArrowInvalid, OSError) as error:  # damage inside a column is an OSError
        raise InputError(f"{path}: cannot be read as Parquet: {one_line(error)}") from None
    missing = [name for name in columns if name not in table.column_names]
    metadata = table.schema.metadata or {}
    if missing or b"spml.classes" not in metadata:
        what = f"column {missing[0]!r}" if missing else "metadata 'spml.classes'"
        raise InputError(f"{path}: has no {what}; it should be written by the stage {stage}")
    there = {key: value for key, value in (optional or {}).items() if key in table.column_names}
    for name, wanted in (columns | there).items():
        try:
            column = table[name].cast(wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            raise InputError(
                f"{path}: column {name!r} is {table[name].type}; should be {wanted}, as the stage "
                f"{stage} writes it"
            ) from None
        table = table.set_column(table.column_names.index(name), name, column)
    return table, _class_names(path, metadata[b"spml.classes"])


def _class_names(path: Path, value: bytes) -> tuple[str, ...]:
    try:
        names = json.loads(value)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(
            f"{path}: metadata 'spml.classes' = {value[:80]!r}: should be a JSON list of names"
        )
    return tuple(names)


def check_same_classes(
    path: Path, found: tuple[str, ...], expected: tuple[str, ...] | None
) -> None:
    """Check that a file is about exactly the expected classes, in their order; None is any.

    Raises:
        InputError: it is not.
    """
    if expected is not None and found != expected:
        raise InputError(
            f"{path}: its {len(found)} classes ({some(list(found), 5)}) are not the "
            f"{len(expected)} of the index ({some(list(expected), 5)}); it was made for other "
            f"data: run `dvc repro`"
        )


def to_lists(matrix: BoolMatrix, known: npt.NDArray[np.bool_] | None = None) -> pa.ListArray:
    """Turn each row of a (N, C) matrix into the ascending list of its True columns.

    Rows where `known` is False become null.
    """
    lengths = matrix.sum(axis=1)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    values = pa.array(np.nonzero(matrix)[1], pa.int64())
    mask = None if known is None else pa.array(~known)
    return pa.ListArray.from_arrays(offsets, values, mask=mask)


def to_matrix(path: Path, column: pa.ChunkedArray, n_classes: int) -> BoolMatrix:
    """Turn lists of class numbers into a (N, C) bool matrix; null becomes no class.

    Raises:
        InputError: a number is none of a class; `path` is for the message.
    """
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


def from_vectors(matrix: npt.NDArray[np.float32]) -> pa.FixedSizeListArray:
    """Turn each row of a (N, C) matrix into a list of C numbers."""
    return pa.FixedSizeListArray.from_arrays(
        pa.array(matrix.ravel(), pa.float32()), matrix.shape[1]
    )


def to_vectors(
    path: Path, table: pa.Table, name: str, classes: tuple[str, ...]
) -> npt.NDArray[np.float32]:
    """Turn a column of lists of C numbers into a (N, C) matrix; null in a list becomes NaN.

    Raises:
        InputError: a list has another length; `path` is for the message.
    """
    lengths = pc.fill_null(pc.list_value_length(table[name]), 0).to_numpy()
    for row in np.flatnonzero(lengths != len(classes)):
        raise InputError(
            f"{path}: image_id {table['image_id'][row].as_py()!r}: has {lengths[row]} {name}; "
            f"should have {len(classes)}, one per class"
        )
    flat: npt.NDArray[np.float32] = pc.list_flatten(table[name]).to_numpy()
    return flat.reshape(-1, len(classes))


def check_values(
    path: Path,
    table: pa.Table,
    classes: tuple[str, ...],
    values: npt.NDArray[np.float32],
    right: BoolMatrix,
    wanted: str,
) -> None:
    """Check that all (N, C) values are right; `wanted` says what they should be.

    Raises:
        InputError: one is not.
    """
    for row, column in np.argwhere(~right):
        raise InputError(
            f"{path}: image_id {table['image_id'][row].as_py()!r}, class {classes[column]!r}: "
            f"{values[row, column]}: should be {wanted}"
        )


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
