"""The presets: valid, with the papers' numbers, and applied without losing edits silently."""

import math
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from experiments.sweep import SweepParams
from experiments.used import by_training
from pipeline.core.params import Params, check_section
from pipeline.datasets.prepare import PrepareParams
from pipeline.inference import outside
from pipeline.inference.score import ScoreParams
from pipeline.losses import catalogue
from pipeline.losses.base import Task
from pipeline.losses.student import VLPL
from pipeline.pseudo_labels.rules import PseudoLabelParams, pseudo_labels
from pipeline.training.generations import StudentParams
from pipeline.training.teachers import TrainTeacherParams
from presets import preset
from presets.__main__ import main
from stages.evaluate import EvaluateParams
from tests.builders.index import index_of
from tests.conftest import PARAMS, ROOT, edit_params

SECTIONS: dict[str, type[Params]] = {
    "prepare": PrepareParams,
    "train_teacher": TrainTeacherParams,
    "score": ScoreParams,
    "pseudo_label": PseudoLabelParams,
    "train_student": StudentParams,
    "evaluate": EvaluateParams,
    "sweep": SweepParams,
}
NAMES = preset.names()
OF_BENCHMARKS = [name for name in NAMES if name not in ("default", "digits_paper", "mobilenet_v2")]
every_preset = pytest.mark.parametrize("name", NAMES)


@cache
def written(name: str) -> dict[str, Any]:
    return preset.values(name)


@cache
def values(name: str) -> dict[str, Any]:
    """Return a preset's values, with shared values given for both trainings."""
    return by_training(written(name))


def value_of(name: str, key: str) -> Any:
    value: Any = values(name)
    for part in key.split("."):
        value = value[part]
    return value


def apply(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(main, arguments, catch_exceptions=exit_code != 0)
    assert result.exit_code == exit_code, result.output
    return result.output


@every_preset
def test_every_section_of_a_preset_is_valid(name: str) -> None:
    for section, kind in SECTIONS.items():
        check_section(name, section, written(name), kind)


@every_preset
def test_the_loss_of_a_preset_can_be_built(name: str) -> None:
    params = check_section(name, "train_teacher", written(name), TrainTeacherParams)
    targets = torch.tensor([[1, 0, 0], [0, 1, -1]], dtype=torch.int8)
    loss = catalogue.build(params, Task(targets, params.fit.epochs))
    loss.epoch = params.fit.epochs
    assert torch.isfinite(loss(torch.zeros(2, 3), targets, torch.arange(2)))


@pytest.mark.parametrize("name", NAMES[1:])
def test_a_preset_changes_only_the_settings_of_its_loss(name: str) -> None:
    teacher, shipped = values(name)["train_teacher"], values("default")["train_teacher"]
    changed = {
        loss for loss in shipped["losses"] if teacher["losses"][loss] != shipped["losses"][loss]
    }
    assert changed <= {teacher["loss"]}
    assert set(teacher["losses"]) == set(shipped["losses"])


@every_preset
def test_the_table_of_presets_links_to_each_preset(name: str) -> None:
    assert f"]({name}.yaml)" in (ROOT / "presets" / "README.md").read_text()


def test_params_yaml_is_the_preset_that_is_shipped() -> None:
    show = ["git", "show", "HEAD:./params.yaml"]
    in_git = subprocess.run(show, cwd=ROOT, capture_output=True, check=False)
    if in_git.returncode == 0 and in_git.stdout != (ROOT / "params.yaml").read_bytes():
        pytest.skip("params.yaml was edited")
    assert (ROOT / "params.yaml").read_bytes() == PARAMS.read_bytes()


# The papers' values of prepare, the loss, the teacher's and student's fit, and tau.
PAPERS: dict[str, dict[str, Any]] = {
    "digits_paper": {
        "train_teacher.loss": "em",
        "pseudo_label": {
            "rule": "tau", "tau": 0.75, "calibrate": "none", "prior": "val",
            "annotator": "ignored", "top_k": 3, "width": 0.3, "weights": "none",
            "keep_observed": False, "corrections": None,
        },
        "train_student.generations": 1, "sweep.taus": [0.55, 0.65, 0.75, 0.85, 0.95],
    },
    "voc2012_em_apl": {
        "prepare.source": "voc2012",
        "train_teacher.losses.em_apl": {
            "alpha": 0.2, "beta": 0.02, "theta": 0.9, "warmup_epochs": 5,
        },
        "train_teacher.fit.epochs": 10, "train_teacher.fit.batch_size": 8,
        "train_teacher.fit.lr": 1e-5, "train_teacher.fit.early_stop_drop": 0.0,
        "train_teacher.fit.head_lr_multiplier": 1.0, "pseudo_label.tau": 0.75,
    },
    "coco2014_em_apl": {
        "train_teacher.losses.em_apl": {
            "alpha": 0.1, "beta": 0.9, "theta": 0.9, "warmup_epochs": 5,
        },
        "train_teacher.fit.batch_size": 16,
    },
    "nuswide_em_apl": {
        "train_teacher.losses.em_apl": {
            "alpha": 0.1, "beta": 0.2, "theta": 0.9, "warmup_epochs": 4,
        },
        "train_student.fit.batch_size": 16,
    },
    "cub_em_apl": {
        "train_teacher.losses.em_apl": {
            "alpha": 0.01, "beta": 0.4, "theta": 0.9, "warmup_epochs": 3,
        },
        "train_teacher.fit.batch_size": 8, "train_teacher.fit.lr": 1e-4,
    },
    "cub_em": {
        "prepare.source": "cub",
        "train_teacher.losses.em.alpha": 0.01, "train_teacher.fit.lr": 1e-4,
    },
    "voc2012_gr": {
        "train_teacher.losses.gr": {
            "w": [0.0, 2.0], "b": [-2.0, -2.0], "mu": [0.5, 0.8], "sigma": [2.0, 0.5],
            "q2": 0.01, "q3": 1.0,
        },
        "train_teacher.fit.epochs": 8, "train_teacher.fit.batch_size": 8,
        "train_teacher.fit.lr": 1e-5, "train_teacher.fit.head_lr_multiplier": 10.0,
        "train_teacher.fit.early_stop_drop": 2.0, "pseudo_label.tau": 0.5,
    },
    "coco2014_gr": {
        "train_teacher.losses.gr.w": [0.0, 10.0], "train_teacher.losses.gr.b": [-2.0, -8.0],
        "train_teacher.losses.gr.q3": 1.0, "train_teacher.fit.epochs": 8,
        "train_teacher.fit.batch_size": 16,
    },
    "cub_gr": {
        "train_teacher.losses.gr": {
            "w": [0.0, 10.0], "b": [-2.0, -8.0], "mu": [0.5, 0.8], "sigma": [2.0, 0.5],
            "q2": 0.01, "q3": 1.5,
        },
        "train_teacher.fit.epochs": 10, "train_teacher.fit.batch_size": 8,
    },
    "nuswide_role_li": {
        "prepare.source": "nuswide",
        "train_teacher.mode": "linear_init", "train_teacher.linear.epochs": 25,
        "train_teacher.losses.role": {"expected_positives": 1.9, "lr_multiplier": 10.0},
        "train_student.mode": "end_to_end", "train_teacher.fit.early_stop_drop": None,
    },
    "voc2012_ll_r": {
        "train_teacher.losses.ll_r.delta": 0.2, "train_teacher.fit.optimizer": "sgd",
        "train_teacher.fit.lr": 5e-3, "train_teacher.fit.momentum": 0.9,
        "train_teacher.fit.weight_decay": 1e-3, "train_teacher.fit.early_stop_drop": 3.0,
    },
    "cub_ll_r": {
        "train_teacher.losses.ll_r.delta": 0.4, "train_teacher.fit.optimizer": "adam",
        "train_teacher.fit.lr": 7.5e-5, "train_teacher.fit.batch_size": 16,
        "train_teacher.fit.head_lr_multiplier": 10.0, "train_teacher.fit.weight_decay": 0.0,
    },
    "coco2014_ll_r_boostlu": {
        "prepare.source": "coco2014",
        "train_teacher.losses.ll_r.delta": 0.5, "train_teacher.model.boost_lu": 5.0,
        "train_student.model.boost_lu": 5.0, "train_teacher.fit.lr": 1e-5,
        "train_teacher.fit.epochs": 10, "train_teacher.fit.early_stop_drop": None,
    },
    **{
        f"{data}_vlpl": {
            "prepare.source": data, "train_teacher.source": "scores",
            "score.outside.scale": "softmax", "score.outside.temperature": 0.01,
            "pseudo_label.rule": "tau", "pseudo_label.tau": 0.3, "pseudo_label.weights": "none",
            "pseudo_label.calibrate": "none", "pseudo_label.keep_observed": True,
            "train_student.loss": "vlpl",
            "train_student.losses.vlpl": {"alpha": alpha, "weight": 0.7, "epsilon": 0.1},
            "train_student.fit.optimizer": "adam", "train_student.fit.lr": lr,
            "train_student.fit.batch_size": 8, "train_student.fit.epochs": 10,
        }
        for data, alpha, lr in (
            ("voc2012", 0.2, 1e-5), ("coco2014", 0.1, 1e-5), ("nuswide", 0.1, 1e-5),
            ("cub", 0.01, 1e-4),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("name", PAPERS)
def test_the_numbers_of_a_preset_are_those_of_its_paper(name: str) -> None:
    for key, expected in PAPERS[name].items():
        assert value_of(name, key) == expected, key


def test_vlpl_by_hand_from_similarities_to_the_loss(tmp_path: Path) -> None:
    # The softmax at temperature .01 of (.20, .20, .10) is (1, 1, e^-10) / (2 + e^-10): the second
    # class is above .3 and was not observed, the third one stays unknown.
    table = tmp_path / "scores.csv"
    table.write_text("image_id,c0,c1,c2\ni00,0.20,0.20,0.10\ni01,0.3,0.1,0.2\n")
    preset_values = written("voc2012_vlpl")
    params = check_section("preset", "score", preset_values, ScoreParams).outside
    index = index_of(("train", "val"), np.array([[1, 0, 0], [0, 0, 0]]))
    scores = outside.read(params.model_copy(update={"file": str(table)}), index)["train"]
    np.testing.assert_allclose(scores.probs[0], [0.4999887, 0.4999887, 2.27e-5], rtol=1e-3)
    rule = check_section("preset", "pseudo_label", preset_values, PseudoLabelParams)
    pseudo = pseudo_labels(rule, index, scores)
    assert pseudo.labels.tolist() == [[True, True, False]]
    student = check_section("preset", "train_student", preset_values, StudentParams)
    targets = torch.from_numpy(VLPL.targets_of(pseudo, index.targets[:1]))
    loss = catalogue.build(student, Task(targets, 10))
    # At p = .75: -log p = .287682, .7 (.9 * .287682 + .1 * 1.386294), -.2 * .562335
    expected = (0.287682 + 0.278280 - 0.112467) / 3
    found = loss(torch.full((1, 3), math.log(3)), targets, torch.arange(1))
    assert found.item() == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("name", OF_BENCHMARKS)
def test_the_protocol_is_that_of_the_papers(name: str) -> None:
    sections = values(name)
    assert sections["prepare"]["seed"] == 1200
    assert sections["prepare"]["val_fraction"] == 0.2
    assert sections["prepare"]["val_labels"] == "clean"
    assert sections["prepare"]["observe"] == {
        "process": "uniform", "num_pos": 1, "num_neg": 0, "seed": None, "fraction": None,
        "class_weights": None,
    }  # fmt: skip
    for section in (sections["train_teacher"], sections["train_student"]):
        assert section["model"] | {"boost_lu": None} == {
            "backbone": "resnet50", "weights": "IMAGENET1K_V1", "input_size": 448,
            "freeze_batch_norm": False, "boost_lu": None,
        }  # fmt: skip
        assert section["augment"] == {
            "flip": 0.5, "shift": 0.0, "zoom": 0.0, "rand_augment": 0, "rand_magnitude": 9,
            "cutout": 0.0, "mixup": 0.0, "mixup_labels": "mean",
        }  # fmt: skip
        assert section["fit"]["ema"] is None
        assert section["fit"]["schedule"] == "constant"
        assert section["fit"]["precision"] == "32"
    assert sections["train_student"]["fit"] == sections["train_teacher"]["fit"]
    text = (ROOT / "presets" / f"{name}.yaml").read_text()
    assert text.startswith("# ")
    assert "\n# Paper: " in text
    assert "\nbase: benchmark\n" in text


# --- python -m presets -----------------------------------------------------------------


def test_a_preset_keeps_every_comment_of_the_shipped_file() -> None:
    ours, shipped = preset.text("nuswide_role_li"), PARAMS.read_text()
    first, *lines = ours.splitlines()
    assert first.startswith("# The preset nuswide_role_li: presets/nuswide_role_li.yaml says where")
    assert len(lines) == len(shipped.splitlines())
    for line, before in zip(lines, shipped.splitlines(), strict=True):
        assert line.partition("#")[2] == before.partition("#")[2]
        assert line.partition(":")[0] == before.partition(":")[0]


def test_applying_a_preset_prints_each_key_that_changes(workplace: Path) -> None:
    shutil.copy(PARAMS, "params.yaml")
    output = apply("cub_an").splitlines()
    assert Path("params.yaml").read_text() == preset.text("cub_an")
    assert "prepare.source: digits -> cub" in output
    assert "train.fit.lr: 1.6e-2 -> 1e-4" in output
    assert "train.fit.schedule: one_cycle -> constant" in output
    assert output[-1] == "params.yaml is the preset cub_an"
    assert len(output) == 1 + len(
        [key for key in flat(written("cub_an")) if changed_by("cub_an", key)]
    )
    assert apply("cub_an") == "params.yaml is the preset cub_an\n", "no key changes"
    apply("default")
    assert Path("params.yaml").read_bytes() == PARAMS.read_bytes()
    assert not Path("params.yaml.bak").exists(), "none of them was edited"


def flat(section: dict[str, Any], above: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in section.items():
        more = isinstance(value, dict) and value
        found |= flat(value, f"{above}{name}.") if more else {f"{above}{name}": value}
    return found


def changed_by(name: str, key: str) -> bool:
    return bool(flat(written(name))[key] != flat(written("default")).get(key))


def test_an_edited_params_file_is_kept_and_its_path_is_printed(workplace: Path) -> None:
    for before in ("default", "voc2012_gr"):
        apply(before)
        edit_params(Path("params.yaml"), {"train.fit.lr": 0.5})
        edited = Path("params.yaml").read_bytes()
        output = apply("voc2012_em").splitlines()
        assert "train.fit.lr: 0.5 -> 1e-5" in output
        assert output[-1].endswith("; the edited file is kept as params.yaml.bak")
        assert Path("params.yaml.bak").read_bytes() == edited
        apply("coco2014_em")
        assert Path("params.yaml.bak").read_bytes() == edited, "an unedited preset is not kept"


@pytest.mark.parametrize("content", [b"a: [", b"\xff", b"", b"- 1"])
def test_a_preset_replaces_an_invalid_params_file(content: bytes, workplace: Path) -> None:
    Path("params.yaml").write_bytes(content)
    apply("default")
    assert Path("params.yaml").read_bytes() == PARAMS.read_bytes()
    assert not content or Path("params.yaml.bak").read_bytes() == content


def test_the_list_has_a_line_for_each_preset() -> None:
    lines = apply().splitlines()
    assert [line.split()[0] for line in lines] == NAMES
    assert all(len(line.split()) > 1 for line in lines)


def test_show_prints_the_complete_params_and_writes_nothing(workplace: Path) -> None:
    before = Path("params.yaml").read_bytes()
    assert apply("voc2012_gr", "--show") == preset.text("voc2012_gr")
    assert Path("params.yaml").read_bytes() == before


def test_an_unknown_name_is_an_error_of_one_line() -> None:
    for name in ("voc", "benchmark", "../params"):
        output = apply(name, exit_code=1)
        assert output.startswith(f"Error: preset {name!r}: should be one of default, coco2014_an, ")
        assert output.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: default\ntrain:\n  fit: {epoch: 1}\n", "train.fit.epoch: unknown key"),
        ("base: default\ntrain_student: {train: {fit: {epoch: 1}}}\n",
         "train_student.train.fit.epoch: unknown key"),
        ("base: default\ntrain_teacher: {fit: {epochs: 1}}\n", "train_teacher.fit: unknown key"),
        ("base: default\ntrain: 1\n", "train = 1: should be a section with keys"),
        ("base: nix\n", "base = 'nix': should be a preset"),
        ("base: new\n", "base = 'new': is based on this one"),
        ("train: {}\n", "base: is missing; should be default, say"),
        ("- 1\n", "should hold a base and sections"),
        ("base: [\n", "cannot be read as YAML"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_preset_is_an_error_of_one_line(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(ROOT / "presets", tmp_path / "presets")
    (tmp_path / "presets" / "new.yaml").write_text(text)
    monkeypatch.setattr(preset, "FOLDER", tmp_path / "presets")
    assert apply("new", "--show", exit_code=1) == f"Error: presets/new.yaml: {message}\n"
