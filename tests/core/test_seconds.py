"""The note of a stage's last run: kept per project, and outside of the results."""

from pathlib import Path

import pytest

from pipeline.core import seconds
from pipeline.core.seconds import Note
from tests.conftest import RunStage


def test_notes_are_of_the_working_folder_and_come_in_the_order_of_the_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPML_CACHE", str(tmp_path / "cache"))
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "one")
    assert seconds.read() == {}
    seconds.write("score", Note(2.5, 200.0))
    seconds.write("prepare", Note(1.5, 100.0))
    assert list(seconds.read().items()) == [
        ("prepare", Note(1.5, 100.0)),
        ("score", Note(2.5, 200.0)),
    ]
    next((tmp_path / "cache").rglob("score.json")).write_text("[")
    assert list(seconds.read()) == ["prepare"]
    monkeypatch.chdir(tmp_path / "other")
    assert seconds.read() == {}


def test_a_stage_that_ends_well_leaves_a_note_and_a_failed_one_does_not(
    workplace: Path, run_stage: RunStage
) -> None:
    run_stage("score", exit_code=1)
    assert seconds.read() == {}
    run_stage("prepare")
    (name,) = seconds.read()
    assert name == "prepare"
    assert seconds.read()[name].seconds > 0
    assert not list((workplace / "reports").glob("*"))
