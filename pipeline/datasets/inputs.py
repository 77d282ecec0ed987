"""Describe inputs from outside the project: annotations, images, weights, corrections.

DVC watches files of the project only. Each run therefore describes the files outside it in small
files inside it, on which the stages depend. If an outside file changes under the same name, its
description changes.
"""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from pipeline.core import files, hashes, identity, kept, places
from pipeline.core.errors import InputError
from pipeline.datasets.prepare import (
    BENCHMARKS,
    EMBEDDED,
    PrepareParams,
    read_source,
    root_of_source,
)

Description = dict[str, Any]


def of_data(params: PrepareParams) -> Description:
    """Describe the annotations that `prepare` reads, and the images that they name.

    Returns:
        The source and, unless it is embedded: `annotations`, the SHA-256 of each file by its path
        below the data root; `images`, their number, the number of missing ones and the SHA-256
        of all paths and contents.

    Raises:
        InputError: the source is invalid.
    """
    if params.source in EMBEDDED:
        return {"source": params.source}
    root = root_of_source(params)
    annotations, paths = _read(params, root)
    described: Description = {"source": params.source, "annotations": annotations}
    if paths:
        contents = hashes.of_files([os.path.join(root, path) for path in paths])  # noqa: PTH118
        described["images"] = {
            "count": len(paths),
            "missing": contents.count(None),
            "sha256": identity.name_of(paths, contents),
        }
    return described


def of_weights(weights: str | None, key: str) -> Description:
    """Describe the initial weights of a training, as `model.weights` names them.

    Args:
        weights: a file, one of torchvision's names (which identifies the weights), or None.
        key: the key in params.yaml, for messages.

    Raises:
        InputError: the file does not exist.
    """
    path = places.weights_file(weights, key)
    if path is None:
        return {"weights": weights}
    return {"weights": weights, "sha256": _sha256(path, key)}


def of_file(file: str | None, path: Path | None, key: str) -> Description:
    """Describe a file that params.yaml names.

    Args:
        file: its name there; None if it names none.
        path: its path.
        key: its key in params.yaml, for messages.

    Raises:
        InputError: the file does not exist.
    """
    if path is None:
        return {"file": file}
    return {"file": file, "sha256": _sha256(path, key)}


def write(path: Path, described: Description) -> None:
    """Write a description as readable JSON."""
    with files.atomic_write(path) as temporary:
        temporary.write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _sha256(path: Path, key: str) -> str:
    (sha256,) = hashes.of_files([path])
    if sha256 is None:
        raise InputError(f"{path}: no such file ({key})")
    return sha256


def _read(params: PrepareParams, root: Path) -> tuple[dict[str, str | None], list[str]]:
    """Return the annotation files with their hashes, and the paths of the images.

    Reading a source can take minutes, so the result is cached. It is valid while the files that
    were read have the same content and the folders around them list the same names: a benchmark's
    reader might prefer a new file, such as the arrays of NUS-WIDE or a new folder of images.
    """
    key = identity.name_of(str(root), params.in_use(), identity.code("pipeline.datasets.prepare"))
    path = places.cache_folder() / "sources" / f"{key}.json"
    with contextlib.suppress(FileNotFoundError, kept.DamagedError):
        found: Description = json.loads(kept.read(path, path.name))
        same = _hashed(root, found["annotations"]) == found["annotations"]
        if same and found["beside"] == _beside(params, root):
            return found["annotations"], found["images"]
    rows = read_source(params)
    names = sorted(_relative(path, root) for path in rows.files)
    found = {
        "annotations": _hashed(root, names),
        "images": rows.paths or [],
        "beside": _beside(params, root),  # computed last: reading may have unpacked archives
    }
    kept.write(path, json.dumps(found).encode())
    return found["annotations"], found["images"]


def _beside(params: PrepareParams, root: Path) -> str | None:
    """Return a digest of the names in the folders that a benchmark's reader searches.

    Return None for the other sources: params.yaml names their files.
    """
    if params.source not in (*BENCHMARKS, "voc2012"):
        return None
    return identity.name_of({path.name: _listed(path) for path in root.iterdir()})


def _listed(folder: Path) -> list[str]:
    """Return the names in a folder; none if it is a file or cannot be read."""
    try:
        return sorted(os.listdir(folder))  # noqa: PTH208  Path would create an object per name
    except OSError:
        return []


def _hashed(root: Path, names: Any) -> dict[str, str | None]:
    return dict(zip(names, hashes.of_files([root / name for name in names]), strict=True))


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
