"""The source `long_table`: a row per image and class, as Open Images ships its labels.

Of most classes of an image nothing is known: neither a positive nor a negative row names them.
"""

import csv
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from pipeline.core import frames
from pipeline.core.arrays import BoolMatrix, Targets
from pipeline.core.errors import InputError, excerpt, one_line, some
from pipeline.core.params import Params
from pipeline.datasets.rows import Rows

IMAGE, LABEL, CONFIDENCE = COLUMNS = ("ImageID", "LabelName", "Confidence")
DESCRIPTION = [LABEL, "DisplayName"]
# The observed label of a confidence.
OBSERVED = {1.0: 1, 0.0: -1}


class FoldersParams(Params):
    """`prepare.long_table.folders`: the folder of the images of each file."""

    train: str
    val: str
    test: str


class LongTableParams(Params):
    """`prepare.long_table`: the files, absolute or relative to the data root.

    Attributes:
        train: a table .csv or .parquet.
        val: a table, or None to split val off train.
        test: a table.
        classes: a CSV file with LabelName and the name to show, or None to show LabelName.
        folders: the folders of the images, absolute or relative to the data root.
        suffix: follows the ImageID in the name of an image's file.
        unlisted: what a class without a row is in the images of `val` and `test`: "unknown", so
            that they need a row for each class; or "absent".
    """

    train: str
    val: str | None
    test: str
    classes: str | None
    folders: FoldersParams
    suffix: str
    unlisted: Literal["unknown", "absent"]


@dataclass(frozen=True)
class _Part:
    """A file: its images in the order of their first rows, and their labels, (N, C)."""

    image_ids: list[str]
    targets: Targets


def read(params: LongTableParams, root: Path, classes: list[str] | None) -> Rows:
    """Read a table per split with the columns ImageID, LabelName, Confidence.

    Confidence 1 is an observed positive, 0 an observed negative; what has no row is unknown. A
    row may be repeated, as for several annotators who agree. ImageID becomes the image_id. An
    image without a row for any of the classes is left out.

    Args:
        params: which files.
        root: the data root.
        classes: the classes to take, in this order; None takes all that have a row, in the order
            of the class file, else sorted.

    Raises:
        InputError: a file or a column is missing; a confidence is neither 1 nor 0, or two rows
            contradict each other; a class is unknown; an image is in two files.
    """
    files = {"train": params.train, "val": params.val, "test": params.test}
    paths = {split: root / file for split, file in files.items() if file is not None}
    tables = {
        split: frames.read_categories(path, f"prepare.long_table.{split}", COLUMNS)
        for split, path in paths.items()
    }
    described = None if params.classes is None else _descriptions(root / params.classes)
    for split, path in paths.items():
        _check_labels(path, tables[split], described, classes)
    named = _named(tables, described, classes)
    parts = {split: _part(paths[split], tables[split], named) for split in paths}
    _check_once(paths, parts)
    targets = np.concatenate([part.targets for part in parts.values()])
    splits = [split for split, part in parts.items() for _ in part.image_ids]
    known = (targets != 0).all(axis=1)
    if params.unlisted == "absent":
        known |= np.array(splits) != "train"
    folders = params.folders.model_dump()
    return Rows(
        classes=tuple(named.values()),
        image_ids=[name for part in parts.values() for name in part.image_ids],
        splits=splits,
        truth=targets == 1,
        paths=[
            f"{folders[split]}/{name}{params.suffix}"
            for split, part in parts.items()
            for name in part.image_ids
        ],
        known=known,
        targets=targets,
        files=(*paths.values(), *([root / params.classes] if params.classes else [])),
    )


def _descriptions(path: Path) -> dict[str, str]:
    """Return the name of each label; one that several labels share is followed by its label."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.reader(file, strict=True) if row]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file (prepare.long_table.classes)") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as csv: {one_line(error)}") from None
    rows = rows[1:] if rows[:1] == [DESCRIPTION] else rows
    for row in rows:
        if len(row) != 2:
            wanted = ", ".join(DESCRIPTION)
            raise InputError(f"{path}: {excerpt(row)}: should be two fields, {wanted}")
    labels, names = (Counter(row[place] for row in rows) for place in (0, 1))
    twice = [label for label, count in labels.items() if count > 1]
    if twice:
        raise InputError(f"{path}: LabelName {twice[0]!r} is there twice; should be once")
    return {label: name if names[name] == 1 else f"{name} ({label})" for label, name in rows}


def _check_labels(
    path: Path, table: pd.DataFrame, described: dict[str, str] | None, classes: list[str] | None
) -> None:
    """Refuse a label that is neither described nor, without descriptions, among the classes."""
    known = classes if described is None else list(described)
    if known is None:
        return
    row = _first(table, LABEL, set(table[LABEL].cat.categories) - set(known))
    if row is not None:
        among = "prepare.classes" if described is None else "the file prepare.long_table.classes"
        label = table[LABEL].iloc[row]
        raise InputError(f"{path}: row {row + 1}: LabelName {label!r} is not in {among}")


def _named(
    tables: dict[str, pd.DataFrame], described: dict[str, str] | None, classes: list[str] | None
) -> dict[str, str]:
    """Return the class name of each label to take, in the order of the classes."""
    there = {str(label) for table in tables.values() for label in table[LABEL].cat.categories}
    names = described or {label: label for label in classes or sorted(there)}
    if classes is None:
        return {label: name for label, name in names.items() if label in there}
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise InputError(f"prepare.classes: {twice[0]!r} appears twice; should appear once")
    label_of = {name: label for label, name in names.items()}
    unknown = [name for name in classes if name not in label_of]
    if unknown:
        raise InputError(
            f"prepare.classes = {unknown[0]!r}: is no name in the file prepare.long_table.classes; "
            f"should be one of {some(list(label_of), 20)}"
        )
    return {label_of[name]: name for name in classes}


def _part(path: Path, table: pd.DataFrame, named: dict[str, str]) -> _Part:
    """Return the images of a file, and their observed labels of the chosen classes."""
    values = _values(path, table)
    column_of = {label: column for column, label in enumerate(named)}
    of_category = [column_of.get(label, -1) for label in table[LABEL].cat.categories]
    columns = np.array(of_category, np.int64)[table[LABEL].cat.codes]
    chosen = columns >= 0
    rows, codes = pd.factorize(table[IMAGE].cat.codes[chosen])
    image_ids = table[IMAGE].cat.categories[codes].tolist()
    found: dict[int, BoolMatrix] = {}
    for value in OBSERVED.values():
        found[value] = np.zeros((len(image_ids), len(named)), np.bool_)
        of_value = values[chosen] == value
        found[value][rows[of_value], columns[chosen][of_value]] = True
    for row, column in np.argwhere(found[1] & found[-1]):
        raise InputError(
            f"{path}: ImageID {image_ids[row]!r}, LabelName {list(named)[column]!r}: has the "
            f"confidences 1 and 0; should have one of them"
        )
    return _Part(image_ids, found[1].astype(np.int8) - found[-1].astype(np.int8))


def _values(path: Path, table: pd.DataFrame) -> npt.NDArray[np.int64]:
    """Return the observed label of each row, 1 or -1."""
    row = _first(table, IMAGE, {""})
    if row is not None:
        raise InputError(f"{path}: row {row + 1}: ImageID is empty; should name an image")
    categories = table[CONFIDENCE].cat.categories
    numbers = pd.to_numeric(pd.Series(categories, dtype=object), errors="coerce").tolist()
    pairs = zip(categories, numbers, strict=True)
    wrong = {text for text, number in pairs if number not in OBSERVED}
    row = _first(table, CONFIDENCE, wrong)
    if row is not None:
        raise InputError(
            f"{path}: row {row + 1}: Confidence {excerpt(table[CONFIDENCE].iloc[row])}: should be "
            f"1 (present) or 0 (absent)"
        )
    values = np.array([OBSERVED[number] for number in numbers], np.int64)
    return values[table[CONFIDENCE].cat.codes]


def _first(table: pd.DataFrame, column: str, wrong: set[str]) -> int | None:
    """Return the first row whose value in a column is one of `wrong`; None if there is none."""
    rows = np.flatnonzero(table[column].isin(wrong))
    return int(rows[0]) if len(rows) else None


def _check_once(paths: dict[str, Path], parts: dict[str, _Part]) -> None:
    """Refuse an image that is in two of the files."""
    split_of: dict[str, str] = {}
    for split, part in parts.items():
        for name in part.image_ids:
            if name in split_of:
                other = paths[split_of[name]]
                raise InputError(
                    f"{paths[split]}: ImageID {name!r} is in {other}, too; should be in one split"
                )
            split_of[name] = split
