"""Backbones of timm, an optional package: "timm/" and a name that timm knows.

The names may have the tag of pretrained weights, as in timm/resnet18.a1_in1k. Without one, timm
chooses. timm is imported only for such a backbone, since that takes a second.
"""

import importlib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from pipeline.core import optional
from pipeline.core.errors import InputError, one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pipeline.artifacts.spec import RGB, State

PREFIX = "timm/"
EXAMPLE = "timm/resnet18"
PRETRAINED = "pretrained"  # the value of `model.weights` for the weights in timm's cache


def is_one(backbone: str) -> bool:
    """Return whether a backbone's name is one of timm."""
    return backbone.startswith(PREFIX)


def libraries(backbone: str) -> dict[str, str]:
    """Return the version of timm if the backbone is one of timm, else nothing.

    Users may install any version of timm, and it decides what a network computes.
    """
    return {"timm": optional.version("timm")} if is_one(backbone) else {}


def problem(backbone: str) -> str | None:
    """Return why timm cannot build a backbone; None if it can."""
    try:
        timm = optional.package("timm", backbone)
    except InputError:
        return "needs timm: pip install timm"
    name = backbone.removeprefix(PREFIX)
    if timm.is_model(name) and _has_tag(timm, name):
        return None
    known = [f"{PREFIX}{known}" for known in (*timm.list_models(), *timm.list_pretrained())]
    near = get_close_matches(backbone, known, n=3) or [EXAMPLE]
    return f"is not a model of timm {timm.__version__}; should be one like {', '.join(near)}"


def build(backbone: str, n_classes: int, input_size: int) -> "nn.Module":
    """Build a network without weights; arguments as of `backbones.build`."""
    timm = optional.package("timm", backbone)
    name = backbone.removeprefix(PREFIX)
    # Networks with a position for each patch take the size of their images.
    sized = timm.get_pretrained_cfg(name).fixed_input_size
    options = {"img_size": input_size} if sized else {}
    net: nn.Module = timm.create_model(name, num_classes=n_classes, **options)
    return net


def head_name(backbone: str, net: Any) -> str:
    """Return the name of the layer that timm calls the classifier.

    Raises:
        InputError: the network has several.
    """
    head = net.get_classifier()
    named: list[str] = [name for name, module in net.named_modules() if module is head]
    if not named:
        raise InputError(
            f"{backbone}: has no single layer as its classifier; should be a backbone like "
            f"{EXAMPLE}"
        )
    return named[0]


def features(net: Any, normalised: "Tensor") -> "Tensor":
    """Return the input of the classifier, as timm computes it."""
    made: Tensor = net.forward_head(net.forward_features(normalised), pre_logits=True)
    return made


def normalisation(backbone: str) -> tuple["RGB", "RGB"]:
    """Return the mean and the standard deviation that timm has for the weights of a backbone."""
    timm = optional.package("timm", backbone)
    config = timm.get_pretrained_cfg(backbone.removeprefix(PREFIX))
    mean: RGB = tuple(config.mean)
    std: RGB = tuple(config.std)
    return mean, std


def cached_state(backbone: str, key: str) -> "State":
    """Return the pretrained weights from timm's cache, or download them into it.

    Args:
        backbone: its name.
        key: the key in params.yaml, for messages.

    Raises:
        InputError: there are none, or they cannot be downloaded.
    """
    import torch

    timm = optional.package("timm", backbone)
    try:
        # The weights that are drawn next must not depend on this network.
        with torch.random.fork_rng(devices=[]):
            net = timm.create_model(backbone.removeprefix(PREFIX), pretrained=True)
    except Exception as error:  # of timm, of huggingface_hub or of the network under it
        raise InputError(
            f"{key} = {PRETRAINED!r}: {backbone} cannot be read from timm's cache, nor "
            f"downloaded ({one_line(error)}); give a local file instead"
        ) from None
    state: State = net.state_dict()
    return state


def converted(state: "State", net: "nn.Module", source: str) -> dict[str, "Tensor"]:
    """Return a state in the form that a network of timm has now.

    Files may be older, or from the network's authors, or for another input size. timm has a
    converter beside most of its networks.

    Args:
        state: by the names in the file.
        net: the network that should load it.
        source: begins the message.

    Raises:
        InputError: timm's converter fails.
    """
    module = importlib.import_module(type(net).__module__)
    convert = getattr(module, "checkpoint_filter_fn", None)
    if convert is None:
        return dict(state)
    try:
        return dict(convert(dict(state), net))
    except Exception as error:  # converters expect their own networks' weights
        raise InputError(
            f"{source}: timm cannot convert these weights to {type(net).__name__}: "
            f"{one_line(error) or type(error).__name__}"
        ) from None


def _has_tag(timm: Any, name: str) -> bool:
    """Return whether timm knows the tag of pretrained weights in a name, if it has one."""
    try:
        return timm.get_pretrained_cfg(name) is not None
    except RuntimeError:  # "Invalid pretrained tag"
        return False
