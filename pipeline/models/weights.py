"""Initial weights: torchvision's or timm's, or a local file, read without running its code."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError

import safetensors
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from pipeline.artifacts import spec
from pipeline.artifacts.spec import RGB, State
from pipeline.core import places
from pipeline.core.errors import InputError, one_line
from pipeline.models import timm_backbones
from pipeline.models.backbones import OWN

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CENTRED = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
# The most wrappers around a state that are unwrapped. A file may hold a state that holds itself.
MOST_WRAPPED = 3

# Layer names in torchvision's older weight files, and the names in its current models.
RENAMED = (
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


@dataclass(frozen=True)
class Start:
    """An initial state, or None, and the normalisation that belongs to it."""

    state: State | None
    mean: RGB
    std: RGB


def read(backbone: str, weights: str | None, key: str) -> Start:
    """Read the weights that `model.weights` names.

    The normalisation is torchvision's or timm's for their weights, the stored one for a model
    file of this pipeline, and for other files that of timm for a backbone of timm, else
    ImageNet's. Without weights it maps images to -1..1.

    Args:
        backbone: the backbone that the weights should fit.
        weights: one of torchvision's names, "pretrained" for a backbone of timm, a file (absolute
            or relative to the data root), or None.
        key: the key in params.yaml, for messages.

    Raises:
        InputError: the weights or the file do not exist; the file does not hold weights alone.
    """
    if weights is None:
        return Start(None, *CENTRED)
    path = places.weights_file(weights, key)
    if path is not None:
        return _from_file(path, key, backbone)
    if timm_backbones.is_one(backbone):
        return _of_timm(backbone, weights, key)
    known = [] if backbone in OWN else torchvision.models.get_model_weights(backbone)
    by_name: dict[str, Any] = {entry.name: entry for entry in known}
    if weights not in by_name:
        names = ", ".join(by_name) or "no weights"
        raise InputError(
            f"{key} = {weights!r}: should be null, a file ending in "
            f"{', '.join(places.WEIGHTS_SUFFIXES)}, or of torchvision ({backbone} has {names})"
        )
    chosen = by_name[weights]
    try:
        state = chosen.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise InputError(
            f"{key} = {weights!r}: cannot be downloaded ({one_line(error)}); "
            f"give a local file instead"
        ) from None
    transforms = chosen.transforms()
    return Start(state, tuple(transforms.mean), tuple(transforms.std))


def _of_timm(backbone: str, weights: str, key: str) -> Start:
    if weights != timm_backbones.PRETRAINED:
        raise InputError(
            f"{key} = {weights!r}: should be null, a file ending in "
            f"{', '.join(places.WEIGHTS_SUFFIXES)}, or {timm_backbones.PRETRAINED}, of timm"
        )
    state = timm_backbones.cached_state(backbone, key)
    return Start(state, *timm_backbones.normalisation(backbone))


def fit(
    state: State, net: nn.Module, head_name: str, backbone: str, input_size: int, source: str
) -> dict[str, Tensor]:
    """Return the weights of a state that a network has, except its head; check their shapes.

    Raises:
        InputError: a weight is missing or has another shape; the message begins with `source`.
    """
    wanted = net.state_dict()
    head = (f"{head_name}.weight", f"{head_name}.bias")
    if timm_backbones.is_one(backbone):
        current = timm_backbones.converted(state, net, source)
    else:
        current = {_current_name(key): value for key, value in state.items()}
    found = {key: value for key, value in current.items() if key in wanted and key not in head}
    if backbone.startswith("vit_") and "encoder.pos_embedding" in found:
        found = _fit_positions(found, backbone, input_size)
    for key, value in wanted.items():
        if key in head or key.endswith("num_batches_tracked"):
            continue
        if key not in found:
            raise InputError(f"{source}: has no {key!r}: not weights of {backbone}")
        if found[key].shape != value.shape:
            raise InputError(
                f"{source}: {key!r} has shape {tuple(found[key].shape)}, {backbone} needs "
                f"{tuple(value.shape)}"
            )
    return found


def read_safetensors(path: Path) -> tuple[State, dict[str, str]]:
    """Read a state and its metadata.

    Raises:
        InputError: the file is not a safetensors file, or the disk fails.
    """
    with _in_one_line(path):
        return load_file(path), read_metadata(path)


def read_metadata(path: Path) -> dict[str, str]:
    """Read only the metadata of a safetensors file.

    Raises:
        InputError: as of `read_safetensors`.
    """
    with _in_one_line(path), safetensors.safe_open(path, "pt") as file:
        return file.metadata() or {}


@contextmanager
def _in_one_line(path: Path) -> Iterator[None]:
    """Turn the errors of safetensors into InputErrors."""
    try:
        yield
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: cannot be read as safetensors: {one_line(error)}") from None
    except RuntimeError as error:  # torch maps the file into memory, and reports the disk's errors
        raise InputError(f"{path}: cannot be read: {one_line(error)}") from None


def _from_file(path: Path, key: str, backbone: str) -> Start:
    if not path.is_file():
        raise InputError(f"{path}: no such file ({key})")
    if path.suffix != ".safetensors":
        state = _unpickle(path)
    else:
        state, metadata = read_safetensors(path)
        if spec.KEY in metadata:  # a model of this pipeline
            described = spec.read(path, metadata, state)
            bare = {key.removeprefix("net."): value for key, value in state.items()}
            return Start(bare, described.mean, described.std)
    of_timm = timm_backbones.is_one(backbone)
    mean, std = timm_backbones.normalisation(backbone) if of_timm else IMAGENET
    # DataParallel prefixes the names with "module.".
    return Start({key.removeprefix("module."): v for key, v in state.items()}, mean, std)


def _unpickle(path: Path) -> State:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception:  # arbitrary bytes make the unpickler raise any exception
        # Leave torch's message out: it explains how to run code that the file may hold.
        raise InputError(
            f"{path}: cannot be read as weights; should be a state dict of tensors alone, as "
            f"torch.save(model.state_dict(), ...) writes it"
        ) from None
    # Training scripts wrap the state, some of them twice.
    for _ in range(MOST_WRAPPED):
        if isinstance(state, dict) and "state_dict" in state:
            state = state["state_dict"]
    if not isinstance(state, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in state.items()
    ):
        raise InputError(f"{path}: should hold a state dict of tensors by name")
    return state


def _current_name(key: str) -> str:
    """Return the current torchvision name of a layer in an older weight file."""
    for pattern, name in RENAMED:
        key = pattern.sub(name, key)
    return key


def _fit_positions(state: dict[str, Tensor], backbone: str, input_size: int) -> dict[str, Tensor]:
    """Interpolate a vision transformer's position embedding to another input size."""
    interpolate = torchvision.models.vision_transformer.interpolate_embeddings
    patch_size = int(backbone.rsplit("_", 1)[1])
    fitted: dict[str, Tensor] = interpolate(input_size, patch_size, dict(state))
    return fitted
