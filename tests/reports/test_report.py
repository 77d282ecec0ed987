"""The report page: all metrics are on it, it needs no network, and names are never HTML."""

import re
from dataclasses import replace

import pytest

from pipeline.evaluation.evaluate import Metrics
from pipeline.reports import pages, run_report
from pipeline.reports.run_report import FIGURES
from tests.builders.evaluations import HOSTILE, evaluation
from tests.checks.pages import check_policy, read

ONE: dict[str, list[object]] = {"generation": [1], "mAP": [90.0]}
FACTS: dict[str, list[object]] = {"": ["data"], "value": ["digits, 10 classes"]}


def test_every_number_is_on_the_page() -> None:
    cells = read(run_report.page(evaluation(), ONE, FACTS)).cells
    at = cells.index("mAP on test (%)")
    assert cells[at : at + 8] == [
        "mAP on test (%)", "87.65", "88.00", "+0.35",
        "its 95 % interval", "85.00 to 90.12", "86.00 to 91.00", "−0.50 to +1.20",
    ]  # fmt: skip
    for name, value in (("classes with a test positive", "20"), ("new_metric", "0.2500")):
        assert cells[cells.index(name) + 1] == value
    assert cells[cells.index("F1") : cells.index("F1") + 4] == ["F1", "0.5000", "–", "–"]
    assert cells[cells.index("data") + 1] == "digits, 10 classes"
    assert cells.count("71.23") == len(HOSTILE) - 1


def test_names_are_shown_as_text_and_never_as_html() -> None:
    page = run_report.page(evaluation(), ONE, FACTS)
    assert set(HOSTILE) <= set(read(page).cells)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_an_unknown_value_is_a_dash() -> None:
    cells = read(run_report.page(evaluation(), ONE, FACTS)).cells
    assert cells[cells.index("precision: share of the added labels that are right") + 1] == "–"
    assert cells[cells.index(HOSTILE[0]) + 2] == "–"
    assert "None" not in cells


def test_the_page_needs_no_network() -> None:
    page = run_report.page(evaluation(("cat", "dog")), ONE, FACTS)
    reader = read(page)
    assert "http:" not in page
    assert "https:" not in page
    # A digest in the policy may hold any two characters of base64.
    assert "//" not in re.sub(r"'sha256-[^']*'", "", page)
    assert "url(" not in page
    assert {tag for tag, _ in reader.tags}.isdisjoint({"link", "script", "iframe", "base"})
    shown = [attrs for tag, attrs in reader.tags if tag == "img"]
    assert [attrs["src"] for attrs in shown] == list(FIGURES)
    assert all(attrs["alt"] for attrs in shown)


def test_the_policy_allows_only_images_beside_the_page() -> None:
    check_policy(run_report.page(evaluation(), ONE, FACTS))


def test_the_page_names_its_encoding_before_any_other_text() -> None:
    page = run_report.page(evaluation(), ONE, FACTS)
    assert page.startswith("<!doctype html>")
    assert 0 < page.index('<meta charset="utf-8">') < page.index("élan")


def test_a_note_names_unknown_truth() -> None:
    known = run_report.page(evaluation(), ONE, FACTS)
    assert "compare the added labels with the complete labels" in known
    assert "<strong>" not in known
    metrics: Metrics = {"teacher.mAP": 87.6}
    unknown = replace(evaluation(), metrics=metrics, note="The truth is unknown & so on.")
    page = run_report.page(unknown, ONE, FACTS)
    assert "<strong>The truth is unknown &amp; so on.</strong>" in page
    assert "compare the added labels" not in page


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "–"), (0.0, "0.0000"), (0.12345678, "0.1235"), (-0.1, "-0.1000"), (37.0, "37.00"),
        (100.0, "100.0"), (3, "3"), (12345, "12345"), ("x", "x"),
    ],
    ids=str,
)  # fmt: skip
def test_a_cell_has_four_digits(value: object, shown: str) -> None:
    assert pages.cell(value) == shown


def test_several_generations_are_shown_in_a_table() -> None:
    assert "Generations" not in run_report.page(evaluation(), ONE, FACTS)
    two: dict[str, list[object]] = {"generation": [1, 2], "mAP": [90.0, 91.25], "recall": [1, None]}
    page = run_report.page(evaluation(), two, FACTS)
    assert "Generations of students" in page
    cells = read(page).cells
    at = cells.index("generation")
    assert cells[at : at + 9] == [
        "generation",
        "mAP on test",
        "recall",
        "1",
        "90.00",
        "1",
        "2",
        "91.25",
        "–",
    ]


def test_findings_come_before_the_numbers_and_names_in_them_are_no_html() -> None:
    told = replace(evaluation(), findings=("Val prefers <b>it</b>.",), note="Unknown.")
    page = run_report.page(told, ONE, FACTS)
    at = [page.index(text) for text in ("&lt;b&gt;it&lt;/b&gt;", "Unknown.", "87.65")]
    assert at == sorted(at)
    assert run_report.told(told) == ["Val prefers <b>it</b>.", "Unknown."]
