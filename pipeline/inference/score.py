"""Choose the device; compute a model's probabilities of images, in order."""

import logging
import os
import platform
from collections.abc import Callable
from typing import Literal, TypeVar

import numpy as np
import torch
import torchvision
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
from lightning_fabric.strategies.launchers import subprocess_script
from pydantic import Field
from torch import Tensor, nn
from torch.distributed import TCPStore  # type: ignore[attr-defined]
from tqdm.auto import tqdm

from pipeline.core import alarm, launch
from pipeline.core.arrays import Inputs, Probs
from pipeline.core.errors import InputError
from pipeline.core.launch import World
from pipeline.core.params import Params
from pipeline.inference.outside import OutsideParams

log = logging.getLogger(__name__)

T = TypeVar("T", Tensor, np.ndarray)
Precision = Literal["32", "bf16"]

_FABRIC_PRECISION: dict[Precision, Literal["32-true", "bf16-mixed"]] = {
    "32": "32-true",
    "bf16": "bf16-mixed",
}


class ScoreParams(Params):
    """`score`: the batch size, the average over mirror images, the scores of another model."""

    batch_size: int = Field(ge=1)
    flip: bool
    outside: OutsideParams


def choose_device(precision: Precision) -> Fabric:
    """Take the GPU if there is one, else the CPU.

    The environment variable SPML_DEVICES sets the number of GPUs; each has a process. Processes
    started by torchrun or srun are used unchanged. The number of processes is not a parameter:
    each computes a share of every batch, and statistics and losses cover the whole batch, so a
    result changes only by the rounding of sums. The exceptions are the random numbers of dropout
    and RandAugment, which each process draws for its share.

    Raises:
        InputError: SPML_DEVICES is not a number of devices, or there are fewer; a launcher has
            started a different number of processes.
    """
    world = launch.world()
    size = launch.devices(world)
    _check_devices(size if world is None else size // world.nodes, world)
    # Otherwise cuDNN picks its algorithms by timing them, and runs differ.
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # By default convolutions on a GPU round 32-bit numbers to the 19 bits of TF32.
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    # Denormal numbers are several times slower on a CPU, and networks fine-tuned from pretrained
    # weights hold many.
    torch.set_flush_denormal(True)
    # Fabric logs that bf16 is on; describe_device already says so.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    nodes = 1 if world is None else world.nodes
    fabric = Fabric(
        devices=size // nodes,
        num_nodes=nodes,
        precision=_FABRIC_PRECISION[precision],
        plugins=[_environment(world)],
    )
    # Fabric's observer of its helper processes would kill the first process, too, and lose its
    # error message and exit code. `alarm` ends all processes instead.
    subprocess_script._launch_process_observer = lambda child_processes: None
    fabric.launch()
    if size > 1 and not alarm.is_watched():
        alarm.watch(_shared_store(fabric), fabric.is_global_zero, size)
        if world is not None and fabric.is_global_zero:
            log.info("%s: %d processes on %d machines", world.launcher, size, world.nodes)
    elif size == 1 and launch.unused_tasks():
        tasks = launch.unused_tasks()
        log.info("SLURM_NTASKS = %d, but this is not a step of srun: one process", tasks)
    return fabric


def _check_devices(n: int, world: World | None) -> None:
    """Refuse more processes on this machine than it has devices."""
    if torch.backends.mps.is_available():
        there, kind = 1, "Apple GPU"
    elif torch.cuda.is_available():
        there, kind = torch.cuda.device_count(), "GPU(s)"
    else:
        # Two processes may always be tried; those of a launcher run already.
        there, kind = max(os.cpu_count() or 1, 2 if world is None else n), "CPU cores"
    if n > there:
        name = "SPML_DEVICES" if world is None else world.launcher
        raise InputError(
            f"{name} = {n}: this machine has {there} {kind}; should be at most {there}"
        )


def _environment(world: World | None) -> ClusterEnvironment:
    if world is None:
        return LightningEnvironment()
    return TorchElasticEnvironment() if world.launcher == "torchrun" else SLURMEnvironment()


def _shared_store(fabric: Fabric) -> TCPStore:
    """Return a store that the first process holds and all processes can reach."""
    host, first = os.environ["MASTER_ADDR"], fabric.is_global_zero
    held = TCPStore(host, 0, is_master=True, wait_for_workers=False) if first else None
    port: int = fabric.broadcast(0 if held is None else held.port)
    return held or TCPStore(host, port, is_master=False, wait_for_workers=False)


def describe_device(fabric: Fabric, precision: Precision) -> str:
    """Return a short description of the device, such as "CPU, 2 threads, 32-bit"."""
    bits = {"32": "32-bit", "bf16": "bf16"}[precision]
    if fabric.device.type == "cuda":
        name = torch.cuda.get_device_name(fabric.device)
        return f"{fabric.world_size} x {name} (CUDA {torch.version.cuda}), {bits}"
    if fabric.device.type == "cpu":
        several = f"{fabric.world_size} x " if fabric.world_size > 1 else ""
        return f"{several}CPU, {torch.get_num_threads()} threads, {bits}"
    return f"{fabric.device.type.upper()}, {bits}"


def machine(fabric: Fabric) -> dict[str, str | int]:
    """Return the facts of the machine that affect the rounding of a result."""
    on_gpu = fabric.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(fabric.device) if on_gpu else fabric.device.type,
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "python": platform.python_version(),
    }


def to_device(images: Inputs, rows: np.ndarray, fabric: Fabric) -> Tensor:
    """Return the chosen rows of images or features, (B, ...), on the device."""
    batch = torch.from_numpy(images[rows])
    if fabric.device.type == "cuda":
        return batch.pin_memory().to(fabric.device, non_blocking=True)
    return batch.to(fabric.device)


def to_float(images: Tensor) -> Tensor:
    """Turn (B, H, W, 3) uint8 into (B, 3, H, W) float32 in 0..1, channels last in memory."""
    return images.permute(0, 3, 1, 2).float() / 255


def predict(
    fabric: Fabric, model: nn.Module, images: Inputs, batch_size: int, flip: bool = False
) -> Probs:
    """Return the probabilities of all images, (N, C) float32, in evaluation mode.

    They are computed in 32-bit, without TF32. Logits in bf16 are so coarse that images tie, which
    changes an average precision by tenths of a point.

    Args:
        fabric: the result of `choose_device`.
        model: on the device, not wrapped by fabric; left in evaluation mode.
        images: (N, H, W, 3) uint8, H and W the model's input size; or (N, D) float32, features
            for a head.
        batch_size: images at a time.
        flip: whether to average the probabilities of each image and its mirror image.
    """
    model.eval()
    return over_all(
        fabric, lambda batch: probabilities(model, batch, flip), images, batch_size, "scoring"
    )


def probabilities(model: nn.Module, batch: Tensor, flip: bool = False) -> Tensor:
    """Return the probabilities of a batch, (B, C) float32; arguments as of `predict`.

    Args:
        model: in evaluation mode.
        batch: (B, H, W, 3) uint8, or (B, D) float32, on the device.
        flip: see `predict`.
    """
    inputs = to_float(batch) if batch.dtype == torch.uint8 else batch
    straight = torch.sigmoid(model(inputs).float())
    return (straight + torch.sigmoid(model(inputs.flip(3)).float())) / 2 if flip else straight


@torch.inference_mode()
def over_all(
    fabric: Fabric,
    function: Callable[[Tensor], Tensor],
    images: Inputs,
    batch_size: int,
    label: str,
) -> np.ndarray:
    """Apply a function to all images, batch by batch; return its values, (N, D), in order.

    With several processes each computes a part, and all return the whole.

    Args:
        fabric: the result of `choose_device`.
        function: takes a batch (B, ...) on the device, returns (B, D).
        images: (N, ...).
        batch_size: images at a time.
        label: the label of the progress bar.
    """
    # Each process takes a run of rows. For the exchange shorter runs are padded to the longest,
    # and the padding is cut off afterwards.
    runs = np.array_split(np.arange(len(images)), fabric.world_size)
    mine = runs[fabric.global_rank]
    # A process without rows computes an empty batch, from which it learns D.
    batches = [mine[at : at + batch_size] for at in range(0, len(mine), batch_size)] or [mine]
    bar = tqdm(batches, label, disable=None if fabric.is_global_zero else True, leave=False)
    values = torch.cat([function(to_device(images, rows, fabric)) for rows in bar])
    if fabric.world_size > 1:
        padded = values.new_zeros(len(runs[0]), values.shape[1])
        padded[: len(values)] = values
        gathered = _gathered(fabric, padded)
        values = torch.cat([part[: len(run)] for part, run in zip(gathered, runs, strict=True)])
    return values.cpu().numpy()


def share_of(fabric: Fabric, batch: T) -> T:
    """Return this process's share of a batch: every n-th row of n processes."""
    rows: T = batch[fabric.global_rank :: fabric.world_size]
    return rows


def whole_of(fabric: Fabric, share: Tensor, n: int) -> Tensor:
    """Return the batch of n rows, in order, from the shares of all processes.

    All processes then compute the same values of it. The gradient goes to this process's rows,
    multiplied by the number of processes. DDP averages the weights' gradients over the processes,
    so that their mean is the gradient of the whole batch.

    Args:
        fabric: the result of `choose_device`.
        share: (B, ...), a result of `share_of`; empty if there are more processes than rows.
        n: rows of the batch.
    """
    size = fabric.world_size
    if size == 1:
        return share
    padded = share.new_zeros(-(-n // size), *share.shape[1:])
    padded[: len(share)] = share.detach()
    whole = torch.stack(_gathered(fabric, padded), dim=1).flatten(0, 1)[:n]
    if share.requires_grad:
        share.register_hook(lambda gradient: gradient * size)  # type: ignore[no-untyped-call]
        whole[fabric.global_rank :: size] = share
    return whole


def _gathered(fabric: Fabric, tensor: Tensor) -> list[Tensor]:
    """Return the tensors of all processes, of equal shapes, without gradients."""
    gathered = [torch.empty_like(tensor) for _ in range(fabric.world_size)]
    torch.distributed.all_gather(gathered, tensor.contiguous())
    return gathered
