"""The feature cache: the inputs of the head of a frozen network, computed once."""

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from pipeline.core import identity, kept, places
from pipeline.core.arrays import Features, Images
from pipeline.core.errors import InputError
from pipeline.inference.score import over_all, to_float
from pipeline.models.classifier import Classifier


@torch.inference_mode()
def load(
    fabric: Fabric,
    model: Classifier,
    images: Images,
    name: str,
    batch_size: int,
    mirror: bool = False,
) -> Features:
    """Return the features of images, in evaluation mode and 32-bit, without augmentation.

    They are stored in the cache folder under a name made of the images and the network's weights
    without its head.

    Args:
        fabric: the result of `choose_device`.
        model: on the device, not wrapped by fabric.
        images: (N, H, W, 3) uint8.
        name: identifies the images; see `decode_cache.key`.
        batch_size: images at a time.
        mirror: whether to take the mirror images.

    Returns:
        (N, D) float32, finite.

    Raises:
        InputError: a feature is not finite; the disk is full.
    """
    key = identity.name_of(
        name,
        mirror,
        model.digest(head=False),
        identity.code(__name__, "pipeline.models.classifier"),
        fabric.device.type,
        torch.__version__,
    )
    path = places.cache_folder() / "features" / f"{key}.npy"
    # Only one process checks for the file. Another could find the file just written, and would
    # then skip the collective operations below.
    there: Any = fabric.broadcast(fabric.is_global_zero and kept.array(path) is not None)
    if not there:
        model.eval()

        def features_of(batch: Tensor) -> Tensor:
            inputs = to_float(batch)
            return model.features(inputs.flip(3) if mirror else inputs)

        features = over_all(fabric, features_of, images, batch_size, "features")
        wrong = int((~np.isfinite(features)).any(axis=1).sum())
        if wrong:
            raise InputError(
                f"{model.spec.backbone}: its features of {wrong} of {len(features)} images are "
                f"not finite; its weights are damaged, should be finite"
            )
        if fabric.is_global_zero:
            with kept.create(path, features.shape, features.dtype) as made:
                made[:] = features
        fabric.barrier()
    return kept.open_array(path)
