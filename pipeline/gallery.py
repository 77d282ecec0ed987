"""The pictures of a stage: decoded once, kept as one uint8 array, taken by row number."""

import hashlib
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

from pipeline import files, images, tables
from pipeline.arrays import Pictures, RowNumbers
from pipeline.errors import InputError, excerpt, some
from pipeline.tables import Index

MAX_DEPTH = 100  # of SPML_CACHE
Use = Callable[[int, Image.Image], None]


def load(index: Index, rows: RowNumbers, size: int, embedded: Path) -> Pictures:
    """Return pictures as one array, decoded once and kept on disk.

    The array is a memory-mapped file below the cache folder (SPML_CACHE, else .cache), named
    by what it holds: a second stage finds it there, and the operating system keeps in memory
    what fits. Deleting the folder costs nothing but decoding again.

    Args:
        index: the index.
        rows: which rows of it, in this order.
        size: the side to resize to, in pixels; the aspect ratio is not kept (as in the papers).
        embedded: images.parquet, for the pictures that have no file.

    Returns:
        (len(rows), size, size, 3) uint8, RGB, read-only.

    Raises:
        InputError: a picture is missing, cannot be decoded or is not the one that prepare saw.
    """
    root = _root(index, rows)
    kept = cache_folder() / "pictures" / f"{key(index, rows, size)}.npy"
    if not kept.exists():
        with files.replacing(kept) as temporary:
            _decode_all(index, rows, size, embedded if root is None else root, temporary)
    pictures: Pictures = np.load(kept, mmap_mode="r")
    return pictures


def for_each(index: Index, rows: RowNumbers, embedded: Path, use: Use) -> None:
    """Decode pictures as they are, in parallel, and hand each over; nothing is kept.

    Args:
        index: the index.
        rows: which rows of it.
        embedded: images.parquet, for the pictures that have no file.
        use: is given the position among `rows` and the picture, RGB; called from many threads.

    Raises:
        InputError: as of `load`.
    """
    _for_each(index, rows, _root(index, rows) or embedded, use)


def key(index: Index, rows: RowNumbers, size: int) -> str:
    """Return a name for these pictures at this size."""
    root = _root(index, rows)
    digest = hashlib.sha256(f"{size} {PIL.__version__}".encode())
    for row in rows:
        what = index.sha256[row] or _stamp((root or Path()) / str(index.paths[row]))
        digest.update(f"\n{what}".encode())
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """Return the folder for what can be made again: SPML_CACHE, else .cache.

    Raises:
        InputError: it is deeper than Python can make folders.
    """
    folder = Path(os.environ.get("SPML_CACHE") or ".cache")
    if len(folder.parts) > MAX_DEPTH:
        raise InputError(
            f"SPML_CACHE = {excerpt(str(folder))}: should be at most {MAX_DEPTH} folders deep"
        )
    return folder


def _root(index: Index, rows: RowNumbers) -> Path | None:
    """Return the folder that the pictures' paths start from; None if they have no files."""
    paths = [path for path in (index.paths[row] for row in rows) if path is not None]
    return images.root_of(paths, "the index") if paths else None


def _stamp(path: Path) -> str:
    """Tell a file from others, and from itself before a change, without reading it."""
    try:
        return f"{path.resolve()} {path.stat().st_mtime_ns}"
    except OSError:
        return str(path)  # it will be missed when it is to be decoded


def _changed(index: Index, row: int, encoded: bytes) -> bool:
    """Say whether a picture is another than prepare saw, by its hash where that is known."""
    known = index.sha256[row]
    if known is not None:
        return hashlib.sha256(encoded).hexdigest() != known
    return bool(0 <= index.sizes[row] != len(encoded))


def _decode_all(index: Index, rows: RowNumbers, size: int, source: Path, path: Path) -> None:
    """Write the array of `load`; `source` is the data root, or images.parquet."""
    # Running out of disk below a memory-mapped array would kill the process without a word.
    needed, free = len(rows) * size * size * 3, shutil.disk_usage(path.parent).free
    if needed > free:
        raise InputError(
            f"{path.parent}: {needed / 1e9:.1f} GB are needed to keep {len(rows):,} pictures of "
            f"{size} x {size} pixels, {free / 1e9:.1f} GB are free; SPML_CACHE should name a "
            f"folder with more room"
        )
    pictures = np.lib.format.open_memmap(
        path, mode="w+", dtype=np.uint8, shape=(len(rows), size, size, 3)
    )

    def keep(position: int, picture: Image.Image) -> None:
        if picture.size != (size, size):
            picture = picture.resize((size, size), Image.Resampling.BILINEAR)
        pictures[position] = np.asarray(picture)

    _for_each(index, rows, source, keep)
    pictures.flush()


def _for_each(index: Index, rows: RowNumbers, source: Path, use: Use) -> None:
    """Decode pictures from the data root or images.parquet, as `for_each` does."""
    has_file = index.paths[rows[0]] is not None
    encoded = [] if has_file else tables.read_images(source, index.ids(rows))

    def decode(position: int) -> str | None:
        row = rows[position]
        name = index.paths[row] if has_file else index.image_ids[row]
        with ExitStack() as until_used:
            try:
                data = (source / str(name)).read_bytes() if has_file else encoded[position]
                if _changed(index, row, data):
                    return (
                        f"{name} (has changed since prepare: run it again, `dvc repro -f prepare`)"
                    )
                picture = until_used.enter_context(images.decoded(data))
            except FileNotFoundError:
                return f"{name} (no such file)"
            except (OSError, ValueError) as error:
                return f"{name} ({error})"
            use(position, picture)
        return None

    done = images.in_parallel(decode, range(len(rows)), "decoding the pictures")
    problems = [problem for problem in done if problem is not None]
    if problems:
        raise InputError(
            f"{source}: {len(problems)} of {len(rows)} pictures cannot be read: {some(problems)}"
        )
