"""Style, colours and file formats that all figures share.

The colours are those of Okabe and Ito, which colour-blind people can distinguish.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure

from pipeline.figures import fonts

TEACHER, STUDENT = "#0072B2", "#D55E00"
POSITIVE, NEGATIVE, UNKNOWN = "#009E73", "#999999", "#CC79A7"
OBSERVED, RIGHT, WRONG, MISSED, ADDED = "#000000", "#00664B", "#B34700", "#5F5F5F", "#8C3A68"
IGNORED = "#005A92"
STYLE: Any = {
    "font.size": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E6E6E6",
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.dpi": 150,
    # "$5" is a valid class name.
    "text.parse_math": False,
    # A fixed salt makes the ids in an SVG reproducible.
    "svg.hashsalt": "spml",
}
# Without these keys matplotlib writes its version or the time into the file.
METADATA: dict[str, dict[str, str | None]] = {
    ".png": {"Software": None},
    ".svg": {"Creator": None, "Date": None},
}


@contextmanager
def canvas(
    *paths: Path,
    width: float,
    height: float,
    layout: Literal["constrained"] | None = "constrained",
    names: Iterable[str] = (),
) -> Iterator[Figure]:
    """Yield a figure, `width` by `height` inches, and write it to `paths` at the end of the block.

    The suffix of a path, .png or .svg, sets its format. Equal figures give equal bytes. `names` are
    the names that the figure shows; they choose its fonts.
    """
    with mpl.rc_context(STYLE | {"font.family": fonts.families("".join(names))}):
        figure = Figure(figsize=(width, height), layout=layout)
        yield figure
        for path in paths:
            figure.savefig(path, metadata=METADATA[path.suffix])


def legible(name: str, otherwise: str, most: int) -> str:
    """Return a name on one short line, or `otherwise` if the fonts cannot draw it."""
    line = short(name, most)
    return line if line and fonts.can_draw(line) else otherwise


def short(name: str, most: int) -> str:
    """Return a name on one line, truncated to `most` characters."""
    name = " ".join(name.split())
    return name if len(name) <= most else name[: most - 1] + "…"
