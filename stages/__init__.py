"""The stages: one click command per stage of dvc.yaml, of the same name.

And commands over what a run has left, which are no stages: labels, inspect, analyse.

Each also runs without DVC, from the folder that holds params.yaml:
`python -m stages.prepare`.
"""

import logging
from pathlib import Path
from typing import Any

import click
from tqdm.auto import tqdm

from pipeline.errors import InputError, one_line, printable

PARAMS = Path("params.yaml")
DATA = Path("data")
REPORTS = Path("reports")


class Stage(click.Command):
    """A command that prints what the library logs and says a user's error in one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take the options; a wrong one is an error as any other, not click's exit code 2."""
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            raise click.ClickException(printable(one_line(error.format_message()))) from None

    def invoke(self, ctx: click.Context) -> Any:
        """Run the stage; an InputError or a failing file ends it with exit code 1."""
        logger = logging.getLogger("pipeline")
        handler = _AboveProgressBars()
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.ClickException(str(error)) from None
        except BrokenPipeError:  # whoever reads what is printed has enough; click ends quietly
            raise
        except OSError as error:
            what = error.strerror or one_line(error)
            where = "" if error.filename is None else f"{error.filename}: "
            raise click.ClickException(printable(where + what)) from None
        finally:
            logger.removeHandler(handler)


class _AboveProgressBars(logging.Handler):
    """Print records without tearing a progress bar that is being drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        prefix = "" if record.levelno < logging.WARNING else "warning: "
        with tqdm.external_write_mode():
            click.echo(prefix + printable(record.getMessage()))
