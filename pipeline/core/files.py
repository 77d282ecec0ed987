"""Atomic writes: a file is complete or absent, even after a kill or a power cut."""

import csv
import errno
import json
import os
import platform
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from pipeline.core.errors import InputError, one_line, some

# Characters that begin a spreadsheet formula, also in full width, and white space that hides one.
FORMULA = ("=", "+", "-", "@", "\t", "\n", "＝", "＋", "－", "＠")
# Part of temporary names: processes of other machines with the same ids may share the folder.
HOST = re.sub(r"[^A-Za-z0-9]", "-", platform.node()) or "host"
# Temporary paths that this process is writing now.
_being_written: set[Path] = set()


@contextmanager
def atomic_write(path: Path, needs: int = 0, advice: str = "") -> Iterator[Path]:
    """Yield a temporary path to write to; move it to `path` when the block succeeds.

    As `atomic_write_all`, for one path.
    """
    with atomic_write_all(path, needs=needs, advice=advice) as (temporary,):
        yield temporary


@contextmanager
def atomic_write_all(*paths: Path, needs: int = 0, advice: str = "") -> Iterator[tuple[Path, ...]]:
    """Yield temporary paths to write to; move all to `paths` when the block succeeds.

    The temporary paths lie beside `paths`; each may be written as a file or as a folder. All are
    flushed to the disk before any is moved. When the block raises, or one cannot be moved, they
    are removed and `paths` stay unchanged. A killed process may leave some of several `paths`
    missing, but never old and new ones together. The next write to the same folder removes its
    temporary files.

    A path inside a folder that is being written this way is yielded unchanged.

    Args:
        paths: targets.
        needs: bytes that will be written; 0 if unknown.
        advice: for the message about a full disk.

    Raises:
        InputError: the disk is full or fails.
    """
    for folder in dict.fromkeys(path.parent for path in paths):
        folder.mkdir(parents=True, exist_ok=True)
    if any(not _being_written.isdisjoint((path, *path.parents)) for path in paths):
        yield paths
        return
    temporaries = tuple(_temporary(path, "") for path in paths)
    for folder in dict.fromkeys(path.parent for path in paths):
        _remove_leftovers(folder)
    for temporary in temporaries:
        _remove(temporary)  # of an earlier process with the same id
    _being_written.update(temporaries)
    try:
        if needs > min(shutil.disk_usage(path.parent).free for path in paths):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        yield temporaries
        for temporary in temporaries:
            _flush(temporary)
        _move(temporaries, paths)
    except Exception as error:
        problem = _write_error(error, temporaries)
        if problem is None:
            raise
        raise InputError(_message(problem, temporaries, paths, needs, advice)) from None
    finally:
        _being_written.difference_update(temporaries)
        for temporary in temporaries:
            _remove(temporary)


def check_replaceable(folder: Path, names: set[str], older: str) -> None:
    """Check that a folder does not exist or holds only these names, so that it can be replaced.

    Args:
        folder: the folder.
        names: of the files that an older one may hold.
        older: what it then is, for the message, as "page".

    Raises:
        InputError: it holds other files or is itself a file.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; should be a folder, which is replaced")
    others = sorted({path.name for path in folder.iterdir()} - names)
    if others:
        raise InputError(
            f"{folder}: holds other files, which would be lost: {some(others, 3)}; should be a "
            f"folder that does not exist, or an older {older}"
        )


def write_csv(path: Path, columns: dict[str, list[object]]) -> None:
    """Write columns of equal length as CSV, for people and for `dvc plots`.

    A leading ' turns a cell that a spreadsheet would take for a formula into text.
    """
    with path.open("w", newline="", encoding="utf-8") as file:
        write_csv_rows(file, [columns])
        write_csv_rows(file, zip(*columns.values(), strict=True))


def write_csv_rows(file: TextIO, rows: Iterable[Iterable[object]]) -> None:
    """Write rows as `write_csv` does, to a file that is open in its way."""
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows(map(_as_text, row) for row in rows)


def write_json(path: Path, values: dict[str, str | int]) -> None:
    """Write names and values as JSON, one per line."""
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _temporary(path: Path, suffix: str) -> Path:
    """Return a temporary path of this process in the folder of `path`."""
    return path.with_name(f".{path.name}.{HOST}.{os.getpid()}{suffix}.tmp")


def _remove_leftovers(folder: Path) -> None:
    """Remove temporary files of processes of this machine that have ended."""
    of_this_machine = re.compile(rf"\..+\.{HOST}\.(\d+)(\.old)?\.tmp", re.DOTALL)
    for path in list(folder.iterdir()):
        found = of_this_machine.fullmatch(path.name)
        if found and not _alive(int(found[1])):
            _remove(path)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's process
        return True
    return True


def _remove(path: Path) -> None:
    """Remove a file or a folder as far as possible; the next write tries again."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


def _flush(path: Path) -> None:
    """Flush a file, or all files in a folder, to the disk.

    A file whose name reaches the disk before its content is empty after a power cut.
    """
    if path.is_dir():
        for inner in path.iterdir():
            _flush(inner)
        _flush_folder(path)
    else:
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    # Not every file system supports this. Without it a power cut may restore the old content.
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _move(temporaries: tuple[Path, ...], paths: tuple[Path, ...]) -> None:
    """Move all temporary paths to their targets; undo all moves if one fails."""
    for temporary, path in zip(temporaries, paths, strict=True):
        if path.exists() and path.is_dir() != temporary.is_dir():
            code = errno.EISDIR if path.is_dir() else errno.ENOTDIR
            raise OSError(code, os.strerror(code), str(path))
    if len(paths) == 1 and not paths[0].is_dir():
        temporaries[0].replace(paths[0])
        _flush_folder(paths[0].parent)
        return
    old = [(path, _temporary(path, ".old")) for path in paths if os.path.lexists(path)]
    moved = []
    try:
        for source, target in (*old, *zip(temporaries, paths, strict=True)):
            source.rename(target)
            moved.append((source, target))
    except BaseException:
        for source, target in reversed(moved):
            target.rename(source)
        raise
    for folder in dict.fromkeys(path.parent for path in paths):
        _flush_folder(folder)
    for _, aside in old:
        _remove(aside)


def _write_error(error: Exception, temporaries: tuple[Path, ...]) -> OSError | None:
    """Return the OSError behind a failed write, None for other errors.

    Python and pyarrow raise an OSError, without a file name if an open file failed. safetensors
    raises its own error, with the error number in its text.
    """
    if not isinstance(error, OSError):
        found = re.search(r"\(os error (\d+)\)", str(error))
        return OSError(int(found[1]), os.strerror(int(found[1]))) if found else None
    if error.filename is None:
        return error
    named = Path(os.fsdecode(error.filename))
    return error if {named, *named.parents} & set(temporaries) else None


def _message(
    error: OSError, temporaries: tuple[Path, ...], paths: tuple[Path, ...], needs: int, advice: str
) -> str:
    """Return a one-line message: which paths could not be written, and how much room is free."""
    if error.errno != errno.ENOSPC:
        why = one_line(error) if error.errno is None else os.strerror(error.errno)
        return f"{', '.join(map(str, paths))}: cannot be written: {why}"
    # The room of the temporary files counts as free, since they are removed.
    free = {path.parent: shutil.disk_usage(path.parent).free for path in paths}
    folder = min(free, key=lambda folder: free[folder])
    room = free[folder] + sum(map(_on_disk, temporaries))
    names = ", ".join(path.name if path.parent == folder else str(path) for path in paths)
    needed = f"{_size(needs)} are needed, " if needs else ""
    return (
        f"{folder}: no space left for {names}: {needed}{_size(room)} are free; "
        f"{advice or 'should have more room'}"
    )


def _on_disk(path: Path) -> int:
    """Return the bytes that a file, or a folder's content, takes on the disk."""
    inner = [*path.rglob("*")] if path.is_dir() else [path] * path.exists()
    return sum(path.stat().st_blocks * 512 for path in inner)


def _size(n_bytes: int) -> str:
    """Format a number of bytes."""
    return f"{n_bytes / 1e9:,.1f} GB" if n_bytes >= 1e9 else f"{n_bytes / 1e6:,.2f} MB"


def _as_text(cell: object) -> object:
    """Return a cell that no spreadsheet runs as a formula; numbers stay numbers."""
    if not isinstance(cell, str):
        return cell
    cell = cell.replace("\r", "\\r")  # csv leaves it unquoted, but readers end a row there
    if not cell.startswith(FORMULA) or cell in ("-", "+"):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell
