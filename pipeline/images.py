"""Picture files: where they are, and how to read them right whatever their mode.

No torch here: `prepare` only looks at the files.
"""

import hashlib
import io
import logging
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm.auto import tqdm

from pipeline.errors import InputError, one_line, some

log = logging.getLogger(__name__)

Pictures = npt.NDArray[np.uint8]
T = TypeVar("T")
R = TypeVar("R")

# A larger picture is refused before it is decoded. Pillow's own limit only warns between one
# and two times its value, so it is switched off.
MAX_PIXELS = 2**27
Image.MAX_IMAGE_PIXELS = None

WHITE = (255, 255, 255, 255)
# What turns a picture upright, by its EXIF orientation; 1 is upright.
UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def data_root(wanted_by: str) -> Path:
    """Return the folder that relative paths of pictures start from, from SPML_DATA_ROOT.

    It comes from the environment and not from params.yaml, because it differs between
    machines that should have equal results.

    Raises:
        InputError: the variable is not set, or is no folder.
    """
    value = os.environ.get("SPML_DATA_ROOT")
    if not value:
        raise InputError(
            f"SPML_DATA_ROOT is not set, but {wanted_by} needs it: "
            f"export SPML_DATA_ROOT=/the/folder/that/holds/the/pictures"
        )
    root = Path(value)
    if not root.is_dir():
        raise InputError(f"SPML_DATA_ROOT = {value!r}: should be a folder that exists")
    return root


def root_of(paths: Sequence[str], wanted_by: str) -> Path:
    """Return what to join these paths to: the data root, or / where all are absolute.

    Raises:
        InputError: the data root is needed and is not set, or is no folder.
    """
    if all(PurePosixPath(path).is_absolute() for path in paths):
        return Path("/")
    return data_root(wanted_by)


# --- one picture -----------------------------------------------------------------------


def decode(encoded: bytes) -> Image.Image:
    """Decode a picture to 8-bit RGB, upright.

    The EXIF orientation is applied; 16-bit grey is scaled to 8 bits, not clipped;
    transparent parts show white, as on a page; CMYK and palettes are converted.

    Raises:
        ValueError: it cannot be decoded, or has more than MAX_PIXELS pixels.
    """
    try:
        picture: Image.Image = Image.open(io.BytesIO(encoded))
        width, height = picture.size
        if width * height > MAX_PIXELS:
            raise ValueError(f"{width} x {height} pixels, more than {MAX_PIXELS:,}")
        picture.load()  # Image.open reads no more than the header
        turn = UPRIGHT.get(_orientation(picture))
        return _to_rgb(picture if turn is None else picture.transpose(turn))
    except UnidentifiedImageError:
        raise ValueError("no picture format known" if encoded else "empty file") from None
    except Exception as error:  # on damaged files, Pillow's plugins raise nearly anything
        raise ValueError(one_line(error) or type(error).__name__) from None


def _orientation(picture: Image.Image) -> object:
    """Return the EXIF orientation; None where there is none, or the EXIF is malformed.

    That must not cost the picture. ImageOps.exif_transpose fails on it, in many ways.
    """
    try:
        return picture.getexif().get(ExifTags.Base.Orientation)
    except Exception:
        return None


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        grey = np.asarray(picture, dtype=np.float64) / 257  # 65535 becomes 255
        grey8 = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
        return Image.fromarray(grey8).convert("RGB")
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, WHITE), picture)
    return picture.convert("RGB")


def squeezed(picture: Image.Image, size: int) -> npt.NDArray[np.uint8]:
    """Return an RGB picture as (size, size, 3); its aspect ratio is not kept, as in the papers."""
    if picture.size != (size, size):
        picture = picture.resize((size, size), Image.Resampling.BILINEAR)
    return np.asarray(picture)


# --- looking at the files --------------------------------------------------------------


def inspect(paths: list[str], verify: bool) -> tuple[npt.NDArray[np.int64], list[str | None]]:
    """Look at every picture file, in parallel; log how many there are, and of what sizes.

    Without `verify` an index can be made before the pictures are there: those that are missing
    are told as a warning.

    Args:
        paths: posix paths, absolute or relative to the data root.
        verify: whether to decode each; it is read in any case.

    Returns:
        The sizes in bytes and the sha256 hex digests, -1 and None for a picture that is missing.

    Raises:
        InputError: pictures cannot be read, or with `verify` are missing or cannot be decoded;
            up to ten are named, with the count.
    """
    root = root_of(paths, "the source")
    sides: list[tuple[int, int]] = []

    def look(path: str) -> tuple[int, str | None, str | None]:
        try:
            encoded = (root / path).read_bytes()
            if verify:
                sides.append(decode(encoded).size)
            return len(encoded), hashlib.sha256(encoded).hexdigest(), None
        except FileNotFoundError:
            return -1, None, f"{path} (no such file)" if verify else None
        except OSError as error:
            return -1, None, f"{path} ({error.strerror})"
        except ValueError as error:
            return -1, None, f"{path} ({error})"

    looked = list(in_parallel(look, paths, "looking at the pictures"))
    problems = [problem for _, _, problem in looked if problem is not None]
    if problems:
        raise InputError(
            f"{root}: {len(problems)} of {len(paths)} pictures cannot be read: {some(problems)}"
        )
    absent = [path for path, (size, _, _) in zip(paths, looked, strict=True) if size < 0]
    if absent:
        log.warning(
            "%s: %s of %s pictures are not there: %s",
            root, f"{len(absent):,}", f"{len(paths):,}", some(absent),
        )  # fmt: skip
    sizes = np.array([size for size, _, _ in looked], np.int64)
    if verify and sides:
        smallest, largest = (by(sides, key=math.prod) for by in (min, max))
        log.info(
            "all %s picture files decode: %.1f MB, from %d x %d to %d x %d pixels",
            f"{len(paths):,}", sizes.sum() / 1e6, *smallest, *largest,
        )  # fmt: skip
    return sizes, [sha for _, sha, _ in looked]


def verify(image_ids: list[str], pictures: list[bytes], source: str) -> None:
    """Decode every encoded picture, in parallel.

    Raises:
        InputError: some cannot be decoded; up to ten are named, with the count.
    """

    def look(row: int) -> str | None:
        try:
            decode(pictures[row])
        except ValueError as error:
            return f"{image_ids[row]} ({error})"
        return None

    looked = in_parallel(look, range(len(pictures)), "looking at the pictures")
    problems = [problem for problem in looked if problem is not None]
    if problems:
        raise InputError(
            f"{source}: {len(problems)} of {len(pictures)} pictures cannot be read: "
            f"{some(problems)}"
        )


def file_name(image_id: str, encoded: bytes) -> str:
    """Return a name for a picture's file, which tells its format as far as it is known."""
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            kind = (picture.format or "").lower()
    except Exception:  # on damaged files, Pillow's plugins raise nearly anything
        return image_id
    suffix = {"jpeg": ".jpg", "mpo": ".jpg", "jpeg2000": ".jp2"}.get(kind, f".{kind}")
    usual = {".jpg": (".jpg", ".jpeg"), ".tiff": (".tif", ".tiff")}.get(suffix, (suffix,))
    return image_id if image_id.lower().endswith(usual) else f"{image_id}{suffix}"


def fingerprints(pictures: list[bytes]) -> tuple[npt.NDArray[np.int64], list[str | None]]:
    """Return the sizes in bytes and sha256 hex digests of encoded pictures."""
    sizes = np.array([len(encoded) for encoded in pictures], np.int64)
    return sizes, [hashlib.sha256(encoded).hexdigest() for encoded in pictures]


def in_parallel(function: Callable[[T], R], items: Iterable[T], what: str) -> Iterable[R]:
    """Map over items in order, on all cores, with a progress bar on a terminal.

    Threads do: Pillow lets go of the interpreter's lock while it decodes.
    """
    items = list(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from tqdm(pool.map(function, items), what, len(items), disable=None, leave=False)
