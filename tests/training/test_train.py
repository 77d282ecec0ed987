"""The modes of a training: end to end, the head on cached features, or both in turn."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.artifacts.tables import Index
from pipeline.core import identity
from pipeline.core.errors import InputError
from pipeline.core.params import check_section, read_values
from pipeline.evaluation import thresholds
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.images import decode_cache
from pipeline.inference import features
from pipeline.inference.score import choose_device, predict
from pipeline.inference.scorer import Scorer
from pipeline.losses import catalogue
from pipeline.losses.assume_negative import AN
from pipeline.losses.base import Loss, Task
from pipeline.losses.catalogue import LOSSES, LossParams
from pipeline.losses.entropy import EMAPL
from pipeline.losses.expected_positives import ROLE
from pipeline.losses.generalized_robust import GR
from pipeline.losses.large_loss import LLCp
from pipeline.models import classifier
from pipeline.training import fit
from pipeline.training.standardise import Standardised, statistics
from pipeline.training.teachers import TrainTeacherParams
from pipeline.training.train import TrainingData, train
from tests.builders.losses import SHIPPED
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
from tests.conftest import PARAMS


@pytest.fixture
def index(workplace: Path) -> Index:
    """24 train and 12 val images in the workplace."""
    return make_index()


def role(task: Task) -> Loss:
    return ROLE(task, None, 10.0)


def start(**kwargs: Any) -> dict[str, torch.Tensor]:
    """Return the initial weights of a training with these params."""
    params = make_params(**kwargs)
    torch.manual_seed(params.seed)
    return classifier.build(params.model, CLASSES).state_dict()


# --- linear ----------------------------------------------------------------------------


def test_a_linear_training_changes_only_the_head(index: Index) -> None:
    trained = run(index, make_params(mode="linear"))
    before, after = start(mode="linear"), weights(trained)
    head = f"net.{trained.model.head_name}."
    for key, value in after.items():
        assert torch.equal(value, before[key]) is not key.startswith(head), key
    assert [epoch.epoch for epoch in trained.history] == [1, 2, 3]
    assert trained.history[-1].loss < trained.history[0].loss


def test_the_model_of_a_linear_training_scores_images_as_its_head_scored_features(
    index: Index,
) -> None:
    trained = run(index, make_params(mode="linear"))
    val = index.rows("val")
    fabric = choose_device("32")
    images = decode_cache.load(index, val, SIZE)
    probs = predict(fabric, fabric.setup_module(trained.model), images, 32)
    assert mean_average_precision(index.labels[val], probs) == pytest.approx(trained.best.val_mAP)


@pytest.mark.parametrize("mode", ["linear", "linear_init", "end_to_end"])
def test_the_spec_has_a_frozen_backbone_if_only_the_head_was_trained(
    mode: str, index: Index
) -> None:
    spec = run(index, make_params(mode=mode, epochs=1)).model.spec
    assert spec.frozen_backbone is (mode == "linear")


def test_features_are_computed_once_and_cached(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(index, make_params(mode="linear"))
    kept = sorted(Path(".cache/features").iterdir())
    assert len(kept) == 2  # train and val

    def never(*args: Any) -> None:
        raise AssertionError("computed again")

    monkeypatch.setattr(features, "over_all", never)
    run(index, make_params(mode="linear", linear={"lr": 1e-3}))
    with pytest.raises(AssertionError, match="computed again"):
        run(index, make_params(seed=1, mode="linear"))  # the small network has other weights
    assert sorted(Path(".cache/features").iterdir()) == kept


def test_a_training_computes_the_key_of_its_images_once(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, key = [], decode_cache.key

    def counted(*args: Any) -> str:
        asked.append(args)
        return key(*args)

    monkeypatch.setattr(decode_cache, "key", counted)
    run(index, make_params(mode="linear_init", epochs=1))
    assert len(asked) == 2  # train and val, in both phases


def test_another_normalisation_gives_other_features(index: Index) -> None:
    model = classifier.build(make_params().model, CLASSES)
    fabric = choose_device("32")
    images = decode_cache.load(index, index.rows("val"), SIZE)
    of = [features.load(fabric, model, images, "name", 8)]
    model.mean += 0.25
    model.spec = replace(model.spec, mean=(0.75, 0.75, 0.75))
    of.append(features.load(fabric, model, images, "name", 8))
    assert not np.allclose(of[0], of[1])


def test_cached_features_equal_the_inputs_of_the_head(index: Index) -> None:
    params = make_params(mode="linear", model={"backbone": "resnet18", "input_size": 32})
    torch.manual_seed(0)
    model = classifier.build(params.model, CLASSES).eval()
    fabric = choose_device("32")
    rows = index.rows("val")
    images = decode_cache.load(index, rows, 32)
    kept = features.load(fabric, model, images, "any", 5)
    assert kept.shape == (12, 512)
    with torch.inference_mode():
        logits = model.head(torch.from_numpy(np.array(kept)))
    probs = predict(fabric, model, images, 32)
    np.testing.assert_allclose(torch.sigmoid(logits).numpy(), probs, rtol=1e-5)


@pytest.mark.parametrize("ema", [None, 0.5])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_head_trained_on_standardised_features_gives_the_same_scores_for_images(
    mirror: bool, ema: float | None, index: Index
) -> None:
    linear = {"standardise": True, "mirror": mirror}
    trained = run(index, make_params(mode="linear", linear=linear, ema=ema))
    fabric, val = choose_device("32"), index.rows("val")
    probs = predict(fabric, trained.model, decode_cache.load(index, val, SIZE), 32)
    assert mean_average_precision(index.labels[val], probs) == pytest.approx(trained.best.val_mAP)
    assert trained.history != run(index, make_params(mode="linear", ema=ema)).history


def test_folding_keeps_the_logits_and_statistics_are_those_of_all_arrays() -> None:
    rng = np.random.default_rng(0)
    arrays = [rng.normal(5, [0.1, 3, 40], (n, 3)).astype(np.float32) for n in (9000, 50)]
    arrays = [np.column_stack([array, np.full(len(array), 7.3, np.float32)]) for array in arrays]
    mean, std = statistics(arrays)
    both = np.concatenate(arrays).astype(np.float64)
    np.testing.assert_allclose(mean, both.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(std[:3], both[:, :3].std(axis=0), rtol=1e-5)
    assert std[3] == 1  # a constant feature
    head = torch.nn.Linear(4, 2)
    network, some = Standardised(head, arrays), torch.from_numpy(arrays[1])
    before = network(some)
    network.fold()
    torch.testing.assert_close(head(some), before, rtol=1e-4, atol=1e-4)


def test_mirrored_features_are_those_of_mirrored_images(index: Index) -> None:
    model = classifier.build(make_params().model, CLASSES)
    fabric = choose_device("32")
    images = np.array(decode_cache.load(index, index.rows("val"), SIZE))
    mirrored = features.load(fabric, model, images, "name", 8, mirror=True)
    own = features.load(fabric, model, images, "name", 8)
    of_mirrored = features.load(fabric, model, images[:, :, ::-1].copy(), "other", 8)
    np.testing.assert_allclose(mirrored, of_mirrored, rtol=1e-5, atol=1e-6)
    assert not np.allclose(mirrored, own)


def test_an_epoch_takes_both_views_of_the_features(index: Index) -> None:
    # The loss of the first epoch at a tiny learning rate is the mean over the drawn views.
    still = {"epochs": 1, "lr": 1e-12}
    losses = [
        run(index, make_params(mode="linear", linear=still | {"mirror": mirror})).history[0].loss
        for mirror in (False, True)
    ]
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


# --- linear, then end to end -----------------------------------------------------------


def test_the_whole_network_starts_from_the_best_epoch_of_the_linear_phase(
    index: Index,
) -> None:
    still = {"lr": 1e-12, "schedule": "constant", "model": {"freeze_batch_norm": True}}
    linear = run(index, make_params(mode="linear", epochs=1, **still))
    both = run(index, make_params(mode="linear_init", epochs=1, **still))
    assert [epoch.epoch for epoch in both.history] == [1, 2, 3, 4]
    assert both.history[:3] == linear.history
    assert both.best.epoch == 4  # the best of the last phase, although nothing moves in it
    for key, value in weights(linear).items():
        torch.testing.assert_close(weights(both)[key], value, rtol=1e-5, atol=1e-6)


def test_both_phases_train(index: Index) -> None:
    trained = run(index, make_params(mode="linear_init"))
    before, after = start(mode="linear_init"), weights(trained)
    assert not torch.equal(after["net.0.weight"], before["net.0.weight"])
    assert checkpoints() == []


@pytest.mark.parametrize("killed_at", [6, 15], ids=["in the linear phase", "in the second"])
@pytest.mark.parametrize(
    ("make_loss", "ema"), [(AN, None), (role, None), (role, 0.8)], ids=["an", "role", "ema"]
)
def test_a_killed_run_of_two_phases_resumes(
    killed_at: int, make_loss: Any, ema: float | None, index: Index
) -> None:
    # Three epochs of four steps, then two of three.
    params = make_params(mode="linear_init", ema=ema)
    undisturbed = run(index, params, make_loss)
    with pytest.raises(Killed):
        run(index, params, Counting(make_loss, killed_at))
    rest = Counting(make_loss)
    resumed = run(index, params, rest)
    assert rest.steps == (14 if killed_at == 6 else 6)
    assert_equal_weights(resumed, undisturbed)
    assert resumed.history == undisturbed.history
    assert checkpoints() == []


def test_the_second_phase_starts_with_the_estimates_of_role(index: Index) -> None:
    made: list[ROLE] = []

    def make(task: Task) -> Loss:
        made.append(ROLE(task, None, 1000.0))
        return made[-1]

    run(index, make_params(mode="linear_init", epochs=1, lr=1e-12, schedule="constant"), make)
    first, second = made
    fresh = ROLE(Task(torch.from_numpy(index.targets[index.rows("train")]), 1), None, 1.0)
    assert not torch.allclose(first.estimates, fresh.estimates, atol=1e-3)
    torch.testing.assert_close(second.estimates, first.estimates)


def test_loss_schedules_do_not_move_in_a_linear_phase_before_another(index: Index) -> None:
    tasks: dict[str, list[Task]] = {}
    for mode in ("end_to_end", "linear", "linear_init"):
        made = tasks[mode] = []

        def make(task: Task, made: list[Task] = made) -> Loss:
            made.append(task)
            return GR(task, [0, 2], [-2, -2], [0.5, 0.8], [2, 0.5], 0.01, 1.0)

        run(index, make_params(mode=mode), make)
    epochs = {
        mode: [(task.epochs, task.still_epochs) for task in made] for mode, made in tasks.items()
    }
    assert epochs == {"end_to_end": [(2, 0)], "linear": [(3, 0)], "linear_init": [(3, 3), (2, 0)]}
    val = index.labels[index.rows("val")]
    assert tasks["linear"][0].positives_per_image == pytest.approx(val.sum(axis=1).mean())


# --- losses with state of every image --------------------------------------------------


REMEMBERING: dict[str, Any] = {
    "role": role,
    "ll_cp": lambda task: LLCp(task, 10.0),
    "em_apl": lambda task: EMAPL(task, 0.1, 0.5, 0.9, 1),
}


@pytest.mark.parametrize("mixup", [0.0, 0.5], ids=["plain", "mixup"])
def test_a_killed_run_with_a_stateful_loss_resumes(mixup: float, index: Index) -> None:
    for make in REMEMBERING.values():
        params = make_params(epochs=4, augment={"mixup": mixup})
        undisturbed = run(index, params, make)
        with pytest.raises(Killed):
            run(index, params, Counting(make, killed_at=8))
        resumed = run(index, params, make)
        assert_equal_weights(resumed, undisturbed)
        assert resumed.history == undisturbed.history


def test_the_loop_scores_the_training_images_for_a_loss_that_wants_scores(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[int, torch.Tensor]] = []

    class Asking(AN):
        def wants_scores(self) -> bool:
            return self.epoch >= 2

        def learn(self, probs: torch.Tensor) -> None:
            learned.append((self.epoch, probs))

    trained = run(index, make_params(epochs=4, lr=1e-12, schedule="constant"), Asking)
    assert [epoch for epoch, _ in learned] == [2, 3]  # nothing is trained after the fourth
    fabric = choose_device("32")
    images = decode_cache.load(index, index.rows("train"), SIZE)
    probs = predict(fabric, fabric.setup_module(trained.model), images, 32)
    assert learned[0][1].shape == (24, 4)
    assert probs.shape == (24, 4)


def test_the_penalty_of_a_loss_reaches_the_gradient(index: Index) -> None:
    class Pulled(AN):
        def penalty(self, network: nn.Module) -> torch.Tensor:
            return 300 * network.get_parameter("net.0.weight").square().sum()

    settings = {
        "optimizer": "sgd",
        "schedule": "constant",
        "lr": 1e-3,
        "weight_decay": 0.0,
        "momentum": 0.0,
    }
    plain = run(index, make_params(**settings))
    pulled = run(index, make_params(**settings), Pulled)
    norms = [weights(trained)["net.0.weight"].norm() for trained in (pulled, plain)]
    assert norms[0] < 0.5 * norms[1]


def test_the_parameters_of_a_loss_have_their_own_learning_rate_and_no_weight_decay(
    index: Index,
) -> None:
    params = make_params(optimizer="adamw", lr=1e-3, weight_decay=0.5)
    targets = torch.from_numpy(index.targets[index.rows("train")])
    loss = ROLE(Task(targets, 2), None, 7.0)
    torch.manual_seed(0)
    model = classifier.build(params.model, CLASSES)
    groups = fit.optimiser.build(model, model.head, loss, params.fit).param_groups
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, 1e-3, 7e-3])
    assert [group["weight_decay"] for group in groups] == [0.5, 0.5, 0.0]
    assert groups[2]["params"] == [loss.estimates]


@pytest.mark.parametrize("precision", ["32", "bf16"])
@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_trains_in_every_precision(name: str, precision: str, workplace: Path) -> None:
    index = make_index(8, 4)  # few, since bf16 is slow on processors without support
    chosen = LossParams.model_validate({"loss": name, "losses": SHIPPED})
    if name == "iun":
        index.targets[0, index.targets[0] == 0] = -1
    trained = run(
        index, make_params(epochs=7, precision=precision), partial(catalogue.build, chosen)
    )
    assert all(np.isfinite(epoch.loss) for epoch in trained.history)
    for key, value in weights(trained).items():
        assert torch.isfinite(value).all(), key


# --- some of the rows ------------------------------------------------------------------


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_training_on_some_rows_equals_that_on_an_index_of_these_rows(
    name: str, index: Index
) -> None:
    rows = np.delete(np.arange(24), [0, 5, 6, 20])
    params = make_params(mode="linear_init")
    targets = index.targets[index.rows("train")]
    some = train("train_x", params, TrainingData(index, targets, rows), REMEMBERING[name])
    splits = index.splits.copy()
    splits[[0, 5, 6, 20]] = "test"
    smaller = replace(index, splits=splits)
    alone = run(smaller, params, REMEMBERING[name])
    assert some is not None
    assert_equal_weights(some, alone)
    assert some.history == alone.history


def test_a_model_gets_thresholds_from_the_val_scores_of_its_kept_epoch(index: Index) -> None:
    params = make_params(epochs=4, lr=0.05, ema=0.9)
    with pytest.raises(Killed):
        run(index, params, Counting(killed_at=10))
    trained = run(index, params)
    assert trained.best.epoch < 4, "the kept epoch should not be the last"
    val = index.rows("val")
    probs = Scorer(choose_device("32"), 4 * 8).score(trained.model, index, "val")
    assert trained.model.spec.decisions == thresholds.choose(index.labels[val], probs)


def test_incomplete_val_labels_give_no_thresholds(
    index: Index, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trained = run(replace(index, val_labels="observed"), make_params(epochs=1))
    assert trained.model.spec.decisions is None
    assert "no decision thresholds: the val labels are incomplete" in caplog.text


def test_other_rows_start_anew_and_kept_checkpoints_return_at_once(index: Index) -> None:
    params, targets = make_params(epochs=2), index.targets[index.rows("train")]
    rows = np.arange(16)
    steps = Counting()
    first = train("train_x", params, TrainingData(index, targets, rows), steps, keep=True)
    assert steps.steps == 4
    other = train("train_x", params, TrainingData(index, targets, rows + 1), steps, keep=True)
    assert steps.steps == 8
    again = train("train_x", params, TrainingData(index, targets, rows), steps, keep=True)
    assert steps.steps == 8
    assert first is not None
    assert other is not None
    assert again is not None
    assert_equal_weights(again, first)
    assert again.history == first.history
    assert sorted(checkpoints()) == sorted(
        path.name for path in (*first.checkpoints, *other.checkpoints)
    )
    first.remove_checkpoints()
    other.remove_checkpoints()
    assert checkpoints() == []


def checkpoint_of(params: Any, index: Index, make_loss: Any = AN) -> str:
    """The name of the checkpoint of a training."""
    targets = index.targets[index.rows("train")]
    kept = train("train_teacher", params, TrainingData(index, targets), make_loss, keep=True)
    (checkpoint,) = kept.checkpoints
    kept.remove_checkpoints()
    return checkpoint.name


def test_the_checkpoint_name_depends_on_the_content_of_the_weights_file(
    index: Index, tmp_path: Path
) -> None:
    names = []
    for seed in (0, 1, 0):
        model = classifier.build(make_params().model, CLASSES)
        torch.manual_seed(seed)
        for parameter in model.net.parameters():
            nn.init.normal_(parameter, std=0.1)
        torch.save(model.net.state_dict(), tmp_path / "w.pt")
        params = make_params(epochs=1, model={"weights": str(tmp_path / "w.pt")})
        names.append(checkpoint_of(params, index))
    assert names[0] == names[2] != names[1]


def test_the_checkpoint_name_depends_on_the_code_of_the_training_and_its_loss_only(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = identity._code_digest
    names = [checkpoint_of(make_params(epochs=1), index)]
    for changed in (
        "pipeline.viewer.page",
        "pipeline.losses.entropy",
        "pipeline.training.fit",
        AN.__module__,
    ):
        monkeypatch.setattr(
            identity,
            "_code_digest",
            lambda name, changed=changed: digest(name) + (name == changed) * "!",
        )
        names.append(checkpoint_of(make_params(epochs=1), index))
    assert names[0] == names[1] == names[2]
    assert len(set(names)) == 3


def test_the_checkpoint_name_does_not_depend_on_settings_of_other_losses() -> None:
    values = read_values(PARAMS)
    losses = values["train_teacher"]["losses"]

    def in_use() -> Any:
        return check_section("params.yaml", "train_teacher", values, TrainTeacherParams).in_use()

    first = in_use()
    assert values["train_teacher"]["loss"] == "gr"
    losses["em"]["alpha"] = 0.7
    assert in_use() == first
    losses["gr"]["q2"] = 0.7
    assert in_use() != first


def test_a_loss_gets_the_class_priors(index: Index) -> None:
    made: list[Task] = []

    def make(task: Task) -> Loss:
        made.append(task)
        return AN(task)

    run(index, make_params(epochs=1), make)
    assert made[0].priors == pytest.approx(index.labels[index.rows("val")].mean(axis=0))


# --- errors ----------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["linear", "linear_init"])
@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            {"backbone": "resnet18", "input_size": 32, "boost_lu": 5.0},
            "a boosted head needs feature maps, and the feature cache holds none; should be "
            "end_to_end, or train_x.model.boost_lu null",
        ),
        (
            {"backbone": "squeezenet1_1", "input_size": 32},
            "the head of squeezenet1_1 is not a linear layer; should be end_to_end",
        ),
    ],
    ids=["boosted", "not linear"],
)
def test_a_head_that_cannot_take_features_is_refused_in_linear_modes(
    mode: str, model: dict[str, Any], message: str, index: Index
) -> None:
    with pytest.raises(InputError) as caught:
        run(index, make_params(mode=mode, model=model))
    assert str(caught.value) == f"train_x.mode = {mode!r}: {message}"


def test_the_error_of_a_diverging_linear_phase_names_its_learning_rate(index: Index) -> None:
    params = make_params(mode="linear_init", optimizer="sgd", linear={"lr": 1e38}, momentum=0.0)
    with pytest.raises(InputError) as caught:
        run(index, params)
    assert "train_x.linear.lr = 1e+38 should be lower" in str(caught.value)


def test_a_running_training_shows_the_epochs_of_all_its_phases(
    index: Index, tmp_path: Path
) -> None:
    seen: list[int] = []
    live = tmp_path / "live"

    class Seen(AN):
        def forward(self, *args: Any) -> torch.Tensor:
            path = live / "plots" / "metrics" / "val_mAP.tsv"
            seen.append(len(path.read_text().splitlines()) - 1 if path.exists() else 0)
            loss: torch.Tensor = super().forward(*args)
            return loss

    params = make_params(mode="linear_init", linear={"epochs": 2}, epochs=2)
    data = TrainingData(index, index.targets[index.rows("train")])
    trained = train("train_x", params, data, Seen, live=live)
    assert sorted(set(seen)) == [0, 1, 2, 3], "epochs that are shown during the epochs 1 to 4"
    assert len(trained.history) == 4
    assert not live.exists()
