"""The stages: one click command per stage of dvc.yaml, of the same name.

And commands over what a run has left, which are no stages: labels, inspect, analyse.

Each also runs without DVC, from the folder that holds params.yaml:
`python -m stages.prepare`.
"""

import logging
import os
import time
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from tqdm.auto import tqdm

from pipeline import alarm, launch
from pipeline.errors import InputError, one_line

# A process of several that has lost the others hears so from torch in a screen of C++ frames,
# which would hide the one line. To be said before torch is there.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

PARAMS = Path("params.yaml")
DATA = Path("data")
REPORTS = Path("reports")

# Seconds that a launcher's other processes keep an error for themselves that comes before all
# know of each other, since the first process has the same.
HELPERS_WAIT = 1.0


class Stage(click.Command):
    """A command that prints what the library logs and says a user's error in one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the options; a wrong one is an error as any other, not click's exit code 2."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise click.ClickException(one_line(error.format_message())) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the stage; an InputError or a failing file ends it with exit code 1.

        Of several processes the first that fails tells it, and all end.
        """
        try:
            return self.run(ctx)
        except BaseException as error:
            if alarm.is_watched():
                if alarm.may_tell():
                    _tell(error)
                alarm.end()
            if isinstance(error, click.ClickException):
                with suppress(InputError):  # that is the error, then
                    # The same error in the first process ends all, where the launcher sees to it.
                    time.sleep(HELPERS_WAIT if launch.is_helper() else 0)
            raise

    def run(self, ctx: click.Context) -> Any:
        """Run the stage; an InputError or a failing file becomes click's one line."""
        logger = logging.getLogger("pipeline")
        handler = _AboveProgressBars()
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.ClickException(str(error)) from None
        except OSError as error:
            if error.filename is None:
                raise
            raise click.ClickException(f"{error.filename}: {error.strerror}") from None
        finally:
            logger.removeHandler(handler)


class SoloStage(Stage):
    """A stage that is one process's work: where a launcher started several, the others' is none."""

    def run(self, ctx: click.Context) -> Any:
        """Run the stage in the first process."""
        try:
            return None if launch.is_helper() else super().run(ctx)
        except InputError as error:
            raise click.ClickException(str(error)) from None


def _tell(error: BaseException) -> None:
    """Say why a process of several has failed, as one alone would."""
    if isinstance(error, click.ClickException):
        error.show()
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("Aborted!", err=True)
    elif "closed by peer" in str(error) or "reset by peer" in str(error):
        # gloo's words, at which the others hear that a process was killed.
        click.echo("Error: another process of this run has ended without a word", err=True)
    else:
        traceback.print_exception(error)


class _AboveProgressBars(logging.Handler):
    """Print records without tearing a progress bar that is being drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else "warning: "
        with tqdm.external_write_mode():
            click.echo(prefix + record.getMessage())
