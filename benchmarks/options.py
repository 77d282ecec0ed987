"""Options of the benchmarks that are lists of names."""

from collections.abc import Iterable

from pipeline.core.errors import InputError


def names(option: str, given: str, known: Iterable[str]) -> list[str]:
    """Split a list of names, "an,em".

    Raises:
        InputError: a name is unknown.
    """
    split = given.split(",")
    for name in split:
        if name not in known:
            raise InputError(f"{option} {name!r}: should be of {', '.join(known)}")
    return split
