"""A person's corrections: a table of image_id, class and label -> an answer per entry."""

from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from pipeline.artifacts.answers import Answer, Answers
from pipeline.artifacts.tables import Index
from pipeline.core.errors import InputError, excerpt, one_line, some

COLUMNS = ("image_id", "class", "label")
LABELS = {"present": Answer.PRESENT, "absent": Answer.ABSENT, "unknown": Answer.UNKNOWN}


def read(path: Path, index: Index) -> Answers:
    """Read a table of corrections, a row per entry; a row with an empty label is no answer.

    Other columns than `COLUMNS` are ignored, so a list of entries to look at can be filled in.

    Args:
        path: a .csv or .parquet file. A message counts its rows from 1, without the header.
        index: the images and classes that it may name.

    Returns:
        (N_train, C) answers, in the order of the index.

    Raises:
        InputError: the file is missing or cannot be read; a column is missing; an image is not
            a training image; a class or a label is unknown; an entry has two answers.
    """
    columns = _columns(path)
    train = index.rows("train")
    row_of = {index.image_ids[row]: number for number, row in enumerate(train.tolist())}
    column_of = {name: number for number, name in enumerate(index.classes)}
    answers: Answers = np.zeros((len(train), len(index.classes)), np.int8)
    answered_in: dict[tuple[int, int], int] = {}
    for row, (given_id, given_class, label) in enumerate(zip(*columns, strict=True), start=1):
        where = f"{path}: row {row}"
        image_id, name = _unquoted(given_id, row_of), _unquoted(given_class, column_of)
        if image_id not in row_of:
            raise InputError(f"{where}: image_id {excerpt(image_id)}: {_no_image(image_id, index)}")
        if name not in column_of:
            raise InputError(
                f"{where}: class {excerpt(name)}: should be one of {some(list(index.classes), 20)}"
            )
        if label in ("", None):
            continue
        if label not in LABELS:
            raise InputError(
                f"{where}: label {excerpt(label)}: should be {', '.join(LABELS)}, or empty"
            )
        entry = row_of[image_id], column_of[name]
        if answers[entry] not in (Answer.NONE, LABELS[label]):
            raise InputError(
                f"{where}: image_id {image_id!r}, class {name!r}: is {label} here and "
                f"{_word(answers[entry])} in row {answered_in[entry]}; should have one answer"
            )
        answers[entry] = LABELS[label]
        answered_in[entry] = row
    return answers


def _columns(path: Path) -> list[list[Any]]:
    """Return the values of `COLUMNS`, as texts."""
    try:
        table = pq.read_table(path) if path.suffix == ".parquet" else _read_csv(path)
        names = table.column_names  # a damaged name is no UTF-8
    except FileNotFoundError:
        raise InputError(f"{path}: no such file (pseudo_label.corrections)") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = path.suffix[1:]
        raise InputError(f"{path}: cannot be read as {kind}: {one_line(error)}") from None
    columns = []
    for name in COLUMNS:
        if names.count(name) != 1:
            there = some(names)
            raise InputError(f"{path}: should have one column {name!r}; its columns are {there}")
        try:
            columns.append(table[name].cast(pa.string()).to_pylist())
        except (pa.ArrowException, UnicodeDecodeError):
            raise InputError(
                f"{path}: column {name!r} is {one_line(table[name].type)}; should be texts"
            ) from None
    return columns


def _read_csv(path: Path) -> pa.Table:
    convert = pa.csv.ConvertOptions(
        column_types=dict.fromkeys(COLUMNS, pa.string()), strings_can_be_null=False
    )
    parse = pa.csv.ParseOptions(newlines_in_values=True)
    return pa.csv.read_csv(path, parse_options=parse, convert_options=convert)


def _unquoted(name: Any, known: Container[str]) -> Any:
    """Return a name without the ' that `files.write_csv` puts before the sign of a formula."""
    quoted = isinstance(name, str) and name.startswith("'") and name not in known
    return name[1:] if quoted and name[1:] in known else name


def _no_image(image_id: object, index: Index) -> str:
    if image_id in index.image_ids:
        split = index.splits[index.image_ids.index(str(image_id))]
        return f"is an image of {split}; should be one of train"
    return "is no image of the index; should be an image_id of train"


def _word(answer: int) -> str:
    return next(word for word, value in LABELS.items() if value == answer)
