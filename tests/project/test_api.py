"""Use from Python: losses, rules and the metric on plain arrays, and the installed package."""

import fnmatch
import inspect
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ruamel.yaml import YAML

from pipeline import losses
from pipeline.core import identity
from pipeline.core.errors import InputError
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.losses.assume_negative import DW
from pipeline.losses.large_loss import LLCp
from pipeline.losses.standalone import DEFAULTS
from pipeline.pseudo_labels import label
from tests.builders.losses import SHIPPED, every_loss, shipped, value_of
from tests.conftest import PARAMS, ROOT

PAGE = (ROOT / "docs" / "api.md").read_text("utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
OBSERVED = np.array([[1, 0, 0], [0, -1, 1], [0, 0, 1], [0, 1, 0]], np.int8)
PROBS = np.array([[0.2, 0.6, 0.1], [0.7, 0.9, 0.4], [0.5, 0.2, 0.8], [0.3, 0.6, 0.55]], np.float32)
NEEDS: dict[str, dict[str, Any]] = {
    "epr": {"expected_positives": 1.0},
    "role": {"expected_positives": 1.0},
}


# --- the page --------------------------------------------------------------------------


def test_the_code_of_the_page_runs(capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {}
    for block in BLOCKS:
        exec(compile(block, "docs/api.md", "exec"), names)
    output = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"mAP \d+\.\d\d %", output[0])
    assert f"print(error)  # {output[1]}\n" in BLOCKS[-1], "the message is the one on the page"


def test_the_training_loop_of_the_page_is_20_lines_and_learns() -> None:
    lines = [line for line in BLOCKS[0].splitlines() if line.strip()]
    assert len(lines) <= 20
    before, after = BLOCKS[0].split("for epoch in", 1)
    names: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(before, names)

    def value() -> float:
        loss = losses.build("gr", num_classes=80, epochs=10)
        return value_of(loss, names["model"](names["images"]), names["observed"])

    first = value()
    exec("for epoch in" + after, names)
    assert value() < first


# --- losses ----------------------------------------------------------------------------


def test_the_defaults_of_losses_are_those_that_params_yaml_ships() -> None:
    assert {name: settings for name, settings in SHIPPED.items() if settings} == DEFAULTS


@every_loss
def test_a_loss_by_name_is_the_loss_of_the_teacher(name: str) -> None:
    targets = torch.from_numpy(OBSERVED)
    loss = losses.build(name, 3, 8, targets=OBSERVED, **NEEDS.get(name, {}))
    logits = torch.logit(torch.from_numpy(PROBS))
    for epoch in (1, 8):
        teachers = shipped(name, targets, epoch)
        loss.epoch = epoch
        assert value_of(loss, logits, targets) == value_of(teachers, logits, targets)


def test_settings_replace_defaults() -> None:
    l1r = losses.build("l1r", num_classes=3, epochs=8, lambda_=0.5)
    one = torch.nn.Linear(1, 1, bias=False)
    assert l1r.penalty(one) == 0.5 * one.weight.abs()
    dw = losses.build("dw", num_classes=3, epochs=8, gamma=0.25)
    assert isinstance(dw, DW)
    assert dw.gamma == 0.25


def test_a_loss_that_remembers_images_has_a_row_for_each() -> None:
    loss = losses.build("ll_cp", 3, 8, targets=torch.from_numpy(OBSERVED))
    assert isinstance(loss, LLCp)
    assert loss.flipped.shape == (4, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "grr"}, "losses.build: name = 'grr': should be one of bce, iun"),
        ({"num_classes": 1}, "losses.build: num_classes = 1: should be a whole number >= 2"),
        ({"epochs": 2.5}, "losses.build: epochs = 2.5: should be a whole number >= 1"),
        ({"q2": -1}, "losses.build: gr.q2 = -1: should be a number > 0"),
        ({"q9": 1}, "losses.build: gr.q9: unknown key"),
        ({"name": "an", "gamma": 1}, "losses.build: an.gamma: unknown key"),
        ({"name": "epr"}, "losses.build: epr.expected_positives = None: should be a number > 0"),
        ({"name": "ll_cp"}, "losses.build: targets = None: should be the observed labels"),
        ({"name": "iun"}, "losses.build: targets = None: should be the observed labels"),
        ({"targets": OBSERVED[:, :2]}, r"losses.build: targets of shape \(4, 2\): should be"),
        ({"targets": 2 * OBSERVED}, "losses.build: targets: should be 1, 0 or -1"),
    ],
)
def test_a_wrong_argument_of_build_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        losses.build(**({"name": "gr", "num_classes": 3, "epochs": 8} | arguments))


def test_a_student_does_not_depend_on_every_loss() -> None:
    found = identity.modules("pipeline.losses.student")
    assert [name for name in found if name.startswith("pipeline.losses")] == [
        "pipeline.losses", "pipeline.losses.base", "pipeline.losses.entropy",
        "pipeline.losses.student",
    ]  # fmt: skip
    code = "import pipeline.losses.student, sys; print('pipeline.losses.catalogue' in sys.modules)"
    assert output_of(code, ROOT) == "False"


@pytest.mark.parametrize("package", ["losses", "pseudo_labels"])
def test_a_package_has_no_unknown_attribute(package: str) -> None:
    code = f"from pipeline import {package}; {package}.label_all"
    with pytest.raises(AttributeError, match=f"module 'pipeline.{package}' has no attribute"):
        exec(code)


# --- labels ----------------------------------------------------------------------------


def test_labels_are_the_scores_above_tau_and_the_observed_positives() -> None:
    found = label(PROBS, OBSERVED, tau=0.5)
    expected = [[1, 1, 0], [1, 0, 1], [0, 0, 1], [0, 1, 1]]
    np.testing.assert_array_equal(found.labels, np.array(expected, bool))
    np.testing.assert_array_equal(found.targets, np.array(expected, np.float32))
    np.testing.assert_array_equal(found.weights, np.ones((4, 3), np.float32))


def test_lists_tensors_and_bools_are_accepted() -> None:
    found = label(PROBS, OBSERVED == 1)
    for probs in (torch.from_numpy(PROBS), PROBS.astype(np.float64), PROBS.tolist()):
        again = label(probs, torch.from_numpy(OBSERVED == 1))
        np.testing.assert_array_equal(again.labels, found.labels)


def test_a_band_ignores_and_soft_targets_lie_between() -> None:
    band = label(PROBS, OBSERVED, rule="band", tau=0.5, width=0.2)
    assert band.weights[2].tolist() == [0, 1, 1]  # .5 is not above tau, and not below .3
    soft = label(PROBS, OBSERVED, rule="soft", tau=0.5)
    np.testing.assert_allclose(soft.targets[2], [0.5, 0.2, 1], rtol=1e-6)


def test_the_prior_of_val_decides_the_number_of_positives() -> None:
    val = [[1, 0, 1], [0, 0, 0]]
    found = label(PROBS, np.zeros_like(OBSERVED), calibrate="prior", val_labels=val)
    assert found.labels.sum(axis=0).tolist() == [2, 0, 2]


def test_the_defaults_of_rules_are_those_that_params_yaml_ships_but_for_the_rule() -> None:
    shipped = YAML(typ="safe").load(PARAMS.read_text("utf-8"))["pseudo_label"]
    assert shipped.pop("corrections") is None  # a file, which no array names
    options = inspect.signature(label).parameters.values()
    own = {one.name: one.default for one in options if one.default not in (one.empty, None)}
    # The paper has one tau on the score. Val chose the shipped rule for the digits.
    plain = {"rule": "tau", "tau": 0.5, "calibrate": "none"}
    assert own == shipped | plain


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"tau": 1.0}, r"label: pseudo_label.tau = 1.0: should be a number >= 0 and < 1"),
        ({"rule": "taus"}, "label: pseudo_label.rule = 'taus': should be 'tau', 'top_k'"),
        ({"rule": "band", "width": 0.6}, "label: pseudo_label.width = 0.6: should be below tau"),
        ({"observed": OBSERVED[:2]}, r"label: observed of shape \(2, 3\): should be \(4, 3\)"),
        ({"observed": 2 * OBSERVED}, "label: observed: should be 1, 0 or -1"),
        ({"probs": PROBS[0]}, r"label: probs of shape \(3,\): should be \(N, C\)"),
        ({"probs": PROBS[:0]}, r"label: probs of shape \(0, 3\): should be \(N, C\)"),
        ({"probs": 2 * PROBS}, "label: probs: should be probabilities, from 0 to 1"),
        ({"probs": PROBS * np.nan}, "label: probs: should be probabilities"),
        ({"calibrate": "prior"}, "label: val_labels = None: should be given for prior = 'val'"),
        ({"calibrate": "isotonic"}, "label: val_probs = None: should be given for calibrate"),
        (
            {"calibrate": "isotonic", "val_probs": PROBS, "val_labels": OBSERVED[1:] == 1},
            r"label: val_labels of shape \(3, 3\): should be \(4, 3\)",
        ),
    ],
)
def test_a_wrong_argument_of_label_is_one_line(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        label(**({"probs": PROBS, "observed": OBSERVED} | arguments))


def test_labels_load_no_torch() -> None:
    code = (
        "from pipeline.pseudo_labels import label; import sys; "
        "label([[0.9, 0.1]], [[0, 1]]); print('torch' in sys.modules)"
    )
    assert output_of(code, ROOT) == "False"


# --- the metric ------------------------------------------------------------------------


def test_the_metric_takes_arrays_and_tensors() -> None:
    labels = OBSERVED == 1
    # Precision at the positives' ranks: 4; 3, since another scores the same; 1 and 3.
    by_hand = 100 * (1 / 4 + 1 / 3 + (1 + 2 / 3) / 2) / 3
    for truth in (labels, labels.astype(int), torch.from_numpy(labels)):
        for scores in (PROBS, torch.from_numpy(PROBS)):
            assert mean_average_precision(truth, scores) == pytest.approx(by_hand)


# --- the installation ------------------------------------------------------------------


def test_the_installed_package_has_all_its_files() -> None:
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    packages = [path.parent for path in (ROOT / "pipeline").rglob("__init__.py")]
    assert setup["packages"]["find"]["include"] == ["pipeline*"]
    assert setup["package-data"].keys() == {"*"}
    for path in (ROOT / "pipeline").rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            assert path.parent in packages, f"{path}: its folder is no package"
            patterns = ["*.py", *setup["package-data"]["*"]]
            assert any(fnmatch.fnmatch(path.name, one) for one in patterns), path


def test_the_package_is_marked_as_typed() -> None:
    assert (ROOT / "pipeline" / "py.typed").is_file()
    assert "py.typed" in (ROOT / "pyproject.toml").read_text("utf-8")


@pytest.mark.slow
def test_pip_installs_a_clone_that_another_folder_can_use(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", "77")
    clone = tmp_path / "clone"
    clone.mkdir()
    for name in ("pipeline", "stages", "experiments", "pyproject.toml", "README.md", "LICENSE"):
        subprocess.run(["cp", "-r", ROOT / name, clone], check=True)
    # A separate environment to install into; other packages come from that of the tests.
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    packages = next((tmp_path / "venv" / "lib").glob("*/site-packages"))
    (packages / "of_the_tests.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    flags = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    command = [str(python), "-m", "pip", "install", *flags, "-e", str(clone)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = "from pipeline import losses; print(losses.build('gr', 80, 10), losses.__file__)"
    output = output_of(code, elsewhere, str(python))
    assert output == f"GR() {clone / 'pipeline' / 'losses' / '__init__.py'}"


def output_of(code: str, folder: Path, python: str = sys.executable) -> str:
    """Run code in a fresh interpreter in a folder; return its output."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        [python, "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()
