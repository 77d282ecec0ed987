"""Settings of a training that do not go together, and torch's errors, in one line each."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning_fabric import Fabric
from torch import nn

from pipeline.core.errors import InputError
from pipeline.inference.score import describe_device
from pipeline.losses.base import Loss
from pipeline.models.classifier import Classifier
from pipeline.training.augment import AugmentParams
from pipeline.training.phases import Phase, TrainParams


def check_mixup(name: str, params: AugmentParams, loss: Loss) -> None:
    """Refuse the union of labels for a loss that stores state of every image.

    Raises:
        InputError: the loss stores state of every image, and a blend is of two images.
    """
    if params.mixup and params.mixup_labels == "union" and loss.per_image:
        key = params.key(f"{name}.augment", "mixup_labels")
        raise InputError(
            f"{key} = 'union': the loss {type(loss).__name__} stores state of every "
            f"image, and a blend is of two images; should be mean"
        )


def check_views(name: str, params: TrainParams, loss: Loss) -> None:
    """Refuse settings that leave a loss without its second view of each image.

    Raises:
        InputError: the loss needs two views, and features have one, or MixUp blends the images.
    """
    if not loss.second_view:
        return
    needs = f"the loss {type(loss).__name__} needs two views of each image"
    if params.mode != "end_to_end":
        key = params.key(name, "mode")
        raise InputError(f"{key} = {params.mode!r}: {needs}; should be end_to_end")
    if params.augment.mixup:
        key = params.augment.key(f"{name}.augment", "mixup")
        raise InputError(f"{key} = {params.augment.mixup}: {needs}, not blended; should be 0.0")


def check_head(name: str, params: TrainParams, model: Classifier) -> None:
    """Refuse a mode that does not fit the head.

    Raises:
        InputError: the mode trains the head on features, and the head does not take features.
    """
    if params.mode == "end_to_end":
        return
    mode = f"{params.key(name, 'mode')} = {params.mode!r}"
    if params.model.boost_lu is not None:
        raise InputError(
            f"{mode}: a boosted head needs feature maps, and the feature cache holds none; should "
            f"be end_to_end, or {params.model.key(f'{name}.model', 'boost_lu')} null"
        )
    if not isinstance(model.head, nn.Linear):
        raise InputError(
            f"{mode}: the head of {params.model.backbone} is not a linear layer; should be "
            f"end_to_end"
        )


@contextmanager
def explain_errors(fabric: Fabric, name: str, params: TrainParams, phase: Phase) -> Iterator[None]:
    """Turn torch's errors of memory and of batch norm into InputErrors that name a remedy."""
    fit_params = params.of_phase(phase)
    key = fit_params.key(f"{name}.{phase}", "batch_size")
    batch_size = f"{key} = {fit_params.batch_size}"
    try:
        yield
    except torch.OutOfMemoryError:
        raise InputError(
            f"{batch_size}: the memory of {describe_device(fabric, fit_params.precision)} is used "
            f"up; should be smaller"
        ) from None
    except ValueError as error:
        # torch's message if batch norm gets a single image whose map has a single position.
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"{batch_size}: batch norm cannot take a single image a step at model.input_size = "
            f"{params.model.input_size}; should be at least 2 a device, with as many images, or "
            f"{params.model.key(f'{name}.model', 'freeze_batch_norm')} true"
        ) from None
