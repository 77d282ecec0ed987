"""Writing so that a file is there as a whole or not at all."""

import csv
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
    """Write columns of equal length as CSV, for people and for `dvc plots`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns)
        rows.writerows(zip(*columns.values(), strict=True))


def write_json(path: Path, values: dict[str, str | int]) -> None:
    """Write names and values as JSON, a line each."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
