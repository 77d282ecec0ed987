"""Text for a terminal: escaped names, their width, tables and lines that fit."""

import click
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from pipeline.inspection import terminal
from pipeline.inspection.terminal import Parts


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        ("cat", "cat"),
        ("sea lion", "sea lion"),
        ("猫 café 🐈", "猫 café 🐈"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp", "\\u202egnp"),
        ("\u2028", "\\u2028"),
        ("\ud800", "\\ud800"),
        ("", "''"),
    ],
)
def test_control_characters_of_a_name_are_escaped(name: str, printed: str) -> None:
    assert terminal.escaped(name) == printed


@given(st.text(st.characters()))
def test_every_name_is_printable_and_can_be_written(name: str) -> None:
    assert terminal.escaped(name).isprintable()
    terminal.escaped(name).encode()


@pytest.mark.parametrize(
    ("text", "truncated"),
    [("abcde", "abcde"), ("abcdef", "abcd…"), ("猫と犬", "猫と…"), ("a猫犬", "a猫犬")],
)
def test_a_truncated_text_ends_with_an_ellipsis(text: str, truncated: str) -> None:
    assert terminal.truncated(text, 5) == truncated


def lines_of(parts: Parts, cells: int = 40) -> list[str]:
    return click.unstyle(terminal.rendered(parts, cells)).splitlines()


def test_the_columns_of_a_table_align_with_any_names() -> None:
    rows: terminal.Rows = [["猫と犬", "1", "0.5"], ["cafe\u0301", "1,000", "-"]]
    lines = lines_of([terminal.table(["class", "added", "mean"], rows)])
    assert lines == [
        "class   added  mean",
        "猫と犬      1   0.5",
        "cafe\u0301    1,000     -",
    ]
    assert len({cell_len(line) for line in lines}) == 1


def test_a_table_that_is_too_wide_truncates_names_but_not_numbers() -> None:
    rows: terminal.Rows = [[terminal.one_line("n" * 30), "1" * 8, "2" * 8]]
    assert lines_of([terminal.table(["class", "a", "b"], rows)])[1] == (
        f"{'n' * 19}…  {'1' * 8}  {'2' * 8}"
    )
    assert lines_of([terminal.table(["class", "a", "b"], rows)], 10)[1] == (
        f"{'n' * 7}…  {'1' * 8}  {'2' * 8}"
    )


@pytest.mark.parametrize("term", ["dumb", "xterm", ""])
def test_a_line_has_the_given_length_on_every_terminal(
    term: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    assert len(lines_of([" ".join(["word"] * 30)], 120)[0]) == 119


@pytest.mark.parametrize("name", ["[red]cat[/red]", "[/]", ":cat:", "[link=x]y[/link]", "\\[b]"])
def test_a_name_is_never_read_as_markup(name: str) -> None:
    rows: terminal.Rows = [[name, terminal.one_line(name)]]
    parts: Parts = [
        name, terminal.table([name, "b"], rows), terminal.grid(rows),
        terminal.facts([(name, name)]), terminal.titled(name, name),
    ]  # fmt: skip
    assert terminal.rendered(parts, 80).count(name) == 10


def test_a_blank_line_separates_parts_and_no_line_ends_with_blanks() -> None:
    rows: terminal.Rows = [["a", Text("right", "right")], ["b", Text("wrong, wrong", "wrong")]]
    assert lines_of(["one", terminal.table(["name", "what"], rows, n_texts=2), "two"]) == [
        "one", "", "name  what", "a     right", "b     wrong, wrong", "", "two",
    ]  # fmt: skip


def test_right_and_wrong_have_colours_unless_no_color_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("NO_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    parts: Parts = [terminal.grid([["a", Text("right", "right"), Text("wrong", "wrong")]])]
    assert terminal.rendered(parts, 40) == "a  \x1b[32mright\x1b[0m  \x1b[31mwrong\x1b[0m\n"
    monkeypatch.setenv("NO_COLOR", "1")
    assert terminal.rendered(parts, 40) == "a  right  wrong\n"


def test_facts_are_wrapped_in_their_column() -> None:
    pairs = [("file", "a.parquet"), ("images", "one two three four five six seven")]
    assert lines_of([terminal.facts(pairs)]) == [
        "file    a.parquet",
        "images  one two three four five six",
        "        seven",
    ]
    path = "/a/path/that/is/longer/than/a/line.parquet"
    lines = lines_of([terminal.facts([("file", path)])], 30)
    assert "".join(line.removeprefix("file").strip() for line in lines) == path


@given(st.lists(st.integers(0, 50), min_size=1, max_size=4), st.integers(0, 100))
@example([1, 1, 1], 78)  # less than half a cell each
def test_a_bar_is_as_long_as_its_share_and_shows_every_group(counts: list[int], more: int) -> None:
    signs = "abcd"[: len(counts)]
    longest = max(sum(counts) + more, 1)
    bar = terminal.stacked_bar(list(zip(signs, counts, strict=True)), longest, 40)
    assert bar == "".join(sorted(bar))
    assert set(bar) == {sign for sign, count in zip(signs, counts, strict=True) if count}
    expected = round(sum(counts) * min(40, longest) / longest)
    assert expected <= len(bar) <= min(expected + len(counts), sum(counts))
    if longest <= 40:
        assert [bar.count(sign) for sign in signs] == counts
