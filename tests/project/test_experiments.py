"""`dvc exp run -S` sets every key of params.yaml, and the stages read the new values."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from experiments.finished import flat
from pipeline.core.params import read_values
from tests.conftest import PARAMS, ROOT

# Another value for each key whose value is no number or boolean.
OTHERS: dict[str, Any] = {
    "prepare.source": "table",
    "prepare.classes": ["a", "b"],
    "prepare.val_labels": "observed",
    "prepare.observe.process": "class_weights",
    "prepare.observe.seed": 5,
    "prepare.observe.class_weights": {"a": 1.0, "b": 0.5},
    "prepare.table.file": "other.csv",
    "prepare.coco_json.train": "a.json",
    "prepare.coco_json.val": "b.json",
    "prepare.coco_json.test": "c.json",
    "prepare.coco_json.images": "images",
    "prepare.long_table.train": "a.csv",
    "prepare.long_table.val": "b.csv",
    "prepare.long_table.test": "c.csv",
    "prepare.long_table.classes": "d.csv",
    "prepare.long_table.folders.train": "a",
    "prepare.long_table.folders.val": "b",
    "prepare.long_table.folders.test": "c",
    "prepare.long_table.suffix": ".png",
    "prepare.long_table.unlisted": "absent",
    "prepare.saved_dataset.folder": "set",
    "prepare.saved_dataset.image": "file",
    "prepare.saved_dataset.labels": "classes",
    "train.model.backbone": "resnet18",
    "train.model.weights": "IMAGENET1K_V1",
    "train.model.boost_lu": 5.0,
    "train.mode": "linear_init",
    "train.fit.optimizer": "sgd",
    "train.fit.schedule": "cosine",
    "train.fit.early_stop_drop": 2.0,
    "train.fit.keep": "last",
    "train.fit.ema": 0.9,
    "train.fit.precision": "bf16",
    "train.augment.mixup_labels": "union",
    "train_teacher.loss": "role",
    "train_teacher.losses.wan.gamma": 0.1,
    "train_teacher.losses.epr.expected_positives": 2.5,
    "train_teacher.losses.role.expected_positives": 3.5,
    "train_teacher.losses.asl.gamma_neg": 6.0,
    "train_teacher.losses.plc.tau": 0.7,
    "score.outside.file": "scores.csv",
    "score.outside.scale": "logit",
    "pseudo_label.corrections": "marks.csv",
    "pseudo_label.rule": "soft",
    "pseudo_label.calibrate": "isotonic",
    "pseudo_label.prior": "best_bin",
    "pseudo_label.annotator": "uniform",
    "pseudo_label.weights": "confidence",
    "train_student.prior_weight": 0.25,
    "sweep.references": ["an"],
}
# Keys that are valid only with these values.
TOGETHER: list[dict[str, Any]] = [
    {
        "prepare.observe.process": "uniform", "prepare.observe.class_weights": None,
        "prepare.observe.num_pos": "all", "prepare.observe.num_neg": "all",
    },
    {
        "prepare.observe.process": "fraction", "prepare.observe.fraction": 0.5,
        "prepare.observe.num_pos": 1, "prepare.observe.num_neg": 0,
    },
    {"train_student.loss": "vlpl", "train_student.prior_weight": 0.0},
    {"train_teacher.source": "scores"},
]  # fmt: skip
# Keys that are not in the file; Hydra's + adds them.
DIFFERENCE = {"train_student.train.fit.lr": 1e-4, "train_teacher.train.augment.flip": 0.25}


def other(key: str, value: Any) -> Any:
    """Return a valid value for a key that differs from the shipped one."""
    if key in OTHERS:
        return OTHERS[key]
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    if isinstance(value, float):
        return value / 2 if value else 0.25
    return [other("", each) for each in value]


def in_hydra(value: Any) -> str:
    """Return a value in the syntax of -S."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{in_hydra(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return f"[{','.join(in_hydra(each) for each in value)}]"
    return value if isinstance(value, str) else json.dumps(value)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the project with the shipped params, under git and DVC, and a table."""
    folder, root = tmp_path / "clone", tmp_path / "root"
    for name in ("pipeline", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(PARAMS, folder / "params.yaml")
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    (folder / ".dvc" / ".gitignore").write_text("/tmp\n/cache\n/config.local\n")
    root.mkdir()
    Image.new("RGB", (8, 8)).save(root / "0.png")
    (root / "other.csv").write_text("image,split,labels\n0.png,train,a b\n")
    for name in ("scores.csv", "marks.csv"):  # only their digests are taken
        (root / name).write_text("image_id\n")
    monkeypatch.chdir(folder)
    # DVC calls `python`; it must be the one that runs the tests.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SPML_DATA_ROOT", str(root))
    monkeypatch.setenv("SPML_CACHE", str(tmp_path / "cache"))
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        monkeypatch.setenv(f"{name}_NAME", "test")
        monkeypatch.setenv(f"{name}_EMAIL", "test@example.com")
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "start"]):
        subprocess.run(["git", *command], check=True)
    return folder


def dvc(*arguments: str) -> str:
    command = [sys.executable, "-m", "dvc", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_every_key_can_be_set_for_an_experiment_and_the_stages_read_it(clone: Path) -> None:
    shipped = flat(read_values(PARAMS))
    later = {key for changes in TOGETHER for key in changes} - set(OTHERS)
    # Without the empty sections of the trainings, which have no keys.
    keys = [key for key in shipped if shipped[key] != {} and key not in later]
    assert len(keys) == len(shipped) - 2 - len(later)
    assert set(OTHERS) <= set(keys)
    changed = {key: other(key, shipped[key]) for key in keys}
    assert not [key for key in keys if changed[key] == shipped[key]]
    experiment(changed, DIFFERENCE)
    expected = shipped | changed | DIFFERENCE
    expected = {key: value for key, value in expected.items() if value != {}}
    assert flat(read_values(clone / "params.yaml")) == expected
    params_in_use = {
        name: json.loads((clone / f"data/inputs/{name}.json").read_text())["params"]
        for name in ("train_teacher", "train_student")
    }
    for name, params in params_in_use.items():
        read = {key: value for key, value in flat({name: params}).items() if value != {}}
        for key, value in read.items():
            own = key.replace(f"{name}.", f"{name}.train.", 1)
            common = key.replace(f"{name}.", "train.", 1)
            wanted = changed.get(common, changed.get(key, shipped.get(key)))
            assert value == DIFFERENCE.get(own, wanted), key
    assert params_in_use["train_student"]["fit"]["lr"] == 1e-4
    assert params_in_use["train_teacher"]["fit"]["lr"] == changed["train.fit.lr"]

    # DVC shows them, although the trainings in dvc.yaml do not list them.
    difference = json.loads(dvc("params", "diff", "--json"))["params.yaml"]
    for key in ("train.fit.lr", "train_teacher.losses.em.alpha", "train_student.train.fit.lr"):
        assert difference[key]["new"] == expected[key]
    workspace = json.loads(dvc("exp", "show", "--json"))[0]["data"]["params"]["params.yaml"]["data"]
    assert workspace["train"]["fit"]["lr"] == expected["train.fit.lr"]

    for changes in TOGETHER:
        experiment(changes)
        expected |= changes
        assert flat(read_values(clone / "params.yaml")) == expected


def experiment(changes: dict[str, Any], added: dict[str, Any] | None = None) -> None:
    """Run the stage inputs with other params, in one command."""
    settings = [f"{key}={in_hydra(value)}" for key, value in changes.items()]
    settings += [f"+{key}={in_hydra(value)}" for key, value in (added or {}).items()]
    dvc("exp", "run", "inputs", *(part for setting in settings for part in ("-S", setting)))
