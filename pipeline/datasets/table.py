"""The user's own pictures, listed in a CSV or Parquet table."""

from collections import Counter
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from pipeline.datasets.rows import Rows
from pipeline.errors import InputError, one_line, some
from pipeline.params import Params

COLUMNS = ("image", "split", "labels")
SPLITS = ("train", "val", "test")


class TableParams(Params):
    """`prepare.table`: the table, absolute or relative to the data root."""

    file: str


def read(params: TableParams, root: Path, classes: list[str] | None) -> Rows:
    """Read a table with the columns image, split and labels, a row per picture.

    `image` is a path, relative to the data root or absolute, and becomes the image_id;
    `split` is train, val or test; `labels` is a list of class names, or their names in one
    string separated by spaces (empty for none).

    Args:
        params: which table.
        root: the data root.
        classes: the classes to take, in this order; None takes all names of the table,
            sorted. Labels outside `classes` are an error: they are more likely a typing
            error than a wish.

    Raises:
        InputError: no such file, no such column, an unknown split, a picture listed twice,
            a label that is not among the classes.
    """
    path = root / params.file
    frame = _read_frame(path)
    missing = [name for name in COLUMNS if name not in frame.columns]
    if missing:
        found = ", ".join(str(name) for name in frame.columns)
        raise InputError(f"{path}: column {missing[0]!r} is missing; its columns are {found}")
    if frame.empty:
        raise InputError(f"{path}: has no rows")
    images = [_posix(path, row, value) for row, value in enumerate(frame["image"])]
    splits = frame["split"].tolist()
    labels = [_names(path, row, value) for row, value in enumerate(frame["labels"])]
    unknown = sorted({str(split) for split in splits if split not in SPLITS})
    if unknown:
        raise InputError(f"{path}: unknown split {unknown[0]!r}; should be train, val or test")
    twice = [image for image, count in Counter(images).items() if count > 1]
    if twice:
        raise InputError(
            f"{path}: {len(twice)} of the pictures are listed more than once: {some(twice)}"
        )
    named = tuple(classes) if classes else tuple(sorted({name for row in labels for name in row}))
    return Rows(named, images, splits, _matrix(path, labels, named), paths=images)


def _read_frame(path: Path) -> pd.DataFrame:
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: should be a .csv or .parquet file")
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file (prepare.table.file)") from None
    except (OSError, ValueError) as error:  # pyarrow's and pandas' own are among them
        what = path.suffix[1:]
        raise InputError(f"{path}: cannot be read as {what}: {one_line(error)}") from None
    if not isinstance(frame.index, pd.RangeIndex):  # pandas takes what is too much for an index
        raise InputError(
            f"{path}: its rows have more fields than its header; labels should be separated by "
            f"spaces, not commas"
        )
    return frame


def _posix(path: Path, row: int, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise InputError(f"{path}: row {row + 1}: image = {value!r}: should be a path")
    return str(PurePosixPath(value))


def _names(path: Path, row: int, value: object) -> list[str]:
    if isinstance(value, str) and "," not in value:
        return value.split()
    if isinstance(value, list | np.ndarray) and all(isinstance(name, str) for name in value):
        return list(value)
    raise InputError(
        f"{path}: row {row + 1}: labels = {value!r}: should be names separated by spaces, "
        f"or a list of names"
    )


def _matrix(path: Path, labels: list[list[str]], classes: tuple[str, ...]) -> np.ndarray:
    number = {name: column for column, name in enumerate(classes)}
    truth = np.zeros((len(labels), len(classes)), dtype=np.bool_)
    for row, names in enumerate(labels):
        for name in names:
            if name not in number:
                raise InputError(f"{path}: row {row + 1}: label {name!r} is not in prepare.classes")
            truth[row, number[name]] = True
    return truth
