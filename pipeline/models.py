"""Backbones by name, a head of C logits, and the model file.

A model carries what it needs to be used: classes, input size and the normalisation that
belongs to its weights.
"""

import json
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.error import URLError

import safetensors
import torch
import torchvision
from pydantic import Field, field_validator
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline import images, tables
from pipeline.errors import InputError
from pipeline.params import Params

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
CENTRED = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
WEIGHT_FILES = (".safetensors", ".pth", ".pt")
BatchNorm = nn.modules.batchnorm._BatchNorm

State = Mapping[str, Tensor]
RGB = tuple[float, float, float]


class ModelParams(Params):
    """`train_teacher.model` and `train_student.model`."""

    backbone: str
    weights: str | None
    input_size: int = Field(ge=8, le=2048)
    freeze_batch_norm: bool

    @field_validator("backbone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        if name not in backbones():
            raise ValueError(
                f"is no backbone; should be small_cnn or a torchvision classification model, "
                f"one of {', '.join(backbones()[1:])}"
            )
        return name


@dataclass(frozen=True)
class Spec:
    """What a model file says of its model besides the weights.

    Attributes:
        backbone: its name, see `backbones`.
        classes: the C class names.
        input_size: side of the pictures it takes, in pixels.
        mean: of the three channels of pictures in 0..1, subtracted first.
        std: of the same, divided by then.
    """

    backbone: str
    classes: tuple[str, ...]
    input_size: int
    mean: RGB
    std: RGB


class Classifier(nn.Module):
    """Pictures to logits: normalisation, backbone and head.

    Attributes:
        spec: what the model file says of it.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: Spec, freeze_batch_norm: bool = False):
        super().__init__()
        self.spec = spec
        self.freeze_batch_norm = freeze_batch_norm
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.net = _backbone(spec.backbone, len(spec.classes), spec.input_size)
        self.head_name = _find_head(self.net, len(spec.classes))

    @property
    def head(self) -> nn.Module:
        """Return the last layer, which has one output per class."""
        return self.net.get_submodule(self.head_name)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return logits (B, C); no sigmoid inside.

        Args:
            pictures: (B, 3, H, W) float in 0..1, not normalised.
        """
        logits: Tensor = self.net((pictures - self.mean) / self.std)
        return logits

    def train(self, mode: bool = True) -> "Classifier":
        """Set training mode; batch norm stays in evaluation mode where it is frozen."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, BatchNorm):
                    module.eval()
        return self


class SmallCNN(nn.Sequential):
    """A convolutional network of 0.1 million parameters, for small pictures.

    It ends in the maximum over places: a class is in the picture if it is anywhere in it.
    """

    def __init__(self, num_classes: int):
        widths = (3, 24, 48, 64, 96)
        layers: list[nn.Module] = []
        for stage, (before, after) in enumerate(pairwise(widths)):
            layers += [
                nn.Conv2d(before, after, 3, padding=1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            ]
            if stage in (0, 1):
                layers.append(nn.MaxPool2d(2))
        super().__init__(*layers, _MaximumOverPlaces(), nn.Linear(widths[-1], num_classes))


class _MaximumOverPlaces(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.amax(dim=(2, 3))


def backbones() -> list[str]:
    """Return the names that `ModelParams.backbone` may have."""
    return ["small_cnn", *torchvision.models.list_models(module=torchvision.models)]


def build(params: ModelParams, classes: tuple[str, ...]) -> Classifier:
    """Build a model for these classes, its head new, its backbone from the weights if any.

    Raises:
        InputError: weights that do not exist, cannot be read safely or do not fit; an
            input size that the backbone cannot take.
    """
    state, (mean, std) = _weights(params)
    spec = Spec(params.backbone, classes, params.input_size, mean, std)
    try:
        model = Classifier(spec, params.freeze_batch_norm)
        model.eval()(torch.zeros(1, 3, params.input_size, params.input_size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"model.input_size = {params.input_size}: {params.backbone} cannot take pictures of "
            f"this size ({_one_line(error)})"
        ) from None
    if state is not None:
        _load_backbone(model, state, str(params.weights))
    return model.to(memory_format=torch.channels_last)


# --- backbones -------------------------------------------------------------------------


def _backbone(name: str, n_classes: int, input_size: int) -> nn.Module:
    if name == "small_cnn":
        return SmallCNN(n_classes)
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options["image_size"] = input_size
    elif name.startswith("maxvit_"):
        options["input_size"] = (input_size, input_size)
    elif name in ("googlenet", "inception_v3"):
        # Their ImageNet weights were made for another normalisation; this undoes ours.
        options = {"transform_input": True, "aux_logits": False, "init_weights": True}
    net: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=n_classes, **options
    )
    return net


def _find_head(net: nn.Module, n_classes: int) -> str:
    """Return the name of the layer that makes the logits: the last that can."""
    named: list[tuple[str, nn.Module]] = list(net.named_modules())
    for name, module in reversed(named):
        if isinstance(module, nn.Linear) and module.out_features == n_classes:
            return name
        if isinstance(module, nn.Conv2d) and module.out_channels == n_classes:
            return name
    raise AssertionError(f"{type(net).__name__} has no layer with {n_classes} outputs")


# --- weights ---------------------------------------------------------------------------


def _weights(params: ModelParams) -> tuple[State | None, tuple[RGB, RGB]]:
    """Return the state to start from, if any, and the normalisation that belongs to it."""
    if params.weights is None:
        return None, CENTRED
    if params.weights.endswith(WEIGHT_FILES):
        return _weights_from_file(Path(params.weights))
    known = [] if params.backbone == "small_cnn" else _torchvision_weights(params.backbone)
    by_name = {entry.name: entry for entry in known}
    if params.weights not in by_name:
        names = ", ".join(by_name) or "no weights of its own"
        raise InputError(
            f"model.weights = {params.weights!r}: should be null, a file ending in "
            f"{', '.join(WEIGHT_FILES)}, or of torchvision ({params.backbone} has {names})"
        )
    chosen = by_name[params.weights]
    try:
        state = chosen.get_state_dict(progress=False, check_hash=True)
    except (URLError, OSError) as error:
        raise InputError(
            f"model.weights = {params.weights!r}: cannot be downloaded ({_one_line(error)}); "
            f"give a local file instead"
        ) from None
    transforms = chosen.transforms()
    return state, (tuple(transforms.mean), tuple(transforms.std))


def _torchvision_weights(backbone: str) -> list[Any]:
    return list(torchvision.models.get_model_weights(backbone))


def _weights_from_file(path: Path) -> tuple[State, tuple[RGB, RGB]]:
    """Read a state from a local file, without running any code that it may hold."""
    if not path.is_absolute():
        path = images.data_root(f"model.weights = {str(path)!r}") / path
    if not path.is_file():
        raise InputError(f"{path}: no such file (model.weights)")
    try:
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
            state: Any = load_file(path)
            if "spml.spec" in metadata:
                spec = _spec(metadata)
                bare = {key.removeprefix("net."): value for key, value in state.items()}
                return bare, (spec.mean, spec.std)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{path}: cannot be read as weights: {_one_line(error)}") from None
    # Training scripts wrap the state, and DataParallel prefixes its names.
    while isinstance(state, dict) and "state_dict" in state:
        state = state["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: should hold a state dict, names to tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}, IMAGENET


def _load_backbone(model: Classifier, state: State, source: str) -> None:
    """Load all but the head; what is missing or of another shape is an error."""
    wanted = model.net.state_dict()
    head = (f"{model.head_name}.weight", f"{model.head_name}.bias")
    found = {key: value for key, value in state.items() if key in wanted and key not in head}
    if model.spec.backbone.startswith("vit_"):
        found = _fit_positions(model, found)
    for key, value in wanted.items():
        if key in head or key.endswith("num_batches_tracked"):
            continue
        if key not in found:
            raise InputError(f"{source}: has no {key!r}: not weights of {model.spec.backbone}")
        if found[key].shape != value.shape:
            raise InputError(
                f"{source}: {key!r} has shape {tuple(found[key].shape)}, {model.spec.backbone} "
                f"needs {tuple(value.shape)}"
            )
    model.net.load_state_dict(found, strict=False)


def _fit_positions(model: Classifier, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Interpolate a vision transformer's position embedding to our input size."""
    interpolate = torchvision.models.vision_transformer.interpolate_embeddings
    patch_size = int(model.spec.backbone.rsplit("_", 1)[1])
    fitted: dict[str, Tensor] = interpolate(model.spec.input_size, patch_size, dict(state))
    return fitted


# --- the model file --------------------------------------------------------------------


def save(path: Path, model: Classifier) -> None:
    """Write a model as safetensors; its spec is in the metadata."""
    spec = model.spec
    described = {
        "backbone": spec.backbone,
        "classes": spec.classes,
        "input_size": spec.input_size,
        "mean": spec.mean,
        "std": spec.std,
    }
    metadata = {
        "format": "pt",
        "spml.schema_version": tables.SCHEMA_VERSION,
        "spml.spec": json.dumps(described, ensure_ascii=False),
    }
    state = {key: value.cpu().contiguous() for key, value in model.state_dict().items()}
    with tables.replacing(path) as temporary:
        save_file(state, temporary, metadata)


def load(path: Path) -> Classifier:
    """Rebuild a model from its file alone, in evaluation mode.

    Raises:
        InputError: the file is missing, or was not written by `save`.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such file; run the stage that trains it first")
    try:
        with safetensors.safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        state = load_file(path)
    except safetensors.SafetensorError as error:
        raise InputError(f"{path}: cannot be read as safetensors: {_one_line(error)}") from None
    if "spml.spec" not in metadata:
        raise InputError(f"{path}: has no metadata 'spml.spec': not a model of this pipeline")
    model = Classifier(_spec(metadata))
    try:
        model.load_state_dict(state)
    except RuntimeError:
        raise InputError(
            f"{path}: its weights do not fit its backbone {model.spec.backbone}"
        ) from None
    return model.to(memory_format=torch.channels_last).eval()


def _spec(metadata: dict[str, str]) -> Spec:
    described = json.loads(metadata["spml.spec"])
    for key in ("classes", "mean", "std"):
        described[key] = tuple(described[key])
    return Spec(**described)


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
