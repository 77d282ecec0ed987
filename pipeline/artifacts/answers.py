"""The answers of a person who corrected labels, and their columns in pseudo_labels.parquet."""

from enum import IntEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.artifacts.parquet import to_lists, to_matrix
from pipeline.core.errors import InputError

# (N, C) an `Answer` per entry.
Answers = npt.NDArray[np.int8]


class Answer(IntEnum):
    """What a person said about one class of one image."""

    NONE = 0  # nothing
    PRESENT = 1
    ABSENT = -1
    UNKNOWN = 2  # looked at, and not decided


# The columns that hold the classes with each answer.
COLUMNS = {f"corrected_{answer.name.lower()}": answer for answer in Answer if answer}


def to_columns(answers: Answers) -> dict[str, pa.Array]:
    """Return the columns that hold the answers, by name."""
    return {name: to_lists(answers == answer) for name, answer in COLUMNS.items()}


def from_columns(path: Path, table: pa.Table, classes: tuple[str, ...]) -> Answers | None:
    """Return the answers in a table of pseudo-labels; None if it has none of the columns.

    Raises:
        InputError: an entry has two answers; `path` is for the message.
    """
    there = [name for name in COLUMNS if name in table.column_names]
    if not there:
        return None
    answers: Answers = np.zeros((len(table), len(classes)), np.int8)
    for name in there:
        given = to_matrix(path, table[name], len(classes))
        for row, column in np.argwhere(given & (answers != Answer.NONE)):
            raise InputError(
                f"{path}: image_id {table['image_id'][row].as_py()!r}, class "
                f"{classes[column]!r}: is in {name} and in another of {', '.join(COLUMNS)}; "
                f"should be in one of them"
            )
        answers[given] = COLUMNS[name]
    return answers
