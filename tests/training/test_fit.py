"""The training loop: learning, reproducibility, early stopping, resuming."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from pipeline.artifacts import curves, tables
from pipeline.artifacts.curves import Epoch
from pipeline.artifacts.tables import Index
from pipeline.core.errors import InputError
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.images import decode_cache
from pipeline.inference.score import choose_device, predict
from pipeline.losses.assume_negative import AN
from pipeline.losses.base import Loss, Task
from pipeline.losses.consistency import PLC
from pipeline.losses.student import FullSupervision
from pipeline.models import classifier, model_file
from pipeline.training import fit, optimiser
from pipeline.training.train import TrainingData, TrainParams, train
from tests.builders.training import (
    CLASSES,
    SIZE,
    Counting,
    Killed,
    assert_equal_weights,
    checkpoints,
    make_index,
    make_params,
    run,
    weights,
)
from tests.conftest import ROOT, RunStage, SetParams


@pytest.fixture
def index(workplace: Path) -> Index:
    """24 train and 12 val images in the workplace."""
    return make_index()


# --- learning --------------------------------------------------------------------------


def test_training_learns(index: Index) -> None:
    quiet = {"flip": 0.0, "shift": 0.0, "zoom": 0.0}
    trained = run(index, make_params(epochs=8, lr=5e-3, augment=quiet))
    losses = [epoch.loss for epoch in trained.history]
    assert losses[-1] < losses[1] < losses[0]
    assert trained.best.val_mAP > 90


def test_a_student_learns_from_soft_targets_in_the_same_loop(index: Index) -> None:
    targets = np.abs(index.targets[index.rows("train")]).astype(np.float32) * 0.9 + 0.05
    trained = train(
        "train_student", make_params(epochs=6), TrainingData(index, targets), FullSupervision
    )
    assert trained.history[-1].loss < trained.history[0].loss


def test_labels_can_have_weights(index: Index) -> None:
    labels = np.abs(index.targets[index.rows("train")]).astype(np.float32)
    trained = {}
    for name, weights_ in (("all", np.ones(24)), ("half", np.arange(24) < 12)):
        beside = np.broadcast_to(weights_[:, None], labels.shape).astype(np.float32)
        pairs = np.stack([labels, beside], axis=2)
        made = train("train_x", make_params(epochs=3), TrainingData(index, pairs), FullSupervision)
        assert made is not None
        trained[name] = made
    plain = train("train_x", make_params(epochs=3), TrainingData(index, labels), FullSupervision)
    assert plain is not None
    assert_equal_weights(trained["all"], plain)
    # The mean is over all entries, with and without weight.
    assert trained["half"].history[0].loss < 0.7 * plain.history[0].loss


def test_equal_seeds_give_equal_weights_and_different_seeds_different_ones(index: Index) -> None:
    first, second, other = (run(index, make_params(seed)) for seed in (0, 0, 1))
    assert_equal_weights(first, second)
    assert first.history == second.history
    assert not torch.equal(weights(first)["net.0.weight"], weights(other)["net.0.weight"])


def test_the_history_has_an_entry_per_epoch(index: Index) -> None:
    trained = run(index, make_params(epochs=3))
    assert [epoch.epoch for epoch in trained.history] == [1, 2, 3]
    for epoch in trained.history:
        assert epoch.loss > 0
        assert epoch.lr > 0
        assert 0 < epoch.val_mAP <= 100


def test_the_loss_of_an_epoch_is_the_mean_over_images(index: Index) -> None:
    """With a learning rate near 0 and no augmentation the loss can be computed at once."""
    quiet = {"flip": 0.0, "shift": 0.0, "zoom": 0.0}
    frozen = {"freeze_batch_norm": True}
    params = make_params(epochs=1, batch_size=10, lr=1e-12, model=frozen, augment=quiet)
    trained = run(index, params)  # batches of 10, 10 and 4
    rows = index.rows("train")
    fabric = choose_device("32")
    images = decode_cache.load(index, rows, SIZE)
    probs = predict(fabric, fabric.setup_module(trained.model), images, 24)
    targets = torch.from_numpy(index.targets[rows])
    loss = AN(Task(targets, epochs=1))
    expected = loss(torch.logit(torch.from_numpy(probs)), targets, torch.arange(24))
    assert trained.history[0].loss == pytest.approx(expected.item(), rel=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize(
    ("schedule", "lrs"),
    [
        ("constant", [2e-3, 2e-3]),
        ("cosine", [2e-3, 1e-3]),
        ("one_cycle", [8e-5, 2e-3 * 0.46262716]),
    ],
    ids=["constant", "cosine", "one_cycle"],
)
def test_every_optimizer_runs_under_every_schedule(
    optimizer: str, schedule: str, lrs: list[float], index: Index
) -> None:
    trained = run(index, make_params(optimizer=optimizer, schedule=schedule))
    assert [epoch.lr for epoch in trained.history] == pytest.approx(lrs, rel=1e-4)
    assert all(torch.isfinite(value).all() for value in weights(trained).values())


@pytest.mark.parametrize("schedule", ["constant", "cosine", "one_cycle"])
def test_a_run_of_a_single_step_is_enough(schedule: str, index: Index) -> None:
    trained = run(index, make_params(epochs=1, batch_size=64, schedule=schedule))
    assert len(trained.history) == 1


def test_bf16_runs_and_keeps_weights_in_32_bits(index: Index) -> None:
    rough = run(index, make_params(precision="bf16"))
    exact = run(index, make_params())
    assert {value.dtype for value in rough.model.parameters()} == {torch.float32}
    assert rough.history[-1].loss == pytest.approx(exact.history[-1].loss, rel=0.05)
    assert rough.history[-1].loss != exact.history[-1].loss


def test_one_training_image_is_enough(workplace: Path) -> None:
    trained = run(make_index(1, 2), make_params())
    assert len(trained.history) == 2


def test_only_the_head_has_a_multiple_of_the_learning_rate(index: Index) -> None:
    quiet = {"flip": 0.0, "shift": 0.0, "zoom": 0.0}
    moved = {}
    for multiplier in (1.0, 10.0):
        params = make_params(
            epochs=1, batch_size=64, optimizer="sgd", schedule="constant", momentum=0.0,
            weight_decay=0.0, head_lr_multiplier=multiplier, augment=quiet,
        )  # fmt: skip
        torch.manual_seed(params.seed)
        start = classifier.build(params.model, CLASSES).state_dict()
        trained = run(index, params)
        end = weights(trained)
        moved[multiplier] = {key: end[key] - start[key] for key in end}
    head = f"net.{trained.model.head_name}."
    for key, step in moved[1.0].items():
        factor = 10 if key.startswith(head) else 1
        torch.testing.assert_close(
            moved[10.0][key].float(), factor * step.float(), rtol=1e-2, atol=1e-6
        )
    assert moved[1.0][f"{head}weight"].abs().max() > 1e-6


def test_frozen_batch_norm_keeps_its_statistics_in_training(index: Index) -> None:
    trained = run(index, make_params(model={"freeze_batch_norm": True}))
    state = weights(trained)
    assert torch.equal(state["net.1.running_mean"], torch.zeros(24))
    assert torch.equal(state["net.1.running_var"], torch.ones(24))
    assert not torch.equal(state["net.1.weight"], torch.ones(24))


def test_a_backbone_that_reads_version_numbers_trains(workplace: Path) -> None:
    params = make_params(epochs=1, model={"backbone": "mnasnet0_5", "input_size": 32})
    assert len(run(make_index(4, 2), params).history) == 1


# --- the average of weights ------------------------------------------------------------


class Watching(AN):
    """Records the weights of the network before each step."""

    def __init__(self, task: Task):
        super().__init__(task)
        self.seen: list[dict[str, Tensor]] = []

    def penalty(self, network: torch.nn.Module) -> float:
        """Record the weights; the penalty is 0."""
        self.seen.append({key: value.detach().clone() for key, value in network.named_parameters()})
        return 0.0


def test_with_ema_the_model_is_the_average_of_the_weights_after_each_step(index: Index) -> None:
    watching: list[Watching] = []

    def make_loss(task: Task) -> Loss:
        watching.append(Watching(task))
        return watching[-1]

    plain = run(index, make_params(epochs=1), make_loss)
    averaged = run(index, make_params(epochs=1, ema=0.2))
    _, *steps = [*watching[0].seen, dict(plain.model.named_parameters())]
    assert len(steps) == 3
    for key, value in averaged.model.named_parameters():
        one, two, three = (step[key] for step in steps)
        second = 2 / 11 * one + 9 / 11 * two
        torch.testing.assert_close(value, 0.2 * second + 0.8 * three)
        assert not torch.equal(value, three)
    assert averaged.history[0].loss == plain.history[0].loss
    assert averaged.history[0].val_mAP != plain.history[0].val_mAP


def test_a_loss_that_wants_scores_gets_those_of_the_average(index: Index) -> None:
    learned: list[Tensor] = []

    class Asking(AN):
        def wants_scores(self) -> bool:
            return True

        def learn(self, probs: Tensor) -> None:
            learned.append(probs)

    still = {"schedule": "constant", "augment": {"shift": 0.0, "zoom": 0.0, "flip": 0.0}}
    first = run(index, make_params(epochs=1, ema=0.9, **still))
    run(index, make_params(epochs=2, ema=0.9, **still), Asking)
    fabric = choose_device("32")
    images = decode_cache.load(index, index.rows("train"), SIZE)
    probs = predict(fabric, fabric.to_device(first.model), images, 32)
    np.testing.assert_array_equal(learned[0].numpy(), probs)


def test_a_linear_phase_averages_the_head(index: Index) -> None:
    plain, averaged = (run(index, make_params(mode="linear", ema=ema)) for ema in (None, 0.9))
    head = f"net.{plain.model.head_name}.weight"
    for key, value in weights(plain).items():
        assert torch.equal(value, weights(averaged)[key]) is not key.startswith(head[:-6]), key


# --- the best epoch --------------------------------------------------------------------


@pytest.mark.parametrize(("precision", "ema"), [("32", None), ("bf16", None), ("32", 0.5)], ids=str)
def test_the_model_is_that_of_its_best_epoch_scored_in_32_bit(
    index: Index, precision: str, ema: float | None
) -> None:
    settings = {"epochs": 5, "optimizer": "adam", "schedule": "constant", "lr": 0.03}
    params = make_params(precision=precision, ema=ema, **settings)
    trained = run(index, params)
    assert precision == "bf16" or trained.best.epoch < 5  # otherwise this test would be void
    val = index.rows("val")
    fabric = choose_device("32")
    images = decode_cache.load(index, val, SIZE)
    probs = predict(fabric, fabric.setup_module(trained.model), images, 32)
    assert mean_average_precision(index.labels[val], probs) == trained.best.val_mAP
    assert trained.best.val_mAP == max(epoch.val_mAP for epoch in trained.history)


def history_of(*val_maps: float) -> list[Epoch]:
    return [Epoch(number, 1.0, 1e-3, value) for number, value in enumerate(val_maps, start=1)]


def test_among_equal_epochs_the_first_is_the_best() -> None:
    assert optimiser.kept(history_of(40, 70, 60, 70), "best").epoch == 2


def test_the_last_epoch_is_kept_if_the_settings_say_so(index: Index) -> None:
    settings = {"epochs": 4, "optimizer": "adam", "schedule": "constant", "lr": 0.03}
    best = run(index, make_params(**settings))
    last = run(index, make_params(keep="last", **settings))
    assert best.history == last.history
    assert best.best.epoch < last.best.epoch == 4  # otherwise this test would be void
    images = decode_cache.load(index, index.rows("val"), SIZE)
    fabric = choose_device("32")
    probs = predict(fabric, fabric.setup_module(last.model), images, 32)
    assert mean_average_precision(index.labels[index.rows("val")], probs) == last.best.val_mAP


@pytest.mark.parametrize(
    ("drop", "val_maps", "stops"),
    [
        (None, (90, 10), False),
        (0.0, (50,), False),
        (0.0, (50, 50.01), False),
        (0.0, (50, 50), True),
        (0.0, (50, 49.9), True),
        (0.0, (50, 60, 55, 58), True),
        (2.0, (50, 48), False),
        (2.0, (50, 47.9), True),
        (2.0, (50, 60, 59, 57.5), True),
        (2.0, (50, 60, 59, 58.5), False),
    ],
)
def test_when_to_stop_early(drop: float | None, val_maps: tuple[float, ...], stops: bool) -> None:
    assert optimiser.should_stop(history_of(*val_maps), drop) is stops


@pytest.mark.parametrize(("drop", "n_epochs"), [(0.0, 2), (2.0, 4), (None, 4)], ids=str)
def test_a_run_that_does_not_improve_stops_early(
    drop: float | None, n_epochs: int, index: Index
) -> None:
    # At this learning rate the weights hardly change, so all epochs have the same val mAP.
    params = make_params(
        epochs=4, lr=1e-12, early_stop_drop=drop, model={"freeze_batch_norm": True}
    )
    trained = run(index, params)
    assert len(trained.history) == n_epochs
    assert trained.best.epoch == 1


# --- two views -------------------------------------------------------------------------


def test_a_loss_of_two_views_learns_from_the_second_one(index: Index) -> None:
    strong = {"cutout": 0.5, "rand_augment": 0, "rand_magnitude": 9}
    models = [
        run(index, make_params(), lambda task, weight=weight: PLC(task, 0.5, weight, **strong))
        for weight in (0.0, 1.0)
    ]
    histories = [trained.history for trained in models]
    assert histories[1][0].loss > histories[0][0].loss
    again = run(index, make_params(), lambda task: PLC(task, 0.5, 1.0, **strong))
    assert again.history == histories[1]


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"mode": "linear"}, "mode = 'linear': the loss PLC needs two views of each image"),
        ({"augment": {"mixup": 0.5}}, "augment.mixup = 0.5: the loss PLC needs two views"),
    ],
    ids=["linear", "mixup"],
)
def test_settings_without_a_second_view_are_refused(
    index: Index, settings: dict[str, Any], problem: str
) -> None:
    with pytest.raises(InputError, match=problem):
        run(index, make_params(**settings), lambda task: PLC(task, 0.5, 1.0, 0.5, 0, 9))


# --- batches ---------------------------------------------------------------------------


@given(n=st.integers(1, 100), batch_size=st.integers(1, 20))
def test_batches_hold_every_image_once_and_never_a_single_image(n: int, batch_size: int) -> None:
    order = np.random.RandomState(0).permutation(n)
    batches = fit._batches(order, batch_size)
    assert np.array_equal(np.concatenate(batches), order)
    assert all(len(batch) == batch_size for batch in batches[:-1])
    assert len(batches[-1]) <= batch_size + 1
    if min(n, batch_size) >= 2:
        assert all(len(batch) >= 2 for batch in batches)


@pytest.mark.parametrize(
    ("n", "sizes"),
    [(16, [8, 8]), (17, [8, 9]), (18, [8, 8, 2]), (1, [1]), (9, [9])],
    ids=str,
)
def test_a_last_batch_of_one_joins_the_one_before(n: int, sizes: list[int]) -> None:
    assert [len(batch) for batch in fit._batches(np.arange(n), 8)] == sizes


def test_a_network_that_cannot_take_a_batch_of_one_trains(workplace: Path) -> None:
    # At 16 pixels the last map of a resnet has one position, so batch norm needs two images.
    params = make_params(epochs=1, batch_size=4, model={"backbone": "resnet18"})
    assert len(run(make_index(5, 2), params).history) == 1


# --- resuming after a kill -------------------------------------------------------------

SETTINGS: dict[str, dict[str, Any]] = {
    "adamw, one cycle": {},
    "sgd, cosine": {"optimizer": "sgd", "schedule": "cosine"},
    "dropout": {"model": {"backbone": "squeezenet1_1", "input_size": 32}},
    "ema": {"ema": 0.9},
    "all that is random": {
        "ema": 0.8,
        "augment": {
            "rand_augment": 2, "cutout": 0.4, "mixup": 0.5, "mixup_labels": "union",
        },
    },
    "ema of a backbone that asks for version numbers": {
        "ema": 0.8, "model": {"backbone": "mnasnet0_5", "input_size": 32},
    },
}  # fmt: skip


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_a_resumed_run_gives_the_result_of_an_uninterrupted_one(
    settings: dict[str, Any], index: Index
) -> None:
    params = make_params(epochs=4, **settings)
    undisturbed = run(index, params)
    with pytest.raises(Killed):
        run(index, params, Counting(killed_at=8))  # in the third epoch; each has three steps
    assert len(checkpoints()) == 1
    rest = Counting()
    resumed = run(index, params, rest)
    assert rest.steps == 6
    assert_equal_weights(resumed, undisturbed)
    assert resumed.history == undisturbed.history
    assert checkpoints() == []


@pytest.mark.parametrize(
    "changed",
    [{"lr": 1e-3}, {"epochs": 5}, {"seed": 1}, {"augment": {"flip": 0.4}}, {"ema": 0.9}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_run_with_a_changed_parameter_starts_anew(changed: dict[str, Any], index: Index) -> None:
    with pytest.raises(Killed):
        run(index, make_params(epochs=3), Counting(killed_at=7))
    params = make_params(**({"epochs": 3} | changed))
    steps = Counting()
    run(index, params, steps)
    assert steps.steps == 3 * params.fit.epochs
    assert len(checkpoints()) == 1  # the checkpoint of the killed run


def test_a_run_on_changed_labels_or_under_another_name_starts_anew(index: Index) -> None:
    params = make_params(epochs=2)
    with pytest.raises(Killed):
        run(index, params, Counting(killed_at=4))
    targets = index.targets[index.rows("train")].copy()
    targets[0] = -1
    for name, labels in (("train_x", targets), ("train_y", np.abs(targets))):
        steps = Counting()
        train(name, params, TrainingData(index, labels), steps)
        assert steps.steps == 6


# --- errors ----------------------------------------------------------------------------


def message_of(index: Index, params: TrainParams) -> str:
    with pytest.raises(InputError) as caught:
        run(index, params, name="train_teacher")
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_loss_that_is_not_finite_names_epoch_step_and_learning_rate(index: Index) -> None:
    params = make_params(optimizer="sgd", schedule="constant", lr=1e9, batch_size=2)
    message = message_of(index, params)
    start, _, rest = message.partition(" in epoch 1, step ")
    assert start in ("train_teacher.fit: the loss is nan", "train_teacher.fit: the loss is inf")
    step, _, rest = rest.partition(",")
    assert 2 <= int(step) <= 12
    assert rest == (
        " at a learning rate of 1e+09; train_teacher.fit.lr = 1000000000.0 should be lower"
    )


def test_a_last_step_that_diverges_is_noticed(index: Index) -> None:
    params = make_params(optimizer="sgd", schedule="constant", lr=1e30, batch_size=64)
    assert message_of(index, params) == (
        "train_teacher.fit: the val scores are not finite after epoch 1, begun at a learning rate "
        "of 1e+30; train_teacher.fit.lr = 1e+30 should be lower"
    )


@pytest.mark.parametrize(("n_train", "batch_size"), [(8, 1), (1, 8)], ids=str)
def test_the_error_of_batch_norm_for_a_single_image_is_explained(
    n_train: int, batch_size: int, workplace: Path
) -> None:
    params = make_params(batch_size=batch_size, model={"backbone": "resnet18"})
    assert message_of(make_index(n_train, 2), params).startswith(
        f"train_teacher.fit.batch_size = {batch_size}: batch norm cannot take a single image a "
        f"step at model.input_size = 16; should be at least 2 a device"
    )


def test_a_number_of_devices_that_is_not_a_number_is_refused(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPML_DEVICES", "many")
    assert message_of(index, make_params()).startswith("SPML_DEVICES = 'many': should be")


@pytest.mark.parametrize(
    "settings",
    [
        {"epochs": 0}, {"batch_size": 0}, {"lr": 0.0}, {"lr": "1e-3"}, {"optimizer": "lamb"},
        {"momentum": 1.0}, {"schedule": "step"}, {"early_stop_drop": -1.0}, {"precision": "16"},
        {"precision": 32}, {"head_lr_multiplier": 0.0}, {"weight_decay": -0.1}, {"warmup": 3},
        {"ema": 0.0}, {"ema": 1.0}, {"keep": "first"},
    ],
    ids=str,
)  # fmt: skip
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        make_params(**settings)


# --- several processes -----------------------------------------------------------------


@pytest.mark.slow
def test_two_processes_train_one_model(
    workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    # Both phases, a loss with parameters, an EMA, and several models.
    set_params(
        {
            "train_teacher.train.mode": "linear_init",
            "train_teacher.train.linear.epochs": 1,
            "train_teacher.loss": "role",
            "train_teacher.train.fit.ema": 0.8,
            "train_teacher.train.augment.mixup": 0.5,
            "train_teacher.members": 2,
        }
    )
    run_stage("prepare")
    done = subprocess.run(
        [sys.executable, "-m", "stages.train_teacher"],
        env=os.environ | {
            "SPML_DEVICES": "2", "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": "",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\nbest epoch") == 1
    history = curves.read(Path("reports/train_teacher"))
    assert len(history.epochs) == 3
    files = sorted(file.name for file in Path("data/teacher").iterdir())
    assert files == ["member-2.safetensors", "model.safetensors"]
    assert checkpoints() == []
    machine = json.loads(Path("reports/train_teacher/environment.json").read_text())
    assert machine["processes"] == 2
    assert (machine["device"], machine["threads"]) == ("cpu", 1)
    assert machine["torch"] == torch.__version__
    # The model is complete, and both processes have the same val mAP.
    index = tables.read_index(Path("data/index.parquet"))
    val = index.rows("val")
    fabric = choose_device("32")
    model = fabric.setup_module(model_file.load(Path("data/teacher/model.safetensors")))
    images = decode_cache.load(index, val, 24)
    probs = predict(fabric, model, images, 32)
    val_map = mean_average_precision(index.labels[val], probs)
    assert val_map == pytest.approx(history.best.val_mAP, abs=0.01)
