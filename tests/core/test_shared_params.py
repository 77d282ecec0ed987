"""A shared section: which value holds, the keys in messages, and the values in use."""

from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.core.errors import InputError
from pipeline.core.params import check_section, read_values
from pipeline.datasets.prepare import PrepareParams
from pipeline.training import optimiser
from pipeline.training.generations import StudentParams
from pipeline.training.teachers import TrainTeacherParams
from tests.conftest import PARAMS, RunStage, SetParams, put


def student(changes: dict[str, Any]) -> StudentParams:
    return check_section("params.yaml", "train_student", changed(changes), StudentParams)


def teacher(changes: dict[str, Any]) -> TrainTeacherParams:
    return check_section("params.yaml", "train_teacher", changed(changes), TrainTeacherParams)


def changed(changes: dict[str, Any]) -> dict[str, Any]:
    """Return the shipped params with other values, given as "section.key"."""
    return put(read_values(PARAMS), changes)


def test_a_shared_value_holds_for_both_sections_and_an_own_value_for_one() -> None:
    changes = {"train.fit.lr": 0.5, "train_student.train.fit.epochs": 3}
    assert teacher(changes).fit.lr == student(changes).fit.lr == 0.5
    assert student(changes).fit.epochs == 3
    assert teacher(changes).fit.epochs == teacher({}).fit.epochs != 3


def test_a_section_may_have_no_values_of_its_own() -> None:
    values = read_values(PARAMS)
    assert values["train_student"].pop("train") == {}
    params = check_section("params.yaml", "train_student", values, StudentParams)
    assert params.in_use() == student({}).in_use()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_student.train.fit.epoch": 3}, "train_student.train.fit.epoch: unknown key"),
        ({"train_student.train.fits": {}}, "train_student.train.fits: unknown key"),
        ({"train_student.train.seed": 3}, "train_student.train.seed: unknown key"),
        ({"train.seed": 3}, "train.seed: unknown key"),
        ({"train.fit.epoch": 3}, "train.fit.epoch: unknown key"),
        ({"train.fit.lr": 0}, "train.fit.lr = 0: should be a number > 0"),
        ({"train_student.train.fit.lr": 0}, "train_student.train.fit.lr = 0: should be a number >"),
        ({"train.fit": 3}, "train.fit = 3: should be a section with keys"),
        ({"train_student.train.fit": 3}, "train_student.train.fit = 3: should be a section"),
        ({"train_student.train": None}, "train_student.train = None: should be a section"),
        ({"train": []}, "train = []: should be a section with keys"),
        ({"train_student.prior_weight": -1}, "train_student.prior_weight = -1: should be a number"),
        ({"train_student.fit": {"lr": 1e-3}},
         "train_student.fit: unknown key; should be train.fit, or train_student.train.fit where "
         "train_student differs"),
    ],
)  # fmt: skip
def test_an_error_names_the_key_where_the_value_was_set(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError) as error:
        student(changes)
    assert str(error.value).startswith(f"params.yaml: {message}")


def test_the_error_about_a_missing_key_names_the_shared_section() -> None:
    values = read_values(PARAMS)
    del values["train"]["fit"]["lr"]
    with pytest.raises(InputError, match=r"^params\.yaml: train\.fit\.lr: is missing$"):
        check_section("params.yaml", "train_student", values, StudentParams)
    del values["train"]
    with pytest.raises(InputError, match=r"^params\.yaml: section 'train' is missing$"):
        check_section("params.yaml", "train_student", values, StudentParams)


def test_anchors_without_end_are_refused() -> None:
    values = YAML(typ="safe", pure=True).load("train: &it {fit: *it}\ntrain_student: {train: *it}")
    with pytest.raises(InputError, match=r"^params\.yaml: "):
        check_section("params.yaml", "train_student", values, StudentParams)


def test_params_know_the_keys_where_their_values_were_set() -> None:
    params = student({"train_student.train.fit.lr": 0.5, "train_student.train.mode": "linear"})
    assert params.key("train_student", "mode") == "train_student.train.mode"
    assert params.key("train_student", "seed") == "train_student.seed"
    assert params.fit.key("train_student.fit", "lr") == "train_student.train.fit.lr"
    assert params.fit.key("train_student.fit", "epochs") == "train.fit.epochs"
    linear = optimiser.of_linear(params.linear, params.fit)
    assert linear.key("train_student.linear", "lr") == "train.linear.lr"
    assert linear.key("train_student.linear", "optimizer") == "train.fit.optimizer"


def test_a_stage_names_the_shared_key_of_a_value_that_does_not_fit_the_data(
    run_stage: RunStage, set_params: SetParams
) -> None:
    run_stage("prepare")
    for key in ("train.model.boost_lu", "train_teacher.train.model.boost_lu"):
        set_params({key: 5.0})
        output = run_stage("train_teacher", exit_code=1).output
        assert f"Error: {key} = 5.0: small_cnn has no linear head on maps" in output


# --- in use ----------------------------------------------------------------------------

UNUSED = [
    ({}, "train.linear.lr", 0.5),
    ({}, "train.fit.momentum", 0.5),
    ({}, "train.augment.rand_magnitude", 3),
    ({}, "train.augment.mixup_labels", "union"),
    ({}, "train_teacher.losses.em.alpha", 0.7),
    ({"train.mode": "linear"}, "train.fit.epochs", 3),
    ({"train.mode": "linear"}, "train.fit.lr", 0.5),
    ({"train.mode": "linear"}, "train.fit.head_lr_multiplier", 5.0),
    ({"train.mode": "linear"}, "train.augment.flip", 0.5),
]
USED = [
    ({}, "train.fit.epochs", 3),
    ({}, "train.augment.flip", 0.5),
    ({}, "train_teacher.losses.gr.q2", 0.7),
    ({}, "train_teacher.members", 2),
    ({"train_teacher.loss": "em"}, "train_teacher.losses.em.alpha", 0.7),
    ({"train.fit.optimizer": "sgd"}, "train.fit.momentum", 0.5),
    ({"train.augment.rand_augment": 1}, "train.augment.rand_magnitude", 3),
    ({"train.augment.mixup": 0.5}, "train.augment.mixup_labels", "union"),
    ({"train.mode": "linear"}, "train.linear.lr", 0.5),
    ({"train.mode": "linear"}, "train.fit.weight_decay", 0.5),
    ({"train.mode": "linear"}, "train.fit.batch_size", 5),
    ({"train.mode": "linear_init"}, "train.linear.lr", 0.5),
    ({"train.mode": "linear_init"}, "train.fit.lr", 0.5),
]


@pytest.mark.parametrize(("other", "key", "value"), UNUSED)
def test_a_value_without_effect_on_results_is_not_in_use(
    other: dict[str, Any], key: str, value: Any
) -> None:
    assert teacher(other | {key: value}).in_use() == teacher(other).in_use()


@pytest.mark.parametrize(("other", "key", "value"), USED)
def test_a_value_with_an_effect_on_results_is_in_use(
    other: dict[str, Any], key: str, value: Any
) -> None:
    assert teacher(other | {key: value}).in_use() != teacher(other).in_use()


def test_a_value_is_the_same_in_the_shared_and_in_the_own_section() -> None:
    once, both = {"train.fit.lr": 0.5}, ("train_teacher.train.fit.lr", "train_student.train.fit.lr")
    assert teacher(once).in_use() == teacher(dict.fromkeys(both, 0.5)).in_use()
    assert student(once).in_use() == student(dict.fromkeys(both, 0.5)).in_use()


def test_only_the_chosen_source_is_in_use() -> None:
    def prepare(changes: dict[str, Any]) -> dict[str, Any]:
        return check_section("params.yaml", "prepare", changed(changes), PrepareParams).in_use()

    assert prepare({"prepare.table.file": "other.csv"}) == prepare({})
    assert prepare({"prepare.digits.size": 50}) != prepare({})
    table = {"prepare.source": "table"}
    assert prepare(table | {"prepare.table.file": "other.csv"}) != prepare(table)
    assert prepare(table | {"prepare.digits.size": 50}) == prepare(table)


def test_the_comment_shows_how_to_set_a_value_for_one_section() -> None:
    lines = PARAMS.read_text("utf-8").splitlines()
    comment = next(line for line in lines if "train_student: train: {" in line)
    difference = comment.partition("train_student: train: ")[2].rpartition(",")[0]
    values = YAML(typ="safe", pure=True).load(f"train: {difference}")
    assert student({"train_student.train": values["train"]}).fit.lr == 1e-4
