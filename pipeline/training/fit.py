"""The training loop of teachers and students, for whole networks and for heads alone."""

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel
from tqdm.auto import tqdm

from pipeline.artifacts.curves import Epoch
from pipeline.core.arrays import BoolMatrix, Inputs, Probs
from pipeline.core.errors import InputError
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.inference.score import predict, share_of, to_device, whole_of
from pipeline.losses.base import Loss
from pipeline.training import augment, batch_norm, checkpoint, mixup, optimiser
from pipeline.training.augment import AugmentParams
from pipeline.training.ema import moving_average
from pipeline.training.optimiser import FitParams

log = logging.getLogger(__name__)

State = dict[str, Tensor]


@dataclass(frozen=True)
class Examples:
    """The training and val data. A batch is an array of row numbers of inputs and targets.

    Attributes:
        inputs: (N_train, H, W, 3) uint8 images, or (N_train, D) float32 features.
        targets: (N_train, C), or (N_train, C, 2) with the weight of each; on the device.
        val_inputs: the same as inputs, for the val images.
        val_labels: (N_val, C) bool.
        mirrored: the features of the mirrored images; an epoch takes these for half of the images,
            at random. None: there are none.
    """

    inputs: Inputs
    targets: Tensor
    val_inputs: np.ndarray
    val_labels: BoolMatrix
    mirrored: Inputs | None = None


@dataclass(frozen=True)
class Settings:
    """The settings of a loop.

    Attributes:
        section: the section and phase of the training, for messages.
        seed: seeds all random numbers.
        fit: the optimiser, its schedule and the epochs.
        augment: the augmentation; None if the inputs are features.
    """

    section: str
    seed: int
    fit: FitParams
    augment: AugmentParams | None


@dataclass(frozen=True)
class Loop:
    """The parts of a training loop.

    Attributes:
        network: the network on the device; maps inputs to logits (B, C).
        wrapped: the network wrapped by Fabric for the precision and for several processes.
        ema: the EMA of the network's weights; None if it is off.
    """

    fabric: Fabric
    settings: Settings
    examples: Examples
    network: nn.Module
    wrapped: nn.Module
    ema: AveragedModel | None
    optimizer: Optimizer
    schedule: LRScheduler
    loss: Loss

    @property
    def result(self) -> nn.Module:
        """Return the module to score and to save: the EMA if there is one, else the network."""
        return self.network if self.ema is None else self.ema.module


@dataclass(frozen=True)
class Fitted:
    """A training's history, and the states of network and loss after its best epoch.

    Attributes:
        val_probs: (N_val, C) the scores of the val images by this network.
    """

    history: list[Epoch]
    network: State
    loss: State
    val_probs: Probs


def set_up(
    fabric: Fabric,
    settings: Settings,
    examples: Examples,
    network: nn.Module,
    head: nn.Module,
    loss: Loss,
) -> Loop:
    """Build the optimiser and its schedule; move network and loss to the device."""
    loss, params = loss.to(fabric.device), settings.fit
    order = np.arange(len(examples.inputs))
    n_batches = len(_batches(order, params.batch_size))
    if fabric.world_size > 1:
        batch_norm.over_processes(network)
    optimizer = optimiser.build(network, head, loss, params)
    schedule = optimiser.schedule(optimizer, params, n_batches)
    ema = None if params.ema is None else moving_average(network, params.ema)
    wrapped, wrapped_optimizer = fabric.setup(network, optimizer)
    return Loop(
        fabric, settings, examples, network, wrapped, ema, wrapped_optimizer, schedule, loss,
    )  # fmt: skip


def fit(
    loop: Loop, checkpoint_path: Path, follow: Callable[[list[Epoch]], None] = lambda _: None
) -> Fitted:
    """Train epoch by epoch, and return the history and the best epoch's states.

    The best epoch is the first with the highest mAP on the val labels, or the last one if the
    settings say so. Every epoch ends with a checkpoint, from which a later call resumes. All
    random numbers of an epoch depend only on the seed and the number of the epoch, so a resumed
    run gives the result of an uninterrupted one.

    Args:
        loop: the parts of the loop.
        checkpoint_path: of the checkpoint.
        follow: receives the history after each epoch.

    Raises:
        InputError: the loss or the scores are not finite; the disk is too full for the checkpoint.
    """
    params, examples = loop.settings.fit, loop.examples
    parts: dict[str, Any] = {
        "network": loop.network,
        "optimizer": loop.optimizer,
        "schedule": loop.schedule,
        "loss": loop.loss,
    }
    if loop.ema is not None:
        parts["ema"] = loop.ema
    history: list[Epoch] = []
    best_network, best_loss, best_probs = State(), State(), torch.empty(0)
    # Only one process reads, so that all resume after the same epoch.
    saved: Any = loop.fabric.broadcast(
        checkpoint.load(checkpoint_path) if loop.fabric.is_global_zero else None
    )
    if saved is not None:
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        history = [Epoch(**epoch) for epoch in saved["history"]]
        best_network, best_loss = saved["best_network"], saved["best_loss"]
        best_probs = saved["best_probs"]
        log.info("resuming after epoch %d", len(history))

    started, resumed = time.perf_counter(), len(history)
    while len(history) < params.epochs and not optimiser.should_stop(
        history, params.early_stop_drop
    ):
        epoch = len(history) + 1
        lr = float(loop.schedule.get_last_lr()[0])
        mean_loss = _one_epoch(loop, epoch)
        probs = predict(loop.fabric, loop.result, examples.val_inputs, 4 * params.batch_size)
        # The last step of an epoch may diverge, and no loss after it shows that.
        if not np.isfinite(probs).all():
            raise _diverged(
                loop, f"the val scores are not finite after epoch {epoch}, begun at a", lr
            )
        if loop.loss.wants_scores() and epoch < params.epochs:
            scores = predict(loop.fabric, loop.result, examples.inputs, 4 * params.batch_size)
            loop.loss.learn(torch.from_numpy(scores))
        val_map = mean_average_precision(examples.val_labels, probs)
        history.append(Epoch(epoch, mean_loss, lr, val_map))
        if optimiser.kept(history, params.keep) is history[-1]:
            best_network, best_loss = _copy(loop.result), _copy(loop.loss)
            best_probs = torch.from_numpy(probs)
        if loop.fabric.is_global_zero:
            states = {name: part.state_dict() for name, part in parts.items()}
            best = {
                "best_network": best_network, "best_loss": best_loss, "best_probs": best_probs,
            }  # fmt: skip
            follow(history)
            past = {"history": [asdict(done) for done in history]}
            checkpoint.save(checkpoint_path, states | best | past)
            pace = (time.perf_counter() - started) / (epoch - resumed)
            left = tqdm.format_interval(pace * (params.epochs - epoch))
            log.info(
                "epoch %d/%d  loss %.4f  val mAP %.2f  %s left",
                epoch, params.epochs, mean_loss, val_map, left,
            )  # fmt: skip
        loop.fabric.barrier()
    return Fitted(history, best_network, best_loss, best_probs.numpy())


def _one_epoch(loop: Loop, epoch: int) -> float:
    """Train on every training image once; return the mean loss over images."""
    fabric, examples = loop.fabric, loop.examples
    params, views = loop.settings.fit, _views(loop)
    # The order, the augmentation and the dropout of an epoch do not depend on earlier epochs.
    rng = np.random.default_rng((loop.settings.seed, epoch))
    torch.manual_seed(int(rng.integers(2**62)) + fabric.global_rank)
    order = rng.permutation(len(examples.inputs))
    random = [augment.draw(rng, len(order)) for _ in views]
    if examples.mirrored is not None:
        flipped = torch.from_numpy(rng.random((len(order), 1)) < 0.5)
    loop.wrapped.train()
    loop.loss.epoch = epoch
    total = 0.0
    batches = _batches(order, params.batch_size)
    hidden = None if fabric.is_global_zero else True
    bar = tqdm(batches, f"epoch {epoch}/{params.epochs}", disable=hidden, leave=False)
    for step, batch in enumerate(bar, start=1):
        # Each process runs the network on its share, and computes the loss of the whole batch.
        rows = share_of(fabric, batch)
        images = to_device(examples.inputs, rows, fabric)
        if examples.mirrored is not None:
            others = to_device(examples.mirrored, rows, fabric)
            images = torch.where(fabric.to_device(flipped[rows]), others, images)
        inputs = [
            augment.augment(images, view, fabric.to_device(torch.from_numpy(drawn[rows])))
            for view, drawn in zip(views, random, strict=True)
        ] or [images]
        mix = mixup.draw(loop.settings.augment, len(batch), rng)
        if mix is not None:
            whole = whole_of(fabric, inputs[0], len(batch))
            inputs = [share_of(fabric, mixup.blend(whole, mix))]
        at = torch.from_numpy(batch).to(examples.targets.device)
        logits = [whole_of(fabric, part, len(batch)) for part in _logits(loop.wrapped, inputs)]
        loss = mixup.loss_of(loop.loss, logits[0], examples.targets, at, mix)
        loss = loss + loop.loss.penalty(loop.network)
        if len(logits) > 1:
            loss = loss + loop.loss.consistency(logits[0], logits[1], examples.targets[at])
        value = loss.item()
        if not math.isfinite(value):
            lr = float(loop.schedule.get_last_lr()[0])
            raise _diverged(loop, f"the loss is {value} in epoch {epoch}, step {step}, at a", lr)
        loop.optimizer.zero_grad()
        fabric.backward(loss)
        loop.optimizer.step()
        loop.schedule.step()
        if loop.ema is not None:
            loop.ema.update_parameters(loop.network)
        total += value * len(batch)
        bar.set_postfix(loss=f"{value:.4f}")
    return total / len(order)


def _views(loop: Loop) -> list[AugmentParams]:
    """Return the augmentation of each view of an image; none if the inputs are features."""
    usual, second = loop.settings.augment, loop.loss.second_view
    if usual is None:
        return []
    return [usual, usual.model_copy(update=second)] if second else [usual]


def _logits(network: nn.Module, views: list[Tensor]) -> list[Tensor]:
    """Return the logits of each view. All views are one batch: batch norm sees them together."""
    if len(views) == 1:
        return [network(views[0])]
    return list(network(torch.cat(views)).tensor_split(len(views)))


def _diverged(loop: Loop, problem: str, lr: float) -> InputError:
    section, params = loop.settings.section, loop.settings.fit
    return InputError(
        f"{section}: {problem} learning rate of {lr:.3g}; {params.key(section, 'lr')} = "
        f"{params.lr} should be lower"
    )


def _batches(order: np.ndarray, batch_size: int) -> list[np.ndarray]:
    """Cut an order into batches; a last batch of one image joins the batch before.

    Batch norm cannot take a batch of one. (The batches are the same for any number of processes.
    So in a small batch some processes may have an empty share.)
    """
    starts = list(range(0, len(order), batch_size))
    if len(starts) > 1 and len(order) - starts[-1] == 1 < batch_size:
        starts.pop()
    return np.split(order, starts[1:])


def _copy(module: nn.Module) -> State:
    """Return a copy of a module's state, off the device."""
    return {key: value.cpu().clone() for key, value in module.state_dict().items()}
