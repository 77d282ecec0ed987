"""dvc.yaml: its dependencies match the imports, and a change re-runs the right stages."""

import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import grimp
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from pipeline.artifacts.tables import read_index
from pipeline.core import identity
from pipeline.reports.run_report import FIGURES
from stages.inputs import DESCRIBED
from tests.conftest import PARAMS, ROOT, SMALL, edit_params

# In the order of the data: none imports a later one.
PACKAGES = [
    "core", "artifacts", "images", "datasets", "losses", "models", "inference", "pseudo_labels",
    "evaluation", "training", "figures", "reports", "inspection", "viewer", "label_exports",
    "prediction", "export",
]  # fmt: skip
STAGES = ["prepare", "train_teacher", "score", "pseudo_label", "train_student", "evaluate"]


@pytest.fixture(scope="module")
def dvc_yaml() -> dict[str, Any]:
    values: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
    return values


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", "stages", cache_dir=None)


def code_paths(modules: list[str]) -> set[str]:
    """Return the packages of modules, and the files of modules outside any package."""
    paths = set()
    for name in modules:
        parts = name.split(".")
        if parts[0] == "pipeline" and len(parts) > 1:
            paths.add("/".join(parts[:2]))
        else:
            path = Path(*parts)
            file = path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")
            paths.add(file.as_posix())
    return paths


def test_the_stages_are_inputs_and_then_the_six_in_order(dvc_yaml: dict[str, Any]) -> None:
    assert list(dvc_yaml["stages"]) == ["inputs", *STAGES]
    assert dvc_yaml["stages"]["inputs"]["always_changed"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_packages_that_it_imports(
    stage: str, dvc_yaml: dict[str, Any]
) -> None:
    paths = dvc_yaml["stages"][stage]["deps"]
    declared = {path for path in paths if path.startswith(("pipeline/", "stages/"))}
    assert declared == code_paths(identity.modules(f"stages.{stage}"))


def test_no_package_imports_a_later_one(imports: grimp.ImportGraph) -> None:
    for module in imports.modules:
        for imported in imports.find_modules_directly_imported_by(module):
            one, other = (name.split(".")[1:2] for name in (module, imported))
            if module.startswith("pipeline.") and other:
                assert PACKAGES.index(other[0]) <= PACKAGES.index(one[0]), f"{module}: {imported}"


def test_every_package_is_in_the_order() -> None:
    folders = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert folders == set(PACKAGES)
    assert [path.name for path in (ROOT / "pipeline").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_its_section_of_params(stage: str, dvc_yaml: dict[str, Any]) -> None:
    assert dvc_yaml["stages"][stage]["cmd"] == f"python -m stages.{stage}"
    # A training depends on its params in use, which the stage inputs writes to a file.
    if stage.startswith("train_"):
        assert "params" not in dvc_yaml["stages"][stage]
        assert f"data/inputs/{stage}.json" in dvc_yaml["stages"][stage]["deps"]
    else:
        assert dvc_yaml["stages"][stage]["params"] == [stage]


def test_the_outs_of_the_stage_inputs_are_the_files_that_it_writes(
    dvc_yaml: dict[str, Any],
) -> None:
    outs = dvc_yaml["stages"]["inputs"]["outs"]
    assert outs == [f"data/inputs/{name}.json" for name in DESCRIBED]


def test_only_evaluate_depends_on_the_truth(dvc_yaml: dict[str, Any]) -> None:
    readers = [
        name
        for name, stage in dvc_yaml["stages"].items()
        if any("truth" in path for path in stage.get("deps", []))
    ]
    assert readers == ["evaluate"]


def test_every_figure_of_the_report_is_kept_by_dvc(dvc_yaml: dict[str, Any]) -> None:
    kept = dvc_yaml["stages"]["evaluate"]["outs"]
    assert {f"reports/evaluate/{name}" for name in FIGURES} <= set(kept)


def test_no_module_imports_a_stage(imports: grimp.ImportGraph) -> None:
    for module in imports.modules:
        for imported in imports.find_modules_directly_imported_by(module):
            assert not imported.startswith("stages."), f"{module} imports {imported}"


def test_params_yaml_has_a_section_per_stage_one_for_both_trainings_and_one_for_the_sweep() -> None:
    params = YAML(typ="safe").load(PARAMS.read_text())
    assert list(params) == ["prepare", "train", *STAGES[1:], "sweep"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the project with small data, under git and DVC, reproduced once."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("pipeline", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    shutil.copy(PARAMS, folder / "params.yaml")
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    edit_params(folder / "params.yaml", SMALL)
    who = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*who, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    assert reproduce(folder) == STAGES
    return folder


def reproduce(folder: Path, *targets: str, root: Path | str = "") -> list[str]:
    """Run `dvc repro`; return the stages that ran, except `inputs`."""
    # DVC calls `python`; it must be the one that runs the tests.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro", *targets],
        cwd=folder,
        env=os.environ
        | {"PATH": path, "SPML_CACHE": str(folder / ".cache"), "SPML_DATA_ROOT": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    started = [line for line in done.stdout.splitlines() if line.startswith("Running stage")]
    first, *others = [line.split("'")[1] for line in started]
    assert first == "inputs"
    return others


@pytest.mark.slow
def test_dvc_reruns_only_the_stages_that_a_change_affects(clone: Path) -> None:
    labels = clone / "data" / "pseudo_labels.parquet"
    first = labels.read_bytes()
    assert reproduce(clone) == []

    edit_params(clone / "params.yaml", {"pseudo_label.tau": 0.6})
    assert reproduce(clone) == ["pseudo_label", "train_student", "evaluate"]
    assert labels.read_bytes() != first

    edit_params(clone / "params.yaml", {"pseudo_label.tau": 0.4})
    assert reproduce(clone) == [], "the outputs of an earlier value are restored from the cache"
    assert labels.read_bytes() == first

    edit_params(clone / "params.yaml", {"train_student.train.fit.lr": 1e-3})
    assert reproduce(clone) == ["train_student", "evaluate"], "the teacher keeps the shared value"

    # Unused values: of another loss, of an unused phase, of another optimizer, of an option that is
    # off. The last one repeats the shared value in another section.
    unused = {
        "train_teacher.losses.em.alpha": 0.3, "train.linear.epochs": 7, "train.fit.momentum": 0.5,
        "train.augment.rand_magnitude": 3,
        "train_teacher.train.fit.epochs": SMALL["train.fit.epochs"],
    }  # fmt: skip
    edit_params(clone / "params.yaml", unused)
    assert reproduce(clone) == []
    # These keys are read, so their stages run, but the outputs stay the same.
    edit_params(clone / "params.yaml", {"pseudo_label.top_k": 5, "score.batch_size": 512})
    assert reproduce(clone) == ["score", "pseudo_label"]

    (clone / "pipeline" / "imported_by_none.py").write_text("# a comment\n")
    assert reproduce(clone) == []


@pytest.mark.slow
def test_dvc_detects_changed_images_tables_weights_and_corrections(
    clone: Path, tmp_path: Path
) -> None:
    rng = np.random.RandomState(0)
    rows = ["image,split,labels"]
    (tmp_path / "p").mkdir()
    for number in range(20):
        noise = rng.randint(0, 256, (8, 8, 3)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / "p" / f"{number}.png")
        rows.append(f"p/{number}.png,{'train' if number < 14 else 'test'},{'ab'[number % 2]}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    weights = tmp_path / "w.safetensors"
    shutil.copy(clone / "data" / "teacher" / "model.safetensors", weights)
    changes = {"prepare.source": "table", "train_teacher.train.model.weights": "w.safetensors"}
    edit_params(clone / "params.yaml", changes)
    repro = partial(reproduce, clone, "train_teacher", root=tmp_path)
    assert repro() == STAGES[:2]
    os.utime(tmp_path / "labels.csv")
    (tmp_path / "p" / "0.png").touch()
    assert repro() == [], "the content is the same"

    # Another image with the same time stamps.
    image = tmp_path / "p" / "0.png"
    before = image.stat()
    Image.fromarray(rng.randint(0, 256, (8, 8, 3)).astype(np.uint8)).save(image)
    os.utime(image, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert repro() == STAGES[:2]

    rows[1] = rows[1].replace(",a", ",b")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    assert repro() == STAGES[:2]

    shutil.copy(clone / "data" / "student" / "model.safetensors", weights)
    assert repro() == ["train_teacher"]

    marks, index = tmp_path / "marks.csv", pd.read_parquet(clone / "data" / "index.parquet")
    image_id = index["image_id"][index["split"] == "train"].iloc[0]
    marks.write_text(f"image_id,class,label\n{image_id},a,absent\n")
    edit_params(clone / "params.yaml", {"pseudo_label.corrections": "marks.csv"})
    repro = partial(reproduce, clone, "pseudo_label", root=tmp_path)
    assert repro() == ["score", "pseudo_label"]
    os.utime(marks)
    assert repro() == [], "the content is the same"
    marks.write_text(f"image_id,class,label\n{image_id},a,present\n")
    assert repro() == ["pseudo_label"]


@pytest.mark.slow
def test_dvc_detects_changed_scores_of_another_model(clone: Path, tmp_path: Path) -> None:
    edit_params(
        clone / "params.yaml",
        {"prepare.source": "digits", "train_teacher.train": {}, "pseudo_label.corrections": None},
    )
    reproduce(clone, "prepare")
    index = read_index(clone / "data" / "index.parquet")
    probs = np.random.default_rng(0).random((len(index.image_ids), len(index.classes)))
    frame = pd.DataFrame(probs, columns=list(index.classes))
    frame.insert(0, "image_id", index.image_ids)
    frame.to_csv(tmp_path / "scores.csv", index=False)
    changes = {"train_teacher.source": "scores", "score.outside.file": "scores.csv"}
    edit_params(clone / "params.yaml", changes)
    repro = partial(reproduce, clone, "score", root=tmp_path)
    assert repro() == ["train_teacher", "score"]
    os.utime(tmp_path / "scores.csv")
    assert repro() == []
    frame.iloc[::-1].round(2).to_csv(tmp_path / "scores.csv", index=False)
    assert repro() == ["score"]
    # Settings that no teacher reads.
    edit_params(clone / "params.yaml", {"train_teacher.loss": "an", "train_teacher.members": 3})
    assert repro() == []
