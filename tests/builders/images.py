"""Small image files."""

import io
from pathlib import Path

import numpy as np
from PIL import Image


def encoded(seed: int = 0, size: tuple[int, int] = (30, 20), kind: str = "PNG") -> bytes:
    """Return an image of noise, encoded."""
    pixels = np.random.RandomState(seed).randint(256, size=(size[1], size[0], 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def write(*paths: Path) -> None:
    """Write an image of noise to each path, another to each."""
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(seed))
