"""Packages that only some settings and commands need."""

import importlib
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any

from pipeline.core.errors import InputError


def package(name: str, wanted_by: str, *more: str) -> Any:
    """Import an optional package.

    Args:
        name: of the package, under which pip installs it, too; or of a module in it.
        wanted_by: what needs it, to begin the message with.
        more: packages to install together with it.

    Raises:
        InputError: it is not installed.
    """
    wanted = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != wanted:  # a broken installation
            raise
        install = " ".join((wanted, *more))
        raise InputError(f"{wanted_by} needs {wanted}: pip install {install}") from None


def version(name: str) -> str:
    """Return the version of an optional package; "none" if it is not installed."""
    try:
        return installed_version(name)
    except PackageNotFoundError:
        return "none"
