"""Each figure is an image of a normal size for any class names."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest

from pipeline.artifacts.curves import Epoch, History
from pipeline.evaluation.kinds import Kind, kinds_of
from pipeline.figures import canvas, run
from tests.checks.drawings import HOSTILE, drawn, has_colour


def histories(n_epochs: int, kept: int = 1) -> dict[str, History]:
    rising = np.linspace(40, 80, n_epochs).tolist()
    numbers = range(1, n_epochs + 1)
    teacher = [
        Epoch(n, 81 - value, 0.1, 120 - value) for n, value in zip(numbers, rising, strict=True)
    ]
    student = [Epoch(n, 81 - value, 0.1, value) for n, value in zip(numbers, rising, strict=True)]
    return {"teacher": History(teacher, teacher[0]), "student": History(student, student[kept - 1])}


def aps(n_classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    return rng.uniform(0, 100, n_classes), rng.uniform(0, 100, n_classes)


def sheet(path: Path, n: int, classes: tuple[str, ...] = HOSTILE, size: int = 40) -> None:
    rng = np.random.RandomState(0)
    truth, labels = rng.rand(2, n, len(classes)) < 0.4
    observed = np.zeros((n, len(classes)), bool)
    observed[np.arange(n), rng.randint(len(classes), size=n)] = True
    images = rng.randint(0, 256, (n, size, size, 3)).astype(np.uint8)
    targets = observed.astype(np.int8)
    kinds = kinds_of(labels | observed, targets, truth=truth | observed)
    run.contact_sheet(path, images, classes, kinds)


def scores(n_classes: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    probs = rng.rand(200, n_classes).astype(np.float32)
    return probs, rng.rand(200, n_classes) < probs, rng.rand(200, n_classes) < 0.8


# --- curves ----------------------------------------------------------------------------


@pytest.mark.parametrize("n_epochs", [1, 60], ids=str)
def test_curves_show_both_models(n_epochs: int, tmp_path: Path) -> None:
    run.curves(tmp_path / "a.png", histories(n_epochs))
    pixels = drawn(tmp_path / "a.png")
    # To the right of the first of three plots, which has the marks of the best epochs.
    rest = pixels[: int(pixels.shape[0] * 0.8), pixels.shape[1] // 3 :]
    assert has_colour(rest, canvas.TEACHER)
    assert has_colour(rest, canvas.STUDENT)


def test_figures_show_the_student_alone_if_the_teacher_is_unknown(tmp_path: Path) -> None:
    run.curves(tmp_path / "curves.png", {"student": histories(3)["student"]})
    _, student = aps(50)
    unknown, classes = np.full(50, np.nan), tuple(f"c{number}" for number in range(50))
    run.average_precision_per_class(tmp_path / "aps.png", classes, unknown, student)
    for name in ("curves.png", "aps.png"):
        pixels = drawn(tmp_path / name)
        assert has_colour(pixels, canvas.STUDENT)
        assert not has_colour(pixels, canvas.TEACHER)


def test_the_epoch_of_the_checkpoint_is_marked_even_if_it_is_not_the_highest(
    tmp_path: Path,
) -> None:
    marked = []
    for kept in (1, 60):
        run.curves(tmp_path / "a.png", histories(60, kept))
        pixels = drawn(tmp_path / "a.png")
        left = pixels[: int(pixels.shape[0] * 0.8), : pixels.shape[1] // 3]
        rgb = np.array([int(canvas.STUDENT[i : i + 2], 16) for i in (1, 3, 5)])
        # The mark is a disc, which covers more rows than the rising line.
        high = (np.abs(left.astype(int) - rgb).max(axis=2) < 12).sum(axis=0)
        marked.append(int(high.argmax()))
    assert marked[0] < marked[1] - 200


# --- average precision -----------------------------------------------------------------


@pytest.mark.parametrize("n_classes", [1, 40, 312], ids=str)
def test_average_precision_is_drawn_for_up_to_40_classes(n_classes: int, tmp_path: Path) -> None:
    classes = tuple(f"class {number}" for number in range(n_classes))
    run.average_precision_per_class(tmp_path / "a.png", classes, *aps(n_classes))
    pixels = drawn(tmp_path / "a.png")
    assert has_colour(pixels, canvas.TEACHER)
    assert has_colour(pixels, canvas.STUDENT)
    assert len(pixels) == pytest.approx(150 * (1.6 + 0.3 * min(n_classes, 40)), abs=2)


def test_classes_without_average_precision_are_left_out(tmp_path: Path) -> None:
    teacher, student = aps(8)
    teacher[2] = student[2] = np.nan
    run.average_precision_per_class(tmp_path / "a.png", HOSTILE, teacher, student)
    assert len(drawn(tmp_path / "a.png")) == pytest.approx(150 * (1.6 + 0.3 * 7), abs=2)
    nothing = np.full(8, np.nan)
    run.average_precision_per_class(tmp_path / "b.png", HOSTILE, nothing, nothing)
    drawn(tmp_path / "b.png")


# --- histograms ------------------------------------------------------------------------


@pytest.mark.parametrize("tau", [0.0, 0.999, None], ids=str)
def test_histograms_show_present_absent_and_tau(tau: float | None, tmp_path: Path) -> None:
    run.score_histograms(tmp_path / "a.png", *scores(), tau)
    pixels = drawn(tmp_path / "a.png")
    assert has_colour(pixels, canvas.POSITIVE)
    assert has_colour(pixels, canvas.NEGATIVE)


def test_the_ticks_of_the_log_scale_are_plain_numbers(tmp_path: Path) -> None:
    # Without math text the default labels are "$\\mathdefault{10^{3}}$", a third of the width.
    run.score_histograms(tmp_path / "a.png", *scores(), 0.3)
    pixels = drawn(tmp_path / "a.png")
    dark = (pixels.max(axis=2) < 60).mean(axis=0)
    axis = np.flatnonzero(dark > 0.6)[0]
    assert axis < 0.15 * pixels.shape[1]


@pytest.mark.parametrize("case", ["no positives", "no negatives", "everything was observed"])
def test_histograms_without_entries_are_drawn(case: str, tmp_path: Path) -> None:
    probs, truth, unobserved = scores()
    if case == "everything was observed":
        unobserved[:] = False
    else:
        truth[:] = case == "no negatives"
    run.score_histograms(tmp_path / "a.png", probs, truth, unobserved, 0.5)
    drawn(tmp_path / "a.png")


# --- contact sheets --------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 7, 24], ids=str)
def test_a_contact_sheet_grows_by_rows_of_six(n: int, tmp_path: Path) -> None:
    sheet(tmp_path / "a.png", n)
    pixels = drawn(tmp_path / "a.png")
    row_height = (len(pixels) - 60) / -(-n // 6)
    assert row_height == pytest.approx(451, abs=3)
    for colour in (canvas.OBSERVED, canvas.RIGHT, canvas.WRONG):
        assert has_colour(pixels, colour)


@pytest.mark.parametrize(("n_classes", "size"), [(2, 8), (312, 160)], ids=str)
def test_a_contact_sheet_takes_any_number_of_classes(
    n_classes: int, size: int, tmp_path: Path
) -> None:
    sheet(tmp_path / "a.png", 6, tuple(f"class {number}" for number in range(n_classes)), size)
    drawn(tmp_path / "a.png")


def test_images_keep_their_colours(tmp_path: Path) -> None:
    image = np.zeros((1, 160, 160, 3), np.uint8)
    image[:] = (200, 30, 90)
    negative = np.full((1, 2), Kind.TRUE_NEGATIVE, np.int8)
    run.contact_sheet(tmp_path / "a.png", image, ("a", "b"), negative)
    pixels = drawn(tmp_path / "a.png")
    shown = (pixels == (200, 30, 90)).all(axis=2)
    assert shown.sum() == pytest.approx(300 * 300, rel=0.02)  # 2 inches at 150 dpi


# --- all figures -----------------------------------------------------------------------

DRAW: dict[str, Callable[[Path], Any]] = {
    "curves": lambda path: run.curves(path, histories(3)),
    "average precision": lambda path: run.average_precision_per_class(path, HOSTILE, *aps(8)),
    "histograms": lambda path: run.score_histograms(path, *scores(), 0.3),
    "contact sheet": lambda path: sheet(path, 3),
}
every_figure = pytest.mark.parametrize("draw", DRAW.values(), ids=DRAW)


@every_figure
def test_equal_inputs_give_equal_bytes(draw: Callable[[Path], Any], tmp_path: Path) -> None:
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@every_figure
def test_drawing_does_not_change_the_global_style(
    draw: Callable[[Path], Any], tmp_path: Path
) -> None:
    before = dict(mpl.rcParams)
    draw(tmp_path / "a.png")
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("short", "short"),
        ("exactly ten", "exactly t…"),
        ("two\nlines", "two lines"),
        (" tab\tand  spaces ", "tab and s…"),
        ("", ""),
    ],
)
def test_names_become_one_short_line(name: str, shown: str) -> None:
    assert canvas.short(name, 10) == shown


# --- unknown truth -----------------------------------------------------------------------


@pytest.mark.parametrize("n_known", [0, 100, 200], ids=["none", "half", "all"])
def test_histograms_show_images_without_truth_separately(n_known: int, tmp_path: Path) -> None:
    known = np.arange(200) < n_known
    run.score_histograms(tmp_path / "a.png", *scores(), 0.5, known)
    pixels = drawn(tmp_path / "a.png")
    assert has_colour(pixels, canvas.UNKNOWN) == (n_known < 200)
    assert has_colour(pixels, canvas.POSITIVE) == (n_known > 0)


@pytest.mark.parametrize("n_known", [0, 1, 3], ids=["none", "one", "all"])
def test_a_contact_sheet_judges_no_label_whose_truth_is_unknown(
    n_known: int, tmp_path: Path
) -> None:
    images = np.full((3, 40, 40, 3), 255, np.uint8)
    labels = np.ones((3, 2), bool)
    truth = labels & [True, False]
    known = np.arange(3) < n_known
    unobserved = np.zeros((3, 2), np.int8)
    path = tmp_path / "a.png"
    kinds = kinds_of(labels, unobserved, truth=truth, known=known)
    run.contact_sheet(path, images, ("cat", "dog"), kinds)
    pixels = drawn(path)
    assert has_colour(pixels, canvas.ADDED) == (n_known < 3)
    for colour in (canvas.RIGHT, canvas.WRONG):
        assert has_colour(pixels, colour) == (n_known > 0)


@pytest.mark.parametrize(
    ("kind", "colour"),
    [
        (Kind.OBSERVED, canvas.OBSERVED),
        (Kind.TRUE_POSITIVE, canvas.RIGHT),
        (Kind.FALSE_POSITIVE, canvas.WRONG),
        (Kind.FALSE_NEGATIVE, canvas.MISSED),
        (Kind.AGAINST, canvas.WRONG),
        (Kind.IGNORED, canvas.IGNORED),
        (Kind.RULED_OUT, None),
        (Kind.TRUE_NEGATIVE, None),
    ],
    ids=str,
)
def test_a_contact_sheet_names_a_class_only_at_the_sign_of_its_kind(
    kind: Kind, colour: str | None, tmp_path: Path
) -> None:
    images = np.full((1, 40, 40, 3), 255, np.uint8)
    sheets = []
    for name in ("WWWWWWWW", "WW"):
        path = tmp_path / f"{name}.png"
        run.contact_sheet(path, images, (name, "-"), np.array([[kind, Kind.TRUE_NEGATIVE]]))
        sheets.append(drawn(path).astype(int))
    differ = (sheets[0] != sheets[1]).any(axis=2)
    assert differ.any() == (colour is not None)
    if colour is not None:
        assert has_colour(sheets[0][differ][None], colour)
        rows = np.flatnonzero(differ.any(axis=1))
        assert rows[-1] - rows[0] < 150 * 0.19  # on one line
