"""The experiments that DVC keeps, as `dvc exp show` tells them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from experiments.finished import METRICS, Found, Values, add
from pipeline.core.errors import InputError, one_line


def kept(all_commits: bool = False) -> Found:
    """Return the experiments of the DVC repository of the working folder.

    Args:
        all_commits: of every commit, not of the current one alone.

    Raises:
        InputError: there is no DVC or no repository, or it cannot tell.
    """
    return read(_exp_show(["--all-commits"] if all_commits else []))


def read(told: list[Values]) -> Found:
    """Find the runs in what `dvc exp show --json` tells.

    DVC gives an experiment that failed or waits the metrics of the commit it started from, so
    the state decides. The workspace comes last: if it equals an experiment, that has a name.
    """
    found = Found()
    for commit in (each for each in told if each["rev"] != "workspace"):
        for name, state, data in _experiments(commit):
            if state in (None, "success"):
                add(found, name, *_of(data), lock="")
            else:
                found.left_out.append(f"{name} ({state})")
        name = commit["name"] or commit["rev"][:7]
        add(found, name, *_of(commit["data"]), lock=_lock_of(commit["rev"]))
    for workspace in (each for each in told if each["rev"] == "workspace"):
        lock = Path("dvc.lock")
        text = lock.read_text(encoding="utf-8") if lock.exists() else ""
        add(found, "workspace", *_of(workspace["data"]), lock=text)
    return found


def _exp_show(options: list[str]) -> list[Values]:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "exp", "show", "--json", *options],
        stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()] or ["failed"]
        why = one_line(said[-1]).removeprefix("ERROR: ")
        raise InputError(f"dvc exp show: {why}; or give folders of runs")
    told: list[Values] = json.loads(done.stdout)
    return told


def _experiments(commit: Values) -> Iterator[tuple[str, str | None, Values | None]]:
    """Yield name, state and content of the experiments that started from a commit."""
    for experiment in commit["experiments"] or []:
        state = (experiment.get("executor") or {}).get("state")
        for revision in experiment["revs"] or []:
            failed = "failed" if revision["error"] else state
            yield revision["name"] or revision["rev"][:7], failed, revision["data"]


def _of(data: Values | None) -> tuple[Values, Values]:
    """Return params and metrics; empty where DVC has none or could not read them."""
    files = (("params", "params.yaml"), ("metrics", METRICS.as_posix()))
    told = [((data or {}).get(kind) or {}).get(path) or {} for kind, path in files]
    params, metrics = (file.get("data") or {} for file in told)
    return params, metrics


def _lock_of(revision: str) -> str:
    """Return the dvc.lock of a commit; "" if it has none."""
    command = ["git", "show", f"{revision}:./dvc.lock"]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", check=False
    )
    return done.stdout if done.returncode == 0 else ""
