"""Arrays as base64 texts for the page; labels.js decodes them."""

import base64

import numpy as np
import numpy.typing as npt

from pipeline.core.arrays import Probs


def bits(array: npt.NDArray[np.bool_]) -> str:
    """Return one bit per entry, the lowest bit of a byte first; "" if all are False."""
    return _text(np.packbits(array, bitorder="little")) if array.any() else ""


def floats(array: Probs) -> str:
    """Return little-endian float32: a browser compares the very scores that Python compares."""
    return _text(array.astype("<f4", copy=False))


def _text(array: npt.NDArray[np.generic]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).data).decode()
