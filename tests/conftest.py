"""Fixtures: a working folder with a small params.yaml, and stages that run in it as commands."""

import copy
import importlib
import os
import shutil
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner, Result
from hypothesis import settings
from ruamel.yaml import YAML

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# So pytest explains failed assertions in these packages, too.
pytest.register_assert_rewrite("tests.builders", "tests.checks")

# Number of examples per property: few by default, many with
# `--hypothesis-profile=thorough`. No deadline, since a busy machine is slow.
settings.register_profile("quick", deadline=None, max_examples=25)
settings.register_profile("thorough", deadline=None, max_examples=100)
settings.load_profile("quick")

ROOT = Path(__file__).parent.parent
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
# The shipped params.yaml; the user's may differ.
PARAMS = ROOT / "presets" / "default.yaml"

# Small enough that all six stages take seconds.
SMALL: dict[str, Any] = {
    "prepare.digits.n_train": 60,
    "prepare.digits.n_val": 30,
    "prepare.digits.n_test": 30,
    "prepare.digits.size": 24,
    "train.model.input_size": 24,
    "train.fit.epochs": 2,
    # Independent of the shipped values; tests set what they need.
    "train_teacher.loss": "wan",
    "train.fit.lr": 2e-3,
    "pseudo_label.rule": "tau",
    "pseudo_label.tau": 0.4,
    "pseudo_label.calibrate": "none",
    "pseudo_label.annotator": "ignored",
    "train_student.generations": 1,
}

STAGES = ["prepare", "train_teacher", "score", "pseudo_label", "train_student", "evaluate"]
SETTINGS = ["SPML_DATA_ROOT", "SPML_CACHE", "SPML_DEVICES"]

SetParams = Callable[[dict[str, Any]], None]
RunStage = Callable[..., Result]
Finished = Callable[..., Path]
StartAfter = Callable[..., None]


@pytest.fixture(autouse=True)
def _one_thread_and_every_number() -> Iterator[None]:
    """Use one thread, so that sums have the same order on every machine.

    Afterwards switch off the flushing of denormal numbers, which stages switch on, since
    hypothesis draws such numbers.
    """
    torch.set_num_threads(1)
    yield
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def small_params(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped params.yaml with SMALL; made once, since reading and writing YAML is slow."""
    path = tmp_path_factory.mktemp("small") / "params.yaml"
    shutil.copy(PARAMS, path)
    edit_params(path, SMALL)
    return path


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_params: Path) -> Path:
    """An empty working folder with the small params.yaml."""
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    shutil.copy(small_params, tmp_path)
    return tmp_path


@pytest.fixture
def set_params(workplace: Path) -> SetParams:
    """Change keys of the workplace's params.yaml, given as "section.key"."""
    return lambda changes: edit_params(workplace / "params.yaml", changes)


@pytest.fixture
def run_stage(workplace: Path) -> RunStage:
    """Run a stage by its name in the workplace and check its exit code (default 0)."""
    return _run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, small_params: Path) -> Finished:
    """Return a folder where the stages up to `last` ran, with some params changed.

    Tests share these folders, so a test that changes one must copy it first.
    """
    made: dict[str, Path] = {}

    def make(last: str = STAGES[-1], changes: dict[str, Any] | None = None) -> Path:
        key = repr((last, changes))
        if key not in made:
            folder = tmp_path_factory.mktemp("finished")
            shutil.copy(small_params, folder)
            edit_params(folder / "params.yaml", changes or {})
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                for name in SETTINGS:
                    patch.delenv(name, raising=False)
                for stage in STAGES[: STAGES.index(last) + 1]:
                    _run(stage)
            made[key] = folder
        return made[key]

    return make


@pytest.fixture
def start_after(workplace: Path, finished: Finished) -> StartAfter:
    """Fill the workplace with the outputs of the stages up to `last`, with some params changed."""

    def fill(last: str = STAGES[-1], changes: dict[str, Any] | None = None) -> None:
        shutil.copytree(finished(last, changes), workplace, dirs_exist_ok=True)

    return fill


def _run(name: str, exit_code: int = 0) -> Result:
    command = importlib.import_module(f"stages.{name}").main
    result = CliRunner().invoke(command, [], catch_exceptions=exit_code != 0)
    assert result.exit_code == exit_code, result.output
    return result


def edit_params(path: Path, changes: dict[str, Any]) -> None:
    """Set keys of a YAML file, given as "section.key"."""
    values = put(copy.deepcopy(_parsed(path.read_text())), changes)
    with path.open("w") as file:
        YAML().dump(values, file)


def put(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Set keys, given as "section.key", and return the sections."""
    for key, value in changes.items():
        *parents, last = key.split(".")
        section = values
        for name in parents:
            section = section.setdefault(name, {})
        section[last] = value
    return values


@lru_cache(maxsize=8)
def _parsed(text: str) -> Any:
    """Parse YAML; cached, since many tests parse the same text."""
    return YAML().load(text)


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """The machine's browser; playwright's own browsers are not downloaded."""
    from playwright.sync_api import sync_playwright

    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"needs a browser on the PATH: one of {', '.join(BROWSERS)}")
    # Chromium does not start its sandbox as root.
    flags = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()
