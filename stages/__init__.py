"""The stages: one click command per stage of dvc.yaml, of the same name.

The commands labels, inspect, review, analyse and overview show the results of a run. predict labels
new images with its model, export writes the model for other programs. They are not in dvc.yaml.

Each command also runs without DVC, from the folder that holds params.yaml:
`python -m stages.prepare`.
"""

import io
import logging
import os
import sys
import time
import traceback
from contextlib import suppress
from inspect import getfile
from pathlib import Path
from typing import Any

import click
from tqdm.auto import tqdm

from pipeline.core import alarm, launch, seconds, stopping
from pipeline.core.errors import InputError, one_line, printable

# Looked up now: the starter may end during the import of torch, which takes seconds.
STARTER = stopping.starter()

# When the other processes end, torch prints a screen of C++ frames, which would hide the error
# message. The variable has to be set before torch is imported.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

PARAMS = Path("params.yaml")
# The stages of dvc.yaml, in their order.
STAGES = (
    "inputs", "prepare", "train_teacher", "score", "pseudo_label", "train_student", "evaluate",
)  # fmt: skip

# Seconds that a launcher's helper processes wait before they fail with an error from before the
# processes are connected. The first process has the same error and prints it meanwhile.
HELPERS_WAIT = 1.0


def say(line: str, err: bool = False) -> None:
    """Print a line; escape characters, also in names from files, that would break or colour it."""
    click.echo(printable(line), err=err)


class Stage(click.Command):
    """A command that prints the library's log and reports a user's error in one line."""

    solo = False

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the options; a wrong option ends with exit code 1, not click's 2."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise click.ClickException(printable(one_line(error.format_message()))) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the stage; an InputError or a failing file ends it with exit code 1.

        A signal ends it with 128 plus its number. Each error is one line, which names from files
        cannot break or colour. With several processes the first to fail prints the error, and
        all end.
        """
        try:
            return self.run(ctx)
        except BaseException as error:
            if alarm.is_watched():
                if alarm.is_first_to_fail():
                    _print_error(error)
                alarm.end(error.exit_code if isinstance(error, click.exceptions.Exit) else 1)
            if isinstance(error, click.ClickException):
                with suppress(InputError):  # an invalid launch is the error itself
                    # Meanwhile the first process, which has the same error, can end all.
                    time.sleep(HELPERS_WAIT if launch.is_helper() else 0)
            raise

    def run(self, ctx: click.Context) -> Any:
        """Run the stage; turn an InputError or a failing file into click's one-line error."""
        logger = logging.getLogger("pipeline")
        handler = _AboveProgressBars()
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        if isinstance(sys.stdout, io.TextIOWrapper):  # for terminals that cannot show every name
            sys.stdout.reconfigure(errors="backslashreplace")
        try:
            with stopping.stoppable(STARTER):
                started = time.time()
                result = None if self.solo and launch.is_helper() else super().invoke(ctx)
                self.note(started)
                return result
        except InputError as error:
            raise click.ClickException(str(error)) from None
        except BrokenPipeError:  # the reader closed the pipe; click ends quietly
            raise
        except OSError as error:
            problem = error.strerror or one_line(error)
            where = "" if error.filename is None else f"{error.filename}: "
            raise click.ClickException(printable(where + problem)) from None
        except stopping.Stopped as stopped:
            if os.environ.get("LOCAL_RANK", "0") == "0":  # one process prints it
                click.echo(f"Error: {stopped}", err=True)
            ctx.exit(stopped.exit_code)
        finally:
            logger.removeHandler(handler)

    def note(self, started: float) -> None:
        """Keep the seconds that a stage of dvc.yaml took since it started."""
        name = Path(getfile(self.callback)).stem if self.callback else ""
        if name in STAGES and not launch.is_helper():
            ended = time.time()
            with suppress(InputError, OSError):  # the results are complete without the note
                seconds.write(name, seconds.Note(ended - started, ended))


class SoloStage(Stage):
    """A stage for one process: a launcher's other processes do nothing."""

    solo = True


def _print_error(error: BaseException) -> None:
    """Print why one of several processes failed, in the form of a single process's error."""
    if isinstance(error, click.ClickException):
        error.show()
    elif isinstance(error, click.exceptions.Exit):
        pass  # the stop was already printed
    elif isinstance(error, KeyboardInterrupt | click.Abort):
        click.echo("Aborted!", err=True)
    elif "closed by peer" in str(error) or "reset by peer" in str(error):
        # gloo raises this in the other processes if a process is killed.
        click.echo("Error: another process of this run ended without a message", err=True)
    else:
        traceback.print_exception(error)


class _AboveProgressBars(logging.Handler):
    """Print log records above a progress bar instead of into it."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else "warning: "
        with tqdm.external_write_mode():
            say(prefix + record.getMessage())
