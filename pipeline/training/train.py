"""A training in phases: the head on cached features, the whole network, or both in turn."""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from pipeline.artifacts import curves
from pipeline.artifacts.cross_fitting import Fold
from pipeline.artifacts.curves import Epoch, Follow, History
from pipeline.artifacts.decisions import Decisions
from pipeline.artifacts.run import Role
from pipeline.artifacts.tables import Index
from pipeline.core import identity, places
from pipeline.core.arrays import Probs
from pipeline.evaluation import thresholds
from pipeline.images import decode_cache
from pipeline.inference.score import choose_device, describe_device, machine
from pipeline.losses.base import Loss, Task
from pipeline.models import classifier, timm_backbones
from pipeline.models.classifier import Classifier
from pipeline.training import checkpoint, optimiser, refusals
from pipeline.training.data import TrainingData, examples_of, standardised_head
from pipeline.training.fit import Settings, fit, set_up
from pipeline.training.phases import PHASES, Phase, TrainParams
from pipeline.training.standardise import Standardised

log = logging.getLogger(__name__)

MakeLoss = Callable[[Task], Loss]


@dataclass(frozen=True)
class Trained:
    """A model in the state of its best epoch, with its history.

    Attributes:
        history: the epochs of all phases, numbered consecutively.
        best: the epoch of the last phase that is kept; the model has its state.
        checkpoints: while these files exist, the same call of `train` returns the same result
            at once.
        first: whether this process writes the files; the helper processes of a run on several
            devices have the same model.
        machine: the machine of the training, as from `score.machine`.
    """

    model: Classifier
    history: list[Epoch]
    best: Epoch
    checkpoints: list[Path]
    first: bool
    machine: dict[str, str | int]

    @property
    def curves(self) -> History:
        """The history in the form that is written."""
        return History(self.history, self.best)

    def describe(self, role: Role, made_from: dict[str, str], held_out: Fold | None = None) -> None:
        """Set the model's role and origin in its spec; arguments as in `Spec`."""
        self.model.spec = replace(
            self.model.spec, role=role, made_from=made_from, held_out=held_out
        )

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints."""
        if self.first:
            for path in self.checkpoints:
                checkpoint.remove(path)


def train(
    name: str,
    params: TrainParams,
    data: TrainingData,
    make_loss: MakeLoss,
    keep: bool = False,
    live: Path | None = None,
) -> Trained:
    """Train a model on the train images and return it in the state of its best epoch.

    A killed run resumes after its last complete epoch. The checkpoint lies in the cache folder.
    Its name is a digest of everything that the result depends on, so a changed run starts anew.

    Args:
        name: the section of params.yaml, for messages.
        params: the settings.
        data: the training data.
        make_loss: makes the loss of a phase.
        keep: keep the checkpoints; the caller should call `remove_checkpoints`.
        live: the folder of the curves while the training runs; None: there are none.

    Returns:
        The trained model.

    Raises:
        InputError: images or weights cannot be read; mode or loss do not fit the other settings;
            the loss is not finite; the device has too little memory, or the disk too little space.

    Source: Cole et al. 2021, for the modes.
    """
    fabric = choose_device(params.fit.precision)
    with curves.followed(live if fabric.is_global_zero else None) as follow:
        return _train(fabric, name, params, data, make_loss, keep, follow)


def _train(
    fabric: Fabric,
    name: str,
    params: TrainParams,
    data: TrainingData,
    make_loss: MakeLoss,
    keep: bool,
    follow: Follow,
) -> Trained:
    """Train a model as `train` does; `follow` receives the history after each epoch."""
    if fabric.is_global_zero:
        log.info("device: %s", describe_device(fabric, params.fit.precision))
    torch.manual_seed(params.seed)
    model = classifier.build(params.model, data.index.classes, f"{name}.model")
    refusals.check_head(name, params, model)
    phases = PHASES[params.mode]
    losses = [make_loss(_task(params, phase, data)) for phase in phases]
    images = [
        decode_cache.key(data.index, data.index.rows(split), params.model.input_size)
        for split in ("train", "val")
    ]
    key = _key(params, data, images, model, type(losses[0]))
    history: list[Epoch] = []
    checkpoints: list[Path] = []
    previous: Loss | None = None
    for phase, loss in zip(phases, losses, strict=True):
        checkpoints.append(places.cache_folder() / "resume" / f"{name}-{phase}-{key}.ckpt")
        refusals.check_mixup(name, params.augment, loss)
        refusals.check_views(name, params, loss)
        if previous is not None:
            loss.carry_over(previous)
        network: nn.Module = model.head if phase == "linear" else model
        settings = Settings(
            f"{name}.{phase}", params.seed, params.of_phase(phase),
            None if phase == "linear" else params.augment,
        )  # fmt: skip
        with refusals.explain_errors(fabric, name, params, phase):
            fabric.to_device(model)
            examples = examples_of(fabric, params, phase, model, data, images)
            if phase == "linear" and params.linear.standardise:
                network = standardised_head(model, examples)
            loop = set_up(fabric, settings, examples, network, model.head, loss)
            fitted = fit(loop, checkpoints[-1], partial(follow, len(history)))
        # The next phase begins with the best epoch of this one.
        network.load_state_dict(fitted.network)
        if isinstance(network, Standardised):
            network.fold()
        loss.load_state_dict(fitted.loss)
        done, previous = len(history), loss
        history += [replace(epoch, epoch=epoch.epoch + done) for epoch in fitted.history]
    model.spec = replace(
        model.spec,
        frozen_backbone=params.mode == "linear",
        decisions=_decisions(data.index, fitted.val_probs),
    )
    if model.spec.decisions is None and fabric.is_global_zero:
        log.info("no decision thresholds: the val labels are incomplete, or none is positive")
    best, first = optimiser.kept(history[done:], params.fit.keep), fabric.is_global_zero
    about = machine(fabric) | timm_backbones.libraries(params.model.backbone)
    trained = Trained(model, history, best, checkpoints, first, about)
    if not keep:
        trained.remove_checkpoints()
    return trained


def _decisions(index: Index, val_probs: Probs) -> Decisions | None:
    """Choose thresholds on the val images; None if their labels are incomplete or all absent."""
    labels = index.complete_val_labels
    return None if labels is None else thresholds.choose(labels, val_probs)


def _task(params: TrainParams, phase: Phase, data: TrainingData) -> Task:
    """Return the information for the loss of a phase."""
    epochs = params.of_phase(phase).epochs
    complete = data.index.complete_val_labels
    return Task(
        targets=torch.from_numpy(data.learned),
        epochs=epochs,
        still_epochs=0 if phase == PHASES[params.mode][-1] else epochs,
        positives_per_image=None if complete is None else float(complete.sum(axis=1).mean()),
        priors=None if complete is None else tuple(complete.mean(axis=0).tolist()),
        seed=params.seed,
    )


def _key(
    params: TrainParams,
    data: TrainingData,
    images: list[str],
    model: Classifier,
    loss: type[Loss],
) -> str:
    """Return a digest of everything that the result depends on, for the name of a checkpoint."""
    index = data.index
    rows = np.array([]) if data.rows is None else data.rows
    arrays = [data.learned, index.labels[index.rows("val")], rows]
    return identity.name_of(
        params.in_use(),
        index.classes,
        images,
        [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays],
        model.digest(),
        identity.code(__name__, loss.__module__),
        torch.__version__,
    )
