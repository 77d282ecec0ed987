"""Make the n-th file system call of a stage fail, for n = 1, 2, ... until the stage succeeds."""

import errno
from pathlib import Path

from tests.faults.stages import (
    CACHE,
    Ended,
    Stage,
    Stages,
    contents,
    copied,
    half_written,
    make_place,
    read_stages,
)
from tests.faults.table import Table

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO}
GOOD = ("refused", "went on")
BAD = (
    "torn", "wrong", "left", "hang", "killed", "traceback", "not one line", "again: wrong",
)  # fmt: skip


def table(
    stages: Stages,
    folder: Path,
    only: tuple[str, ...],
    step: int = 1,
    last: int | None = None,
) -> Table:
    """Make every call of the stages fail, and count the outcomes.

    A stage starts with the inputs of one run and the outputs of another. "refused": it ends with
    exit code 1 and one line. "went on": it succeeds although the call failed. After both, the
    outputs are all old or all new; else the outcome is "torn", or "wrong" if the stage reports
    success. No temporary file may stay (else "left"). The stage, run again, must give the right
    outputs (else "again: wrong").

    Args:
        stages: runs the stages, with the shim.
        folder: an empty folder to work in.
        only: names of stages; empty: all.
        step: 1 tries every call, 7 every seventh.
        last: the last call to fail; None: the stage's last.
    """
    old = make_place(folder / "old", {"prepare.seed": 1})
    new = make_place(folder / "new")
    for place in (old, new):
        stages.run_all(place, only)
    found = Table(
        "The n-th call fails: open, write, fsync, rename, mkdir", ("stage", "error"), GOOD, BAD
    )
    for stage in read_stages():
        if not only or stage.name in only:
            start = _before(stage, old, new, folder / "start")
            for name, error in ERRORS.items():
                n = 1
                while (last is None or n <= last) and _one(
                    stages, stage, (name, error), n, start, new, found
                ):
                    n += step
    return found


def _before(stage: Stage, old: Path, new: Path, start: Path) -> Path:
    """Make the folder that a stage starts in: new inputs, and outputs of another run."""
    copied(new, start, leave=(".cache",))
    for path in contents(start, stage.writes):
        (start / path).unlink()
    for path, before in contents(old, stage.writes).items():
        (start / path).parent.mkdir(parents=True, exist_ok=True)
        (start / path).write_bytes(before)
    return start


def _one(
    stages: Stages,
    stage: Stage,
    error: tuple[str, int],
    n: int,
    start: Path,
    new: Path,
    found: Table,
) -> bool:
    """Make the n-th call fail; return whether the stage made so many calls."""
    work = copied(start, start.with_name("work"))
    before = contents(work)
    ended = stages.run(stage.name, work, n, error[1])
    if not ended.failed_call and not ended.trouble():
        return False
    outcome = _outcome(stages, stage, ended, work, before, contents(new, stage.writes))
    call = ended.failed_call.replace(f"{work}/", "")
    found.count((stage.name, error[0]), outcome, f"call {n}, {call}", ended.last_line)
    # A killed stage cannot report whether it made the call.
    return bool(ended.failed_call) or ended.hung or ended.exit_code < 0


def _outcome(
    stages: Stages,
    stage: Stage,
    ended: Ended,
    work: Path,
    before: dict[str, bytes],
    wanted: dict[str, bytes],
) -> str:
    after = contents(work)
    written = contents(work, stage.writes)
    old = {path: before[path] for path in before if path in _below(before, stage)}
    outcome = ended.trouble() or ("refused" if ended.exit_code else "went on")
    if written not in (old, wanted):
        outcome = "torn"
    elif ended.exit_code == 0 and written != wanted:
        outcome = "wrong"
    elif half_written(work):
        outcome = "left"
    elif outcome in GOOD and after != before:  # without a change it would repeat the normal run
        again = stages.run(stage.name, work)
        right = again.exit_code == 0 and contents(work, stage.writes) == wanted
        if not right or any(work.glob(f"{CACHE}/resume/*.ckpt")):
            outcome = "again: wrong"
    return outcome


def _below(paths: dict[str, bytes], stage: Stage) -> set[str]:
    tops = stage.writes
    return {path for path in paths if any(Path(path).is_relative_to(top) for top in tops)}
