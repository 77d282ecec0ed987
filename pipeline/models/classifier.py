"""Classifiers: backbones by name with a head of C logits.

A model holds its classes, its input size and the normalisation that belongs to its weights.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn

from pipeline.artifacts.spec import Spec
from pipeline.core.errors import InputError, one_line
from pipeline.core.params import Params
from pipeline.models import backbones, boost, timm_backbones, weights

BatchNorm = nn.modules.batchnorm._BatchNorm


class ModelParams(Params):
    """`train.model`."""

    backbone: str
    weights: str | None
    input_size: int = Field(ge=8, le=2048)
    freeze_batch_norm: bool
    boost_lu: float | None = Field(ge=1)

    @field_validator("backbone")
    @classmethod
    def _is_known(cls, name: str) -> str:
        problem = backbones.problem(name)
        if problem is not None:
            raise ValueError(problem)
        return name


class Classifier(nn.Module):
    """Images to logits: normalisation, backbone and head.

    Attributes:
        spec: the description that the model file holds.
        source: the model file, for messages.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, spec: Spec, freeze_batch_norm: bool = False):
        super().__init__()
        self.spec = spec
        self.source = "the model"
        self.freeze_batch_norm = freeze_batch_norm
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1), persistent=False)
        self.net = backbones.build(spec.backbone, len(spec.classes), spec.input_size)
        self.head_name = _find_head(spec.backbone, self.net, len(spec.classes))
        self.maps_name = ""
        if spec.boost_lu is not None:
            self.maps_name = boost.find_maps(self.net, self.head, spec.input_size)

    @property
    def head(self) -> nn.Module:
        """Return the last layer, which has one output per class."""
        return self.net.get_submodule(self.head_name)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (B, C), without sigmoid.

        Args:
            images: (B, 3, H, W) float in 0..1, not normalised.
        """
        if self.spec.boost_lu is not None:
            maps = self.output_of(self.maps_name, images)
            return boost.boosted(self.head, maps, self.spec.boost_lu)
        logits: Tensor = self.net((images - self.mean) / self.std)
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Return the input of the head, (B, D) if the head is linear."""
        if timm_backbones.is_one(self.spec.backbone):
            return timm_backbones.features(self.net, (images - self.mean) / self.std)
        given: list[Tensor] = []
        hook = self.head.register_forward_pre_hook(lambda head, args: given.append(args[0]))
        self.net((images - self.mean) / self.std)
        hook.remove()
        return given[0]

    def output_of(self, name: str, images: Tensor) -> Tensor:
        """Return the output of the network's module of that name."""
        made: list[Tensor] = []
        part = self.net.get_submodule(name)
        hook = part.register_forward_hook(lambda part, args, output: made.append(output))
        self.net((images - self.mean) / self.std)
        hook.remove()
        return made[0]

    def digest(self, head: bool = True) -> str:
        """Return a digest of the weights, the normalisation and the architecture.

        Args:
            head: whether to include the head's weights.
        """
        spec = self.spec
        about = (spec.backbone, spec.input_size, spec.mean, spec.std, spec.boost_lu)
        digest = hashlib.sha256(repr(about).encode())
        for library in timm_backbones.libraries(spec.backbone).items():
            digest.update(repr(library).encode())
        for key, value in self.net.state_dict().items():
            if head or not key.startswith(f"{self.head_name}."):
                digest.update(f"{key} {value.dtype} {tuple(value.shape)}".encode())
                digest.update(value.cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def train(self, mode: bool = True) -> "Classifier":
        """Set training mode; frozen batch norm stays in evaluation mode."""
        super().train(mode)
        if self.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, BatchNorm):
                    module.eval()
        return self

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load a state, also one without version numbers, such as that of a file or a copy."""
        # MNASNet refuses a state without version numbers.
        versioned = self.state_dict()
        versioned.clear()
        versioned.update(state_dict)
        return super().load_state_dict(versioned, strict, assign)


def build(params: ModelParams, classes: tuple[str, ...], section: str = "model") -> Classifier:
    """Build a model for these classes with a new head and a backbone from the weights, if given.

    Args:
        params: the params of the model.
        classes: the C class names.
        section: the section of the params, for messages, if they are not from params.yaml.

    Raises:
        InputError: the weights do not exist, cannot be read safely or do not fit; the backbone
            cannot take the input size or cannot be boosted.
    """
    start = weights.read(params.backbone, params.weights, params.key(section, "weights"))
    spec = Spec(params.backbone, classes, params.input_size, start.mean, start.std, params.boost_lu)
    try:
        model = Classifier(spec, params.freeze_batch_norm)
        blank = torch.zeros(1, 3, params.input_size, params.input_size)
        _check_features(model, blank, model.eval()(blank))
    except boost.NoMapsError:
        raise InputError(
            f"{params.key(section, 'boost_lu')} = {params.boost_lu}: {params.backbone} has no "
            f"linear head on maps averaged over positions; should be null, or the backbone one "
            f"like resnet50"
        ) from None
    except (RuntimeError, AssertionError, ValueError) as error:
        raise InputError(
            f"{params.key(section, 'input_size')} = {params.input_size}: {params.backbone} cannot "
            f"take images of this size ({one_line(error)})"
        ) from None
    if start.state is not None:
        fitted = weights.fit(
            start.state, model.net, model.head_name, params.backbone, params.input_size,
            f"{params.key(section, 'weights')} = {params.weights!r}",
        )  # fmt: skip
        model.load_state_dict({f"net.{key}": value for key, value in fitted.items()}, strict=False)
    return model.to(memory_format=torch.channels_last)


def _check_features(model: Classifier, images: Tensor, logits: Tensor) -> None:
    """Check that timm's features lead to the network's logits.

    Raises:
        InputError: they do not.
    """
    spec = model.spec
    if not timm_backbones.is_one(spec.backbone) or spec.boost_lu is not None:
        return
    if not torch.allclose(model.head(model.features(images)), logits, atol=1e-4):
        raise InputError(
            f"{spec.backbone}: computes its logits not from its features by its classifier alone; "
            f"should be a backbone like {timm_backbones.EXAMPLE}"
        )


def _find_head(backbone: str, net: nn.Module, n_classes: int) -> str:
    """Return the name of the layer that computes the logits: the last with C outputs."""
    if timm_backbones.is_one(backbone):
        return timm_backbones.head_name(backbone, net)
    named: list[tuple[str, nn.Module]] = list(net.named_modules())
    for name, module in reversed(named):
        if isinstance(module, nn.Linear) and module.out_features == n_classes:
            return name
        if isinstance(module, nn.Conv2d) and module.out_channels == n_classes:
            return name
    raise AssertionError(f"{type(net).__name__} has no layer with {n_classes} outputs")
