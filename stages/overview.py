"""overview: the finished run -> reports/index.html, which links all of its pages.

Not a stage of dvc.yaml, since the page names commit, dates and seconds. `make repro` calls it at
its end, and the commands that write a page of the run write this page after that.
"""

import click

from pipeline.artifacts.run import Run
from pipeline.reports import overview
from stages import SoloStage, say


@click.command(cls=SoloStage)
def main() -> None:
    """Write the page that links all pages of the run."""
    path = overview.refresh(Run())
    for line in overview.numbers(Run()):
        say(line)
    say(f"overview: {path}")


if __name__ == "__main__":
    main()
