"""Fonts that can draw the names in a figure.

matplotlib has one font of its own, DejaVu Sans, which draws Latin, Greek and Cyrillic letters and
more, but no Chinese, Japanese or Korean ones. Other characters are drawn by an installed font.
"""

import logging
from functools import cache

from matplotlib import get_cachedir
from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.ft2font import FT2Font

log = logging.getLogger(__name__)

OWN = "DejaVu Sans"
LAST_RESORT = "Last Resort"  # of matplotlib: has a box for every character


def families(text: str) -> list[str]:
    """Return the families that draw a text: matplotlib's own font, and others as needed.

    A character that no installed font has is left out, with one warning for equal characters.
    """
    found, missing = _families(frozenset(text))
    if missing:
        _warn(missing)
    return list(found)


def can_draw(text: str) -> bool:
    """Return whether the installed fonts have all characters of a text."""
    return not _families(frozenset(text))[1]


@cache
def _families(characters: frozenset[str]) -> tuple[tuple[str, ...], str]:
    """Return the families that draw the characters, and those that none of them has."""
    missing = {ord(each) for each in characters} - _codes(findfont(FontProperties()))
    found, invisible = [OWN], {code for code in missing if not chr(code).isprintable()}
    missing -= invisible
    if missing:
        for name, path in _installed():
            if covered := missing & _codes(path):
                found.append(name)
                missing -= covered
            if not missing:
                break
    return tuple(found), "".join(map(chr, sorted(missing | invisible)))


@cache
def _installed() -> list[tuple[str, str]]:
    """Return name and file of each installed family, in the order of their names."""
    upright = {
        font.name: font.fname
        for font in fontManager.ttflist
        if font.style == "normal"
        and font.weight in (400, 500)
        and not font.name.startswith(LAST_RESORT)
    }
    return sorted(upright.items())


@cache
def _codes(path: str) -> frozenset[int]:
    """Return the code points of the characters that a font file has."""
    try:
        font: FT2Font = get_font(path)
        return frozenset(font.get_charmap())
    except (OSError, RuntimeError):  # removed since matplotlib listed it, or damaged
        return frozenset()


@cache
def _warn(missing: str) -> None:
    shown = "".join(each for each in missing if each.isprintable())
    more = f" and {len(shown) - 10} more characters" if len(shown) > 10 else ""
    if shown:
        log.warning(
            "no installed font has %s%s; figures show the numbers of such classes instead of "
            "their names. Install a font that has them, such as Noto Sans CJK (Debian: "
            "apt install fonts-noto-cjk), and remove matplotlib's list of fonts in %s",
            shown[:10], more, get_cachedir(),
        )  # fmt: skip
