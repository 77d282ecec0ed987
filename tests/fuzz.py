"""A fuzzer: whatever a stage is given, it ends well, or in one line that says what is wrong.

python -m tests.fuzz --cases 20000 --seed 0
python -m tests.fuzz --kind table --only 1234    # one case again, with what it printed

No traceback, no error of two lines, nothing left half-written, no case of more than 5 s of
processor time or 1 GiB more memory than before. A case is made from the seed, its kind and its
number alone. The cases run in a process of its own, so that one that never ends, or takes the
process down, is found as well.
"""

import contextlib
import importlib
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random

import click
import torch
from click.testing import CliRunner, Result

from pipeline.core.errors import one_line
from tests import fuzz_cases
from tests.conftest import ROOT
from tests.fuzz_cases import KINDS, STAGES, make_templates, working_in

MOST_SECONDS = 5.0  # of processor time
MOST_MEMORY = 2**30  # bytes, more than before
# Of an hour glass, since the machine may be busy: then a case is taken as one that never ends.
PATIENCE = 60.0
ADDRESSES = 16 * 2**30  # bytes that the process may ask for; what asks for more is refused them
PEAK = Path("/proc/self/clear_refs")

Fork = multiprocessing.get_context("fork")


@dataclass(frozen=True)
class Outcome:
    """What became of a case; `problem` is "" if it is as it should be."""

    kind: str
    number: int
    refused: bool
    problem: str
    seconds: float = 0.0
    memory: int = 0
    output: str = ""


# --- one case --------------------------------------------------------------------------


def run_case(seed: int, kind: str, number: int) -> Outcome:
    """Make a case in a folder of its own, run its stage, and look at how it ended."""
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        working_in(Path(folder)),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # Pillow's word on damage
        stage = KINDS[kind](Random(f"{seed} {kind} {number}"))
        _forget_peak()
        memory, seconds = _peak(), time.process_time()
        command = importlib.import_module(f"stages.{stage}").main
        result = CliRunner().invoke(command, [])
        seconds, memory = time.process_time() - seconds, _peak() - memory
        problem = _problem(result)
        left = [path.name for path in Path("data").rglob(".*.tmp")]
    if left:
        problem = problem or f"left behind: {left}"
    if seconds > MOST_SECONDS:
        problem = problem or f"took {seconds:.1f} s"
    if memory > MOST_MEMORY:
        problem = problem or f"took {memory / 2**20:.0f} MiB"
    refused = result.exit_code != 0
    return Outcome(kind, number, refused, problem, seconds, memory, result.output)


def _problem(result: Result) -> str:
    """Say what is wrong with how a stage ended; "" if nothing is."""
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        frames = traceback.extract_tb(result.exception.__traceback__)
        ours = [frame for frame in frames if Path(frame.filename).is_relative_to(ROOT)]
        at = (ours or frames)[-1]
        told = one_line(result.exception)[:150]
        return f"{type(result.exception).__name__} at {Path(at.filename).name}:{at.lineno}: {told}"
    if result.exit_code not in (0, 1):
        return f"exit code {result.exit_code}"
    lines = result.output.splitlines()
    errors = [line for line in lines if line.startswith("Error: ")]
    if result.exit_code == 1 and (errors != lines[-1:] or not lines[-1].isprintable()):
        return f"should end in one line of error, ends in {lines[-2:]}"
    return ""


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        PEAK.write_text("5")


def _peak() -> int:
    """Return the most memory that this process has had, on Linux since `_forget_peak`."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


# --- many cases ------------------------------------------------------------------------


def run(seed: int, cases: list[tuple[str, int]], templates: Path) -> list[Outcome]:
    """Run cases in a process of its own, and in another one from where that was lost."""
    outcomes: list[Outcome] = []
    while len(outcomes) < len(cases):
        outcomes += _run_from(seed, cases[len(outcomes) :], templates)
    return outcomes


def _run_from(seed: int, cases: list[tuple[str, int]], templates: Path) -> list[Outcome]:
    """Run cases until a process is lost; the last outcome is then of the case that it had."""
    ours, theirs = Fork.Pipe()
    worker = Fork.Process(target=_work, args=(seed, cases, templates, theirs), daemon=True)
    worker.start()
    theirs.close()
    outcomes: list[Outcome] = []
    try:
        while len(outcomes) < len(cases):
            lost = "" if ours.poll(PATIENCE) else f"has not ended after {PATIENCE:.0f} s"
            if not lost:
                try:
                    outcomes.append(ours.recv())
                    _tell(outcomes[-1])
                    continue
                except EOFError:
                    worker.join()
                    lost = f"ended its process with {worker.exitcode}"
            outcomes.append(Outcome(*cases[len(outcomes)], refused=False, problem=lost))
            _tell(outcomes[-1])
            break
    finally:
        worker.kill()
        worker.join()
    return outcomes


def _work(seed: int, cases: list[tuple[str, int]], templates: Path, told: Connection) -> None:
    torch.set_num_threads(1)
    fuzz_cases.templates = templates
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, most))
    # What libraries print past Python, as libtiff does, is not ours.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stderr.fileno())
    for kind, number in cases:
        told.send(run_case(seed, kind, number))


def _tell(outcome: Outcome) -> None:
    if outcome.problem:
        click.echo(f"{outcome.kind} {outcome.number}: {outcome.problem}")


def summary(outcomes: list[Outcome]) -> str:
    """Return a table: of each kind how many cases, how they ended, the longest and largest."""
    lines = ["kind           cases  ended well  refused  failed  longest s  largest MiB"]
    counts = Counter(outcome.kind for outcome in outcomes)
    for kind in [*counts, "all"]:
        of_kind = [outcome for outcome in outcomes if kind in (outcome.kind, "all")]
        failed = sum(bool(outcome.problem) for outcome in of_kind)
        refused = sum(outcome.refused and not outcome.problem for outcome in of_kind)
        lines.append(
            f"{kind:12} {len(of_kind):7,} {len(of_kind) - failed - refused:11,} {refused:8,} "
            f"{failed:7,} {max(outcome.seconds for outcome in of_kind):10.1f} "
            f"{max(outcome.memory for outcome in of_kind) / 2**20:12.0f}"
        )
    return "\n".join(lines)


@click.command()
@click.option("--cases", type=click.IntRange(min=1), default=500, help="How many; else 500.")
@click.option("--seed", type=int, default=0, help="Another seed makes other cases; else 0.")
@click.option("--kind", type=click.Choice(list(KINDS)), help="Only cases of this kind.")
@click.option("--only", type=int, help="One case by its number; needs --kind.")
def main(cases: int, seed: int, kind: str | None, only: int | None) -> None:
    """Give the stages damaged and absurd inputs; exit with 1 if one ends as it should not."""
    kinds = [kind] if kind else list(KINDS)
    chosen = [(kinds[case % len(kinds)], case // len(kinds)) for case in range(cases)]
    if only is not None:
        if kind is None:
            raise click.UsageError("--only: should come with --kind")
        chosen = [(kind, only)]
    for stage in STAGES:  # once, before any process is split off
        importlib.import_module(f"stages.{stage}")
    with tempfile.TemporaryDirectory() as folder:
        templates = Path(folder)
        maker = Fork.Process(target=make_templates, args=(templates,))
        maker.start()
        maker.join()
        outcomes = run(seed, chosen, templates)
    if only is not None:
        click.echo(outcomes[0].output)
    click.echo(summary(outcomes))
    raise SystemExit(any(outcome.problem for outcome in outcomes))


if __name__ == "__main__":
    main()
