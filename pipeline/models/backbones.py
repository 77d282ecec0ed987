"""The backbones by name: our own, the classification models of torchvision, and timm's."""

from itertools import pairwise
from typing import Any

import torchvision
from torch import Tensor, nn

from pipeline.models import timm_backbones


class SmallCNN(nn.Sequential):
    """A convolutional network of 0.1 million parameters, for small images.

    It ends in the maximum over positions: an image shows a class if any position does.
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
        super().__init__(*layers, _MaxOverPositions(), nn.Linear(widths[-1], num_classes))


class _MaxOverPositions(nn.Module):
    def forward(self, maps: Tensor) -> Tensor:
        return maps.amax(dim=(2, 3))


# The networks of this project by name. Each is called with the number of classes.
OWN: dict[str, type[nn.Module]] = {"small_cnn": SmallCNN}


def names() -> list[str]:
    """Return the names that `ModelParams.backbone` may have besides timm's, our own first."""
    return [*OWN, *torchvision.models.list_models(module=torchvision.models)]


def problem(name: str) -> str | None:
    """Return why a name is not that of a backbone that can be built here; None if it is."""
    if timm_backbones.is_one(name):
        return timm_backbones.problem(name)
    if name in names():
        return None
    return (
        f"is not a backbone; should be {', '.join(OWN)}, a model of timm such as "
        f"{timm_backbones.EXAMPLE}, or a torchvision classification model, one of "
        f"{', '.join(names()[len(OWN) :])}"
    )


def build(name: str, n_classes: int, input_size: int) -> nn.Module:
    """Build a backbone with a head of C outputs, without weights.

    Args:
        name: one without a `problem`.
        n_classes: C.
        input_size: side of the images in pixels.
    """
    if name in OWN:
        return OWN[name](n_classes)
    if timm_backbones.is_one(name):
        return timm_backbones.build(name, n_classes, input_size)
    options: dict[str, Any] = {}
    if name.startswith("vit_"):
        options["image_size"] = input_size
    elif name.startswith("maxvit_"):
        options["input_size"] = (input_size, input_size)
    elif name in ("googlenet", "inception_v3"):
        # Their ImageNet weights expect another normalisation; this converts ours to it.
        options = {"transform_input": True, "aux_logits": False, "init_weights": True}
    net: nn.Module = torchvision.models.get_model(
        name, weights=None, num_classes=n_classes, **options
    )
    return net
