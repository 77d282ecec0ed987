"""The model file: safetensors, with all that is needed to use the model in the metadata."""

import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline import files, parquet, weights
from pipeline.errors import InputError
from pipeline.folds import Fold
from pipeline.models import Classifier, Spec


def save(path: Path, model: Classifier) -> None:
    """Write a model as safetensors; its spec is in the metadata."""
    spec = model.spec
    described = {
        "schema_version": parquet.SCHEMA_VERSION,
        "backbone": spec.backbone,
        "classes": spec.classes,
        "input_size": spec.input_size,
        "mean": spec.mean,
        "std": spec.std,
        "boost_lu": spec.boost_lu,
    }
    if spec.held_out is not None:
        described["held_out"] = asdict(spec.held_out)
    if spec.frozen_backbone:
        described["frozen_backbone"] = True
    # One key, since safetensors writes several in random order, and equal models should be
    # equal files.
    metadata = {"spml.spec": json.dumps(described, ensure_ascii=False)}
    state = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
    with files.replacing(path) as temporary:
        save_file(state, temporary, metadata)


def load(path: Path, expected: tuple[str, ...] | None = None) -> Classifier:
    """Rebuild a model from its file alone, in evaluation mode.

    Args:
        path: the file.
        expected: the classes that it should have; None takes any.

    Raises:
        InputError: the file is missing, was not written by `save`, or has other classes.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage that trains it first")
    state, metadata = weights.read_safetensors(path)
    if "spml.spec" not in metadata:
        raise InputError(f"{path}: has no metadata 'spml.spec': not a model of this pipeline")
    spec = _spec(path, metadata)
    parquet.check_same_classes(path, spec.classes, expected)
    model = Classifier(spec)
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise InputError(
            f"{path}: its weights do not fit its backbone {model.spec.backbone}"
        ) from None
    return model.to(memory_format=torch.channels_last).eval()


def _spec(path: Path, metadata: dict[str, str]) -> Spec:
    try:
        described = json.loads(metadata["spml.spec"])
        del described["schema_version"]
        for key in ("classes", "mean", "std"):
            described[key] = tuple(described[key])
        if "held_out" in described:
            described["held_out"] = Fold(**described["held_out"])
        return Spec(**described)
    except (ValueError, LookupError, TypeError):
        raise InputError(
            f"{path}: metadata 'spml.spec' = {metadata['spml.spec'][:80]!r}: should describe a "
            f"model, as the stage that trains it writes it"
        ) from None
