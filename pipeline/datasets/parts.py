"""A user's table, or one of several that belong together, before it is read as `Rows`."""

from dataclasses import dataclass

import pandas as pd


@dataclass(frozen=True)
class Part:
    """A table, or one of several that belong together.

    Attributes:
        where: the file or folder, for messages.
        frame: with a column image, and others of image_id, labels, observed,
            observed_negatives.
        splits: the split of each row.
        declared: the names that the numbers of a column of labels stand for.
    """

    where: str
    frame: pd.DataFrame
    splits: list[str]
    declared: dict[str, tuple[str, ...]]


def place(parts: list[Part], row: int) -> str:
    """Say where a row of all parts is: the file and its own row number, from 1."""
    for part in parts:
        if row < len(part.frame):
            return f"{part.where}: row {row + 1}"
        row -= len(part.frame)
    raise IndexError(row)
