"""A function of many things, on all cores."""

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm.auto import tqdm

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(function: Callable[[T], R], items: Iterable[T], what: str) -> Iterable[R]:
    """Map over items in order, on all cores, with a progress bar on a terminal.

    Threads do: Pillow lets go of the interpreter's lock while it decodes.
    """
    items = list(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        yield from tqdm(pool.map(function, items), what, len(items), disable=None, leave=False)
