"""Text for a terminal: names with control characters escaped, tables that fit its width."""

import io
import re

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text
from rich.theme import Theme

from pipeline.core.errors import printable

Parts = list[RenderableType]  # of a page, one below the other
Rows = list[list[str | Text]]

MIN_NAME = 8  # cells of a name in a table, however narrow the terminal is
# The styles of a text by its meaning.
_THEME = Theme(
    {
        "heading": "bold",
        "right": "green",
        "wrong": "red",
        "missed": "yellow",
        "ignored": "blue",
        "observed": "cyan",
    }
)
_BLANKS_AT_THE_END = re.compile(r"(?: |\x1b\[[\d;]*m)+$", re.MULTILINE)


def rendered(parts: Parts, cells: int) -> str:
    """Return parts as text with at most `cells` cells per line, and a blank line between them.

    It has the terminal's colour codes unless NO_COLOR is set. Markup is off: `[red]` in a class
    name is printed literally.
    """
    out = io.StringIO()
    # With a height, too, rich does not ask the terminal for its size.
    console = Console(
        file=out, width=cells, height=1, theme=_THEME, force_terminal=True, legacy_windows=False,
        markup=False, emoji=False, highlight=False,
    )  # fmt: skip
    for number, part in enumerate(parts):
        console.print(*([""] if number else []), part, sep="\n", crop=False)
    return _BLANKS_AT_THE_END.sub(lambda found: found[0].replace(" ", ""), out.getvalue())


def escaped(text: str) -> str:
    """Return a name with its unprintable characters escaped; '' for an empty name."""
    return printable(text) or "''"


def truncated(text: str, cells: int) -> str:
    """Return a text truncated to at most `cells` cells, with an ellipsis."""
    cut = Text(text)
    cut.truncate(cells, overflow="ellipsis")
    return cut.plain


def one_line(name: str) -> Text:
    """Return a name that a table truncates, and does not wrap, if it is too long."""
    return Text(name, no_wrap=True, overflow="ellipsis")


def table(header: list[str], rows: Rows, n_texts: int = 1) -> Table:
    """Return a table: the first `n_texts` columns are texts, aligned left, the others numbers.

    Texts are wrapped or truncated to fit the width. Numbers stay whole, even beyond the width.
    """
    made = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="heading")
    for place, name in enumerate(header):
        widest = max(cell_len(str(cell)) for cell in (name, *(row[place] for row in rows)))
        if place < n_texts:
            made.add_column(name, overflow="fold", min_width=min(widest, MIN_NAME))
        else:
            made.add_column(name, justify="right", min_width=widest)
    for row in rows:
        made.add_row(*row)
    return made


def grid(rows: Rows) -> Table:
    """Return texts in columns without a header; the last column is wrapped."""
    made = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
    for place in range(len(rows[0])):
        made.add_column(overflow="fold", no_wrap=place < len(rows[0]) - 1)
    for row in rows:
        made.add_row(*row)
    return made


def facts(pairs: list[tuple[str, str]]) -> Table:
    """Return names and texts in two columns; the texts are wrapped."""
    return grid([[Text(name, "heading"), text] for name, text in pairs])


def titled(title: str, part: RenderableType) -> Group:
    """Return a part under its title."""
    return Group(Text(title, "heading"), part)


def stacked_bar(groups: list[tuple[str, int]], longest: int, cells: int) -> str:
    """Return a bar of the groups' signs: one for each entry if the longest bar has room for that.

    Args:
        groups: sign and count of each group.
        longest: the count of the longest bar.
        cells: the length of the longest bar, at most.
    """
    cells = min(cells, longest)
    bar, total = "", 0
    for sign, count in groups:
        total += count
        # Rounding the totals gives equal totals equal bars. A count above 0 has at least one sign.
        end = round(total * cells / longest)
        if count and end <= len(bar):
            end = len(bar) + 1
        bar += sign * (end - len(bar))
    return bar
