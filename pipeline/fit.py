"""The one training loop, for teacher and student."""

import hashlib
import logging
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm

from pipeline import gallery, models, recipe
from pipeline.arrays import BoolMatrix, Pictures
from pipeline.augment import DICE, AugmentParams, augment
from pipeline.curves import Epoch
from pipeline.errors import InputError
from pipeline.metrics import mean_average_precision
from pipeline.models import Classifier, ModelParams
from pipeline.params import Params
from pipeline.recipe import FitParams
from pipeline.score import choose_device, describe_device, predict, to_device
from pipeline.tables import Index

log = logging.getLogger(__name__)


class TrainParams(Params):
    """What the sections train_teacher and train_student have in common."""

    seed: int = Field(ge=0, lt=2**32)
    model: ModelParams
    fit: FitParams
    augment: AugmentParams


@dataclass(frozen=True)
class Trained:
    """A model in the state of its best epoch, and what led there."""

    model: Classifier
    history: list[Epoch]
    best: Epoch


@dataclass(frozen=True)
class _Run:
    """What a training works with; a batch is an array of row numbers into pictures and targets.

    Attributes:
        name: the section of params.yaml, for messages.
        model: set up for the device.
        pictures: (N_train, H, W, 3) uint8.
        targets: (N_train, C), on the device.
        val_pictures: (N_val, H, W, 3) uint8.
        val_labels: (N_val, C) bool.
    """

    fabric: Fabric
    name: str
    params: TrainParams
    model: nn.Module
    optimizer: Optimizer
    schedule: LRScheduler
    loss: nn.Module
    pictures: Pictures
    targets: Tensor
    val_pictures: Pictures
    val_labels: BoolMatrix


def train(
    name: str,
    params: TrainParams,
    index: Index,
    targets: np.ndarray,
    loss: nn.Module,
    embedded: Path,
) -> Trained | None:
    """Train a model on the train pictures and return it as it was after its best epoch.

    The best epoch is the first of highest mAP on the val labels of the index. After every
    epoch the state is kept in the cache folder, under a name made of all that the result
    depends on, so that a run that was killed goes on where it was, and a changed one starts
    anew. All random numbers of an epoch follow from the seed and its number: a resumed run
    gives what an undisturbed one would have given.

    Args:
        name: the section of params.yaml, for messages.
        params: the recipe.
        index: the index.
        targets: (N_train, C) in the order of the index's train rows; passed to the loss.
        loss: called with logits (B, C) and targets (B, C), returns a scalar.
        embedded: images.parquet, for pictures that have no file.

    Returns:
        The trained model; None in the helper processes of a run on several devices.

    Raises:
        InputError: pictures or weights cannot be read; the loss is not finite; the device
            has too little memory.
    """
    fabric = choose_device(params.fit.precision)
    if fabric.is_global_zero:
        log.info("device: %s", describe_device(fabric, params.fit.precision))
    torch.manual_seed(params.seed)
    model = models.build(params.model, index.classes, f"{name}.model")
    checkpoint = gallery.cache_folder() / "resume" / f"{name}-{_key(params, index, targets)}.ckpt"
    try:
        run = _set_up(fabric, name, params, model, index, targets, loss, embedded)
        history, best_state = _fit(run, model, checkpoint)
    except torch.OutOfMemoryError:
        raise InputError(
            f"{name}.fit.batch_size = {params.fit.batch_size}: the memory of "
            f"{describe_device(fabric, params.fit.precision)} is used up; should be smaller"
        ) from None
    except ValueError as error:
        # torch's words for batch norm that is given one picture, shrunk to one place.
        if "more than 1 value per channel" not in str(error):
            raise
        raise InputError(
            f"{name}.fit.batch_size = {params.fit.batch_size}: batch norm cannot take a single "
            f"picture a step at model.input_size = {params.model.input_size}; should be at least 2 "
            f"a device, with as many pictures, or {name}.model.freeze_batch_norm true"
        ) from None
    if not fabric.is_global_zero:
        return None
    checkpoint.unlink(missing_ok=True)
    model.load_state_dict(best_state)
    return Trained(model, history, recipe.best(history))


def _set_up(
    fabric: Fabric,
    name: str,
    params: TrainParams,
    model: Classifier,
    index: Index,
    targets: np.ndarray,
    loss: nn.Module,
    embedded: Path,
) -> _Run:
    """Load the pictures, bring model and targets to the device, make the optimizer."""
    train, val = index.rows("train"), index.rows("val")
    size = params.model.input_size
    n_batches = len(_batches(np.arange(len(train)), params.fit.batch_size, fabric.world_size))
    optimizer = recipe.optimizer(model, params.fit)
    schedule = recipe.schedule(optimizer, params.fit, n_batches)
    on_device, its_optimizer = fabric.setup(model, optimizer)
    return _Run(
        fabric=fabric,
        name=name,
        params=params,
        model=on_device,
        optimizer=its_optimizer,
        schedule=schedule,
        loss=loss.to(fabric.device),
        pictures=gallery.load(index, train, size, embedded),
        targets=fabric.to_device(torch.from_numpy(targets)),
        val_pictures=gallery.load(index, val, size, embedded),
        val_labels=index.labels[val],
    )


def _fit(run: _Run, model: Classifier, checkpoint: Path) -> tuple[list[Epoch], dict[str, Tensor]]:
    """Train epoch by epoch; return the history and the state after the best epoch."""
    fit = run.params.fit
    state: dict[str, Any] = {
        "model": run.model,
        "optimizer": run.optimizer,
        "schedule": run.schedule,
        "loss": run.loss,
        "history": [],
        "best_state": {},
    }
    if checkpoint.exists():
        run.fabric.load(checkpoint, state)
        log.info("going on after epoch %d", len(state["history"]))
    history = [Epoch(**epoch) for epoch in state["history"]]

    while len(history) < fit.epochs and not recipe.should_stop(history, fit.early_stop_drop):
        epoch = len(history) + 1
        lr = float(run.schedule.get_last_lr()[0])
        mean_loss = _one_epoch(run, epoch)
        probs = predict(run.fabric, model, run.val_pictures, 4 * fit.batch_size)
        # The last step of an epoch may have been one too far, with no loss after it to show it.
        if not np.isfinite(probs).all():
            raise _diverged(
                run, f"the val scores are not finite after epoch {epoch}, begun at a", lr
            )
        val_map = mean_average_precision(run.val_labels, probs)
        history.append(Epoch(epoch, mean_loss, lr, val_map))
        state["history"] = [asdict(done) for done in history]
        if recipe.best(history) is history[-1]:
            weights = model.state_dict().items()
            state["best_state"] = {key: value.cpu().clone() for key, value in weights}
        _keep(run.fabric, checkpoint, state)
        if run.fabric.is_global_zero:
            said = (epoch, fit.epochs, mean_loss, val_map)
            log.info("epoch %d/%d  loss %.4f  val mAP %.2f", *said)
    return history, state["best_state"]


def _one_epoch(run: _Run, epoch: int) -> float:
    """Take every training picture once; return the mean loss over pictures."""
    fabric, fit = run.fabric, run.params.fit
    # The order, the augmentation and the dropout of an epoch depend on nothing before it.
    rng = np.random.default_rng((run.params.seed, epoch))
    torch.manual_seed(int(rng.integers(2**62)) + fabric.global_rank)
    order = rng.permutation(len(run.pictures))
    dice = rng.random((len(order), DICE), dtype=np.float32)
    run.model.train()
    total = 0.0
    batches = _batches(order, fit.batch_size, fabric.world_size)
    bar = tqdm(batches, f"epoch {epoch}/{fit.epochs}", disable=None, leave=False)
    for step, batch in enumerate(bar, start=1):
        rows = batch[fabric.global_rank :: fabric.world_size]
        pictures = to_device(run.pictures, rows, fabric)
        chance = fabric.to_device(torch.from_numpy(dice[rows]))
        targets = run.targets[torch.from_numpy(rows).to(run.targets.device)]
        logits = run.model(augment(pictures, run.params.augment, chance))
        loss = run.loss(logits, targets)
        value = loss.item()
        if not math.isfinite(value):
            lr = float(run.schedule.get_last_lr()[0])
            raise _diverged(run, f"the loss is {value} in epoch {epoch}, step {step}, at a", lr)
        run.optimizer.zero_grad()
        # DDP averages over processes; this makes it the mean over the batch's pictures.
        fabric.backward(loss * (len(rows) * fabric.world_size / len(batch)))
        run.optimizer.step()
        run.schedule.step()
        total += value * len(rows)
        bar.set_postfix(loss=f"{value:.4f}")
    _average_buffers(fabric, run.model)
    summed: Any = fabric.all_reduce(torch.tensor(total, dtype=torch.float64), reduce_op="sum")
    return float(summed) / len(order)


def _average_buffers(fabric: Fabric, model: nn.Module) -> None:
    """Give all processes one model: the batch norms of each have seen its own pictures only."""
    if fabric.world_size > 1:
        for buffer in model.buffers():
            if buffer.is_floating_point():
                mean: Any = fabric.all_reduce(buffer, reduce_op="mean")
                buffer.copy_(mean)


def _diverged(run: _Run, what: str, lr: float) -> InputError:
    return InputError(
        f"{run.name}: {what} learning rate of {lr:.3g}; {run.name}.fit.lr = {run.params.fit.lr} "
        f"should be lower"
    )


def _batches(order: np.ndarray, batch_size: int, world_size: int) -> list[np.ndarray]:
    """Cut an order into batches; a remainder of one picture a process joins the one before.

    Batch norm cannot take a batch of one, and a process cannot do without any picture.
    """
    starts = list(range(0, len(order), batch_size))
    remainder = len(order) - starts[-1]
    if len(starts) > 1 and (remainder < world_size or remainder < 2 * world_size <= batch_size):
        starts.pop()
    return np.split(order, starts[1:])


def _keep(fabric: Fabric, checkpoint: Path, state: dict[str, Any]) -> None:
    """Write the checkpoint so that a kill leaves the old one or the new one."""
    temporary = checkpoint.with_suffix(".tmp")
    fabric.save(temporary, state)
    if fabric.is_global_zero:
        temporary.replace(checkpoint)


def _key(params: TrainParams, index: Index, targets: np.ndarray) -> str:
    """Return a name for all that the result depends on: params, data, code, torch."""
    digest = hashlib.sha256(f"{params.model_dump_json()} {torch.__version__}".encode())
    digest.update(repr((index.image_ids, index.sha256, index.classes)).encode())
    digest.update(index.splits.tobytes() + index.labels.tobytes() + targets.tobytes())
    for path in sorted(Path(__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:32]
