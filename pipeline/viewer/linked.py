"""The addresses of image files, for a page that loads the images from where they are."""

from typing import TypedDict

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.artifacts.tables import Index
from pipeline.core import places
from pipeline.core.arrays import RowNumbers
from pipeline.core.errors import InputError
from pipeline.core.parallel import in_parallel
from pipeline.images import decode_cache, reading

SAMPLE = 40  # images whose size is read


class Files(TypedDict):
    """The addresses of n files.

    Attributes:
        folder: the address of a folder.
        names: addresses relative to it; absolute ones of files outside of it.
    """

    folder: str
    names: list[str]


def files(index: Index, rows: RowNumbers) -> Files:
    """Return the addresses of the images of these rows.

    Raises:
        InputError: the images have no files, or a file is missing.
    """
    paths = [index.paths[row] for row in rows]
    named = [path for path in paths if path is not None]
    if len(named) < len(paths):
        raise InputError(
            f"--no-thumbnails: the images are in {index.images} and not in files, so the page "
            f"cannot load them; should be --thumbnails"
        )
    root = places.root_of(named, "the index").resolve()
    missing = in_parallel(
        lambda path: None if (root / path).is_file() else f"{path} (no such file)",
        named,
        "looking for the images",
    )
    reading.check_all_read(root, missing)
    folder = root.as_uri().rstrip("/") + "/"
    return {
        "folder": folder,
        "names": [(root / path).as_uri().removeprefix(folder) for path in named],
    }


def sizes(index: Index, rows: RowNumbers) -> npt.NDArray[np.int64]:
    """Return widths and heights of some of the images, (n, 2).

    Raises:
        InputError: an image cannot be read, as in `decode_cache.load`.
    """
    sample = rows[np.linspace(0, len(rows) - 1, min(SAMPLE, len(rows))).astype(np.int64)]
    found = np.zeros((len(sample), 2), np.int64)

    def keep(position: int, image: Image.Image) -> None:
        found[position] = image.size

    decode_cache.for_each(index, sample, keep)
    return found
