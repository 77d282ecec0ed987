"""Paths that depend on the machine: data root, cache folder, weights and corrections files.

They come from the environment and not from params.yaml, since they differ between machines that
should have equal results.
"""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from pipeline.core.errors import InputError, excerpt

MAX_DEPTH = 100  # folders in SPML_CACHE; Python fails on much deeper ones
WEIGHTS_SUFFIXES = (".safetensors", ".pth", ".pt")


def data_root(wanted_by: str) -> Path:
    """Return SPML_DATA_ROOT, the folder that image paths are relative to.

    Raises:
        InputError: the variable is not set, or is no folder.
    """
    value = os.environ.get("SPML_DATA_ROOT")
    if not value:
        raise InputError(
            f"SPML_DATA_ROOT is not set, but {wanted_by} needs it: "
            f"export SPML_DATA_ROOT=/the/folder/that/holds/the/images"
        )
    root = Path(value)
    if not root.is_dir():
        raise InputError(f"SPML_DATA_ROOT = {value!r}: should be a folder that exists")
    return root


def root_of(paths: Sequence[str], wanted_by: str) -> Path:
    """Return the folder to join these paths to: the data root, or / if all are absolute.

    Raises:
        InputError: the data root is needed and is not set, or is no folder.
    """
    if all(PurePosixPath(path).is_absolute() for path in paths):
        return Path("/")
    return data_root(wanted_by)


def cache_folder() -> Path:
    """Return the folder of the caches: SPML_CACHE, else .cache.

    Raises:
        InputError: it is deeper than MAX_DEPTH.
    """
    folder = Path(os.environ.get("SPML_CACHE") or ".cache")
    if len(folder.parts) > MAX_DEPTH:
        raise InputError(
            f"SPML_CACHE = {excerpt(str(folder))}: should be at most {MAX_DEPTH} folders deep"
        )
    return folder


def weights_file(weights: str | None, key: str) -> Path | None:
    """Return the file that `model.weights` names; None if it names no file.

    Args:
        weights: a file, absolute or relative to the data root; a name from torchvision; or None.
        key: its key in params.yaml, for messages.

    Raises:
        InputError: the data root is needed and is not set, or is no folder.
    """
    if weights is None or not weights.endswith(WEIGHTS_SUFFIXES):
        return None
    return root_of([weights], key) / weights


def corrections_file(corrections: str | None, key: str) -> Path | None:
    """Return the file that `pseudo_label.corrections` names; None if it names none.

    Args:
        corrections: a file, absolute or relative to the data root; or None.
        key: its key in params.yaml, for messages.

    Raises:
        InputError: the data root is needed and is not set, or is no folder.
    """
    return None if corrections is None else root_of([corrections], key) / corrections
