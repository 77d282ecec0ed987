"""What can be made again and is kept: files that end in a digest of all that is before it.

A disk that fails, a full one, a copy that broke off or a stray edit leave a file that looks
like any other. It is found when it is opened: each file is read once before it is used, and its
last 32 bytes must be the digest of its name and of the bytes before. That is one file, so there
is no moment at which it is there and its digest is not; numpy reads an array from its beginning
and does not mind them.
"""

import hashlib
import logging
import os
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline import files

log = logging.getLogger(__name__)

ADVICE = "SPML_CACHE should name a folder with more room"
DIGEST = 32  # bytes
BLOCK = 2**26  # bytes, the part of a file that one thread reads
BUFFER = 2**18  # bytes, which a core's cache holds


class DamagedError(Exception):
    """A kept file is not as it was written. The message says what is wrong, without its name."""


def array(path: Path) -> np.ndarray | None:
    """Return a kept array, memory-mapped, read-only; None where it is to be made (again).

    All of it is read to see that it is whole; a warning names one that is not.
    """
    try:
        _check(path, path.name)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        log.warning("%s: %s; it is made again", path, error)
        return None
    return opened(path)


def opened(path: Path) -> np.ndarray:
    """Return a kept array as `array` does, without a look at whether it is whole."""
    loaded: np.ndarray = np.load(path, mmap_mode="r")
    return loaded


@contextmanager
def making(path: Path, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Iterator[np.ndarray]:
    """Give an array to fill; it is kept when the block ends well.

    Raises:
        InputError: there is no room for it.
    """
    needs = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    with files.replacing(path, needs, ADVICE) as temporary:
        made = np.lib.format.open_memmap(temporary, mode="w+", dtype=dtype, shape=shape)
        # A disk that is full below a memory-mapped array kills the process without a word.
        if hasattr(os, "posix_fallocate"):
            with temporary.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, temporary.stat().st_size)
        yield made
        made.flush()
        _seal(temporary, path.name)


def write(path: Path, content: bytes) -> None:
    """Keep some bytes.

    Raises:
        InputError: there is no room for them.
    """
    with files.replacing(path, len(content), ADVICE) as temporary:
        temporary.write_bytes(content)
        _seal(temporary, path.name)


def read(path: Path, name: str) -> bytes:
    """Return the bytes that were kept under a file name, whatever `path` is called now.

    Raises:
        FileNotFoundError: there is no such file.
        DamagedError: it is not as it was written.
    """
    _check(path, name)
    return path.read_bytes()[:-DIGEST]


def _seal(path: Path, name: str) -> None:
    """Append the digest to a file that is to be called `name`."""
    digest = _digest(path, path.stat().st_size, name)
    with path.open("ab") as file:
        file.write(digest)


def _check(path: Path, name: str) -> None:
    """Read a file whole and compare it with its digest."""
    try:
        length = path.stat().st_size - DIGEST
        if length < 0:
            raise DamagedError("is damaged: it is cut off")
        with path.open("rb") as file:
            file.seek(length)
            expected = file.read()
        digest = _digest(path, length, name)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DamagedError(f"cannot be read: {error.strerror}") from None
    if digest != expected:
        raise DamagedError("is damaged: its content is not what was written")


def _digest(path: Path, length: int, name: str) -> bytes:
    """Return a digest of a file's first bytes and of its name.

    CRC-32 is as fast as memory, finds what chance can do to a block, and lets other threads run.
    """

    def of_block(start: int) -> int:
        crc, left = 0, min(BLOCK, length - start)
        buffer = memoryview(bytearray(min(BUFFER, left)))
        with path.open("rb", buffering=0) as file:
            file.seek(start)
            while left and (n := file.readinto(buffer[:left])):
                crc = zlib.crc32(buffer[:n], crc)
                left -= n
        return crc

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        crcs = list(pool.map(of_block, range(0, length, BLOCK)))
    digest = hashlib.sha256(f"{name} {length}".encode())
    digest.update(np.array(crcs, "<u4").tobytes())
    return digest.digest()
