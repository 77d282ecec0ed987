"""Text for a terminal: names that can do no harm there, columns that align, lines that fit."""

import unicodedata
from collections.abc import Callable
from typing import NamedTuple

from pipeline.core.errors import printable

# Given a text and what it means ("heading", "right", ...), returns the text in a colour.
Paint = Callable[[str, str], str]

LEAST_NAME = 8  # cells that the names of a table keep, however narrow the terminal


class Span(NamedTuple):
    """A piece of a line that is not broken, and what it means to `Paint`; "" is nothing."""

    text: str
    meaning: str = ""


class View(NamedTuple):
    """How much is shown, and how.

    Attributes:
        cells: of a line.
        rows: pictures.
        every_class: whether a table goes on after 40 classes.
        paint: the colours.
    """

    cells: int
    rows: int
    every_class: bool
    paint: Paint


def shown(text: str) -> str:
    """Return a name as it may be printed: what is no visible character is escaped."""
    return printable(text) or "''"


def width(text: str) -> int:
    """Return how many cells of a terminal a text takes; a Chinese character takes two."""
    return sum(
        0
        if unicodedata.category(sign) in ("Mn", "Me")  # stands on the one before
        else 2
        if unicodedata.east_asian_width(sign) in ("W", "F")
        else 1
        for sign in text
    )


def fitted(text: str, cells: int) -> str:
    """Return a text cut to at most so many cells, with an ellipsis where something is gone."""
    if width(text) <= cells:
        return text
    kept = ""
    for sign in text:
        if width(kept + sign) > cells - 1:
            break
        kept += sign
    return kept + "…"


def table(header: list[str], rows: list[list[str]], view: View) -> list[str]:
    """Return the lines of a table: names on the left, in every other column numbers.

    Names are cut where a line would take more than the view has cells.
    """
    cells = [header, *rows]
    widths = [max(width(row[column]) for row in cells) for column in range(len(header))]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= view.cells else 1
    rest = sum(widths[1:]) + gap * (len(widths) - 1)
    widths[0] = min(widths[0], max(LEAST_NAME, view.cells - rest))
    lines = []
    for row in cells:
        name = fitted(row[0], widths[0])
        name += " " * (widths[0] - width(name))
        numbers = [cell.rjust(cells) for cell, cells in zip(row[1:], widths[1:], strict=True)]
        lines.append((" " * gap).join([name, *numbers]).rstrip())
    return [view.paint(lines[0], "heading"), *lines[1:]]


def wrapped(spans: list[Span], indent: int, view: View) -> list[str]:
    """Return spans with a space between them as lines, broken where they are too long.

    Lines after the first are indented.
    """
    lines = [""]
    taken = 0
    for number, (text, meaning) in enumerate(spans):
        # What stands before the indent alone is a heading; its text goes beside it.
        if number and taken >= indent and taken + 1 + width(text) > view.cells:
            lines.append(" " * indent)
            taken = indent
        elif number:
            lines[-1] += " "
            taken += 1
        lines[-1] += view.paint(text, meaning) if meaning else text
        taken += width(text)
    return lines


def record(name: str, groups: list[tuple[str, list[Span]]], indent: int, view: View) -> list[str]:
    """Return a name and its groups of spans on one line if that fits, else a line for each."""
    spans = [Span(name, "heading")]
    lines = [view.paint(name, "heading")]
    for title, group in groups:
        spans += [Span("|"), Span(title), *group]
        narrower = view._replace(cells=view.cells - indent)
        lines += [" " * indent + line for line in wrapped([Span(title), *group], indent, narrower)]
    if sum(width(text) + 1 for text, _ in spans) - 1 <= view.cells:
        return wrapped(spans, 0, view)
    return lines


def facts(pairs: list[tuple[str, str]], view: View) -> list[str]:
    """Return what is called how as lines, the texts in one column and wrapped at spaces."""
    indent = max(len(name) for name, _ in pairs) + 2
    lines = []
    for name, text in pairs:
        spans = [Span(name.ljust(indent - 1), "heading"), *map(Span, text.split(" "))]
        lines += wrapped(spans, indent, view)
    return lines


def stacked(lengths: list[tuple[str, int]], longest: int, cells: int) -> str:
    """Return a bar of characters, each standing for its share of the `longest` bar's count."""
    bar, total = "", 0
    for sign, count in lengths:
        total += count
        # Rounded together, so that equal totals give equal bars; one thing is a sign at least.
        end = round(total * cells / longest)
        if count and end <= len(bar):
            end = len(bar) + 1
        bar += sign * (end - len(bar))
    return bar
