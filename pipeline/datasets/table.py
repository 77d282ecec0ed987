"""The source `table`: the user's images, listed in a CSV or Parquet table."""

from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.core import frames
from pipeline.core.errors import InputError
from pipeline.core.params import Params
from pipeline.datasets import columns
from pipeline.datasets.rows import Rows
from pipeline.datasets.user_table import UserTable

SPLITS = ("train", "val", "test")


class TableParams(Params):
    """`prepare.table`: the table, absolute or relative to the data root."""

    file: str


def read(params: TableParams, root: Path, classes: list[str] | None, given: bool = False) -> Rows:
    """Read a table with the columns image, split and labels, a row per image.

    `image` is a path, relative to the data root or absolute, and becomes the image_id. In
    Parquet it may hold encoded images (Hugging Face's Image: a struct of bytes and path). Their
    image_ids are their paths, else the column `image_id`, else row numbers. `split` is train, val
    or test. `labels` is a list of class names (in CSV as JSON), a string of names separated by
    spaces (empty for none), or in Parquet a list of Hugging Face ClassLabels.

    With `given`, `observed` and, optionally, `observed_negatives` hold the observed labels in the
    same form. Null `labels`, or empty ones in CSV, are then unknown.

    Images in a Parquet file are read into memory encoded, briefly twice: use this for a few GB at
    most.

    Args:
        params: the table.
        root: the data root.
        classes: the classes to take, in this order; None takes the declared classes, or all
            names in the table, sorted. A label outside `classes` is probably a typo, and an
            error unless the table declares it.
        given: whether to read the observed labels.

    Raises:
        InputError: the file or a column is missing; a split is unknown; an image is listed twice;
            a label is not among the classes; the observed labels contradict the others.
    """
    path = root / params.file
    frame = frames.read(
        path, "prepare.table.file", "labels should be separated by spaces, not commas"
    )
    declared = _declared(path) if path.suffix == ".parquet" else {}
    needed = ("image", "split") if given else ("image", "split", "labels")
    columns.check_columns(path, frame.columns, needed)
    if frame.empty:
        raise InputError(f"{path}: has no rows")
    splits = frame["split"].tolist()
    unknown = sorted({str(split) for split in splits if split not in SPLITS})
    if unknown:
        raise InputError(f"{path}: unknown split {unknown[0]!r}; should be train, val or test")
    if given and path.suffix == ".csv" and "labels" in frame.columns:
        empty = frame["labels"].str.strip() == ""
        frame["labels"] = frame["labels"].astype(object).mask(empty, None)
    rows = columns.to_rows([UserTable(str(path), frame, splits, declared)], classes, given)
    return replace(rows, files=(path,))


def _declared(path: Path) -> dict[str, tuple[str, ...]]:
    """Return the class names that Hugging Face `datasets` wrote into the schema."""
    about = (pq.read_schema(path).metadata or {}).get(b"huggingface", b"{}")
    features = columns.features(path, about)
    found = {name: columns.class_names(features.get(name)) for name in columns.LABELS}
    return {name: names for name, names in found.items() if names is not None}
