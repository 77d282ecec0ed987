"""The statistics of two models' scores, on small examples counted by hand."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.artifacts.tables import PseudoLabels, Truth
from pipeline.evaluation.analysis.analyse import Analysis, analyse
from pipeline.evaluation.analysis.landscape import Landscape
from pipeline.evaluation.analysis.scored import Scored
from pipeline.evaluation.analysis.scores import (
    Gains,
    Split,
    densities,
    gains,
    score_bins,
    wasserstein,
)
from pipeline.reports import analysis_report
from tests.builders.index import index_of
from tests.checks.pages import read

PROBS = arrays(np.float32, (9, 2), elements=st.floats(0, 1, width=32))
BOOLS = arrays(np.bool_, (9, 2))


def column(*values: float) -> np.ndarray:
    return np.array(values, np.float32)[:, None]


def present(*values: int) -> np.ndarray:
    return np.array(values, np.bool_)[:, None]


ALL4 = np.ones((4, 1), bool)


# --- distances between scores ------------------------------------------------------------


def test_the_distance_is_the_mean_move_from_one_group_of_scores_to_the_other() -> None:
    # 0.2 and 0.5 are moved to 0.6 and 1.0: by 0.45 on average.
    found = wasserstein(
        present(0, 0, 1, 1), ALL4, column(0.2, 0.5, 0.6, 1.0), column(0.5, 0.5, 0.5, 0.5)
    )
    np.testing.assert_allclose(found.distances, [[0.45], [0.0]], atol=1e-7)
    assert (found.positives.tolist(), found.negatives.tolist()) == ([2], [2])
    assert found.share_above == 0.0


def test_a_class_without_present_or_without_absent_entries_has_no_distance() -> None:
    truth = np.array([[1, 0, 1], [1, 0, 0]], bool)
    probs = np.array([[0.1, 0.2, 0.9], [0.3, 0.4, 0.2]], np.float32)
    found = wasserstein(truth, np.ones((2, 3), bool), probs, probs[::-1])
    np.testing.assert_array_equal(np.isnan(found.distances), [[1, 1, 0]] * 2)
    assert found.compared.tolist() == [2]
    assert found.differs_most == 2


def test_without_a_compared_class_there_is_no_share_and_no_class_that_differs() -> None:
    found = wasserstein(present(1, 1, 1, 1), ALL4, column(0, 0, 0, 0), column(1, 1, 1, 1))
    assert np.isnan(found.share_above)
    assert found.differs_most is None


def test_the_share_counts_classes_that_the_second_model_separates_better() -> None:
    truth = np.array([[1, 1, 1, 1], [0, 0, 0, 0]], bool)
    first = np.array([[0.5, 0.5, 0.5, 0.9], [0.4, 0.4, 0.5, 0.1]], np.float32)
    second = np.array([[0.5, 0.9, 0.6, 0.5], [0.4, 0.1, 0.5, 0.5]], np.float32)
    found = wasserstein(truth, np.ones((2, 4), bool), first, second)
    assert found.share_above == 0.5  # equal distances are not above
    assert found.differs_most == 3


@given(BOOLS, BOOLS, PROBS, PROBS)
def test_the_distance_is_the_area_between_the_distributions(
    truth: np.ndarray, judged: np.ndarray, first: np.ndarray, second: np.ndarray
) -> None:
    found = wasserstein(truth, judged, first, second)
    for model, probs in enumerate((first, second)):
        for number in found.compared:
            groups = [
                np.sort(probs[judged[:, number] & (truth[:, number] == present), number])
                for present in (True, False)
            ]
            at = np.sort(np.concatenate(groups)).astype(np.float64)
            below = [np.searchsorted(group, at[:-1], side="right") / len(group) for group in groups]
            area = float((np.abs(below[0] - below[1]) * np.diff(at)).sum())
            assert found.distances[model, number] == pytest.approx(area, abs=1e-6)


@given(BOOLS, BOOLS, PROBS)
def test_entries_that_are_not_judged_change_nothing(
    truth: np.ndarray, judged: np.ndarray, probs: np.ndarray
) -> None:
    other = np.where(judged, probs, np.float32(0.25))
    turned = np.where(judged, truth, ~truth)
    one, two = wasserstein(truth, judged, probs, probs), wasserstein(turned, judged, other, other)
    np.testing.assert_array_equal(one.distances, two.distances)
    bins, same = score_bins(truth, judged, probs), score_bins(turned, judged, other)
    np.testing.assert_array_equal(bins.entries, same.entries)
    np.testing.assert_array_equal(bins.positives, same.positives)
    shown, too = (
        densities(truth, judged, probs, probs, 1),
        densities(turned, judged, other, other, 1),
    )
    np.testing.assert_array_equal(shown.entries, too.entries)


# --- densities ---------------------------------------------------------------------------


def test_densities_have_area_one_and_count_every_entry() -> None:
    truth = present(0, 0, 0, 1)
    found = densities(truth, ALL4, column(0.0, 0.01, 0.99, 1.0), column(0.5, 0.5, 0.5, 0.5), 0)
    assert found.entries.sum(axis=-1).tolist() == [[3, 1], [3, 1]]
    assert found.entries[0, 0, [0, -1]].tolist() == [2, 1]
    assert found.entries[0, 1, -1] == 1  # a score of 1 is in the last bin
    areas = (found.values * np.diff(found.edges)).sum(axis=-1)
    np.testing.assert_allclose(areas, 1.0)


def test_a_class_without_positives_has_density_zero() -> None:
    found = densities(present(0, 0, 0, 0), ALL4, column(0, 0, 0, 0), column(1, 1, 1, 1), 0)
    assert not found.values[:, 1].any()


# --- entries by score --------------------------------------------------------------------


def test_shares_and_the_calibration_error_are_counted_by_bin() -> None:
    probs = column(0.1, 0.3, 0.9, 0.7)
    bins = score_bins(present(0, 1, 1, 1), ALL4, probs, n_bins=2)
    assert bins.entries.tolist() == [2, 2]
    assert bins.positives.tolist() == [1, 2]
    np.testing.assert_allclose(bins.mean_scores, [0.2, 0.8], rtol=1e-6)
    np.testing.assert_allclose(bins.shares, [0.5, 1.0])
    assert bins.share == 0.75
    # |0.5 - 0.2| and |1.0 - 0.8|, half of the entries each
    assert bins.calibration_error == pytest.approx(0.25)


def test_an_empty_bin_has_no_share_and_bins_without_entries_no_error() -> None:
    bins = score_bins(present(0, 1, 1, 1), ALL4, column(1, 1, 1, 1))
    assert np.isnan(bins.shares[:-1]).all()
    assert bins.entries[-1] == 4
    assert bins.calibration_error == pytest.approx(0.25)
    nothing = score_bins(present(0, 1, 1, 1), ~ALL4, column(1, 1, 1, 1))
    assert np.isnan([nothing.share, nothing.calibration_error]).all()


def test_the_calibration_error_of_constant_scores_is_their_distance_to_the_base_rate() -> None:
    bins = score_bins(present(0, 0, 0, 1), ALL4, column(*[0.65] * 4))
    assert bins.calibration_error == pytest.approx(0.4)


@given(BOOLS, BOOLS, PROBS, st.integers(1, 20))
def test_bins_hold_every_entry_once_and_their_mean_score(
    truth: np.ndarray, judged: np.ndarray, probs: np.ndarray, n_bins: int
) -> None:
    bins = score_bins(truth, judged, probs, n_bins)
    assert bins.entries.sum() == judged.sum()
    assert bins.positives.sum() == (truth & judged).sum()
    filled = bins.entries > 0
    assert (bins.mean_scores[filled] >= bins.edges[:-1][filled] - 1e-12).all()
    assert (bins.mean_scores[filled] <= bins.edges[1:][filled] + 1e-12).all()
    if judged.any():
        assert 0 <= bins.calibration_error <= 1


def test_scores_that_are_the_true_shares_are_calibrated() -> None:
    rng = np.random.RandomState(0)
    probs = rng.rand(40_000, 1).astype(np.float32)
    truth, judged = rng.rand(40_000, 1) < probs, np.ones((40_000, 1), bool)
    assert score_bins(truth, judged, probs).calibration_error < 0.01
    assert score_bins(~truth, judged, probs).calibration_error > 0.4


# --- gains -------------------------------------------------------------------------------


def of_gains(train: list[int], first: list[float], second: list[float]) -> Gains:
    counts = np.array(train)
    return Gains(counts, np.ones_like(counts), np.array([first, second]))


def test_gains_are_differences_of_test_ap_with_train_counts() -> None:
    train = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]], bool)
    test = np.array([[1, 0, 1], [0, 0, 0]], bool)
    first = np.array([[0.2, 0.5, 0.9], [0.8, 0.5, 0.1]], np.float32)
    found = gains(train, test, first, first[::-1])
    assert found.train_positives.tolist() == [3, 1, 0]
    assert found.test_positives.tolist() == [1, 0, 1]
    np.testing.assert_allclose(found.values, [50.0, np.nan, -50.0])
    # no test positive of the second class, no train positive of the third
    assert found.compared.tolist() == [0]
    assert np.isnan(found.rank_correlation)


def test_the_rank_correlation_depends_only_on_the_order() -> None:
    rising = of_gains([1, 10, 1000], [0, 0, 0], [-1.0, 0.5, 0.6])
    assert rising.rank_correlation == pytest.approx(1.0)
    falling = of_gains([1, 10, 1000], [0, 0, 0], [5.0, 4.0, -90.0])
    assert falling.rank_correlation == pytest.approx(-1.0)


@pytest.mark.parametrize(
    ("train", "second"), [([5, 5, 5], [1, 2, 3]), ([1, 2, 3], [4, 4, 4]), ([0, 0, 7], [1, 2, 3])]
)
def test_constant_values_have_no_rank_correlation(train: list[int], second: list[float]) -> None:
    assert np.isnan(of_gains(train, [0, 0, 0], second).rank_correlation)


# --- the whole analysis ------------------------------------------------------------------

# Four train and two test images, two classes. One positive is observed on each of the first three
# images, and one negative on the third.
TARGETS = np.array([[1, 0], [0, 1], [1, -1], [0, 0]], np.int8)
TRUTH = np.array([[1, 1], [0, 1], [1, 0], [1, 0]], bool)
TEST = np.array([[1, 0], [0, 1]], bool)
LABELS = np.array([[1, 0], [1, 1], [1, 0], [0, 0]], bool)
TRAIN = np.array([[0.9, 0.3], [0.6, 0.8], [0.7, 0.2], [0.2, 0.1]], np.float32)
STUDENT = np.array([[0.9, 0.6], [0.2, 0.9], [0.8, 0.3], [0.7, 0.2]], np.float32)
ON_TEST = np.array([[0.9, 0.1], [0.2, 0.6]], np.float32)
KNOWN = np.ones(4, bool)
PLAIN = ("cat", "dog")


def analysed(
    known: np.ndarray = KNOWN,
    targets: np.ndarray = TARGETS,
    labels: np.ndarray = LABELS,
    split: Split = "train",
    column: int | None = None,
    classes: tuple[str, ...] = PLAIN,
    names: tuple[str, str] = ("teacher", "student"),
    landscape: Landscape | None = None,
    weights: np.ndarray | None = None,
) -> Analysis:
    all_targets = np.vstack([targets, np.zeros((2, 2), np.int8)])
    index = index_of(["train"] * 4 + ["test"] * 2, all_targets, classes=classes)
    probs = np.where(labels, np.float32(0.5), np.float32(np.nan))
    pseudo = PseudoLabels(index.image_ids[:4], targets == 1, labels, probs, None, weights=weights)
    first = Scored(names[0], TRAIN if known.any() else None, ON_TEST)
    second = Scored(names[1], STUDENT if known.any() else None, 1 - ON_TEST)
    rows = np.append(np.flatnonzero(known), [4, 5])
    truth = Truth(index.ids(rows), np.vstack([TRUTH, TEST])[rows])
    analysis = analyse(index, truth, pseudo, (first, second), split, column)
    return replace(analysis, landscape=landscape)


LANDSCAPE = Landscape(np.array([-1.0, 0.0, 1.0]), np.arange(18.0).reshape(2, 3, 3), 2)


def test_on_train_only_unobserved_entries_count() -> None:
    found = analysed()
    assert found.reliability is not None
    assert found.reliability[0].entries.sum() == 4
    assert found.reliability[0].positives.sum() == 2
    assert found.wasserstein is not None
    assert found.wasserstein.positives.tolist() == [1, 1]
    assert found.wasserstein.negatives.tolist() == [1, 1]
    np.testing.assert_allclose(found.wasserstein.distances, [[0.4, 0.2], [0.5, 0.4]], atol=1e-6)
    assert found.notes == ()


def test_on_test_all_entries_count() -> None:
    found = analysed(split="test")
    assert found.reliability is not None
    assert found.reliability[0].entries.sum() == 4
    assert found.wasserstein is not None
    np.testing.assert_allclose(found.wasserstein.distances, [[0.7, 0.5]] * 2, atol=1e-6)
    assert found.missed_positives is not None
    assert found.missed_positives[0].entries.sum() == 3  # always on train


def test_missed_positives_are_those_that_the_pseudo_labels_leave_negative() -> None:
    found = analysed().missed_positives
    assert found is not None
    # unobserved and negative: (0, dog), truly present, (3, cat), truly present, and (3, dog)
    for bins in found:
        assert (bins.entries.sum(), bins.positives.sum()) == (3, 2)
    assert found[0].entries[[1, 2, 3]].tolist() == [1, 1, 1]


def test_an_ignored_entry_is_neither_missed_nor_negative() -> None:
    weights = np.ones((4, 2), np.float32)
    weights[3, 0] = 0  # a truly present cat in the band below tau
    found = analysed(weights=weights)
    assert found.missed_positives is not None
    for bins in found.missed_positives:
        assert (bins.entries.sum(), bins.positives.sum()) == (2, 1)
    # the reliability curve still uses all unobserved entries
    assert found.reliability is not None
    assert found.reliability[0].entries.sum() == 4
    weights[:] = 0
    assert analysed(weights=weights).missed_positives is None


def test_with_all_unobserved_labels_negative_missed_positives_equal_the_reliability_curve() -> None:
    found = analysed(labels=TARGETS == 1)
    assert found.reliability is not None
    assert found.missed_positives is not None
    for one, other in zip(found.reliability, found.missed_positives, strict=True):
        np.testing.assert_array_equal(one.shares, other.shares)


def test_densities_are_of_the_given_class_or_the_one_where_the_models_differ_most() -> None:
    most, asked = analysed().densities, analysed(column=0).densities
    assert most is not None
    assert most.column == 1
    assert asked is not None
    assert asked.column == 0


def test_without_train_truth_its_figures_are_left_out_with_a_note() -> None:
    found = analysed(known=np.zeros(4, bool), landscape=LANDSCAPE)
    for name in ("wasserstein", "densities", "reliability", "missed_positives", "ap_gain"):
        assert getattr(found, name) is None
    assert found.landscape is not None
    assert found.notes == (
        "The truth of the training images is unknown: the figures of scores and of missed "
        "positives and the gain by class are left out.",
    )
    of_test = analysed(known=np.zeros(4, bool), split="test")
    assert of_test.wasserstein is not None
    assert of_test.missed_positives is None


def test_only_images_with_known_truth_count() -> None:
    found = analysed(known=np.array([1, 1, 0, 0], bool))
    assert found.reliability is not None
    assert found.reliability[0].entries.sum() == 2
    assert found.ap_gain is not None
    assert found.ap_gain.train_positives.tolist() == [1, 2]
    assert found.notes[0] == (
        "The truth of 2 of the 4 training images is unknown: the figures of training images "
        "use the other 2."
    )


def test_a_note_names_a_lack_of_unobserved_or_of_negative_entries() -> None:
    seen = np.where(TRUTH, 1, -1).astype(np.int8)
    found = analysed(targets=seen)
    assert found.wasserstein is None
    assert found.missed_positives is None
    assert found.ap_gain is not None
    assert found.notes[0].startswith("Every label of the training images with known truth is obs")
    found = analysed(labels=np.ones((4, 2), bool))
    assert found.missed_positives is None
    assert found.notes == (
        "The pseudo-labels leave no unobserved entry negative: the figure of missed positives is "
        "left out.",
    )


# --- files -------------------------------------------------------------------------------


def test_the_summary_is_flat_and_covers_the_existing_figures() -> None:
    assert analysis_report.summary(analysed(landscape=LANDSCAPE)) == {
        "model.a": "teacher",
        "model.b": "student",
        "split": "train",
        "wasserstein.classes": 2,
        "wasserstein.a": 0.3,
        "wasserstein.b": 0.45,
        "wasserstein.share_above": 1.0,
        "densities.class": "dog",
        "calibration_error.a": 0.55,
        "calibration_error.b": 0.275,
        "missed_positives.entries": 3,
        "missed_positives.share": 0.666667,
        "ap_gain.classes": 2,
        "ap_gain.mean": -50.0,
        "ap_gain.rank_correlation": None,
        "landscape.images": 2,
        "landscape.centre.a": 4.0,
        "landscape.centre.b": 13.0,
        "landscape.mean.a": 4.0,
        "landscape.mean.b": 13.0,
    }
    unknown = analysed(known=np.zeros(4, bool))
    assert analysis_report.summary(unknown) == {
        "model.a": "teacher",
        "model.b": "student",
        "split": "train",
    }


def test_an_infinite_loss_is_none_and_the_summary_stays_json() -> None:
    losses = np.full((2, 3, 3), np.inf)
    found = analysis_report.summary(analysed(landscape=replace(LANDSCAPE, losses=losses)))
    assert found["landscape.mean.a"] is None
    json.loads(json.dumps(found, allow_nan=False))


def rows_of(columns: dict[str, list[object]]) -> list[dict[str, object]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def test_the_csv_of_a_figure_has_a_row_per_observation() -> None:
    found = analysed(landscape=LANDSCAPE)
    assert found.wasserstein is not None
    rows = rows_of(analysis_report.wasserstein_columns(found.models, PLAIN, found.wasserstein))
    assert [(row["model"], row["class"]) for row in rows] == [
        ("teacher", "cat"), ("teacher", "dog"), ("student", "cat"), ("student", "dog"),
    ]  # fmt: skip
    assert rows[1] == {
        "model": "teacher", "class": "dog", "positives": 1, "negatives": 1, "distance": 0.2,
    }  # fmt: skip
    assert found.densities is not None
    rows = rows_of(analysis_report.densities_columns(found.models, PLAIN, found.densities))
    assert len(rows) == 2 * 2 * 20
    present = [row for row in rows if row["truth"] == "present" and row["entries"]]
    # 0.3 and 0.6 in float32 are a little more, so they open their bins.
    assert [(row["model"], row["score_from"], row["density"]) for row in present] == [
        ("teacher", 0.3, 20.0), ("student", 0.6, 20.0),
    ]  # fmt: skip
    assert found.reliability is not None
    rows = rows_of(analysis_report.bins_columns(found.models, found.reliability))
    assert len(rows) == 2 * 10
    assert rows[1] == {
        "model": "teacher", "score_from": 0.1, "score_to": 0.2, "entries": 1, "positives": 0,
        "mean_score": 0.1, "share_positive": 0.0,
    }  # fmt: skip
    assert rows[0]["mean_score"] is rows[0]["share_positive"] is None
    assert found.ap_gain is not None
    assert rows_of(analysis_report.gains_columns(PLAIN, found.ap_gain))[0] == {
        "class": "cat", "train_positives": 3, "test_positives": 1, "AP_a": 100.0, "AP_b": 50.0,
        "gain": -50.0,
    }  # fmt: skip
    assert found.landscape is not None
    rows = rows_of(analysis_report.landscape_columns(found.models, found.landscape))
    assert len(rows) == 2 * 9
    assert rows[9 + 5] == {"model": "student", "step_1": 0.0, "step_2": 1.0, "loss": 14.0}


def test_a_figure_that_fails_leaves_the_last_report(tmp_path: Path) -> None:
    unknown = np.zeros(4, bool)  # only the landscape is drawn
    analysis_report.write(tmp_path / "out", analysed(known=unknown, landscape=LANDSCAPE))
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    broken = replace(LANDSCAPE, steps=np.zeros(2))
    with pytest.raises((TypeError, ValueError)):
        analysis_report.write(tmp_path / "out", analysed(known=unknown, landscape=broken))
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_the_page_shows_the_existing_figures_and_needs_no_network() -> None:
    page = analysis_report.page(analysed(known=np.zeros(4, bool), landscape=LANDSCAPE))
    reader = read(page)
    assert [attrs["src"] for tag, attrs in reader.tags if tag == "img"] == ["landscape.png"]
    links = [attrs["href"] for tag, attrs in reader.tags if tag == "a"]
    assert links == ["../index.html", "landscape.png", "landscape.svg", "landscape.csv"]
    assert "<strong>The truth of the training images is unknown" in page
    assert "//" not in page
    # The landscape alone has numbers of both models.
    assert "mean loss around the model" in reader.cells
    assert "expected calibration error" not in reader.cells


def test_hostile_names_are_text_on_the_page() -> None:
    hostile = analysed(classes=("cat", "<script>"), names=("<i>a</i>", '"b" & c'))
    page = analysis_report.page(hostile)
    cells = read(page).cells
    assert cells[cells.index("class of the figure of scores") + 1] == "<script>"
    assert "<i>a</i> (a)" in cells
    assert "<i>" not in page
    assert "<script" not in page
