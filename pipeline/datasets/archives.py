"""Archives as downloaded (.tar, .tgz, .zip): unpacked safely, as a whole or not at all."""

import gzip
import logging
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, NoReturn

from tqdm.auto import tqdm

from pipeline.core.errors import InputError, excerpt, one_line, some

log = logging.getLogger(__name__)

# No benchmark's archive comes near; one that says more wants to fill the disk with names.
MAX_MEMBERS = 1_000_000
# What a file takes on the disk besides its content, about.
BLOCK = 4096
CHUNK = 2**20
MAX_DEPTH = 100  # folders within each other; walking through thousands overflows the stack
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, EOFError,
    zlib.error, gzip.BadGzipFile, lzma.LZMAError,
    # what a header that says nonsense leads to: a method unknown, a number below zero
    struct.error, ValueError, NotImplementedError, RuntimeError, OverflowError,
)  # fmt: skip


@dataclass(frozen=True)
class Member:
    """A file or folder of an archive; `kind` says what else it is, where it is neither."""

    name: str
    size: int
    kind: str
    opened: Callable[[], IO[bytes] | None]


def unpack(archive: Path, into: Path) -> None:
    """Unpack an archive into a folder, with a progress bar on a terminal.

    Everything is looked at before anything is written. Refused are: a name that is absolute,
    leads out of the folder, lies more than MAX_DEPTH folders deep, has a backslash or is no
    UTF-8; links and devices; a file that is there twice; an encrypted one; more members than
    MAX_MEMBERS, or more bytes than the disk has free. Owners, modes and times of the archive
    are not taken over. The content is written into a temporary folder beside and then moved,
    so that a run that is killed leaves nothing half-written under a name that counts; a file
    that was there already is replaced.

    Raises:
        InputError: the archive is damaged or holds something of the above, or `into` cannot
            be written to.
    """
    temporary = into / f".{archive.name}.{os.getpid()}.tmp"
    left = [str(path) for path in into.glob(f".{archive.name}.*.tmp") if path != temporary]
    if left:
        log.warning("left behind by runs that were killed, if none runs now: %s", some(left))
    try:
        with _members(archive) as members:
            _check(archive, members, shutil.disk_usage(into).free)
            size = sum(member.size for member in members)
            log.info(
                "unpacking %s into %s: %s members, %.1f MB",
                archive, into, f"{len(members):,}", size / 1e6,
            )  # fmt: skip
            with tqdm(
                total=size, desc=archive.name, unit="B", unit_scale=True, disable=None, leave=False
            ) as progress:
                _write(members, temporary, progress)
        _move(temporary, into)
    except (*DAMAGED, OSError) as error:
        if isinstance(error, DAMAGED) or error.errno is None:  # bz2 has no error of its own
            raise InputError(
                f"{archive}: is truncated or damaged ({one_line(error) or type(error).__name__}); "
                f"download it again"
            ) from None
        raise InputError(
            f"{archive}: cannot be unpacked into {into}: {error.strerror or one_line(error)}"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


# --- what it holds ---------------------------------------------------------------------


@contextmanager
def _members(archive: Path) -> Iterator[list[Member]]:
    """Open an archive and list what it holds, by what its content is, not its name."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as opened:
            yield [_zip_member(opened, info) for info in opened.infolist()]
        return
    if archive.suffix == ".zip":
        raise zipfile.BadZipFile("no directory at its end")
    with tarfile.open(archive, "r:*") as tar:
        infos = []
        for info in tar:
            infos.append(info)
            if len(infos) > MAX_MEMBERS:  # the list itself would fill the memory
                break
        else:
            _check_end(tar)
        yield [_tar_member(tar, info) for info in infos]


def _check_end(tar: tarfile.TarFile) -> None:
    """Raise where the archive does not end with zeros: tarfile takes that for the end, too."""
    assert tar.fileobj is not None
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("no mark of its end")


def _tar_member(tar: tarfile.TarFile, info: tarfile.TarInfo) -> Member:
    kind = ""
    if info.issym() or info.islnk():
        kind = f"a link to {info.linkname!r}"
    elif not (info.isreg() or info.isdir()):
        kind = "a device or the like"
    name = info.name + "/" if info.isdir() else info.name
    return Member(name, info.size if info.isreg() else 0, kind, lambda: tar.extractfile(info))


def _zip_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Member:
    kind = ""
    file_type = stat.S_IFMT(info.external_attr >> 16)
    if file_type == stat.S_IFLNK:
        kind = "a link"
    elif file_type not in (0, stat.S_IFREG, stat.S_IFDIR):
        kind = "a device or the like"
    elif info.flag_bits & 1:
        kind = "encrypted"
    # orig_filename: zipfile cuts filename at a NUL and mends separators.
    return Member(info.orig_filename, info.file_size, kind, lambda: opened.open(info))


def _check(archive: Path, members: list[Member], free: int) -> None:
    """Refuse an archive for any member that is not a file or folder inside its folder."""
    if not members:
        raise InputError(f"{archive}: is empty")
    if len(members) > MAX_MEMBERS:
        raise InputError(f"{archive}: holds more than {MAX_MEMBERS:,} members")
    files = set()
    for member in members:
        problem = member.kind and f"is {member.kind}"
        problem = problem or _problem_of_name(member.name)
        if not problem and not member.name.endswith("/"):
            problem = "is there twice" if PurePosixPath(member.name) in files else ""
            files.add(PurePosixPath(member.name))
        if problem:
            raise InputError(
                f"{archive}: member {excerpt(member.name)} {problem}; nothing was unpacked, "
                f"should hold plain files and folders that stay inside"
            )
    needed = sum(member.size for member in members) + BLOCK * len(members)
    if needed > free:
        raise InputError(
            f"{archive}: needs {needed / 1e6:,.0f} MB unpacked, {free / 1e6:,.0f} MB are free"
        )


def _problem_of_name(name: str) -> str:
    path = PurePosixPath(name)
    if not name.isprintable():  # also what tarfile makes of names that are no UTF-8
        return "has a name that is not printable UTF-8"
    if "\\" in name:
        return "has a backslash in its name"
    if path.is_absolute() or PureWindowsPath(name).drive:
        return "has an absolute path"
    if ".." in path.parts:
        return "leads out of the folder"
    if len(path.parts) > MAX_DEPTH:
        return f"lies {len(path.parts) - 1} folders deep, more than {MAX_DEPTH}"
    return ""


# --- writing ---------------------------------------------------------------------------


def _write(members: list[Member], folder: Path, progress: "tqdm[NoReturn]") -> None:
    folder.mkdir()
    made = {folder}
    for member in members:
        path = folder / member.name
        parent = path if member.name.endswith("/") else path.parent
        if parent not in made:
            parent.mkdir(parents=True, exist_ok=True)
            made.add(parent)
        if parent is path:
            continue
        content = member.opened()
        assert content is not None, "only a file is opened"
        written = 0
        with content, path.open("xb") as file:
            while chunk := content.read(CHUNK):
                file.write(chunk)
                written += len(chunk)
                progress.update(len(chunk))
        if written != member.size:
            raise EOFError(f"{member.name}: {written} of {member.size} bytes")


def _move(source: Path, into: Path) -> None:
    """Move what a folder holds into another, a whole folder at a time where it is new there."""
    for path in sorted(source.iterdir(), key=lambda path: (path.is_dir(), path.name)):
        target = into / path.name
        if path.is_dir() and target.is_dir():
            _move(path, target)
        else:
            path.replace(target)
