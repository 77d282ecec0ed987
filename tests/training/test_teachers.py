"""Several teachers: the plan, the training images of each, and their common scores."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.artifacts import curves
from pipeline.artifacts.tables import Index
from pipeline.core.arrays import Probs
from pipeline.core.errors import InputError
from pipeline.images import decode_cache
from pipeline.inference import ensemble
from pipeline.inference.score import choose_device, predict
from pipeline.inference.scorer import Scorer
from pipeline.losses.assume_negative import AN
from pipeline.losses.base import Loss, Task
from pipeline.models import model_file
from pipeline.training import teachers
from pipeline.training.data import TrainingData
from pipeline.training.teachers import TeachersParams
from pipeline.training.train import MakeLoss, Trained
from tests.builders.training import (
    SIZE,
    Counting,
    Killed,
    assert_equal_weights,
    checkpoints,
    make_index,
    make_params,
    run,
)

N = 24
FOLDER = Path("data/teacher")


@pytest.fixture
def index(workplace: Path) -> Index:
    """24 train and 12 val images in the workplace."""
    return make_index(N)


def params_of(members: int, folds: int, **kwargs: Any) -> TeachersParams:
    params = make_params(**({"epochs": 1} | kwargs)).model_dump()
    return TeachersParams.model_validate(params | {"members": members, "folds": folds})


def train_all(
    index: Index, members: int, folds: int, make_loss: MakeLoss = AN, **kwargs: Any
) -> dict[str, Trained]:
    params = params_of(members, folds, **kwargs)
    data = TrainingData(index, index.targets[index.rows("train")])
    return teachers.train_all("train_teacher", params, data, make_loss)


def write(made: dict[str, Trained]) -> None:
    teachers.write(FOLDER, Path("reports/train_teacher"), made)


def scores(index: Index, flip: bool = False) -> dict[str, Probs]:
    return ensemble.score(Scorer(choose_device("32"), 7, flip), FOLDER, index)


def scores_of(index: Index, name: str, split: str, flip: bool = False) -> Probs:
    """The scores of one model for all images of a split, computed as in `scores`."""
    fabric = choose_device("32")
    model = fabric.to_device(model_file.load(FOLDER / f"{name}.safetensors"))
    images = decode_cache.load(index, index.rows(split), SIZE)
    return predict(fabric, model, images, 7, flip)


# --- the plan --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "folds", "names"),
    [
        (1, 1, ["model"]),
        (3, 1, ["model", "member-2", "member-3"]),
        (1, 2, ["model", "fold-1-of-2", "fold-2-of-2"]),
        (
            2, 2,
            [
                "model", "fold-1-of-2", "fold-2-of-2",
                "member-2-fold-1-of-2", "member-2-fold-2-of-2",
            ],
        ),
    ],
)  # fmt: skip
def test_there_is_a_model_per_member_or_one_per_fold_of_each(
    members: int, folds: int, names: list[str]
) -> None:
    plan = teachers.plan(params_of(members, folds, seed=5), 10)
    assert [teacher.name for teacher in plan] == names
    for teacher in plan:
        assert (teacher.fold is None) is ("fold" not in teacher.name)
        first = not teacher.name.startswith("member-")
        assert teacher.seed == (5 if first else 4 + int(teacher.name.split("-")[1]))


# --- training --------------------------------------------------------------------------


def test_a_single_teacher_equals_the_result_of_train(index: Index) -> None:
    made = train_all(index, 1, 1, epochs=2)
    assert list(made) == ["model"]
    assert_equal_weights(made["model"], run(index, make_params(epochs=2)))
    write(made)
    assert [path.name for path in FOLDER.iterdir()] == ["model.safetensors"]
    assert checkpoints() == []


def test_members_are_trainings_with_the_seeds_that_follow(index: Index) -> None:
    made = train_all(index, 2, 1, seed=4)
    assert_equal_weights(made["model"], run(index, make_params(4, epochs=1)))
    assert_equal_weights(made["member-2"], run(index, make_params(5, epochs=1)))


def test_a_killed_run_resumes_with_its_current_model(index: Index) -> None:
    undisturbed = train_all(index, 2, 2, Counting())
    for trained in undisturbed.values():
        trained.remove_checkpoints()
    # The first model takes three steps; those without a fold, with 12 images each, take two.
    with pytest.raises(Killed):
        train_all(index, 2, 2, Counting(killed_at=3 + 2 + 2))
    assert len(checkpoints()) == 2
    rest = Counting()
    resumed = train_all(index, 2, 2, rest)
    assert rest.steps == 6
    for name, trained in undisturbed.items():
        assert_equal_weights(resumed[name], trained)
    # More members do not change the existing ones.
    more = Counting()
    train_all(index, 3, 2, more)
    assert more.steps == 4
    write(resumed)
    assert len(checkpoints()) == 2  # the checkpoints of the third member


def test_the_curves_of_the_first_model_lie_where_those_of_a_single_one_lie(index: Index) -> None:
    made = train_all(index, 2, 1, epochs=2)
    write(made)
    folder = Path("reports/train_teacher")
    assert curves.read(folder).epochs == made["model"].history
    assert curves.read(folder / "member-2").epochs == made["member-2"].history
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["SHA256SUMS", "environment.json", "member-2", "metrics.json", "plots"]


# --- scores ----------------------------------------------------------------------------


class Recording(AN):
    """Records its images, identified by their observed labels."""

    def __init__(self, task: Task, seen: list[Tensor]):
        super().__init__(task)
        self.seen = seen

    def forward(self, logits: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of a batch."""
        self.seen.append(targets)
        return super().forward(logits, targets, rows)


@pytest.mark.parametrize("mode", ["end_to_end", "linear"])
def test_no_image_is_scored_by_a_model_that_was_trained_on_it(mode: str, index: Index) -> None:
    # 24 images with distinct targets.
    for number, row in enumerate(index.rows("train")):
        index.targets[row] = [number // 9 - 1, number // 3 % 3 - 1, number % 3 - 1, 1]
    of_image = {tuple(index.targets[row]): n for n, row in enumerate(index.rows("train"))}
    assert len(of_image) == N
    seen: list[list[Tensor]] = []

    def make_loss(task: Task) -> Loss:
        seen.append([])
        return Recording(task, seen[-1])

    made = train_all(index, 2, 3, make_loss, mode=mode)
    write(made)
    trained_on = {
        name: {of_image[tuple(row)] for row in torch.cat(targets).tolist()}
        for name, targets in zip(made, seen, strict=True)
    }
    assert trained_on.pop("model") == set(range(N))
    for name in trained_on:
        spec = model_file.load(FOLDER / f"{name}.safetensors").spec
        assert spec.held_out is not None
        assert spec.frozen_backbone is (mode == "linear")
    together = scores(index)
    expected, count = np.zeros((N, 4)), np.zeros((N, 1))
    for name, rows in trained_on.items():
        assert len(rows) == 16
        unseen = np.array(sorted(set(range(N)) - rows))
        expected[unseen] += scores_of(index, name, "train")[unseen]
        count[unseen] += 1
    assert (count == 2).all()  # once by each member
    np.testing.assert_allclose(together["train"], expected / 2, rtol=1e-5)
    of_val = np.mean([scores_of(index, name, "val") for name in trained_on], axis=0)
    np.testing.assert_allclose(together["val"], of_val, rtol=1e-5)


@pytest.mark.parametrize("flip", [False, True], ids=["straight", "flip"])
def test_without_folds_the_score_is_the_mean_of_all_members(index: Index, flip: bool) -> None:
    write(train_all(index, 3, 1))
    together = scores(index, flip)
    for split in ("train", "val"):
        each = [scores_of(index, name, split, flip) for name in ("model", "member-2", "member-3")]
        assert together[split].dtype == np.float32
        np.testing.assert_allclose(together[split], np.mean(each, axis=0), rtol=1e-6)
        assert np.ptp(each, axis=0).max() > 0


def test_the_scores_of_a_single_teacher_are_exactly_its_own(index: Index) -> None:
    write(train_all(index, 1, 1))
    together = scores(index)
    for split in ("train", "val"):
        assert np.array_equal(together[split], scores_of(index, "model", split))


# --- errors ----------------------------------------------------------------------------


def message_of(index: Index) -> str:
    with pytest.raises(InputError) as caught:
        scores(index)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_more_folds_than_images_are_refused(index: Index) -> None:
    with pytest.raises(InputError) as caught:
        train_all(index, 1, 25)
    assert str(caught.value) == (
        "train_teacher.folds = 25: there are 24 training images; should be at most as many"
    )


def test_a_fold_without_its_model_is_an_error(index: Index) -> None:
    write(train_all(index, 1, 3))
    (FOLDER / "fold-2-of-3.safetensors").unlink()
    assert message_of(index) == (
        "data/teacher: 8 of 24 training images are in the fold of no model; should hold a model "
        "per fold: run train_teacher again"
    )


def test_folds_of_other_data_are_refused(index: Index) -> None:
    write(train_all(index, 1, 2))
    index.splits[0] = "test"
    assert message_of(index) == (
        "data/teacher/fold-1-of-2.safetensors: left a fold of 24 training images out, and the "
        "index has 23; it was made for other data: run `dvc repro`"
    )


def test_a_folder_without_the_first_model_is_refused(index: Index) -> None:
    assert message_of(index).startswith("data/teacher/model.safetensors: no such file; run the")
