"""When one process of several fails: it alone says why, and the others end at once.

Without this they would wait for its part of a sum until a timeout, and say that instead.
"""

import atexit
import os
import sys
import threading
import time
from typing import Any

EVERY = 0.2  # seconds between two looks at the others
PATIENCE = 10.0  # seconds that the first process waits at its end for the others to end

_store: Any = None
_done = threading.Event()


def watch(store: Any, first: bool, size: int) -> None:
    """Look after the other processes from now on; end with exit code 1 when one has failed.

    Args:
        store: what all processes share, a torch.distributed.TCPStore that the first one holds:
            when this has gone, the first process has.
        first: whether this is the first one.
        size: how many processes there are.
    """
    global _store  # noqa: PLW0603 (a process is in one world)
    _store = store

    def look() -> None:
        while not _done.wait(EVERY):
            if _failed() and not _done.is_set():
                _end()

    def at_end() -> None:
        # The first holds the store, so it ends last: else the others took it for failed.
        _done.set()
        until = time.monotonic() + PATIENCE
        try:
            ended = store.add("ended", 1)
            while first and ended < size and not _failed() and time.monotonic() < until:
                time.sleep(EVERY / 10)
                ended = store.add("ended", 0)
        except RuntimeError:  # the store has gone, and nothing is left to do
            return

    threading.Thread(target=look, name="alarm", daemon=True).start()
    atexit.register(at_end)


def is_watched() -> bool:
    """Tell whether there are other processes."""
    return _store is not None


def may_tell() -> bool:
    """Return whether this process, which has failed, is the first to: it says why, alone."""
    _done.set()  # from here on it ends by itself
    try:
        return bool(_store.add("failed", 1) == 1)
    except RuntimeError:  # the first process has gone, which has said why
        return False


def end(exit_code: int = 1) -> None:
    """End this process, which has failed, after the others."""
    sys.stdout.flush()
    sys.stderr.flush()
    time.sleep(10 * EVERY)  # on a busy machine, too, each of them has looked by then
    _end(exit_code)


def _failed() -> bool:
    try:
        return bool(_store.check(["failed"]))
    except RuntimeError:
        return True


def _end(exit_code: int = 1) -> None:
    # A process that waits in a collective operation hears no exception.
    os._exit(exit_code)
