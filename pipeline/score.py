"""The device, and a model's probabilities of pictures, in their order."""

import logging
import os
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from tqdm.auto import tqdm

from pipeline.arrays import Inputs, Probs
from pipeline.augment import to_float
from pipeline.errors import InputError
from pipeline.params import Params

Precision = Literal["32", "bf16"]

_FABRIC_PRECISION: dict[Precision, Literal["32-true", "bf16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
}


class ScoreParams(Params):
    """`score`: pictures at a time, and whether each is scored with its mirror image."""

    batch_size: int = Field(ge=1)
    flip: bool


def choose_device(precision: Precision) -> Fabric:
    """Take the GPU when there is one, else the CPU.

    The environment variable SPML_DEVICES takes several GPUs, each with a process of its own.
    It is not a parameter: it should not change a result, so it should not invalidate one.

    Raises:
        InputError: SPML_DEVICES is not a number of devices.
    """
    value = os.environ.get("SPML_DEVICES", "1")
    if not value.isdecimal() or len(value) > 4 or int(value) < 1:
        raise InputError(f"SPML_DEVICES = {value!r}: should be a number of devices, 1 or more")
    # Without this cuDNN picks its algorithms by timing them, and runs differ.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # Numbers too small to be normal cost a CPU several times the time of others, and networks
    # fine-tuned from pretrained weights are full of them.
    torch.set_flush_denormal(True)
    # Fabric says in a line of its own that bf16 is on; describe_device has said it.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    fabric = Fabric(accelerator="auto", devices=int(value), precision=_FABRIC_PRECISION[precision])
    fabric.launch()
    return fabric


def describe_device(fabric: Fabric, precision: Precision) -> str:
    """Say in a few words what the work runs on."""
    bits = {"32": "32-bit", "bf16": "bf16"}[precision]
    if fabric.device.type == "cuda":
        name = torch.cuda.get_device_name(fabric.device)
        return f"{fabric.world_size} x {name} (CUDA {torch.version.cuda}), {bits}"
    if fabric.device.type == "cpu":
        return f"CPU, {torch.get_num_threads()} threads, {bits}"
    return f"{fabric.device.type.upper()}, {bits}"


def to_device(pictures: Inputs, rows: np.ndarray, fabric: Fabric) -> Tensor:
    """Return some pictures, or features of theirs, (B, ...), on the device."""
    batch = torch.from_numpy(pictures[rows])
    if fabric.device.type == "cuda":
        return batch.pin_memory().to(fabric.device, non_blocking=True)
    return batch.to(fabric.device)


def predict(
    fabric: Fabric, model: nn.Module, pictures: Inputs, batch_size: int, flip: bool = False
) -> Probs:
    """Return the probabilities of all pictures, (N, C) float32, in evaluation mode.

    Always in 32-bit: logits of bf16 are so coarse that pictures tie, which moves an average
    precision by tenths of a point.

    Args:
        fabric: what `choose_device` returned.
        model: on the device, not wrapped by fabric; left in evaluation mode.
        pictures: (N, H, W, 3) uint8, H and W as the model takes them; or (N, D) float32,
            features for a head.
        batch_size: pictures at a time.
        flip: take the mean of the probabilities of each picture and of its mirror image.
    """
    model.eval()

    def probs(batch: Tensor) -> Tensor:
        inputs = to_float(batch) if batch.dtype == torch.uint8 else batch
        straight = torch.sigmoid(model(inputs).float())
        return (straight + torch.sigmoid(model(inputs.flip(3)).float())) / 2 if flip else straight

    return over_all(fabric, probs, pictures, batch_size, "scoring")


@torch.inference_mode()
def over_all(
    fabric: Fabric,
    function: Callable[[Tensor], Tensor],
    pictures: Inputs,
    batch_size: int,
    what: str,
) -> np.ndarray:
    """Return a function's values of all pictures, batch by batch, (N, D) in their order.

    With several processes each takes a part, and all get the whole.

    Args:
        fabric: what `choose_device` returned.
        function: takes a batch (B, ...) on the device, returns (B, D).
        pictures: (N, ...).
        batch_size: pictures at a time.
        what: for the progress bar.
    """
    # Each process takes a run of rows; the longest run sets the size of what is exchanged,
    # and the padding of the others is cut off again.
    runs = np.array_split(np.arange(len(pictures)), fabric.world_size)
    mine = runs[fabric.global_rank]
    batches = [mine[at : at + batch_size] for at in range(0, len(mine), batch_size)]
    bar = tqdm(batches, what, disable=None, leave=False)
    values = torch.cat([function(to_device(pictures, rows, fabric)) for rows in bar])
    if fabric.world_size > 1:
        padded = values.new_zeros(len(runs[0]), values.shape[1])
        padded[: len(values)] = values
        gathered = fabric.all_gather(padded)
        values = torch.cat([part[: len(run)] for part, run in zip(gathered, runs, strict=True)])
    return values.cpu().numpy()
