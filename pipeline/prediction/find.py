"""Find the images that a user names: files, folders, patterns, tables. One at a time."""

import functools
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.core.errors import InputError, one_line
from pipeline.datasets import columns
from pipeline.images import reading

TABLES = (".csv", ".parquet")
ROWS = 256  # of a table, read at a time


@dataclass(frozen=True)
class Named:
    """An image that was not read yet.

    Attributes:
        name: its path as the user gave it, or its name in a table.
        content: its file, or its encoded bytes.
    """

    name: str
    content: Path | bytes

    def encoded(self) -> bytes:
        """Return its encoded bytes.

        Raises:
            OSError: its file cannot be read.
        """
        return self.content if isinstance(self.content, bytes) else self.content.read_bytes()


def images(given: Iterable[str]) -> Iterator[Named]:
    """Yield the images of all that is given, in its order; check first that it exists.

    A folder stands for the image files in it and below it, by their suffixes, sorted by name. A
    pattern such as photos/*.jpg stands for the files and folders that match. A .csv or .parquet
    file is a table with a column image: paths relative to its folder, or in Parquet encoded
    images. Any other file is an image, whatever its suffix. Hidden files in folders are left out.

    Memory holds the names in one folder, or the matches of a pattern, or ROWS rows of a table.

    Args:
        given: paths and patterns.

    Raises:
        InputError: a path does not exist, a pattern matches nothing, or a table cannot be read.
    """
    found = [path for each in given for path in _matching(each)]
    return chain.from_iterable(map(_below, found))


@functools.cache
def suffixes() -> frozenset[str]:
    """Return the suffixes, in lower case, of the formats that are opened."""
    Image.init()
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in reading.FORMATS)


def _matching(given: str) -> list[Path]:
    if Path(given).exists():
        return [Path(given)]
    if not glob.has_magic(given):
        raise InputError(f"{given}: no such file or folder; should be an image, folder or table")
    found = sorted(glob.glob(given, recursive=True))  # noqa: PTH207 - takes absolute patterns
    if not found:
        raise InputError(f"{given}: matches no file; should be a pattern such as photos/*.jpg")
    return [Path(path) for path in found]


def _below(path: Path) -> Iterator[Named]:
    if path.is_dir():
        yield from _in_folder(path)
    elif path.suffix.lower() in TABLES:
        yield from _in_table(path)
    else:
        yield Named(path.as_posix(), path)


def _in_folder(folder: Path) -> Iterator[Named]:
    def fail(error: OSError) -> None:
        raise error

    for place, folders, files in os.walk(folder, onerror=fail):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            path = Path(place, name)
            if path.suffix.lower() in suffixes() and not name.startswith("."):
                yield Named(path.as_posix(), path)


# --- tables ----------------------------------------------------------------------------


def _in_table(path: Path) -> Iterator[Named]:
    number = 0
    for rows in _checked(path):
        names = rows["image_id"] if "image_id" in rows.columns else [None] * len(rows)
        for value, name in zip(rows["image"], names, strict=True):
            number += 1
            yield _of_row(path, number, value, name)


def _checked(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the rows of a table, some at a time; turn the readers' errors into ours."""
    try:
        yield from _csv(path) if path.suffix.lower() == ".csv" else _parquet(path)
    except (OSError, ValueError, pa.ArrowException) as error:  # pandas raises ValueErrors
        file_type = path.suffix[1:].lower()
        raise InputError(f"{path}: cannot be read as {file_type}: {one_line(error)}") from None


def _csv(path: Path) -> Iterator[pd.DataFrame]:
    with pd.read_csv(
        path, dtype=str, keep_default_na=False, index_col=False, chunksize=ROWS
    ) as chunks:
        for rows in chunks:
            columns.check_columns(path, rows.columns, ["image"])
            yield rows


def _parquet(path: Path) -> Iterator[pd.DataFrame]:
    with pq.ParquetFile(path) as file:
        names = file.schema_arrow.names
        columns.check_columns(path, names, ["image"])
        wanted = [name for name in ("image", "image_id") if name in names]
        for rows in file.iter_batches(ROWS, columns=wanted):
            yield rows.to_pandas()


def _of_row(path: Path, number: int, value: Any, name: Any) -> Named:
    """Return the image of a row: a path, encoded bytes, or Hugging Face's struct of both."""
    content = value.get("bytes") if isinstance(value, dict) else value
    file = value.get("path") if isinstance(value, dict) else value
    if isinstance(content, bytes):
        # Tables of the pipeline have image_ids, those of others often a path alone.
        names = (name, file if isinstance(file, str) else None, number)
        return Named(str(next(each for each in names if each is not None)), content)
    if not isinstance(file, str) or not file.strip():
        shown = one_line(repr(value))[:80]
        raise InputError(f"{path}: row {number}: image = {shown}: should be a path")
    return Named(file, path.parent / file)
