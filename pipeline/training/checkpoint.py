"""The checkpoint of a training: kept after each epoch, with that of the epoch before."""

import io
import logging
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from pipeline.core import kept

log = logging.getLogger(__name__)

State = dict[str, Any]


def save(path: Path, state: State) -> None:
    """Keep a state; a kill leaves this one or the one before.

    Args:
        path: where to. What was there is kept beside it.
        state: tensors, numbers and text, in dictionaries and lists.

    Raises:
        InputError: there is no room for it.
    """
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with suppress(FileNotFoundError):  # the first, or another process has the same training
        path.replace(_before(path))
    kept.write(path, buffer.getvalue())


def load(path: Path) -> State | None:
    """Return what was kept last, on the CPU; None where there is nothing.

    What is damaged is set aside, with a warning, and the epoch before is taken.
    """
    for candidate in (path, _before(path)):
        try:
            content = kept.read(candidate, path.name)
            # Said and not left to torch: a file that is read should not be able to run anything.
            state: State = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            return state
        except FileNotFoundError:
            continue
        except kept.DamagedError as error:
            what = str(error)
        except pickle.UnpicklingError:
            what = "holds what no checkpoint holds"
        aside = _damaged(path)
        log.warning(
            "%s: %s; it is set aside as %s, and the epoch before is taken, or the start",
            candidate, what, aside.name,
        )  # fmt: skip
        with suppress(FileNotFoundError):
            candidate.replace(aside)
    return None


def remove(path: Path) -> None:
    """Remove a checkpoint and what lies beside it.

    The training is done and written: one that stays costs its room, and only that is said.
    """
    for each in (path, _before(path), _damaged(path)):
        try:
            each.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s: cannot be removed: %s", each, error.strerror)


def _before(path: Path) -> Path:
    return path.with_name(f"{path.name}.before")


def _damaged(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")
