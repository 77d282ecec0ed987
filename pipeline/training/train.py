"""A training in phases: the head on cached features, the whole network, or both in turn."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import nn

from pipeline.artifacts import curves
from pipeline.artifacts.cross_fitting import Fold
from pipeline.artifacts.curves import Epoch, Follow, History
from pipeline.artifacts.decisions import Decisions
from pipeline.artifacts.run import Role
from pipeline.artifacts.tables import Index
from pipeline.core import identity, places
from pipeline.core.arrays import Inputs, Probs, RowNumbers, Selection
from pipeline.core.errors import InputError
from pipeline.core.params import Params, Values
from pipeline.evaluation import thresholds
from pipeline.images import decode_cache
from pipeline.inference import features
from pipeline.inference.score import choose_device, describe_device, machine
from pipeline.losses.base import Loss, Task
from pipeline.models import classifier, timm_backbones
from pipeline.models.classifier import Classifier, ModelParams
from pipeline.training import checkpoint, optimiser
from pipeline.training.augment import AugmentParams
from pipeline.training.fit import Examples, Settings, fit, set_up
from pipeline.training.optimiser import FitParams, LinearParams
from pipeline.training.standardise import Standardised

log = logging.getLogger(__name__)

Mode = Literal["end_to_end", "linear", "linear_init"]
Phase = Literal["linear", "fit"]
MakeLoss = Callable[[Task], Loss]

# A phase has the name of the section with its settings.
PHASES: dict[Mode, tuple[Phase, ...]] = {
    "end_to_end": ("fit",),
    "linear": ("linear",),
    "linear_init": ("linear", "fit"),
}

# Keys of `fit` that `linear` replaces where the head alone is trained. (batch_size is not among
# them: features are computed in batches of fit's size.)
REPLACED_IN_LINEAR = ("fit.epochs", "fit.lr", "fit.head_lr_multiplier")


class SharedParams(Params):
    """`train`: the defaults of train_teacher and train_student."""

    model: ModelParams
    mode: Mode
    linear: LinearParams
    fit: FitParams
    augment: AugmentParams

    @classmethod
    def unused(cls, values: Values) -> set[str]:
        """Return the settings of phases that the mode does not have."""
        unused = {"end_to_end": {"linear"}, "linear": {"augment", *REPLACED_IN_LINEAR}}
        return super().unused(values) | unused.get(str(values.get("mode")), set())


class TrainParams(SharedParams):
    """The keys that the sections train_teacher and train_student share."""

    shared = ("train", SharedParams)

    seed: int = Field(ge=0, lt=2**32)


@dataclass(frozen=True)
class TrainingData:
    """The training data of a model.

    Attributes:
        index: the index.
        targets: (N_train, C), or (N_train, C, 2), in the order of the index's train rows; the
            loss gets them.
        rows: the positions, among the train rows, of those to learn from; None: all.
    """

    index: Index
    targets: np.ndarray
    rows: RowNumbers | None = None

    @cached_property
    def learned(self) -> np.ndarray:
        """The targets of the rows to learn from."""
        return self.targets if self.rows is None else self.targets[self.rows]

    def select(self, inputs: np.ndarray) -> Inputs:
        """Return the rows to learn from, of images or features of all train rows."""
        return inputs if self.rows is None else Selection(inputs, self.rows)


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
    _check_head(name, params, model)
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
        _check_mixup(name, params.augment, loss)
        _check_views(name, params, loss)
        if previous is not None:
            loss.carry_over(previous)
        network: nn.Module = model.head if phase == "linear" else model
        settings = Settings(
            f"{name}.{phase}", params.seed, _fit_params(params, phase),
            None if phase == "linear" else params.augment,
        )  # fmt: skip
        with _explain_errors(fabric, name, params, phase):
            fabric.to_device(model)
            examples = _examples(fabric, params, phase, model, data, images)
            if phase == "linear" and params.linear.standardise:
                network = _standardised(model, examples)
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


@contextmanager
def _explain_errors(fabric: Fabric, name: str, params: TrainParams, phase: Phase) -> Iterator[None]:
    """Turn torch's errors of memory and of batch norm into InputErrors that name a remedy."""
    fit_params = _fit_params(params, phase)
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


def _fit_params(params: TrainParams, phase: Phase) -> FitParams:
    return optimiser.of_linear(params.linear, params.fit) if phase == "linear" else params.fit


def _task(params: TrainParams, phase: Phase, data: TrainingData) -> Task:
    """Return the information for the loss of a phase."""
    epochs = _fit_params(params, phase).epochs
    complete = data.index.complete_val_labels
    return Task(
        targets=torch.from_numpy(data.learned),
        epochs=epochs,
        still_epochs=0 if phase == PHASES[params.mode][-1] else epochs,
        positives_per_image=None if complete is None else float(complete.sum(axis=1).mean()),
        priors=None if complete is None else tuple(complete.mean(axis=0).tolist()),
        seed=params.seed,
    )


def _examples(
    fabric: Fabric,
    params: TrainParams,
    phase: Phase,
    model: Classifier,
    data: TrainingData,
    keys: list[str],
) -> Examples:
    """Load the data of a phase: images, or features for the head.

    `keys` are the keys of the train and of the val images in the decode cache.
    """
    index, size = data.index, params.model.input_size
    splits = [index.rows("train"), index.rows("val")]
    inputs: list[np.ndarray] = [
        decode_cache.load(index, part, size, key) for part, key in zip(splits, keys, strict=True)
    ]
    mirrored = None
    if phase == "linear":
        images, batch_size = inputs[0], 4 * params.fit.batch_size
        if params.linear.mirror:
            found = features.load(fabric, model, images, keys[0], batch_size, mirror=True)
            mirrored = data.select(found)
        inputs = [
            features.load(fabric, model, images, key, batch_size)
            for images, key in zip(inputs, keys, strict=True)
        ]
    on_device = fabric.to_device(torch.from_numpy(data.learned))
    return Examples(data.select(inputs[0]), on_device, inputs[1], index.labels[splits[1]], mirrored)


def _standardised(model: Classifier, examples: Examples) -> Standardised:
    """Return the head on standardised features of the training images."""
    assert isinstance(model.head, nn.Linear)
    views = [examples.inputs, examples.mirrored]
    return Standardised(model.head, [view for view in views if view is not None])


def _check_mixup(name: str, params: AugmentParams, loss: Loss) -> None:
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


def _check_views(name: str, params: TrainParams, loss: Loss) -> None:
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


def _check_head(name: str, params: TrainParams, model: Classifier) -> None:
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
