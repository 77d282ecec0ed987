"""The catalogue: names, settings, refused settings, and the registration of a new loss."""

from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError, create_model
from ruamel.yaml import YAML
from torch import Tensor

from pipeline.core.errors import InputError
from pipeline.core.params import read_section
from pipeline.losses import catalogue
from pipeline.losses.assume_negative import L1R, WAN
from pipeline.losses.base import EntrywiseLoss, Task, Weight
from pipeline.losses.catalogue import LossesParams, LossParams, settings_of
from pipeline.losses.focal import Hill
from pipeline.training.teachers import TrainTeacherParams
from tests.builders.losses import NAMES, SHIPPED, every_loss, shipped, value_and_gradient, value_of
from tests.conftest import PARAMS

TARGETS = torch.tensor([[1, 0, -1]])
TASK = Task(TARGETS, 8)

SETTINGS = {
    "bce": [],
    "iun": [],
    "an": [],
    "dw": ["gamma"],
    "wan": ["gamma"],
    "l1r": ["lambda"],
    "l2r": ["lambda"],
    "ls": ["epsilon"],
    "n_ls": ["epsilon"],
    "epr": ["expected_positives"],
    "role": ["expected_positives", "lr_multiplier"],
    "em": ["alpha"],
    "entmin": ["alpha"],
    "em_apl": ["alpha", "beta", "theta", "warmup_epochs"],
    "focal": ["gamma"],
    "asl": ["gamma_pos", "gamma_neg", "margin", "focusing_gradient"],
    "hill": ["lambda", "margin", "gamma"],
    "splc": ["tau", "margin", "gamma"],
    "ll_r": ["delta"],
    "ll_ct": ["delta"],
    "ll_cp": ["delta"],
    "gr": ["w", "b", "mu", "sigma", "q2", "q3"],
    "crisp": ["warmup_epochs", "delta", "tau"],
    "plc": ["tau", "lambda", "cutout", "rand_augment", "rand_magnitude"],
}
WITH_SETTINGS = [name for name, settings in SETTINGS.items() if settings]


def params(loss: str, **losses: Any) -> LossParams:
    return LossParams.model_validate({"loss": loss, "losses": losses})


def refusal(folder: Path, loss: str, losses: dict[str, Any]) -> str:
    """Return the one-line message about a file with these settings."""
    path = folder / "params.yaml"
    section = {"loss": loss, "losses": losses}
    YAML(typ="safe", pure=True).dump({"train_teacher": section}, path)
    with pytest.raises(InputError) as error:
        read_section(path, "train_teacher", LossParams)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"{path}: ")


def test_the_catalogue_has_these_losses_with_these_settings() -> None:
    found = {name: list(settings_of(loss).model_fields) for name, loss in catalogue.LOSSES.items()}
    assert found.items() >= SETTINGS.items()


@every_loss
def test_a_name_builds_its_loss(name: str) -> None:
    assert type(shipped(name, TARGETS)) is catalogue.LOSSES[name]


def test_every_loss_has_a_source_in_its_description() -> None:
    assert [
        n for n, loss in catalogue.LOSSES.items() if "Source: " not in (loss.__doc__ or "")
    ] == []


def test_the_shipped_settings_are_those_of_the_losses() -> None:
    needed = {name: list(settings_of(loss).model_fields) for name, loss in catalogue.LOSSES.items()}
    assert {name: list(settings) for name, settings in SHIPPED.items()} == {
        name: keys for name, keys in needed.items() if keys
    }


def test_the_shipped_params_name_every_loss_of_the_papers() -> None:
    text = PARAMS.read_text("utf-8")
    listed = text[text.index("docs/losses.md") : text.index("losses:                   #")]
    words = listed.replace("|", " ").replace(",", " ").replace("(", " ").split()
    assert set(SETTINGS) <= set(words)


def test_each_loss_can_be_chosen_in_the_shipped_params() -> None:
    read = read_section(PARAMS, "train_teacher", TrainTeacherParams)
    for name, kind in catalogue.LOSSES.items():
        assert type(catalogue.build(read.model_copy(update={"loss": name}), TASK)) is kind


# --- settings --------------------------------------------------------------------------


def test_settings_reach_their_loss() -> None:
    wan = catalogue.build(params("wan", wan={"gamma": 0.03}, em={"alpha": 0.7}), TASK)
    assert isinstance(wan, WAN)
    assert wan.gamma == 0.03
    hill = catalogue.build(params("hill", hill={"lambda": 1.25, "margin": 0.5, "gamma": 3}), TASK)
    assert isinstance(hill, Hill)
    assert (hill.lambda_, hill.margin, hill.gamma) == (1.25, 0.5, 3)


def test_lambda_is_a_key_although_it_is_a_keyword_of_python() -> None:
    l1r = catalogue.build(params("l1r", l1r={"lambda": 0.5}), TASK)
    assert isinstance(l1r, L1R)
    assert l1r.lambda_ == 0.5
    with pytest.raises(ValidationError, match="lambda_"):
        params("l1r", l1r={"lambda_": 0.5})


def test_null_expected_positives_are_taken_from_the_val_labels() -> None:
    logits = torch.zeros(1, 3)  # 1.5 positives
    for given, by_val, added in ((None, 2.1, 0.04), (1.2, 2.1, 0.01), (None, 1.5, 0.0)):
        chosen = params("epr", epr={"expected_positives": given})
        task = Task(TARGETS, 8, positives_per_image=by_val)
        bce = value_of(catalogue.build(params("bce"), TASK), logits, TARGETS)
        value = value_of(catalogue.build(chosen, task), logits, TARGETS)
        assert value == pytest.approx(bce + added, abs=1e-6)


@every_loss
def test_sections_of_losses_not_in_use_may_be_left_out(name: str) -> None:
    own = {name: SHIPPED[name]} if name in SHIPPED else {}
    alone = catalogue.build(params(name, **own), TASK)
    logits = torch.tensor([[0.5, 1.0, -2.0]])
    assert value_of(alone, logits, TARGETS) == value_of(shipped(name, TARGETS), logits, TARGETS)


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_the_missing_section_of_the_chosen_loss_is_refused_in_one_line(
    name: str, tmp_path: Path
) -> None:
    others = {other: settings for other, settings in SHIPPED.items() if other != name}
    for losses in (others, others | {name: {}}, others | {name: None}):
        message = refusal(tmp_path, name, losses)
        missing = [f"train_teacher.losses.{name}.{key}: is missing" for key in SETTINGS[name]]
        assert message == "; ".join(missing)


@pytest.mark.parametrize("name", WITH_SETTINGS)
def test_the_chosen_loss_needs_exactly_its_settings(name: str) -> None:
    for key in SETTINGS[name]:
        short = {other: value for other, value in SHIPPED[name].items() if other != key}
        with pytest.raises(ValidationError, match="Field required"):
            params(name, **{name: short})
        assert params("bce", **{name: short}).in_use() == {"loss": "bce", "losses": {}}
    with pytest.raises(ValidationError, match="Extra inputs"):
        params(name, **{name: SHIPPED[name] | {"colour": 1.0}})


def test_an_unknown_loss_is_refused_with_the_names_of_all(tmp_path: Path) -> None:
    names = ", ".join(NAMES)
    expected = f"train_teacher.loss = 'anne': is no loss; should be one of {names}"
    assert refusal(tmp_path, "anne", {}) == expected


def test_the_section_of_an_unknown_loss_is_refused(tmp_path: Path) -> None:
    message = refusal(tmp_path, "an", {"anne": {"alpha": 1.0}})
    assert message == "train_teacher.losses.anne: unknown key"


OUT_OF_RANGE = [
    ("dw", "gamma", -0.1), ("dw", "gamma", None), ("wan", "gamma", -0.1), ("wan", "gamma", "1"),
    ("l1r", "lambda", -1e-9), ("l2r", "lambda", float("inf")), ("ls", "epsilon", 1.1),
    ("n_ls", "epsilon", -0.1), ("epr", "expected_positives", 0.0),
    ("role", "expected_positives", -1.0), ("role", "lr_multiplier", -1.0), ("em", "alpha", -0.2),
    ("em", "alpha", None), ("entmin", "alpha", float("nan")), ("em_apl", "beta", -0.1),
    ("em_apl", "theta", 1.01), ("em_apl", "warmup_epochs", 0), ("em_apl", "warmup_epochs", 2.5),
    ("focal", "gamma", -1.0), ("asl", "gamma_pos", -1.0), ("asl", "gamma_neg", 0.5),
    ("asl", "margin", 1.0), ("hill", "lambda", -1.0), ("hill", "margin", -1.0),
    ("splc", "tau", 1.5), ("ll_r", "delta", 101.0), ("ll_ct", "delta", -0.1),
    ("ll_cp", "delta", True), ("gr", "w", [0.0]), ("gr", "b", [0.0, 1.0, 2.0]), ("gr", "mu", 0.5),
    ("gr", "sigma", [2.0, 0.0]), ("gr", "q2", 0.0), ("gr", "q3", -1.0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "key", "value"), OUT_OF_RANGE)
def test_settings_out_of_range_are_refused_in_one_line_with_their_key(
    name: str, key: str, value: Any, tmp_path: Path
) -> None:
    # This holds for losses that are not in use, too.
    message = refusal(tmp_path, "an", {name: SHIPPED[name] | {key: value}})
    assert message.startswith(f"train_teacher.losses.{name}.{key}")
    assert "should" in message


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("dw", "gamma", 0), ("dw", "gamma", 7.0), ("wan", "gamma", None), ("ls", "epsilon", 1),
        ("em_apl", "theta", 0.0), ("em_apl", "warmup_epochs", 1), ("asl", "gamma_pos", 0.0),
        ("asl", "margin", 0.0), ("ll_r", "delta", 100.0), ("ll_r", "delta", 0),
        ("gr", "w", [0, -10]), ("gr", "q3", 1.5), ("role", "lr_multiplier", 0.0),
    ],
)  # fmt: skip
def test_settings_at_the_ends_of_their_range_give_finite_losses(
    name: str, key: str, value: Any
) -> None:
    settings = {name: SHIPPED[name] | {key: value}}
    loss = catalogue.build(params(name, **settings), TASK)
    for logits in (torch.tensor([[0.5, 1.0, -2.0]]), torch.tensor([[80.0, -80.0, 80.0]])):
        found, gradient = value_and_gradient(loss, logits, TARGETS)
        assert torch.isfinite(found)
        assert torch.isfinite(gradient).all()


# --- a new loss ------------------------------------------------------------------------


class Shy(EntrywiseLoss):
    """A made-up loss: unknown labels with high scores have a low weight."""

    def v(self, p: Tensor) -> Tensor:
        """Return (1 - p)^3."""
        return (1 - p) ** 3


class Shyer(EntrywiseLoss):
    """The same loss with a setting."""

    def __init__(self, task: Task, power: Weight):
        super().__init__(task)
        self.power = power

    def v(self, p: Tensor) -> Tensor:
        """Return (1 - p)^power."""
        return (1 - p) ** self.power


def test_a_new_loss_is_chosen_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalogue.LOSSES, "shy", Shy)
    loss = catalogue.build(params("shy"), TASK)
    assert type(loss) is Shy
    # p = .5 three times: log 2 each, but an eighth of it for the unknown label
    value = value_of(loss, torch.zeros(1, 3), TARGETS)
    assert value == pytest.approx((2 + 1 / 8) * 0.693147 / 3, rel=1e-5)


def test_the_settings_of_a_new_loss_are_the_arguments_of_its_constructor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(catalogue.LOSSES, "shyer", Shyer)
    settings = settings_of(Shyer)
    sections = create_model("Sections", __base__=LossesParams, shyer=(settings | None, None))
    section = create_model("Section", __base__=LossParams, losses=(sections, ...))
    chosen = section.model_validate({"loss": "shyer", "losses": {"shyer": {"power": 1}}})
    loss = catalogue.build(chosen, TASK)
    value = value_of(loss, torch.zeros(1, 3), TARGETS)
    assert value == pytest.approx((2 + 1 / 2) * 0.693147 / 3, rel=1e-5)
    with pytest.raises(ValidationError, match=r"losses\.shyer\.power"):
        section.model_validate({"loss": "shyer", "losses": {}})
    with pytest.raises(ValidationError):
        section.model_validate({"loss": "shyer", "losses": {"shyer": {"power": -1.0}}})
