"""The figures of two models: a normal size for any number of classes, names only with room."""

from collections.abc import Callable, Sequence
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.analysis.landscape import Landscape, grid_steps
from pipeline.evaluation.analysis.scores import Gains, ScoreBins, Wasserstein, densities, score_bins
from pipeline.figures import analysis as figures
from pipeline.figures.canvas import NEGATIVE, POSITIVE, STUDENT, TEACHER, legible
from pipeline.figures.names import MAX_NAME, beside
from tests.checks.drawings import HOSTILE, drawn, has_colour

MODELS = ("teacher", "student")
HOSTILE_MODELS = ("$x <b> a name that goes on and on and on", "_猫")
Draw = Callable[[Sequence[Path]], None]


def names_of(n_classes: int) -> tuple[str, ...]:
    hostile = (*HOSTILE, "猫", "_under", "<script>", "\x07")
    return tuple(f"{hostile[n % 12]}{n if n > 11 else ''}" for n in range(n_classes))


def separated(n_classes: int) -> Wasserstein:
    distances = np.random.RandomState(1).rand(2, n_classes)
    counts = np.ones(n_classes, np.int64)
    return Wasserstein(distances, counts, counts)


def gained(n_classes: int) -> Gains:
    rng = np.random.RandomState(0)
    counts = np.geomspace(2, 20_000, n_classes).astype(np.int64)
    return Gains(counts, counts, 100 * rng.rand(2, n_classes))


def scores() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.RandomState(0)
    probs = rng.rand(200, 3).astype(np.float32)
    return rng.rand(200, 3) < probs, rng.rand(200, 3) < 0.8, probs


def binned() -> tuple[ScoreBins, ScoreBins]:
    truth, judged, probs = scores()
    return score_bins(truth, judged, probs), score_bins(truth, judged, probs**2)


def around(scale: float = 1.0) -> Landscape:
    steps = grid_steps(5)
    bowl = np.add.outer(steps**2, steps**2)
    return Landscape(steps, scale * np.stack([0.2 + bowl, 0.1 + 3 * bowl]), 8)


def all_figures(n_classes: int, models: tuple[str, str] = MODELS) -> dict[str, Draw]:
    classes = names_of(n_classes)
    truth, judged, probs = scores()
    shown = densities(truth, judged, probs, probs**2, 0)
    return {
        "wasserstein": lambda paths: figures.wasserstein(
            paths, models, classes, separated(n_classes), "train"
        ),
        "densities": lambda paths: figures.densities(paths, models, classes, shown, "test"),
        "reliability": lambda paths: figures.reliability(paths, models, binned(), "train"),
        "missed positives": lambda paths: figures.missed_positives(paths, models, binned()),
        "gain": lambda paths: figures.ap_gain(paths, models, classes, gained(n_classes)),
        "landscape": lambda paths: figures.landscape(paths, models, around()),
    }


FIGURES = ["wasserstein", "densities", "reliability", "missed positives", "gain", "landscape"]


@pytest.mark.parametrize("figure", FIGURES)
def test_equal_inputs_give_equal_bytes_with_any_names(figure: str, tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    for name in ("a", "b"):
        all_figures(3, HOSTILE_MODELS)[figure]([tmp_path / f"{name}.png", tmp_path / f"{name}.svg"])
    drawn(tmp_path / "a.png")
    for suffix in (".png", ".svg"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert b"<script" not in (tmp_path / "a.svg").read_bytes()
    assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("n_classes", [1, 80, 312], ids=str)
@pytest.mark.parametrize("figure", ["wasserstein", "gain"])
def test_scatters_take_any_number_of_classes(figure: str, n_classes: int, tmp_path: Path) -> None:
    all_figures(n_classes)[figure]([tmp_path / "a.png"])
    pixels = drawn(tmp_path / "a.png")
    if n_classes > 1:
        assert has_colour(pixels, STUDENT)
        assert has_colour(pixels, TEACHER)


def test_both_models_and_both_truths_are_drawn(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    for name in ("reliability", "missed positives"):
        all_figures(3)[name]([path])
        assert has_colour(drawn(path), STUDENT)
        assert has_colour(drawn(path), TEACHER)
    all_figures(3)["densities"]([path])
    half = drawn(path)
    for pixels in (half[:, : half.shape[1] // 2], half[:, half.shape[1] // 2 :]):
        assert has_colour(pixels, POSITIVE)
        assert has_colour(pixels, NEGATIVE)


def test_classes_without_numbers_are_left_out(tmp_path: Path) -> None:
    path, classes = tmp_path / "a.png", names_of(3)
    nan, counts = np.full((2, 3), np.nan), np.zeros(3, np.int64)
    figures.wasserstein([path], MODELS, classes, Wasserstein(nan, counts, counts), "train")
    drawn(path)
    figures.ap_gain([path], MODELS, classes, Gains(counts, counts, nan))
    drawn(path)


@pytest.mark.parametrize("counts", [[7, 7, 7], [990, 1000, 1010], [1, 30, 900_000]], ids=str)
def test_frequencies_of_any_range_have_ticks(counts: list[int], tmp_path: Path) -> None:
    found = Gains(np.array(counts), np.ones(3, np.int64), np.array([[1.0, 2, 3], [1, 5, 2]]))
    axes = Figure().subplots()
    figures._log_frequencies(axes, found.train_positives.astype(np.float64))
    low, high = axes.get_xlim()
    ticks = axes.get_xticks()
    assert len(ticks) >= (1 if low > 1 and high / low < 2 else 3)
    assert ((ticks >= low) & (ticks <= high)).all()
    figures.ap_gain([tmp_path / "a.png"], MODELS, names_of(3), found)
    drawn(tmp_path / "a.png")


@pytest.mark.parametrize("case", ["constant", "infinite", "huge", "zero"])
def test_landscapes_of_any_height_are_drawn(case: str, tmp_path: Path) -> None:
    losses = around().losses.copy()
    if case == "infinite":
        losses[1, 0, :2] = np.inf
    elif case == "huge":
        losses[0, 0, 0] = 1e30
    else:
        losses[:] = 0.5 if case == "constant" else 0.0
    path = tmp_path / "a.png"
    figures.landscape([path], MODELS, Landscape(grid_steps(5), losses, 1))
    drawn(path)


def test_a_loss_without_any_finite_value_is_drawn(tmp_path: Path) -> None:
    found = Landscape(grid_steps(3), np.full((2, 3, 3), np.inf), 1)
    figures.landscape([tmp_path / "a.png"], MODELS, found)
    drawn(tmp_path / "a.png")


# --- names beside dots -------------------------------------------------------------------


def scatter(n: int, seed: int = 0) -> tuple[Axes, np.ndarray, np.ndarray]:
    axes = Figure(figsize=(6, 5), layout="constrained").subplots()
    x, y = np.random.RandomState(seed).rand(2, n)
    axes.plot(x, y, "o")
    return axes, x, y


def written(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts if text.get_text()]


@pytest.mark.parametrize("n", [1, 12, 80, 312], ids=str)
def test_names_overlap_neither_each_other_nor_dots_and_stay_inside(n: int) -> None:
    axes, x, y = scatter(n)
    names = {at: f"name of class {at}" for at in range(min(n, 15))}
    beside(axes, x, y, names, np.empty((0, 2)))
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert written(axes)
    frame = axes.get_window_extent()
    dots = axes.transData.transform(np.column_stack([x, y]))
    for box in boxes:
        assert frame.x0 <= box.x0 < box.x1 <= frame.x1
        assert frame.y0 <= box.y0 < box.y1 <= frame.y1
        assert not any(box.contains(*dot) for dot in dots)
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_names_of_dots_at_one_position_do_not_overlap() -> None:
    axes = Figure(figsize=(6, 5)).subplots()
    x = y = np.full(40, 0.5)
    axes.plot(x, y, "o")
    beside(axes, x, y, {at: f"class {at}" for at in range(40)}, np.empty((0, 2)))
    boxes = [text.get_window_extent() for text in axes.texts if text.get_text()]
    assert 4 <= len(boxes) < 40
    assert not any(one.overlaps(other) for one, other in combinations(boxes, 2))


def test_the_first_name_is_to_the_right_unless_a_line_is_there() -> None:
    axes, x, y = scatter(1)
    beside(axes, x, y, {0: "only"}, np.empty((0, 2)))
    (text,) = axes.texts
    assert text.get_position()[0] > 0
    assert text.get_position()[1] == 0
    axes, x, y = scatter(1)
    along = np.column_stack([np.linspace(x[0], axes.get_xlim()[1], 200), np.full(200, y[0])])
    beside(axes, x, y, {0: "only"}, along)
    assert axes.texts[0].get_position()[0] < 0  # to the left, away from the line


def test_a_name_without_room_is_left_out() -> None:
    axes, x, y = scatter(1)
    beside(axes, x, y, {0: "no room for this " * 9}, np.empty((0, 2)))
    assert written(axes) == []


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat", "cat"),
        ("two\nlines", "two lines"),
        ("$5", "$5"),
        ("naïve café", "naïve café"),
        ("猫", "class 3"),
        ("cat 猫", "class 3"),
        ("bell \x07", "class 3"),
        ("", "class 3"),
        (" ", "class 3"),
        ("a name of more than twenty-two", "a name of more than t…"),
    ],
)
def test_a_name_that_the_font_cannot_draw_is_replaced(name: str, shown: str) -> None:
    assert legible(name, "class 3", MAX_NAME) == shown
