"""Templates of pages: a missing variable is an error, and pages are readable on any screen."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jinja2
import pytest
from playwright.sync_api import Browser

from pipeline.reports import pages, run_report
from tests.builders.evaluations import HOSTILE, evaluation
from tests.checks.contrast import LEAST_CONTRAST


def test_a_missing_variable_of_a_template_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="is undefined"):
        pages.render("reports/evaluation.html", ["reports/report.css"], note="")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_a_report_is_readable_and_wide_tables_scroll_in_their_box(
    tmp_path: Path, browser: Browser, scheme: Any, width: int
) -> None:
    metrics = replace(evaluation((*HOSTILE, "a very long name " * 20)), note="A note.")
    generations: dict[str, list[object]] = {f"wide_{c}": [0.5, 0.5] for c in range(20)}
    facts: dict[str, list[object]] = {"": ["teacher"], "value": ["a_long_name_" * 20]}
    html = run_report.page(metrics, {"generation": [1, 2], **generations}, facts)
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page.goto((tmp_path / "index.html").as_uri())
    contrast, where = page.evaluate(LEAST_CONTRAST)
    assert contrast >= 4.5, where
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    box = page.get_by_role("region", name="Generations of students")
    assert box.evaluate("box => box.scrollWidth > box.clientWidth")
    page.close()
