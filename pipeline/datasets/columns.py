"""Turn the columns of a user's table into `Rows`.

The columns are image and labels. Given observed labels are in observed and, optionally, in
observed_negatives.
"""

import json
from collections.abc import Iterable
from contextlib import suppress
from math import isnan
from numbers import Integral
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.core.arrays import BoolMatrix, Targets
from pipeline.core.errors import InputError, one_line, some
from pipeline.datasets import image_column
from pipeline.datasets.rows import Rows
from pipeline.datasets.user_table import UserTable, place

# The label names of a row; None if its labels are unknown.
Names = list[str] | None
LABELS = ("labels", "observed", "observed_negatives")


def to_rows(tables: list[UserTable], classes: list[str] | None, given: bool) -> Rows:
    """Turn tables into the rows of a source, in the order of the tables.

    Args:
        tables: the tables.
        classes: the classes to take, in this order; None takes the declared classes, or all
            names in the tables, sorted.
        given: whether to read observed labels; complete labels may then be missing.

    Raises:
        InputError: a label is invalid or not among the classes; the observed labels contradict
            the complete ones or each other; an image is missing or listed twice.
    """
    declared = _declared(tables)
    lists = {name: _lists(tables, name, given) for name in LABELS[: 3 if given else 1]}
    named = _classes(tables[0].where, classes, declared, lists)
    matrices = {name: _matrix(tables, name, lists[name], named, declared) for name in lists}
    known = np.array([names is not None for names in lists["labels"]], dtype=np.bool_)
    targets = _targets(tables, matrices, known, named) if given else None
    image_ids, paths, images = image_column.read(tables)
    splits = [split for table in tables for split in table.splits]
    return Rows(named, image_ids, splits, matrices["labels"], paths, images, known, targets)


def check_columns(where: object, found: Iterable[object], needed: Iterable[str]) -> None:
    """Check that a table has the columns that it needs.

    Raises:
        InputError: a column is missing; the message begins with `where`.
    """
    names = [str(name) for name in found]
    missing = [name for name in needed if name not in names]
    if missing:
        there = one_line(", ".join(names))
        raise InputError(f"{where}: column {missing[0]!r} is missing; its columns are {there}")


def features(where: object, metadata: bytes) -> dict[str, Any]:
    """Return the column descriptions that Hugging Face `datasets` wrote into a schema.

    Raises:
        InputError: the metadata is invalid; the message begins with `where`.
    """
    try:
        found = json.loads(metadata)
        # null means: no description.
        for key in ("info", "features"):
            found = found.get(key) or {}
        found.keys()
    except (ValueError, AttributeError, RecursionError):
        raise InputError(
            f"{where}: metadata 'huggingface' = {metadata[:80]!r}: should be an object as datasets "
            f'writes it, {{"info": {{"features": ...}}}}'
        ) from None
    return dict(found)


def class_names(feature: Any) -> tuple[str, ...] | None:
    """Return the class names of a list of Hugging Face ClassLabels; None for other features.

    Different versions of `datasets` write a list as "List", "Sequence" or a JSON list.
    """
    item = feature[0] if isinstance(feature, list) and feature else feature
    if isinstance(item, dict) and item.get("_type") in ("List", "LargeList", "Sequence"):
        item = item.get("feature")
    names = item.get("names") if isinstance(item, dict) else None
    if isinstance(names, list) and all(isinstance(name, str) for name in names):
        return tuple(names)
    return None


# --- labels ----------------------------------------------------------------------------


def _declared(tables: list[UserTable]) -> tuple[str, ...] | None:
    """Return the classes that the tables declare; None if they declare none."""
    found: tuple[str, ...] | None = None
    for table in tables:
        for names in table.declared.values():
            if found is not None and names != found:
                raise InputError(
                    f"{table.where}: its classes are {some(list(names))}; should be the same "
                    f"everywhere, here {some(list(found))}"
                )
            found = names
    return found


def _lists(tables: list[UserTable], column: str, given: bool) -> list[Names]:
    """Return the label names in a column of all tables; None for each row without the column."""
    lists: list[Names] = []
    for table in tables:
        if column == "observed":
            wanted_by = f"prepare.observe.process = given: {table.where}"
            check_columns(wanted_by, table.frame.columns, [column])
        if column not in table.frame.columns:
            lists += [None] * len(table.frame)
            continue
        names = table.declared.get(column)
        for row, value in enumerate(table.frame[column]):
            lists.append(_names(table.where, row, column, value, names, given))
    return lists


def _names(
    where: str, row: int, column: str, value: Any, declared: tuple[str, ...] | None, given: bool
) -> Names:
    if given and (value is None or value is pd.NA or (isinstance(value, float) and isnan(value))):
        return None
    if isinstance(value, str) and value.startswith(('["', "[]")):
        with suppress(ValueError, RecursionError):  # if it is no JSON, the error below says so
            value = json.loads(value)
    elif isinstance(value, str) and "," not in value:
        return value.split()
    if isinstance(value, list | np.ndarray):
        if all(isinstance(name, str) for name in value):
            return list(value)
        if declared is not None and all(isinstance(number, Integral) for number in value):
            outside = [number for number in value if not 0 <= number < len(declared)]
            if outside:
                raise InputError(
                    f"{where}: row {row + 1}: {column}: class number {outside[0]}: should be "
                    f"from 0 to {len(declared) - 1}"
                )
            return [declared[number] for number in value]
    raise InputError(
        f"{where}: row {row + 1}: {column} = {one_line(repr(value))}: should be names separated "
        f"by spaces, or a list of names"
    )


def _classes(
    where: str,
    wanted: list[str] | None,
    declared: tuple[str, ...] | None,
    lists: dict[str, list[Names]],
) -> tuple[str, ...]:
    if wanted is None:
        names = {name for column in lists.values() for row in column for name in row or ()}
        return declared or tuple(sorted(names))
    unknown = [name for name in wanted if declared is not None and name not in declared]
    if declared is not None and unknown:
        raise InputError(
            f"prepare.classes = {unknown[0]!r}: is not a class of {where}; should be one of "
            f"{some(list(declared), 20)}"
        )
    return tuple(wanted)


def _matrix(
    tables: list[UserTable],
    column: str,
    lists: list[Names],
    classes: tuple[str, ...],
    declared: tuple[str, ...] | None,
) -> BoolMatrix:
    """Return the labels of a column, (N, C), True where a class is named.

    If the tables declare no classes, a name outside `classes` is an error: it is probably a typo.
    """
    number = {name: place for place, name in enumerate(classes)}
    matrix = np.zeros((len(lists), len(classes)), dtype=np.bool_)
    for row, names in enumerate(lists):
        for name in names or ():
            if name in number:
                matrix[row, number[name]] = True
            elif declared is None or name not in declared:
                kind = "label" if column == "labels" else column
                among = "in prepare.classes" if declared is None else "among the classes"
                raise InputError(f"{place(tables, row)}: {kind} {name!r} is not {among}")
    return matrix


def _targets(
    tables: list[UserTable],
    matrices: dict[str, BoolMatrix],
    known: npt.NDArray[np.bool_],
    classes: tuple[str, ...],
) -> Targets:
    """Return the given observed labels, (N, C); refuse contradictions."""
    truth = matrices["labels"]
    positive, negative = matrices["observed"], matrices["observed_negatives"]
    for wrong, problem in (
        (positive & negative, "is in observed and in observed_negatives; should be in one of them"),
        (positive & ~truth & known[:, None], "is in observed, but not among its labels"),
        (negative & truth, "is in observed_negatives, but among its labels"),
    ):
        found = np.argwhere(wrong)
        if len(found):
            row, column = found[0]
            raise InputError(f"{place(tables, row)}: {classes[column]!r} {problem}")
    return positive.astype(np.int8) - negative.astype(np.int8)
