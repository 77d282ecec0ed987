"""dvc.yaml: its dependencies are the imports, and a change re-runs what it should."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import grimp
import pytest
from ruamel.yaml import YAML

from tests.conftest import ROOT, SMALL, edit_params

STAGES = ["prepare", "train_teacher", "score", "pseudo_label", "train_student", "evaluate"]


@pytest.fixture(scope="module")
def dvc_yaml() -> dict[str, Any]:
    values: dict[str, Any] = YAML(typ="safe").load((ROOT / "dvc.yaml").read_text())
    return values


@pytest.fixture(scope="module")
def imports() -> grimp.ImportGraph:
    return grimp.build_graph("pipeline", "stages", cache_dir=None)


def import_closure(imports: grimp.ImportGraph, module: str) -> set[str]:
    """Return the files of all modules that importing `module` runs, packages included."""
    modules = {module, *imports.find_upstream_modules(module)}
    modules |= {name.rsplit(".", up)[0] for name in modules for up in range(1, name.count(".") + 1)}
    paths = [Path(*name.split(".")) for name in modules]
    return {
        (path / "__init__.py" if (ROOT / path).is_dir() else path.with_suffix(".py")).as_posix()
        for path in paths
    }


def test_the_stages_are_the_six_in_order(dvc_yaml: dict[str, Any]) -> None:
    assert list(dvc_yaml["stages"]) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_the_code_dependencies_of_a_stage_are_exactly_its_imports(
    stage: str, dvc_yaml: dict[str, Any], imports: grimp.ImportGraph
) -> None:
    declared = {path for path in dvc_yaml["stages"][stage]["deps"] if path.endswith(".py")}
    assert declared == import_closure(imports, f"stages.{stage}")


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_sections_of_params_that_it_reads(
    stage: str, dvc_yaml: dict[str, Any]
) -> None:
    # Later generations of students are scored and labelled in train_student.
    others = {"train_student": ["pseudo_label", "score"]}.get(stage, [])
    assert dvc_yaml["stages"][stage]["params"] == [stage, *others]
    assert dvc_yaml["stages"][stage]["cmd"] == f"python -m stages.{stage}"


def test_only_evaluate_depends_on_the_truth(dvc_yaml: dict[str, Any]) -> None:
    readers = [
        name
        for name, stage in dvc_yaml["stages"].items()
        if any("truth" in path for path in stage["deps"])
    ]
    assert readers == ["evaluate"]


def test_the_library_imports_no_stage_and_no_stage_another(imports: grimp.ImportGraph) -> None:
    for module in imports.modules:
        for imported in imports.find_modules_directly_imported_by(module):
            assert not imported.startswith("stages."), f"{module} imports {imported}"


def test_params_yaml_has_a_section_per_stage_and_one_for_the_sweep() -> None:
    params = YAML(typ="safe").load((ROOT / "params.yaml").read_text())
    assert list(params) == [*STAGES, "sweep"]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project with small data, under git and DVC, reproduced once."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("pipeline", "stages"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("params.yaml", "dvc.yaml", ".dvcignore", ".gitignore"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc").mkdir()
    shutil.copy(ROOT / ".dvc" / "config", folder / ".dvc" / "config")
    edit_params(folder / "params.yaml", SMALL)
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.com"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "start"]):
        subprocess.run(["git", *command], cwd=folder, check=True)
    assert reproduce(folder) == STAGES
    return folder


def reproduce(folder: Path) -> list[str]:
    """Run `dvc repro` and return the stages whose commands were run."""
    # DVC calls `python`; it must be the one that runs the tests.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"],
        cwd=folder,
        env=os.environ | {"PATH": path, "SPML_CACHE": str(folder / ".cache")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    started = [line for line in done.stdout.splitlines() if line.startswith("Running stage")]
    return [line.split("'")[1] for line in started]


@pytest.mark.slow
def test_dvc_reruns_what_a_change_concerns_and_nothing_else(clone: Path) -> None:
    labels = clone / "data" / "pseudo_labels.parquet"
    first = labels.read_bytes()
    assert reproduce(clone) == []

    edit_params(clone / "params.yaml", {"pseudo_label.tau": 0.6})
    assert reproduce(clone) == ["pseudo_label", "train_student", "evaluate"]
    assert labels.read_bytes() != first

    edit_params(clone / "params.yaml", {"pseudo_label.tau": 0.4})
    assert reproduce(clone) == [], "a value that was there before is restored from the cache"
    assert labels.read_bytes() == first

    edit_params(clone / "params.yaml", {"train_student.fit.lr": 1e-3})
    assert reproduce(clone) == ["train_student", "evaluate"]

    (clone / "pipeline" / "imported_by_none.py").write_text("# a comment\n")
    assert reproduce(clone) == []
