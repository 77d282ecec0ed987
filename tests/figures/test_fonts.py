"""Names in other scripts: drawn by an installed font, or replaced with one warning."""

import logging
from pathlib import Path

import numpy as np
import pytest

from pipeline.figures import fonts, run
from pipeline.figures.canvas import legible


@pytest.fixture
def only_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave matplotlib's own font as the only one, as on a bare machine."""
    monkeypatch.setattr(fonts, "_installed", list)
    for cached in (fonts._families, fonts._warn):
        cached.cache_clear()


def sheet(path: Path, names: tuple[str, ...]) -> None:
    aps = np.array([50.0, 60.0]), np.array([70.0, 55.0])
    run.average_precision_per_class(path, names, *aps)


@pytest.mark.filterwarnings("error:Glyph")
def test_a_name_that_no_font_draws_is_a_number_and_told_once(
    tmp_path: Path, only_own: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    for name in ("a.svg", "b.svg"):
        sheet(tmp_path / name, ("猫 and 犬", "plain"))
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith("no installed font has 犬猫; figures show the numbers")
    assert "fonts-noto-cjk" in message
    text = (tmp_path / "a.svg").read_text()
    assert "class 0" in text
    assert "plain" in text
    assert "猫" not in text


def test_names_that_the_own_font_draws_need_no_other_font_and_no_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert fonts.families("élan Ω ж") == [fonts.OWN]
    assert fonts.can_draw("élan Ω ж")
    assert legible("élan", "class 1", 20) == "élan"
    assert not caplog.records


def test_an_installed_font_draws_what_the_own_font_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, only_own: None
) -> None:
    # STIX, which matplotlib brings along, has characters that DejaVu Sans lacks.
    found = [
        (font.name, font.fname)
        for font in fonts.fontManager.ttflist
        if font.name == "STIXGeneral" and font.style == "normal" and font.weight == 400
    ]
    monkeypatch.setattr(fonts, "_installed", lambda: [("absent", "/no/such/file"), *found])
    own = fonts._codes(fonts.findfont(fonts.FontProperties()))
    more = sorted(fonts._codes(found[0][1]) - own)
    lacking = next(chr(code) for code in more if chr(code).isprintable())
    assert fonts.families(f"a{lacking}") == [fonts.OWN, "STIXGeneral"]
    assert legible(lacking, "class 1", 20) == lacking
    assert not fonts.can_draw(f"{lacking}猫")
