"""Runs in folders: named by what they depend on, there as a whole or not at all."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import runs
from pipeline.errors import InputError


@pytest.fixture
def values(workplace: Path) -> dict[str, Any]:
    return runs.read(workplace / "params.yaml")


def test_a_change_of_params_changes_what_it_names_and_nothing_else(values: dict[str, Any]) -> None:
    changed = runs.changed(values, {"train_teacher.fit.lr": 1.0})
    assert changed["train_teacher"]["fit"]["lr"] == 1.0
    assert values["train_teacher"]["fit"]["lr"] != 1.0
    assert {key: changed[key] for key in changed if key != "train_teacher"} == {
        key: values[key] for key in values if key != "train_teacher"
    }


def test_a_run_is_kept_and_looks_like_a_workplace(values: dict[str, Any], tmp_path: Path) -> None:
    folder = runs.stages(tmp_path / "out", values, ["prepare"])
    index = folder / "data" / "index.parquet"
    assert runs.read(folder / "params.yaml") == values
    assert set(json.loads((folder / "seconds.json").read_text())) == {"prepare"}
    when = index.stat().st_mtime_ns

    other = runs.changed(values, {"train_student.seed": 7})
    assert runs.stages(tmp_path / "out", other, ["prepare"]) == folder
    assert index.stat().st_mtime_ns == when

    other = runs.changed(values, {"prepare.seed": 7})
    assert runs.stages(tmp_path / "out", other, ["prepare"]) != folder
    assert not list((tmp_path / "out").glob("*.partial"))


def test_a_run_is_named_by_the_content_that_it_reads(
    values: dict[str, Any], tmp_path: Path
) -> None:
    before = tmp_path / "before" / "data"
    before.mkdir(parents=True)
    (before / "index.parquet").write_bytes(b"no table")
    (before / "scores.parquet").write_bytes(b"no table")
    (before / "val_scores.parquet").write_bytes(b"no table")
    said = []
    for content in (b"no table", b"another"):
        (before / "index.parquet").write_bytes(content)
        with pytest.raises(InputError, match=r"pseudo_label: data/index\.parquet") as error:
            runs.stages(tmp_path / "out", values, ["pseudo_label"], before.parent)
        said.append(str(error.value))
        assert not [path for path in (tmp_path / "out").iterdir() if path.suffix != ".partial"]
    assert said[0] != said[1]
    (before / "index.parquet").unlink()
    with pytest.raises(InputError, match="no such file; run `dvc repro` first"):
        runs.stages(tmp_path / "out", values, ["pseudo_label"], before.parent)


def test_what_killed_runs_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "evaluate-0.123.partial" / "data").mkdir(parents=True)
    (tmp_path / "evaluate-1").mkdir()
    runs.forget_partial(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["evaluate-1"]


def test_the_digest_of_a_folder_follows_names_and_content(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in "abc"]
    for folder, name, content in zip(folders, "xxy", ("1", "2", "1"), strict=True):
        folder.mkdir()
        (folder / name).write_text(content)
    assert len({runs.digest(folder) for folder in folders}) == 3
    (folders[1] / "x").write_text("1")
    assert runs.digest(folders[0]) == runs.digest(folders[1])
