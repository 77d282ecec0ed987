"""Writing so that a file is there as a whole or not at all."""

import csv
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# What a formula of a spreadsheet begins with, also in full width, and what may hide it.
FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")


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


def write_csv(path: Path, columns: dict[str, list[object]]) -> None:
    """Write columns of equal length as CSV, for people and for `dvc plots`.

    A name that a spreadsheet would take for a formula gets a ' before it, which makes it text.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(map(_as_text, columns))
        rows.writerows(map(_as_text, row) for row in zip(*columns.values(), strict=True))


def _as_text(cell: object) -> object:
    """Return a cell that no spreadsheet runs; what begins so and is a number stays one."""
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r", "\\r")  # which the writer leaves unquoted, and readers end a row at
    if not cell.startswith(FORMULA) or cell in ("-", "+"):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
