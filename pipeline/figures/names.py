"""Write names beside the dots of a scatter plot, where there is room for them."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes

MAX_NAME = 22  # characters
FONT_SIZE = 9.5
# The possible positions of a name: its distance from the dot in points, and its direction. The
# first choice is to the right. From the second distance on, a line connects the name to its dot.
DISTANCES = (5.0, 14.0, 26.0, 40.0)
DIRECTIONS = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)]

Points = npt.NDArray[np.float64]


def beside(
    axes: Axes, x: Points, y: Points, names: dict[int, str], line: Points, radius: float = 3.5
) -> None:
    """Write names beside dots so that they overlap no other name, dot or line.

    A name without room inside the axes is left out. Call this last: the positions depend on the
    limits and scales of the axes.

    Args:
        axes: the axes with the dots.
        x: (n,) x of all dots, in data coordinates.
        y: (n,) y of all dots, in data coordinates.
        names: the names of some dots by number, the most important first.
        line: (k, 2) points along a line in the axes, in data coordinates.
        radius: the radius of a dot, in points.
    """
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # computes the layout
    point = figure.dpi / 72
    dots = axes.transData.transform(np.column_stack([x, y])) / point
    frame = axes.get_window_extent()
    room = np.array([frame.x0, frame.y0, frame.x1, frame.y1]) / point
    drawn = axes.transData.transform(line) / point
    taken = np.vstack([np.hstack([dots - radius, dots + radius]), np.hstack([drawn, drawn])])
    for number, name in names.items():
        text = axes.annotate(
            name, (x[number], y[number]), (0, 0), textcoords="offset points", fontsize=FONT_SIZE,
            ha="center", va="center",
        )  # fmt: skip
        text.set_in_layout(False)
        extent = text.get_window_extent()
        half = np.array([extent.width, extent.height]) / point / 2 + (3, 1)
        for offset, far in _offsets(half):
            box = _around(dots[number] + offset, half)
            tie = _tie_boxes(dots[number], offset, half, radius) if far else np.empty((0, 4))
            inside = (box[:2] >= room[:2]).all() and (box[2:] <= room[2:]).all()
            if inside and not any(_overlaps(part, taken) for part in [box, *tie]):
                text.set_position((float(offset[0]), float(offset[1])))
                if far:
                    _tie(axes, (x[number], y[number]), offset, half)
                taken = np.vstack([taken, box, tie])
                break
        else:
            text.remove()


def _offsets(half: Points) -> Iterable[tuple[Points, bool]]:
    """Yield the possible offsets of a name's middle from its dot, and whether it needs a line."""
    for step, distance in enumerate(DISTANCES):
        for direction in DIRECTIONS:
            along = np.array(direction, np.float64)
            slanted = 0.7 if all(direction) else 1.0
            yield along * (half + distance * slanted), step > 0


def _around(middle: Points, half: Points) -> Points:
    return np.concatenate([middle - half, middle + half])


def _end(offset: Points, half: Points) -> Points:
    """Return the end of the line from a dot to its name: the nearest point of the name's box."""
    return np.clip(np.zeros(2), offset - half, offset + half)


def _tie_boxes(dot: Points, offset: Points, half: Points, radius: float) -> Points:
    """Return small boxes along the line from a dot to its name, clear of both, (n, 4)."""
    end = _end(offset, half)
    length = float(np.hypot(*end))
    along = np.arange(2 * radius + 1, length - 1, 2.0)[:, None] / length
    middles = dot + along * end
    return np.hstack([middles - 0.5, middles + 0.5])


def _tie(axes: Axes, at: tuple[float, float], offset: Points, half: Points) -> None:
    end = _end(offset, half)
    line = axes.annotate(
        "", at, (float(end[0]), float(end[1])), textcoords="offset points",
        arrowprops={"arrowstyle": "-", "color": "#777777", "linewidth": 0.7, "shrinkA": 0,
                    "shrinkB": 3},
    )  # fmt: skip
    line.set_in_layout(False)


def _overlaps(box: Points, taken: Points) -> bool:
    apart = (box[2:] <= taken[:, :2]).any(axis=1) | (box[:2] >= taken[:, 2:]).any(axis=1)
    return bool((~apart).any())
