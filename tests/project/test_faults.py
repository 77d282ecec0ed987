"""Kills, failing system calls and damaged files: a small part of `python -m tests.faults`."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults import calls, damage, kills
from tests.faults.stages import Stages, compiler, running
from tests.faults.table import Table

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stages() -> Iterator[Stages]:
    with running(with_faults=compiler() is not None) as server:
        yield server


@pytest.mark.skipif(compiler() is None, reason="no Linux, or no C compiler: cc or gcc")
def test_a_failed_system_call_is_an_error_of_one_line_and_keeps_the_old_outputs(
    stages: Stages, tmp_path: Path
) -> None:
    only = ("prepare", "train_teacher", "score", "pseudo_label")
    found = calls.table(stages, tmp_path, only, step=23)
    assert found.rows, "no call failed"
    assert not found.failed, found.markdown()


@pytest.mark.skipif(compiler() is None, reason="no Linux, or no C compiler: cc or gcc")
def test_a_model_file_that_the_disk_cannot_give_is_an_error_of_one_line(
    stages: Stages, tmp_path: Path
) -> None:
    # The first calls of `score` open the params, the index and the model.
    found = calls.table(stages, tmp_path, ("score",), last=8)
    assert found.rows, "no call failed"
    assert not found.failed, found.markdown()


def test_a_damaged_file_is_refused_or_made_again_or_has_no_effect(
    stages: Stages, tmp_path: Path
) -> None:
    amount = damage.Amount(seed=0, flips=1, cuts=1)
    found = damage.table(stages, tmp_path, ("score", "pseudo_label"), amount)
    assert found.rows, "no file was damaged"
    assert not found.failed, found.markdown()


def test_a_killed_run_resumes_and_ends_with_the_files_of_an_undisturbed_one(
    tmp_path: Path,
) -> None:
    # Moment 0 is during the stage, moment 4 during the writing of dvc.lock.
    found = kills.table(tmp_path, seed=0, numbers=range(0, 5, 4), only=("prepare",))
    assert sum(sum(counts.values()) for counts in found.rows.values()) == 2
    assert not found.failed, found.markdown()


def test_a_table_counts_bad_outcomes_and_lists_them() -> None:
    table = Table("Tried", ("file",), good=("refused",), bad=("torn",))
    table.count(("a",), "refused", "case 1", "no")
    table.count(("a",), "torn", "case 2", "data/.a.12.tmp: no room")
    table.count(("a",), "torn", "case 3", "data/.a.13.tmp: no room")
    assert table.failed == 2
    assert "| a | 3 | 1 | 2 |" in table.markdown()
    assert "- a: torn: data/.a.PID.tmp: no room (2: case 2; case 3)" in table.markdown()
