"""A sheet of labelled images, as a PNG."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from pipeline.core import files
from pipeline.core.arrays import Probs
from pipeline.core.errors import InputError
from pipeline.figures.canvas import canvas, short
from pipeline.images import reading
from pipeline.prediction.find import Named

MOST = 48  # images on a sheet
LINES = 4  # labels under an image
COLUMNS = 6
# Lengths in inches; SIDE in pixels, too.
CELL, SIDE, LINE = 2.2, 2.0, 0.19
PIXELS = 300


def check_suffix(path: Path) -> None:
    """Check that a sheet can be written.

    Raises:
        InputError: it has another suffix than .png.
    """
    if path.suffix != ".png":
        raise InputError(f"--sheet = {path}: should end in .png")


def draw(
    path: Path, images: Sequence[Named], labels: Sequence[list[str]], scores: Sequence[Probs]
) -> None:
    """Draw up to MOST images with their names, and up to LINES labels each.

    Args:
        path: the PNG to write.
        images: were read before.
        labels: of each image, the highest score first.
        scores: of each label.
    """
    with TemporaryDirectory() as folder, files.atomic_write(path) as temporary:
        drawn = Path(folder, "sheet.png")
        _draw(drawn, images, labels, scores)
        temporary.write_bytes(drawn.read_bytes())


def _draw(
    path: Path, images: Sequence[Named], labels: Sequence[list[str]], scores: Sequence[Probs]
) -> None:
    columns = min(COLUMNS, len(images))
    cell = SIDE + 0.15 + LINE * (LINES + 1)
    width, height = columns * CELL, -(-len(images) // columns) * cell
    with canvas(path, width=width, height=height, layout=None) as figure:
        for number, image in enumerate(images):
            x, y = number % columns * CELL + 0.06, height - (number // columns + 1) * cell
            axis = figure.add_axes((x / width, y / height, CELL / width, cell / height))
            with reading.decoded(image.encoded()) as decoded:
                # As large as it fits, in the middle of the square.
                decoded.thumbnail((PIXELS, PIXELS))
                pixels = np.asarray(decoded)
            scale = SIDE / max(pixels.shape[:2])
            tall, wide = pixels.shape[0] * scale, pixels.shape[1] * scale
            left, top = (SIDE - wide) / 2, (SIDE - tall) / 2
            smooth = None if max(pixels.shape[:2]) >= 100 else "nearest"
            axis.imshow(pixels, extent=(left, left + wide, top + tall, top), interpolation=smooth)
            axis.set(xlim=(0, CELL), ylim=(cell, 0))
            axis.axis("off")
            lines = [
                f"{short(name, 18)} {score:.2f}"
                for name, score in zip(labels[number], scores[number], strict=True)
            ]
            if len(lines) > LINES:
                lines[LINES - 1 :] = [f"and {len(lines) - LINES + 1} more"]
            for line, text in enumerate([_end(image.name), *(lines or ["–"])]):
                axis.text(
                    0, SIDE + 0.05 + LINE * line, text, fontsize=9, verticalalignment="top",
                    color="#5F5F5F" if line == 0 else "black",
                )  # fmt: skip


def _end(name: str) -> str:
    """Return the last part of a name, short."""
    return short(Path(name).name or name, 24)
