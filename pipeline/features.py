"""What the head of a frozen network is given, computed once and kept."""

from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from pipeline import files, identity
from pipeline.arrays import Features, Pictures
from pipeline.augment import to_float
from pipeline.models import Classifier
from pipeline.score import over_all


@torch.inference_mode()
def load(
    fabric: Fabric, model: Classifier, pictures: Pictures, name: str, batch_size: int
) -> Features:
    """Return the features of pictures, in evaluation mode and 32-bit, without augmentation.

    They are kept below the cache folder, named by the pictures and the network's weights, its
    head aside.

    Args:
        fabric: what `choose_device` returned.
        model: on the device, not wrapped by fabric.
        pictures: (N, H, W, 3) uint8.
        name: of the pictures, see `gallery.key`.
        batch_size: pictures at a time.

    Returns:
        (N, D) float32.
    """
    key = identity.name_of(
        name,
        model.digest(head=False),
        identity.code(__name__, "pipeline.models"),
        fabric.device.type,
        torch.__version__,
    )
    kept = files.cache_folder() / "features" / f"{key}.npy"
    # One process looks: were another to see the file that this one has just written, it would
    # wait for nobody.
    there: Any = fabric.broadcast(kept.exists())
    if not there:
        model.eval()

        def of(batch: Tensor) -> Tensor:
            return model.features(to_float(batch))

        features = over_all(fabric, of, pictures, batch_size, "features")
        if fabric.is_global_zero:
            with files.replacing(kept) as temporary, temporary.open("wb") as file:
                np.save(file, features)
        fabric.barrier()
    loaded: Features = np.load(kept, mmap_mode="r")
    return loaded
