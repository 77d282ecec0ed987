"""Kill `dvc repro` at seeded moments, also while it writes dvc.lock, and run it again."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from tqdm.auto import tqdm

from tests.conftest import ROOT, edit_params
from tests.faults.stages import CACHE, FAULTS, Stage, copied, half_written, read_stages
from tests.faults.table import Table

GOOD = ("right",)
BAD = ("stuck", "wrong", "left", "lost", "still running")
COPIED = (
    "params.yaml", "dvc.yaml", "Makefile", "requirements.txt", "requirements-uv.txt",
    ".gitignore", ".dvcignore", ".dvc/config",
)  # fmt: skip
# Not compared: internal files of git and DVC, byte code, .dvc/config.local, which has the path of
# its clone, the seconds that stages took, and the overview, which shows these and the date.
THEIRS = (".git", ".dvc/cache", ".dvc/tmp", ".dvc-site", ".cache/seconds")
OWN = (".dvc/config.local", "reports/index.html")
TRAININGS = {
    "train_teacher.train.fit.epochs": 20,
    "train_student.train.linear.epochs": 40,
}
LOCK = "dvc.lock's writing"
AFTER = "after the end"
ORPHAN = 120.0  # seconds that a stage may go on after only DVC was killed


@dataclass(frozen=True)
class Moment:
    """The time and the target of a kill.

    Attributes:
        number: of the moment.
        stage: the number of the stage to kill in, or after which dvc.lock is written.
        share: of the duration in an undisturbed run, 0 to 0.9.
        in_lock: whether to kill during the writing of dvc.lock.
        alone: whether only DVC is killed, and not its stage.
    """

    number: int
    stage: int
    share: float
    in_lock: bool
    alone: bool


@dataclass(frozen=True)
class Undisturbed:
    """The files and durations of an undisturbed run.

    Attributes:
        files: path to bytes.
        seconds: of each stage.
        lock_seconds: the time that dvc.lock is empty while it is written.
    """

    files: dict[str, bytes]
    seconds: dict[str, float]
    lock_seconds: float


def table(
    folder: Path, seed: int, numbers: range, jobs: int = 1, only: tuple[str, ...] = ()
) -> Table:
    """Kill `dvc repro` at several moments, then run `make repro`, as a user would.

    The clone starts with the outputs, dvc.lock and caches of an earlier run on other data.

    "right": the clone has the same files as after an undisturbed run, byte for byte. "stuck":
    `make repro` fails. "wrong": a file has other bytes. "left": there is an additional file.
    "lost": a file is missing. "still running": a process runs for two minutes after the kill.

    Args:
        folder: an empty folder to work in.
        seed: of the moments.
        numbers: of the moments; every fifth is during the writing of dvc.lock.
        jobs: number of runs at a time.
        only: stages to keep in dvc.yaml, with those before them; empty: all.
    """
    start = make_clone(folder / "start", only)
    undisturbed = _undisturbed(copied(start, folder / "undisturbed"))
    found = Table("dvc repro killed, and run again", ("killed in", "killed"), GOOD, BAD)

    def one(number: int) -> tuple[tuple[str, str], str, str, str]:
        moment = _moment(seed, number, len(undisturbed.seconds))
        clone = folder / f"killed-{number}"
        try:
            for share in (1.0, 0.5, 0.0):  # earlier, if the kill came too late
                copied(start, clone)
                sooner = replace(moment, share=share * moment.share)
                run = _Run(clone)
                row, missed = _kill(run, clone, sooner, undisturbed)
                if not missed:
                    break
                if _wait_for_orphans(clone):
                    run.close()
            return row, *_repeat(run, clone, undisturbed.files), f"moment {number}"
        finally:
            shutil.rmtree(clone)

    with ThreadPoolExecutor(jobs) as pool:
        done = pool.map(one, numbers)
        for counted in tqdm(done, "kills", len(numbers), disable=None, leave=False):
            row, outcome, seen, case = counted
            found.count(row, outcome, case, seen)
            tqdm.write(f"{case}, {row[1]} killed in {row[0]}: {outcome} {seen}", file=sys.stderr)
    return found


def make_clone(folder: Path, only: tuple[str, ...] = ()) -> Path:
    """Make a clone of the project with small data, reproduced once with other data."""
    for name in COPIED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in ("pipeline", "stages", "experiments"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    edit_params(folder / "params.yaml", FAULTS | TRAININGS | {"prepare.seed": 1})
    if only:
        _cut(folder / "dvc.yaml", only)
    # make then does not install the packages.
    (folder / ".venv").mkdir()
    (folder / ".venv" / ".installed").touch()
    _git(folder, "init", "-q")
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "start")
    done = repro(folder)
    if done.returncode:
        raise RuntimeError(f"make repro fails undisturbed: {done.stdout}")
    edit_params(folder / "params.yaml", {"prepare.seed": 1200})
    _git(folder, "add", "-A")
    _git(folder, "commit", "-qm", "other data")
    return folder


def repro(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run `make repro`, or `dvc repro` without make."""
    command = ["make", "repro"] if shutil.which("make") else [sys.executable, "-m", "dvc", "repro"]
    return subprocess.run(
        command, cwd=folder, env=_environment(folder), text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def left_by(folder: Path) -> dict[str, bytes]:
    """Return the bytes of the files of a clone; no bytes for cache files, named by digests."""
    found = {}
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not _is_theirs(name):
            found[name] = b"" if name.startswith(f"{CACHE}/") else path.read_bytes()
    return found


def _is_theirs(name: str) -> bool:
    folders = tuple(f"{top}/" for top in THEIRS)
    return name in OWN or name.startswith(folders) or "__pycache__" in name


def _cut(path: Path, only: tuple[str, ...]) -> None:
    """Keep only some stages in a dvc.yaml, and those whose outputs they need."""
    yaml = YAML()
    values = yaml.load(path.read_text())
    stages = values["stages"]
    kept, ahead = set[str](), set(only)
    while ahead:
        kept |= ahead
        reads = {dep for name in kept for dep in stages[name].get("deps", ())}
        ahead = {stage.name for stage in read_stages(path) if reads & _names(stage)} - kept
    values["stages"] = {name: stages[name] for name in stages if name in kept}
    del values["plots"]
    with path.open("w") as file:
        yaml.dump(values, file)


def _names(stage: Stage) -> set[str]:
    return {path.as_posix() for path in stage.writes}


def _git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)


def _environment(folder: Path) -> dict[str, str]:
    ours = {key: value for key, value in os.environ.items() if not key.startswith("SPML_")}
    return ours | {
        # DVC calls `python`; it must be the one that runs this.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "SPML_CACHE": str(folder / CACHE),
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _moment(seed: int, number: int, n_stages: int) -> Moment:
    """Draw a moment at random; the numbers go through the stages in turn."""
    rng = np.random.default_rng([seed, number])
    in_lock = number % 5 == 4
    stage = (number // 5 if in_lock else number - number // 5) % n_stages
    return Moment(number, stage, 0.9 * float(rng.random()), in_lock, bool(rng.random() < 0.3))


class _Run:
    """A running `dvc repro` with the names and start times of its stages."""

    def __init__(self, folder: Path) -> None:
        self.begun: list[tuple[str, float]] = []
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dvc", "repro"], cwd=folder, env=_environment(folder),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        # DVC would block at a full pipe.
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("Running stage"):
                self.begun.append((line.split("'")[1], time.monotonic()))

    def wait(self, condition: Callable[[], bool]) -> bool:
        """Wait for a condition; return whether it was true before the end of the run."""
        while self.process.poll() is None:
            if condition():
                return True
            time.sleep(0.001)
        return False

    def kill(self, alone: bool) -> None:
        """Kill DVC, and its stage as well unless `alone`."""
        with suppress(ProcessLookupError):
            (os.kill if alone else os.killpg)(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def close(self) -> None:
        """Close the pipe after all stages have closed its other end."""
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()


class _Lock:
    """Watch dvc.lock, which DVC empties before it writes it."""

    def __init__(self, path: Path) -> None:
        self.empty_for: list[float] = []
        self._path, self._times, self._since = path, 0, 0.0

    def emptied(self) -> int:
        """Check the file; return how often it has been seen to become empty."""
        try:
            empty = self._path.stat().st_size == 0
        except FileNotFoundError:
            return self._times
        now = time.monotonic()
        if empty and not self._since:
            self._times, self._since = self._times + 1, now
        elif not empty and self._since:
            self.empty_for.append(now - self._since)
            self._since = 0.0
        return self._times


def _undisturbed(folder: Path) -> Undisturbed:
    run, lock = _Run(folder), _Lock(folder / "dvc.lock")
    run.wait(lambda: lock.emptied() < 0)  # never true: watches the lock until the end
    code = run.process.wait()
    end = time.monotonic()
    run.close()
    if code or repro(folder).returncode:
        raise RuntimeError("dvc repro fails undisturbed")
    ends = [began for _, began in run.begun[1:]] + [end]
    seconds = {name: end - began for (name, began), end in zip(run.begun, ends, strict=True)}
    return Undisturbed(left_by(folder), seconds, float(np.median(lock.empty_for or [0.0])))


def _kill(
    run: _Run, clone: Path, moment: Moment, undisturbed: Undisturbed
) -> tuple[tuple[str, str], bool]:
    """Kill a run; return its row in the table, and whether the kill missed its moment."""
    wait = _wait_for_lock if moment.in_lock else _wait_for_stage
    reached = wait(run, clone, moment, undisturbed)
    run.kill(moment.alone)
    torn = _is_torn(clone / "dvc.lock")
    where = LOCK if torn else run.begun[-1][0] if reached else AFTER
    missed = not reached or (moment.in_lock and not torn)
    return (where, "DVC alone" if moment.alone else "all"), missed


def _repeat(run: _Run, clone: Path, wanted: dict[str, bytes]) -> tuple[str, str]:
    """Run the killed clone again; return the outcome and a message."""
    if not _wait_for_orphans(clone):
        return "still running", "a process of the clone"
    run.close()
    again = repro(clone)
    if again.returncode:
        lines = [line for line in again.stdout.splitlines() if line and "make: " not in line]
        return "stuck", " / ".join(lines[-3:]).replace(f"{clone}/", "")[:300]
    there = left_by(clone)
    temporary = [name for name in half_written(clone) if not _is_theirs(name)]
    for outcome, names in (
        ("left", {*(there.keys() - wanted.keys()), *temporary}),
        ("lost", wanted.keys() - there.keys()),
        ("wrong", [name for name in wanted if there.get(name) != wanted[name]]),
    ):
        if names:
            return outcome, ", ".join(sorted(names)[:5])
    return "right", ""


def _wait_for_stage(run: _Run, clone: Path, moment: Moment, undisturbed: Undisturbed) -> bool:
    name = list(undisturbed.seconds)[moment.stage]

    def ready() -> bool:
        began = dict(run.begun).get(name)
        later = moment.share * undisturbed.seconds[name]
        return began is not None and time.monotonic() >= began + later

    return run.wait(ready)


def _wait_for_lock(run: _Run, clone: Path, moment: Moment, undisturbed: Undisturbed) -> bool:
    """Wait until dvc.lock is empty for the n-th time, and then for a share of its writing."""
    lock = _Lock(clone / "dvc.lock")
    reached = run.wait(lambda: lock.emptied() > moment.stage)
    time.sleep(moment.share * undisturbed.lock_seconds)
    return reached


def _is_torn(lock: Path) -> bool:
    try:
        return not (YAML(typ="safe").load(lock.read_text()) or {}).get("stages")
    except (YAMLError, FileNotFoundError, AttributeError):
        return True


def _wait_for_orphans(clone: Path) -> bool:
    """Wait until no process runs in the clone; kill the others after two minutes.

    Returns:
        Whether all processes ended without being killed.
    """
    end = time.monotonic() + ORPHAN
    while running := [process for process in psutil.process_iter() if _runs_in(process, clone)]:
        if time.monotonic() > end:
            for process in running:
                with suppress(psutil.Error):
                    process.kill()
            return False
        time.sleep(0.1)
    return True


def _runs_in(process: psutil.Process, clone: Path) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE and Path(process.cwd()) == clone
    except (psutil.Error, OSError):
        return False
