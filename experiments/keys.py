"""Choose the params that distinguish runs."""

import json
from difflib import get_close_matches
from typing import Any

from experiments.finished import FinishedRun, Values
from experiments.used import by_training_key, put, unused
from pipeline.core.errors import InputError, some

# The params that a table of runs always shows, and their headings.
ALWAYS = {"train_teacher.loss": "loss", "pseudo_label.rule": "rule", "pseudo_label.tau": "tau"}


def in_use(params: Values) -> Values:
    """Return the params that a result depends on.

    A null counts as absent, since a run has no value for a param that is newer than the run.
    """
    ignored = unused(put({}, params))
    return {
        key: value
        for key, value in params.items()
        if value is not None and not _is_below(key, ignored)
    }


def _is_below(key: str, sections: set[str]) -> bool:
    """Return whether a key or a section around it is in `sections`."""
    parts = key.split(".")
    return any(".".join(parts[:count]) in sections for count in range(1, len(parts) + 1))


def differing(runs: list[FinishedRun]) -> list[str]:
    """Return the keys, except seeds, that differ between the runs that read them, in order."""
    keys = dict.fromkeys(key for run in runs for key in run.params if not key.endswith(".seed"))
    ignored = [unused(put({}, run.params)) for run in runs]
    return [
        key
        for key in keys
        if len(
            {
                as_json(run.params.get(key))
                for run, unused_keys in zip(runs, ignored, strict=True)
                if not _is_below(key, unused_keys)
            }
        )
        > 1
    ]


def grouping_keys(runs: list[FinishedRun], wanted: tuple[str, ...] = ()) -> list[str]:
    """Return the keys that define a row.

    Args:
        runs: all runs.
        wanted: the keys to take, as in params.yaml or as in the table's header. Without any:
            loss, rule, tau, and the other keys except seeds that differ between the runs.

    Raises:
        InputError: no run has a wanted key.
    """
    known = list(dict.fromkeys(key for run in runs for key in run.params))
    if not wanted:
        return list(dict.fromkeys([*(key for key in ALWAYS if key in known), *differing(runs)]))
    full = {heading: [key] for key, heading in ALWAYS.items() if key in known}
    for key in wanted:
        if key not in full and (merged := [name for name in by_training_key(key) if name in known]):
            full[key] = merged
        if key not in full:
            last = {other.rpartition(".")[2]: other for other in reversed(known)}
            close = get_close_matches(key, known) or [
                last[name] for name in get_close_matches(key.rpartition(".")[2], last)
            ]
            always = [name for names in full.values() for name in names]
            raise InputError(f"--by {key}: no run has such a param; should be one such as "
                             f"{some(close or always or known, 3)}")  # fmt: skip
    return list(dict.fromkeys(name for key in wanted for name in full[key]))


def as_json(value: object) -> str:
    """Return a value as JSON; a whole number is written without a decimal point."""
    return json.dumps(_plain(value), sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float) or value is None else str(value)
