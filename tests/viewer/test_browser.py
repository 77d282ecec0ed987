"""The page of labels in a real browser, by mouse and keyboard; its numbers compared with pandas."""

import json
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from playwright.sync_api import Browser, Page, expect
from pydantic import ValidationError

from pipeline.artifacts import tables
from pipeline.artifacts.tables import Index, PseudoLabels
from pipeline.evaluation.kinds import Kind, kinds_of
from pipeline.pseudo_labels import corrections
from pipeline.pseudo_labels.order import order_of
from pipeline.pseudo_labels.rules import pseudo_labels
from tests.builders.label_page import (
    COMBINATIONS,
    HOSTILE,
    N_TRAIN,
    change_rule,
    make_data,
    rule_of,
    run,
    taus_to_try,
    with_files,
)
from tests.checks.contrast import LEAST_CONTRAST

pytestmark = pytest.mark.slow

CLASSES = ("cat", "dog", "cow")
COUNTS = ["observed", "added", "positives", "right", "wrong", "missed"]
# The name on the page of each kind of entry.
STATE_OF = {
    Kind.OBSERVED: "observed", Kind.DROPPED: "dropped", Kind.AGAINST: "against",
    Kind.RULED_OUT: "negative", Kind.TRUE_POSITIVE: "right", Kind.FALSE_POSITIVE: "wrong",
    Kind.UNKNOWN_POSITIVE: "added", Kind.IGNORED: "ignored", Kind.FALSE_NEGATIVE: "missed",
    Kind.TRUE_NEGATIVE: "none", Kind.UNKNOWN_NEGATIVE: "none",
    Kind.CORRECTED_POSITIVE: "corrected", Kind.CORRECTED_NEGATIVE: "denied",
}  # fmt: skip
Numbers = dict[str, dict[str, float | None]]


class Opened:
    """An open page of labels, with its console messages, errors, dialogs and requests."""

    def __init__(self, browser: Browser, **kwargs: Any) -> None:
        self.page: Page = browser.new_page(**kwargs)
        self.events: list[str] = []
        self.page.on("console", lambda message: self.events.append(f"console: {message.text}"))
        self.page.on("pageerror", lambda error: self.events.append(f"error: {error}"))
        self.page.on("dialog", lambda dialog: (self.events.append("alert"), dialog.dismiss()))
        self.page.on("requestfailed", lambda request: self.events.append(f"failed: {request.url}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.requests: list[str] = []

    def open(self, index: Path) -> Page:
        """Open the page and wait until it has drawn itself."""
        self.page.goto(index.resolve().as_uri())
        expect(self.page.locator(".card").first).to_be_visible()
        return self.page


@pytest.fixture
def opened(browser: Browser) -> Iterator[Opened]:
    """A window of 1,500 by 800 pixels; checks at the end for errors and network requests."""
    opened = Opened(browser, viewport={"width": 1500, "height": 800})
    yield opened
    opened.page.close()
    assert opened.events == []
    assert opened.requests
    assert all(url.startswith("file:///") for url in opened.requests)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


INDEX = Path("reports/labels/index.html")


# --- expected numbers, by pandas ---------------------------------------------------------


def entries(frame: pd.DataFrame, column: str) -> set[tuple[str, int]]:
    """All (image_id, class number) of a column of lists."""
    long = frame[["image_id", column]].explode(column).dropna()
    return set(zip(long["image_id"], long[column].astype(int), strict=True))


def judged(data: Path, file: Path) -> dict[str, set[tuple[str, int]]]:
    """The entries of each kind, from the Parquet files alone."""
    index = pd.read_parquet(data / "index.parquet")
    index = index[index["split"] == "train"]
    pseudo = pd.read_parquet(file)
    truth = pd.read_parquet(data / "truth.parquet")
    known = set(truth["image_id"])
    observed = entries(index, "observed")
    unobserved = {
        (name, c) for name in pseudo["image_id"] for c in range(len(CLASSES))
    } - observed - entries(index, "observed_negatives")  # fmt: skip
    labels, true = entries(pseudo, "labels"), entries(truth, "labels")
    ignored = entries(pseudo, "ignored") if "ignored" in pseudo else set()
    for name, weights in zip(pseudo["image_id"], pseudo.get("weights", ()), strict=False):
        ignored |= {(name, c) for c in np.flatnonzero(weights == 0).tolist()}
    return {
        "observed": observed,
        "added": labels - observed,
        "positives": labels,
        "right": labels & unobserved & true,
        "wrong": {entry for entry in labels & unobserved if entry[0] in known} - true,
        "missed": (true & unobserved) - labels - ignored,
        "ignored": (ignored & unobserved) - labels,
        "hidden": true & unobserved,
    }


def numbers(kinds: dict[str, set[tuple[str, int]]]) -> Numbers:
    """The expected table of the page."""
    of_class = {kind: Counter(c for _, c in found) for kind, found in kinds.items()}
    table: Numbers = {}
    for row, name in enumerate(("all classes", *CLASSES), start=-1):
        counts = {
            kind: len(kinds[kind]) if row < 0 else of_class[kind][row]
            for kind in [*COUNTS, "ignored", "hidden"]
        }
        right, hidden = counts["right"], counts.pop("hidden")
        added = right + counts["wrong"]
        precision, recall = right / added if added else None, right / hidden if hidden else None
        table[name] = {**counts, "precision": precision, "recall": recall}
    return table


def at_tau(data: Path, tau: float, keep_observed: bool = True, **rule: Any) -> Path:
    """Write the pseudo-labels that the pipeline makes at a tau."""
    index, scores = (
        tables.read_index(data / "index.parquet"),
        tables.read_scores(data / "scores.parquet"),
    )
    val_scores = tables.read_scores(data / "val_scores.parquet")
    made = pseudo_labels(rule_of(tau, keep_observed, **rule), index, scores, val_scores)
    path = data.parent / f"tau-{tau}.parquet"
    tables.write_pseudo_labels(path, made, index.classes)
    return path


# --- content of the page -----------------------------------------------------------------


def table_of(page: Page) -> Numbers:
    rows = page.locator("#table").evaluate(
        "t => [...t.rows].map(r => [...r.cells].map(c => c.dataset.by ?? c.textContent))"
    )
    heads = rows[0][1:]
    return {
        name: {
            head: None if text == "–" else float(text.replace(",", ""))
            for head, text in zip(heads, cells, strict=True)
        }
        for name, *cells in rows[1:]
    }


def assert_same(shown: Numbers, expected: Numbers) -> None:
    assert list(shown) == list(expected)
    for name, of_class in expected.items():
        wanted = {column: of_class[column] for column in shown[name]}
        assert shown[name] == pytest.approx(wanted, abs=5.01e-4), name
        assert list(wanted) == [column for column in of_class if column in wanted]
        assert of_class["ignored"] == 0 or "ignored" in wanted


def ids_shown(page: Page) -> list[str]:
    """The image_ids of the cards in view, in their order."""
    return page.locator(".card .id").all_inner_texts()


def n_found(page: Page) -> int:
    page.evaluate("() => new Promise(requestAnimationFrame)")  # the change is drawn
    return int(page.locator("#found").inner_text().split()[0].replace(",", ""))


def set_tau(page: Page, tau: float) -> None:
    page.locator("#tau_number").fill(str(tau))
    n_found(page)


# --- numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("keep_observed", "n_known"), [(True, 40), (False, 40), (True, 25)])
def test_the_numbers_are_those_of_the_files_at_every_tau(
    here: Path, opened: Opened, keep_observed: bool, n_known: int
) -> None:
    data = make_data(here, negatives=True, keep_observed=keep_observed, n_known=n_known)
    run()
    page = opened.open(INDEX)
    in_file = numbers(judged(data, data / "pseudo_labels.parquet"))
    assert_same(table_of(page), in_file)
    score = float(np.sort(tables.read_scores(data / "scores.parquet").probs[:, 1])[20])
    for tau in (0.15, 0.77, score):  # the last is a score itself, which is not above tau
        set_tau(page, tau)
        file = at_tau(data, tau, keep_observed)
        assert_same(table_of(page), numbers(judged(data, file)))
        positives = pd.read_parquet(file)["labels"].str.len().mean()
        per_image = page.locator("#stats dd").first.inner_text()
        assert float(per_image) == pytest.approx(positives, abs=5.01e-3)
        assert f"Labels at tau {tau}" in page.locator("#mode").inner_text()
    page.get_by_role("button", name="Back to the file’s labels").click()
    n_found(page)
    assert_same(table_of(page), in_file)
    assert page.locator("#mode").inner_text() == "Labels in the file, tau 0.4."


def test_the_slider_moves_by_keys_and_follows_the_number(here: Path, opened: Opened) -> None:
    data = make_data(here)
    run()
    page = opened.open(INDEX)
    page.locator("#tau").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("]")
    page.keyboard.press("]")
    n_found(page)
    assert page.locator("#tau_number").input_value() == "0.51"
    assert_same(table_of(page), numbers(judged(data, at_tau(data, 0.51))))
    set_tau(page, 0.125)
    assert page.locator("#tau").input_value() == "0.13"  # the slider has steps, tau has none
    page.locator("#tau_number").fill("7")
    page.locator("#tau_number").press("Tab")
    assert page.locator("#tau_number").input_value() == "0.125"


@pytest.mark.parametrize("keep_observed", [True, False])
def test_the_entries_in_a_band_are_neither_missed_nor_found(
    here: Path, opened: Opened, keep_observed: bool
) -> None:
    band: dict[str, Any] = {"rule": "band", "width": 0.3, "keep_observed": keep_observed}
    data = make_data(here, negatives=True, **band)
    run()
    page = opened.open(INDEX)
    in_file = judged(data, data / "pseudo_labels.parquet")
    assert in_file["hidden"] > in_file["right"] | in_file["missed"]
    assert_same(table_of(page), numbers(in_file))
    assert page.locator("#mode").inner_text() == "Labels in the file, tau 0.4."
    for tau in (0.45, 0.7):  # the band moves with tau
        set_tau(page, tau)
        assert_same(table_of(page), numbers(judged(data, at_tau(data, tau, **band))))
    page.locator("#kinds .ignored input").check()
    n_found(page)
    assert page.locator(".chip.ignored.match").count() > 0
    assert page.locator(".chip.match:not(.ignored)").count() == 0


@pytest.mark.parametrize(
    "rule", COMBINATIONS, ids=lambda rule: f"{rule['rule']}-{rule['calibrate']}"
)
def test_at_every_tau_the_page_has_the_labels_that_pseudo_label_writes(
    here: Path, opened: Opened, rule: dict[str, Any]
) -> None:
    data = make_data(here, negatives=True, n_val=30, **rule)
    run()
    page = opened.open(INDEX)
    index = tables.read_index(data / "index.parquet")
    in_file = tables.read_pseudo_labels(data / "pseudo_labels.parquet")
    assert np.array_equal(kinds_on(page), kinds_in(in_file, index))
    scores = np.array(page.evaluate("[...scores]"), np.float32)
    for tau in taus_to_try(scores, rule_of(0.4, **rule)):
        set_tau(page, tau)
        path = at_tau(data, tau, **rule)
        assert np.array_equal(kinds_on(page), kinds_in(tables.read_pseudo_labels(path), index)), tau
        assert_same(table_of(page), numbers(judged(data, path)))
        assert f"Labels at tau {tau}" in page.locator("#mode").inner_text()
    page.get_by_role("button", name="Back to the file’s labels").click()
    n_found(page)
    assert page.locator("#tau_number").input_value() == "0.4"
    assert np.array_equal(kinds_on(page), kinds_in(in_file, index))


def kinds_on(page: Page) -> np.ndarray:
    """Return the state of every entry on the page, as a name of labels.js."""
    names = page.evaluate("[...states].map(state => STATES[state].id)")
    return np.array(names).reshape(N_TRAIN, -1)


def kinds_in(pseudo: PseudoLabels, index: Index) -> np.ndarray:
    """Return the same from a file of labels."""
    truth = tables.read_truth(INDEX.parents[2] / "data/truth.parquet").labels
    targets = index.targets[index.rows("train")]
    kinds = kinds_of(pseudo.labels, targets, pseudo.ignored, truth)
    return np.array([STATE_OF[Kind(kind)] for kind in kinds.ravel()]).reshape(kinds.shape)


def test_a_tau_that_pseudo_label_would_refuse_is_refused(here: Path, opened: Opened) -> None:
    data = make_data(here, rule="band", width=0.25)
    run()
    page = opened.open(INDEX)
    for refused in ("0.25", "1", "-1"):
        page.locator("#tau_number").fill(refused)
        assert page.locator("#mode").inner_text() == "tau should be above 0.25, and below 1."
        with pytest.raises(ValidationError):
            rule_of(float(refused), rule="band", width=0.25)
    page.locator("#tau_number").press("Tab")
    assert page.locator("#tau_number").input_value() == "0.4"
    for key, end in (("Home", 0.26), ("End", 0.99)):
        page.locator("#tau").focus()
        page.keyboard.press(key)
        n_found(page)
        assert float(page.locator("#tau_number").input_value()) == end
        expected = numbers(judged(data, at_tau(data, end, rule="band", width=0.25)))
        assert_same(table_of(page), expected)


def test_the_slider_is_off_where_the_rule_cannot_be_applied(here: Path, opened: Opened) -> None:
    data = make_data(here)
    shutil.copy(at_tau(data, 0.6), data / "pseudo_labels.parquet")
    change_rule(data / "pseudo_labels.parquet", {b"spml.rule": b"quota"})
    run()
    page = opened.open(INDEX)
    assert_same(table_of(page), numbers(judged(data, data / "pseudo_labels.parquet")))
    expect(page.locator("#notes")).to_contain_text("tau cannot be moved")
    expect(page.locator("#notes")).to_contain_text("'quota'")
    assert page.locator("#tau_number").input_value() == "0.6"
    expect(page.locator("#tau_number")).to_be_disabled()
    expect(page.locator("#tau")).to_be_disabled()
    page.keyboard.press("[")
    n_found(page)
    assert_same(table_of(page), numbers(judged(data, data / "pseudo_labels.parquet")))
    assert "tau is fixed" in page.locator("#mode").inner_text()


def test_without_truth_the_page_shows_no_right_or_wrong(here: Path, opened: Opened) -> None:
    (make_data(here) / "truth.parquet").unlink()
    run()
    page = opened.open(INDEX)
    expect(page.locator("#notes")).to_contain_text("truth of these images is unknown")
    assert list(table_of(page)["cat"]) == ["observed", "added", "positives"]
    kinds = [text.split("\n")[-2] for text in page.locator("#kinds label").all_inner_texts()]
    assert kinds == ["any", "observed", "added", "truth unknown", "not a label"]
    assert page.locator(".chip.added").count() > 0
    assert page.locator(".chip.right, .chip.wrong, .chip.missed").count() == 0


# --- filters -----------------------------------------------------------------------------


def test_filters_find_the_images_that_pandas_finds(here: Path, opened: Opened) -> None:
    data = make_data(here)
    run()
    kinds = judged(data, data / "pseudo_labels.parquet")
    frame = pd.read_parquet(data / "scores.parquet")
    probs = {
        (name, c): score
        for name, row in zip(frame["image_id"], frame["probs"], strict=True)
        for c, score in enumerate(row)
    }
    page = opened.open(INDEX)
    assert n_found(page) == N_TRAIN
    for kind in ("observed", "added", "right", "wrong", "missed"):
        page.locator(f"#kinds label.{kind}").click()
        assert n_found(page) == len({name for name, _ in kinds[kind]})
        for c, name in enumerate(CLASSES):
            page.locator("#class").select_option(label=name)
            assert n_found(page) == sum(column == c for _, column in kinds[kind])
        page.locator("#class").select_option("-1")

    page.locator("#kinds label.added").click()
    page.locator("#class").select_option(label="dog")
    page.locator("#low").fill("0.5")
    page.locator("#high").fill("0.8")
    page.locator("#sort").select_option("falling")
    wanted = [name for name, c in kinds["added"] if c == 1 and 0.5 <= probs[name, 1] <= 0.8]
    wanted.sort(key=lambda name: -probs[name, 1])
    assert n_found(page) == len(wanted)
    assert ids_shown(page) == wanted
    chip = page.locator(".card").first.locator(".chip.match")
    is_right = (wanted[0], 1) in kinds["right"]
    assert chip.locator("b").inner_text() == ("+" if is_right else "×")
    assert chip.locator(".spoken").text_content() == f"added, {'right' if is_right else 'wrong'}: "
    assert chip.locator(".name").inner_text() == "dog"
    page.locator("#sort").select_option("rising")
    n_found(page)
    assert ids_shown(page) == wanted[::-1]
    page.locator("#search").fill(wanted[0][-2:])
    assert n_found(page) == 1
    page.locator("#clear").click()
    assert n_found(page) == N_TRAIN
    assert page.locator("#class").input_value() == "-1"


def test_a_search_without_a_match_shows_a_message(here: Path, opened: Opened) -> None:
    make_data(here)
    run()
    page = opened.open(INDEX)
    page.keyboard.press("/")
    page.keyboard.type("P00[?")  # the page's keys are off in a text field
    expect(page.locator("#none")).to_be_visible()
    assert page.locator("#search").input_value() == "P00[?"
    page.locator("#search").fill("P00")
    assert n_found(page) == 9
    page.keyboard.press("Enter")
    expect(page.locator(".card").first).to_be_focused()


def test_the_table_sorts_and_filters(here: Path, opened: Opened) -> None:
    data = make_data(here)
    run()
    expected = numbers(judged(data, data / "pseudo_labels.parquet"))
    page = opened.open(INDEX)
    heading = page.locator("#table thead button", has_text="added")
    heading.focus()
    page.keyboard.press("Enter")
    falling = sorted(CLASSES, key=lambda name: -(expected[name]["added"] or 0))
    assert list(table_of(page)) == ["all classes", *falling]
    page.keyboard.press("Enter")
    rising = sorted(CLASSES, key=lambda name: expected[name]["added"] or 0)
    assert list(table_of(page)) == ["all classes", *rising]
    assert page.locator('th[aria-sort="ascending"]').inner_text().startswith("added")
    page.locator("#table tbody button", has_text="cow").press("Enter")
    assert n_found(page) == len(
        {name for kind in ("positives", "missed")
         for name, c in judged(data, data / "pseudo_labels.parquet")[kind] if c == 2}
    )  # fmt: skip
    assert page.locator("#class").input_value() == "2"
    page.locator("#table tbody button", has_text="all classes").click()
    assert n_found(page) == N_TRAIN


# --- keyboard ----------------------------------------------------------------------------


def test_the_keyboard_goes_from_card_to_card_and_into_the_dialog(
    here: Path, opened: Opened
) -> None:
    data = make_data(here)
    run()
    page = opened.open(INDEX)
    ids = tables.read_scores(data / "scores.parquet").image_ids
    focused = page.locator(".card:focus .id")
    columns = int(page.evaluate("shape.columns"))
    assert columns >= 2
    page.keyboard.press("g")
    for key, row in [
        ("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns), ("ArrowUp", 0),
        ("ArrowUp", 0), ("End", N_TRAIN - 1), ("ArrowRight", N_TRAIN - 1), ("Home", 0),
    ]:  # fmt: skip
        page.keyboard.press(key)
        assert focused.inner_text() == ids[row], key
    page.keyboard.press("Enter")
    dialog = page.locator("#image")
    expect(dialog).to_be_visible()
    page.keyboard.press("ArrowRight")
    assert dialog.locator("h2").inner_text() == ids[1]
    probs = tables.read_scores(data / "scores.parquet").probs[1]
    names = dialog.locator("tbody .name").all_inner_texts()
    assert names == [CLASSES[c] for c in np.argsort(-probs)]
    shown = [float(text) for text in dialog.locator("tbody .score").all_inner_texts()]
    assert shown == pytest.approx(np.sort(probs)[::-1].tolist(), abs=5.01e-5)
    page.keyboard.press("]")
    n_found(page)
    labelled = judged(data, at_tau(data, 0.45))["positives"]
    signs = dialog.locator("tbody .sign").all_inner_texts()
    for name, sign in zip(names, signs, strict=True):
        assert (sign in ("●", "+", "×")) == ((ids[1], CLASSES.index(name)) in labelled)
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(focused).to_have_text(ids[1])


def test_tab_goes_through_the_controls_to_one_card_in_view(here: Path, opened: Opened) -> None:
    make_data(here)
    run()
    page = opened.open(INDEX)
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    expect(page.locator(".card").first).to_have_attribute("data-image", re.compile("^[1-9]"))
    assert page.locator('.card[tabindex="0"]').count() == 1  # also where the first is far away
    order: list[str] = []
    for _ in range(40):
        page.keyboard.press("Tab")
        at = page.evaluate("document.activeElement.id || document.activeElement.className")
        order.append(at)
        if at == "card":
            break
    wanted = ["tau", "tau_number", "class", "low", "high", "search", "sort", "card"]
    assert [name for name in order if name in wanted] == wanted
    assert page.locator('.card[tabindex="0"]').count() == 1
    box = page.locator(".card:focus").bounding_box()
    assert box is not None
    assert 0 <= box["y"] <= 800
    width = page.locator(".card:focus").evaluate("e => getComputedStyle(e).outlineWidth")
    assert width == "3px"


def test_the_help_opens_and_closes_by_keys(here: Path, opened: Opened) -> None:
    make_data(here)
    run()
    page = opened.open(INDEX)
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()


# --- names, sizes, colours ---------------------------------------------------------------


def test_hostile_names_are_shown_as_text(here: Path, opened: Opened) -> None:
    data = make_data(here, classes=HOSTILE, image_ids=HOSTILE, tau=0.1)
    run()
    page = opened.open(INDEX)
    assert page.locator("#table tbody .name").all_text_contents() == ["all classes", *HOSTILE]
    assert page.locator("#class option").all_text_contents()[1:] == list(HOSTILE)
    first = tables.read_scores(data / "scores.parquet").image_ids[0]
    assert page.locator(".card .id").first.get_attribute("title") == first
    ids = page.locator(".card .id").all_text_contents()
    assert "<scri…lert(1)</script>" in ids
    chips = page.locator(".chip .name").all_text_contents()
    assert chips
    assert set(chips) <= set(HOSTILE)
    page.keyboard.press("g")
    page.keyboard.press("Enter")
    assert page.locator("#image h2").text_content() == first
    assert sorted(page.locator("#image .name").all_text_contents()) == sorted(HOSTILE)
    assert page.locator("body img[onerror]").count() == 0
    assert page.locator("script").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1600])
def test_text_is_readable_and_nothing_sticks_out(
    here: Path, browser: Browser, scheme: Any, width: int
) -> None:
    make_data(here, classes=HOSTILE, negatives=True, n_known=25)
    run()
    opened = Opened(browser, viewport={"width": width, "height": 740}, color_scheme=scheme)
    page = opened.open(INDEX)
    for name in ("filters", "classes"):
        page.locator(f"#{name}").evaluate("details => { details.open = true; }")
    for state in ("page", "dialog"):
        if state == "dialog":
            page.keyboard.press("g")
            page.keyboard.press("Enter")
        contrast, where = page.evaluate(LEAST_CONTRAST)
        assert contrast >= 4.5, (state, where)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert opened.events == []
    page.close()


def test_cards_are_made_as_one_scrolls(here: Path, opened: Opened) -> None:
    make_data(here)
    run()
    page = opened.open(INDEX)
    n_cards = page.locator(".card").count()
    assert n_cards < N_TRAIN
    first = ids_shown(page)[0]
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    last = tables.read_scores(here / "data/scores.parquet").image_ids[-1]
    expect(page.locator(".card .id", has_text=last)).to_be_visible()
    assert first not in ids_shown(page)
    assert page.locator(".card").count() <= n_cards + 2 * page.evaluate("shape.columns")
    images = page.locator(".card img").all()
    assert images
    for image in images:  # waits for the lazy loading
        expect(image).to_have_js_property("naturalWidth", 12)
    assert page.locator(".card img").first.evaluate("i => getComputedStyle(i).imageRendering") == (
        "pixelated"
    )


def test_without_thumbnails_the_images_come_from_their_files(
    here: Path, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make_data(here)
    with_files(data, here / "photos", "a #1%?.png", size=(90, 60))
    monkeypatch.setenv("SPML_DATA_ROOT", "photos")
    run("--no-thumbnails")
    page = opened.open(INDEX)
    images = page.locator(".card img").all()
    assert images
    for image in images:
        expect(image).to_have_js_property("naturalWidth", 90)
    assert len(opened.requests) <= 1 + len(images), "only those in view are loaded"


def test_calibrated_scores_stand_beside_the_teacher_s(here: Path, opened: Opened) -> None:
    data = make_data(here, n_val=30, rule="band", calibrate="prior")
    run()
    page = opened.open(INDEX)
    page.keyboard.press("g")
    page.keyboard.press("Enter")
    rows = page.locator("#image tbody tr").evaluate_all(
        "rows => rows.map(r => [1, 3, 4].map(c => r.cells[c].textContent))"
    )
    probs = tables.read_scores(data / "scores.parquet").probs[0]
    teacher = {name: float(score) for name, _, score in rows}
    assert teacher == pytest.approx(dict(zip(CLASSES, probs.tolist(), strict=True)), abs=5.01e-5)
    calibrated = [float(score) for _, score, _ in rows]
    assert calibrated == sorted(calibrated, reverse=True)
    assert page.locator("#image tbody tr").first.locator(".mark").count() == 2  # tau, tau - width
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#calibration")).to_contain_text("calibrated by prior")
    expect(page.locator("#rule")).to_contain_text("width")


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_the_class_table_and_the_dialog_fit_the_window(
    here: Path, browser: Browser, width: int
) -> None:
    make_data(here, n_val=30, rule="band", calibrate="prior")
    run()
    page = Opened(browser, viewport={"width": width, "height": 800}).open(INDEX)
    page.locator("#classes").evaluate("details => { details.open = true; }")
    page.keyboard.press("g")
    page.keyboard.press("Enter")
    for name in (".scroll", "#image .all"):
        hidden = page.locator(name).evaluate("e => e.scrollWidth - e.clientWidth")
        assert hidden <= 0, name
    page.close()


def test_the_card_with_the_focus_stays_and_cards_are_read_in_order(
    here: Path, opened: Opened
) -> None:
    make_data(here)
    run()
    page = opened.open(INDEX)
    page.keyboard.press("g")
    for key, scroll in (("End", 0), ("Home", 9999)):
        page.keyboard.press(key)
        focused = page.locator(".card:focus").get_attribute("data-image")
        page.evaluate(f"scrollTo(0, {scroll})")
        page.wait_for_timeout(100)
        assert page.locator(".card:focus").get_attribute("data-image") == focused
        places = page.locator(".card").evaluate_all("all => all.map(card => card.ariaPosInSet)")
        assert len(places) > 6
        assert places == sorted(places, key=int)


def test_the_page_names_the_number_of_images_that_it_shows(here: Path, opened: Opened) -> None:
    make_data(here)
    run("--most", "5")
    page = opened.open(INDEX)
    assert "5 of 40 training images, evenly spaced" in page.locator("#about").inner_text()
    assert n_found(page) == 5
    block = json.loads(page.locator("#data").text_content() or "")
    assert len(block["image_ids"]) == 5


# --- marks -------------------------------------------------------------------------------


def saved(page: Page, path: Path) -> pd.DataFrame:
    with page.expect_download() as download:
        page.click("#save_marks")
    assert download.value.suggested_filename == "corrections.csv"
    shutil.copy(download.value.path(), path)
    return pd.read_csv(path, dtype=str, keep_default_na=False)


def test_marks_are_kept_saved_and_change_the_labels_as_marked(here: Path, opened: Opened) -> None:
    data = make_data(here, classes=("cat", "sea lion", 'a, "b"'), image_ids=("a,1", "p 2"))
    run()
    page = opened.open(INDEX)
    page.locator("#cards .card").nth(1).click()
    names = page.locator("#image tbody .name").all_text_contents()
    image_id = page.locator("#image_name").text_content()
    page.keyboard.press("Escape")
    page.locator("#cards .card").nth(1).click()
    for key, name in zip("ynu", names, strict=True):
        page.locator("#image tbody tr", has_text=name).focus()
        page.keyboard.press(key)
        expect(page.locator("#image tbody tr", has_text=name)).to_be_focused()
    expect(page.locator("#image [aria-pressed=true]")).to_have_count(3)
    # By touch, and taken back by a second touch.
    page.locator("#image button.after").click()
    button = page.locator("#image tbody tr").first.get_by_role("button").first
    button.click()
    expect(page.locator("#marked")).to_have_text("4 marked")
    page.locator("#image tbody tr").first.get_by_role("button").first.click()
    page.keyboard.press("Escape")
    expect(page.locator("#marked")).to_have_text("3 marked")

    page.reload()
    expect(page.locator("#marked")).to_have_text("3 marked")
    page.select_option("#marks", "marked")
    expect(page.locator("#found")).to_have_text(f"1 of {N_TRAIN} images match")
    page.select_option("#marks", "unmarked")
    expect(page.locator("#found")).to_have_text(f"{N_TRAIN - 1} of {N_TRAIN} images match")

    marks = saved(page, here / "marks.csv")
    assert marks["image_id"].tolist() == [image_id] * 3
    found = dict(zip(marks["class"], marks["label"], strict=True))
    assert found == dict(zip(names, ("present", "absent", "unknown"), strict=True))

    index = tables.read_index(data / "index.parquet")
    answers = corrections.read(here / "marks.csv", index)
    scores = tables.read_scores(data / "scores.parquet")
    made = pseudo_labels(rule_of(0.4), index, scores, answers=answers)
    row = made.image_ids.index(str(image_id))
    column = {name: index.classes.index(name) for name in names}
    assert made.labels[row, column[names[0]]]
    assert not made.labels[row, column[names[1]]]
    assert made.ignored[row, column[names[2]]]
    tables.write_pseudo_labels(data / "pseudo_labels.parquet", made, index.classes)

    # The page of the corrected labels starts without marks and shows the corrections at every tau.
    run()
    page = opened.open(INDEX)
    expect(page.locator("#marked")).to_have_text("0 marked, 3 corrected in the file")
    for tau in ("0.1", "0.9"):
        page.fill("#tau_number", tau)
        expect(page.locator("#kinds label.corrected .count")).to_have_text("3")
        page.locator("#cards .card").nth(made.image_ids.index(str(image_id))).click()
        chips = page.locator("#image tbody tr.corrected .name").all_text_contents()
        assert chips == [names[0]]
        page.keyboard.press("Escape")
    assert len(saved(page, here / "again.csv")) == 3, "earlier corrections are saved again"


def test_what_to_look_at_first_comes_first_with_its_class(here: Path, opened: Opened) -> None:
    data = make_data(here)
    run()
    page = opened.open(INDEX)
    page.select_option("#sort", "gain")
    index = tables.read_index(data / "index.parquet")
    scores = tables.read_scores(data / "scores.parquet")
    pseudo = tables.read_pseudo_labels(data / "pseudo_labels.parquet")
    order = order_of(index, scores, None, pseudo)
    expected = np.argsort(-order.gain.max(axis=1).astype(np.float32), kind="stable")
    for place, row in enumerate(expected[:3].tolist()):
        page.locator(f"#cards .card[aria-posinset='{place + 1}']").click()
        expect(page.locator("#image_name")).to_have_text(pseudo.image_ids[row])
        line = page.locator("#image tbody tr:focus .name")
        expect(line).to_have_text(index.classes[order.gain[row].argmax()])
        page.keyboard.press("Escape")
