"""Write the analysis: figures, their data as CSV, a summary, and an HTML page."""

import json
from itertools import product
from math import isfinite
from pathlib import Path

from pipeline.core import files
from pipeline.evaluation.analysis.analyse import Analysis
from pipeline.evaluation.analysis.landscape import Landscape
from pipeline.evaluation.analysis.scores import Densities, Gains, ScoreBins, Wasserstein
from pipeline.figures import analysis as figures
from pipeline.reports import pages

Columns = dict[str, list[object]]
Summary = dict[str, str | float | int | None]

# Title and caption of each figure by the name of its files, in the order of the page.
FIGURES = {
    "wasserstein": (
        "Separation of positives and negatives",
        "Each dot is a class. The axes show the Wasserstein distance between the scores of its "
        "positives and of its negatives, by the complete labels, for each of the two models. A "
        "larger distance means a better separation.",
    ),
    "densities": (
        "Scores of one class",
        "The densities of the scores of one class's positives and negatives, by the complete "
        "labels. Each density has area 1.",
    ),
    "reliability": (
        "Reliability of the scores",
        "The share of truly positive labels by score, P(truly positive | score), in bins of equal "
        "width. A calibrated model lies on the diagonal. The expected calibration error is the "
        "mean distance from the diagonal. For unobserved labels the curve is also the rate of "
        "false negatives FN / (FN + TN) if all of them are assumed negative.",
    ),
    "missed_positives": (
        "Missed positives among entries labelled negative",
        "The share of truly positive labels among the unobserved training labels that the "
        "pseudo-labels leave negative, by the score of each model. Ignored labels are left out. "
        "With one tau for all classes, the curve of the teacher that made the labels ends at tau.",
    ),
    "ap_gain": (
        "Gain in average precision by class",
        "Each dot is a class. The vertical axis shows the test average precision of the second "
        "model minus that of the first, the horizontal axis the number of training images that "
        "truly show the class.",
    ),
    "landscape": (
        "Loss landscape",
        "The binary cross-entropy on test images with complete labels, on a plane through the "
        "weights of each model along two random directions. A step of 1 moves each filter by its "
        "own norm (filter normalisation, Li et al. 2018).",
    ),
}
ENTRIES = {
    "train": "unobserved labels of the training images whose complete labels are known",
    "test": "all labels of the test images",
}


def write(folder: Path, analysis: Analysis) -> None:
    """Write the analysis in one atomic write."""
    models, classes, split = analysis.models, analysis.classes, analysis.split
    with files.atomic_write(folder) as temporary:
        temporary.mkdir()

        def image_paths(name: str) -> list[Path]:
            return [temporary / f"{name}.png", temporary / f"{name}.svg"]

        def write_csv(name: str, columns: Columns) -> None:
            files.write_csv(temporary / f"{name}.csv", columns)

        if analysis.wasserstein is not None:
            figures.wasserstein(
                image_paths("wasserstein"), models, classes, analysis.wasserstein, split
            )
            write_csv("wasserstein", wasserstein_columns(models, classes, analysis.wasserstein))
        if analysis.densities is not None:
            figures.densities(image_paths("densities"), models, classes, analysis.densities, split)
            write_csv("densities", densities_columns(models, classes, analysis.densities))
        if analysis.reliability is not None:
            figures.reliability(image_paths("reliability"), models, analysis.reliability, split)
            write_csv("reliability", bins_columns(models, analysis.reliability))
        if analysis.missed_positives is not None:
            figures.missed_positives(
                image_paths("missed_positives"), models, analysis.missed_positives
            )
            write_csv("missed_positives", bins_columns(models, analysis.missed_positives))
        if analysis.ap_gain is not None:
            figures.ap_gain(image_paths("ap_gain"), models, classes, analysis.ap_gain)
            write_csv("ap_gain", gains_columns(classes, analysis.ap_gain))
        if analysis.landscape is not None:
            figures.landscape(image_paths("landscape"), models, analysis.landscape)
            write_csv("landscape", landscape_columns(models, analysis.landscape))
        text = json.dumps(summary(analysis), indent=2, ensure_ascii=False)
        (temporary / "summary.json").write_text(text + "\n", encoding="utf-8")
        (temporary / "index.html").write_text(page(analysis), encoding="utf-8")


def summary(analysis: Analysis) -> Summary:
    """Return the main numbers of each figure; none for a figure that is left out.

    "a" is the first model, "b" the second. Distances, shares and calibration errors are from 0
    to 1, gains in points of AP. A number that is undefined or infinite is None.
    """
    found: Summary = {
        "model.a": analysis.models[0],
        "model.b": analysis.models[1],
        "split": analysis.split,
    }
    if analysis.wasserstein is not None:
        apart = analysis.wasserstein
        means = apart.distances[:, apart.compared].mean(axis=1).tolist()
        found["wasserstein.classes"] = len(apart.compared)
        found["wasserstein.a"], found["wasserstein.b"] = map(_rounded, means)
        found["wasserstein.share_above"] = _rounded(apart.share_above)
    if analysis.densities is not None:
        found["densities.class"] = analysis.classes[analysis.densities.column]
    if analysis.reliability is not None:
        errors = [bins.calibration_error for bins in analysis.reliability]
        found["calibration_error.a"], found["calibration_error.b"] = map(_rounded, errors)
    if analysis.missed_positives is not None:
        negatives = analysis.missed_positives[0]
        found["missed_positives.entries"] = int(negatives.entries.sum())
        found["missed_positives.share"] = _rounded(negatives.share)
    if analysis.ap_gain is not None:
        gains = analysis.ap_gain
        found["ap_gain.classes"] = len(gains.compared)
        found["ap_gain.mean"] = _rounded(float(gains.values[gains.compared].mean()))
        found["ap_gain.rank_correlation"] = _rounded(gains.rank_correlation)
    if analysis.landscape is not None:
        centres, means = analysis.landscape.centres.tolist(), analysis.landscape.means.tolist()
        found["landscape.images"] = analysis.landscape.n_images
        found["landscape.centre.a"], found["landscape.centre.b"] = map(_rounded, centres)
        found["landscape.mean.a"], found["landscape.mean.b"] = map(_rounded, means)
    return found


# The numbers of the summary in words: those of both models, and the others.
OF_MODELS = {
    "wasserstein": "mean Wasserstein distance of positives and negatives",
    "calibration_error": "expected calibration error",
    "landscape.centre": "loss of the model on test images",
    "landscape.mean": "mean loss around the model",
}
OF_BOTH = {
    "wasserstein.classes": "classes with a Wasserstein distance",
    "wasserstein.share_above": "share of these classes that the second model separates better",
    "densities.class": "class of the figure of scores",
    "missed_positives.entries": "entries labelled negative",
    "missed_positives.share": "share of them that are truly positive",
    "ap_gain.classes": "classes with a gain in AP",
    "ap_gain.mean": "mean gain in AP, second model minus first (points)",
    "ap_gain.rank_correlation": "rank correlation of gain and frequency",
    "landscape.images": "test images of the loss landscape",
}


def summary_in_words(analysis: Analysis) -> Columns:
    """Return the summary as a table: a row per number, a column per model."""
    found = summary(analysis)
    columns: Columns = {"": [], f"{analysis.models[0]} (a)": [], f"{analysis.models[1]} (b)": []}
    first, second, third = columns.values()
    for name, text in OF_MODELS.items():
        if f"{name}.a" in found:
            first.append(text)
            second.append(found[f"{name}.a"])
            third.append(found[f"{name}.b"])
    return columns


def numbers_in_words(analysis: Analysis) -> Columns:
    """Return the numbers of the summary that are of both models together, as a table."""
    found = summary(analysis)
    shown = [name for name in OF_BOTH if name in found]
    return {"": [OF_BOTH[name] for name in shown], "value": [found[name] for name in shown]}


def page(analysis: Analysis) -> str:
    """Return the HTML page; it shows the figures beside it."""
    return pages.render(
        "reports/analysis.html",
        styles=["reports/report.css"],
        models=analysis.models,
        entries=ENTRIES[analysis.split],
        told=analysis.notes,
        of_models=summary_in_words(analysis),
        of_both=numbers_in_words(analysis),
        figures={name: FIGURES[name] for name in FIGURES if getattr(analysis, name) is not None},
    )


# --- the data of each figure, a row per observation --------------------------------------


def wasserstein_columns(
    models: tuple[str, str], classes: tuple[str, ...], found: Wasserstein
) -> Columns:
    """Return the columns of wasserstein.csv, a row per class and model."""
    rows = list(product(enumerate(models), enumerate(classes)))
    return {
        "model": [name for (_, name), _ in rows],
        "class": [name for _, (_, name) in rows],
        "positives": found.positives.tolist() * 2,
        "negatives": found.negatives.tolist() * 2,
        "distance": [_rounded(float(found.distances[m, c])) for (m, _), (c, _) in rows],
    }


def densities_columns(
    models: tuple[str, str], classes: tuple[str, ...], found: Densities
) -> Columns:
    """Return the columns of densities.csv, a row per model, truth and bin."""
    n_bins = len(found.edges) - 1
    rows = list(product(models, ("absent", "present"), range(n_bins)))
    return {
        "class": [classes[found.column]] * len(rows),
        "model": [model for model, _, _ in rows],
        "truth": [truth for _, truth, _ in rows],
        "score_from": [_rounded(float(found.edges[at])) for _, _, at in rows],
        "score_to": [_rounded(float(found.edges[at + 1])) for _, _, at in rows],
        "entries": [*found.entries.ravel().tolist()],
        "density": [_rounded(value) for value in found.values.ravel().tolist()],
    }


def bins_columns(models: tuple[str, str], found: tuple[ScoreBins, ScoreBins]) -> Columns:
    """Return the columns of reliability.csv and missed_positives.csv, a row per model and bin."""
    columns: Columns = {}
    for model, bins in zip(models, found, strict=True):
        part = {
            "model": [model] * len(bins.entries),
            "score_from": [_rounded(edge) for edge in bins.edges[:-1].tolist()],
            "score_to": [_rounded(edge) for edge in bins.edges[1:].tolist()],
            "entries": bins.entries.tolist(),
            "positives": bins.positives.tolist(),
            "mean_score": [_rounded(mean) for mean in bins.mean_scores.tolist()],
            "share_positive": [_rounded(share) for share in bins.shares.tolist()],
        }
        for name, values in part.items():
            columns.setdefault(name, []).extend(values)
    return columns


def gains_columns(classes: tuple[str, ...], found: Gains) -> Columns:
    """Return the columns of ap_gain.csv, a row per class; AP_a is of the first model."""
    return {
        "class": list(classes),
        "train_positives": found.train_positives.tolist(),
        "test_positives": found.test_positives.tolist(),
        "AP_a": [_rounded(ap) for ap in found.aps[0].tolist()],
        "AP_b": [_rounded(ap) for ap in found.aps[1].tolist()],
        "gain": [_rounded(gain) for gain in found.values.tolist()],
    }


def landscape_columns(models: tuple[str, str], found: Landscape) -> Columns:
    """Return the columns of landscape.csv, a row per model and point of the grid."""
    rows = list(product(models, found.steps.tolist(), found.steps.tolist()))
    return {
        "model": [model for model, _, _ in rows],
        "step_1": [_rounded(step) for _, step, _ in rows],
        "step_2": [_rounded(step) for _, _, step in rows],
        "loss": [_rounded(loss) for loss in found.losses.ravel().tolist()],
    }


def _rounded(value: float) -> float | None:
    """Round to six decimals; None for NaN and infinity."""
    return round(value, 6) if isfinite(value) else None
