"""The pages: every loss has its place, every link leads somewhere."""

import re
from pathlib import Path

import pytest

from pipeline.losses.catalogue import LOSSES
from tests.conftest import ROOT
from tests.test_losses import PAPERS

LOSSES_PAGE = ROOT / "docs" / "losses.md"
PAGES = [ROOT / "README.md", ROOT / "presets" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def links(text: str) -> list[str]:
    """The targets of Markdown's links and pictures, code blocks left out."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)\s]+)\)", text)


def headings(text: str) -> set[str]:
    """The anchors that GitHub gives to headings of simple words."""
    lines = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("name", PAPERS)
def test_every_loss_has_its_row_and_its_section(name: str) -> None:
    page = LOSSES_PAGE.read_text(encoding="utf-8")
    assert f"\n### {name}\n" in page
    assert f"\n| [{name}](#{name}) | " in page


def test_the_page_of_losses_names_none_that_is_not_there() -> None:
    page = LOSSES_PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"^### (\w+)$", page, flags=re.MULTILINE)) <= set(LOSSES)


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for link in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        if anchor and target.suffix == ".md":
            assert anchor in headings(target.read_text(encoding="utf-8")), link
