"""The model file: safetensors with the model's description in the metadata."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.artifacts import parquet, spec, tables
from pipeline.artifacts.run import MODEL, NO_TEACHER, Role
from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.models import backbones, boost, weights
from pipeline.models.classifier import Classifier


def save(path: Path, model: Classifier) -> None:
    """Write a model as safetensors, with its spec in the metadata."""
    state = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
    with files.atomic_write(path) as temporary:
        save_file(state, temporary, spec.describe(model.spec, state))


def load(
    path: Path,
    expected: tuple[str, ...] | None = None,
    role: Role | None = None,
    made_from: Mapping[str, str] | None = None,
) -> Classifier:
    """Rebuild a model from its file alone, in evaluation mode.

    Args:
        path: the file.
        expected: the classes that it should have; None accepts any.
        role: the role that it should have, teacher or student; None accepts any.
        made_from: the digests, by name, of the artifacts that it should have been trained on, see
            `tables.made_from`; None accepts any.

    Raises:
        InputError: the file is missing or damaged, was not written by `save`, has other
            classes or another role, or was trained on other artifacts.
    """
    _check_exists(path)
    state, metadata = weights.read_safetensors(path)
    _check_ours(path, metadata)
    described = spec.read(path, metadata, state)
    if role is not None and described.role not in (None, role):
        raise InputError(f"{path}: is a {described.role}; should be a {role}: run `dvc repro`")
    parquet.check_same_classes(path, described.classes, expected)
    tables.check_made_from(path, described.made_from, **(made_from or {}))
    problem = backbones.problem(described.backbone)
    if problem is not None:
        raise InputError(f"{path}: its backbone {described.backbone!r} {problem}")
    try:
        model = Classifier(described)
        model.load_state_dict(state)
    except (boost.NoMapsError, RuntimeError, AssertionError, ValueError):
        raise InputError(
            f"{path}: its weights do not fit its backbone {described.backbone}"
        ) from None
    model.source = str(path)
    return model.to(memory_format=torch.channels_last).eval()


def digest(folder: Path) -> str:
    """Return a digest of all model files in a folder, from the digests in their metadata.

    A folder without a teacher, because none was trained, has the digest of no file.

    Raises:
        InputError: the folder has no model file, or a file is not a model file.
    """
    found = hashlib.sha256()
    if (folder / NO_TEACHER).exists():
        return found.hexdigest()
    for path in sorted(folder.glob("*.safetensors")) or [folder / MODEL]:
        _check_exists(path)
        metadata = weights.read_metadata(path)
        _check_ours(path, metadata)
        found.update(f"{path.name} {spec.digest(path, metadata)}\n".encode())
    return found.hexdigest()


def _check_exists(path: Path) -> None:
    if (path.parent / NO_TEACHER).exists():
        raise InputError(
            f"{path}: no teacher was trained: train_teacher.source is scores; should be a model, "
            f"such as that of the student"
        )
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage that trains it first")


def _check_ours(path: Path, metadata: dict[str, str]) -> None:
    if spec.KEY not in metadata:
        raise InputError(f"{path}: has no metadata {spec.KEY!r}: not a model of this pipeline")
