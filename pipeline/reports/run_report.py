"""Write the report of a run: metrics, figures, and an HTML page that needs no network."""

import json
from pathlib import Path

import numpy as np

from pipeline.artifacts.curves import History
from pipeline.artifacts.run import RunTables
from pipeline.core import files
from pipeline.evaluation.evaluate import Evaluation
from pipeline.evaluation.kinds import kinds_of
from pipeline.figures import run
from pipeline.images import decode_cache
from pipeline.reports import pages, words

# What the run was made with, and what its reader should know, for the page that links all pages.
MADE_WITH = "run.json"
N_CONTACT_IMAGES = 24
CONTACT_SIZE = 160  # pixels

# Title and caption of each figure by the name of its file, in the order of the page.
FIGURES = {
    "curves.png": (
        "Training curves of teacher and student",
        "Mean average precision on the val images and training loss by epoch. The dot marks the "
        "epoch of the saved checkpoint.",
    ),
    "per_class_ap.png": (
        "Test average precision by class",
        "Each row is a class, with the average precision of teacher and student on the test "
        "images.",
    ),
    "score_histograms.png": (
        "The teacher's scores of unobserved labels",
        "Histogram of the teacher's scores of unobserved training labels, split into truly "
        "present, truly absent and truth unknown. The dashed line is tau, if all classes have "
        "the same.",
    ),
    "contact_sheet.png": (
        "Training images and their labels",
        "A sample of the training images, evenly spaced, with their observed labels and the "
        "labels that the pseudo-labels added (right or wrong), missed or ignored.",
    ),
}


def write(
    folder: Path,
    tables: RunTables,
    evaluation: Evaluation,
    histories: dict[str, History],
    generations: dict[str, list[object]],
    made_with: words.Columns,
) -> None:
    """Write the report in one atomic write.

    Args:
        folder: the output folder.
        tables: the tables of the run.
        evaluation: the metrics.
        histories: the training histories of "teacher" and "student".
        generations: the columns of the table of student generations.
        made_with: the columns of the table of data and settings, from `words.of_run`.
    """
    index, pseudo = tables.index, tables.pseudo
    truth, known = tables.known_truth()
    with files.atomic_write(folder) as temporary:
        temporary.mkdir()
        metrics = json.dumps(evaluation.metrics, indent=2)
        (temporary / "metrics.json").write_text(metrics + "\n", encoding="utf-8")
        files.write_csv(temporary / "per_class.csv", evaluation.per_class)
        files.write_csv(temporary / "generations.csv", generations)
        run_in_words = {
            "made_with": dict(zip(*made_with.values(), strict=True)),
            "findings": told(evaluation),
        }
        text = json.dumps(run_in_words, indent=2, ensure_ascii=False)
        (temporary / MADE_WITH).write_text(text + "\n", encoding="utf-8")
        text = page(evaluation, generations, made_with)
        (temporary / "index.html").write_text(text, encoding="utf-8")
        run.curves(temporary / "curves.png", histories)
        run.average_precision_per_class(
            temporary / "per_class_ap.png",
            index.classes,
            evaluation.teacher_aps,
            evaluation.student_aps,
        )
        rows = index.rows("train")
        targets = index.targets[rows]
        run.score_histograms(
            temporary / "score_histograms.png",
            tables.scores.probs,
            truth,
            targets == 0,
            None if pseudo.rule is None else pseudo.rule.single_tau,
            known,
        )
        # Evenly spaced rows are the same images at every tau, so that sheets can be compared.
        n_shown = min(N_CONTACT_IMAGES, len(rows))
        shown = np.linspace(0, len(rows) - 1, n_shown).astype(np.int64)
        run.contact_sheet(
            temporary / "contact_sheet.png",
            decode_cache.load(index, rows[shown], CONTACT_SIZE),
            index.classes,
            kinds_of(pseudo.labels, targets, pseudo.ignored, truth, known, pseudo.corrected)[shown],
        )


def told(evaluation: Evaluation) -> list[str]:
    """Return the sentences that a reader of the metrics should not miss."""
    return [*evaluation.findings, *filter(None, [evaluation.note])]


def page(
    evaluation: Evaluation, generations: dict[str, list[object]], made_with: words.Columns
) -> str:
    """Return the HTML page; it shows the figures beside it."""
    return pages.render(
        "reports/evaluation.html",
        styles=["reports/report.css"],
        metrics=evaluation.metrics,
        models=words.of_models(evaluation.metrics),
        labels=words.of_labels(evaluation.metrics),
        rest=words.of_the_rest(evaluation.metrics),
        facts=made_with,
        told=told(evaluation),
        per_class=words.per_class(evaluation.per_class),
        generations=words.per_generation(generations),
        figures=FIGURES,
    )
