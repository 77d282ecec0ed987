"""What a comparison establishes: the sentence, the table, and the test scores that it reads."""

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmarks import cells, claims
from benchmarks.significance import Difference
from experiments import measure
from pipeline.artifacts import tables
from pipeline.artifacts.run import Run
from pipeline.inference import ensemble
from pipeline.inference.score import choose_device
from pipeline.inference.scorer import Scorer
from tests.conftest import StartAfter

HOLDS, FAILS = Difference(1, 0.1, 0.01, 0.2, 1.8), Difference(1, 0.1, 0.2, 0.2, 1.8)


def test_a_sentence_claims_what_holds_and_names_what_does_not() -> None:
    assert claims.sentence("gr, band", {"an alone": HOLDS, "em, long": HOLDS}, 5) == (
        "gr, band is above an alone; em, long (p < 0.05 after Holm over 2 comparisons, and over "
        "test images)."
    )
    mixed = claims.sentence("gr, band", {"an alone": HOLDS, "em alone": FAILS}, 5)
    assert "above an alone (" in mixed
    assert mixed.endswith(". Not established for em alone.")
    assert claims.sentence("gr, band", {"an": FAILS}, 5).startswith("Not established")
    assert "4 runs are too few" in claims.sentence("gr, band", {"an": HOLDS}, 4)


def test_differences_are_by_run_and_corrected_over_all_losses() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random((300, 3)) < 0.3
    noise = rng.normal(size=(3, 300, 3))
    good, near, bad = (
        [(factor * labels + noise[run]).astype(np.float32) for run in range(3)]
        for factor in (1.0, 0.98, 0.2)
    )
    cell = ([80.0, 81.0, 82.5], good)
    others = {"near": ([79.9, 81.1, 82.4], near), "bad": ([60.0, 61.0, 62.0], bad)}
    found = claims.compare(labels, cell, others)
    assert found["bad"].established
    assert not found["near"].established
    assert found["bad"].mean == pytest.approx((20 + 20 + 20.5) / 3)
    alone = claims.compare(labels, cell, {"bad": others["bad"]})
    assert found["bad"].p == pytest.approx(2 * alone["bad"].p)


@pytest.fixture
def trained(workplace: Path, start_after: StartAfter) -> Path:
    """A folder with a teacher and a student."""
    start_after("train_student", {})
    return workplace


@pytest.mark.parametrize("role", ["teacher", "student", "ensemble"])
def test_test_scores_are_probabilities_of_the_test_images(trained: Path, role: str) -> None:
    result = CliRunner().invoke(measure.main, [role], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    index = Run().read_index()
    scores = tables.read_scores(Path("reports/measure", measure.TEST_SCORES), index.classes)
    assert scores.image_ids == index.ids(index.rows("test"))
    metrics = json.loads(Path("reports/measure/metrics.json").read_text())
    assert set(metrics) == {"val_mAP", "test_mAP"}


def test_the_ensemble_has_the_mean_score_of_all_teachers(
    workplace: Path, start_after: StartAfter
) -> None:
    start_after("train_teacher", {"train_teacher.members": 2})
    assert CliRunner().invoke(measure.main, ["ensemble"]).exit_code == 0
    index, folder = Run().read_index(), Path("reports/measure")
    both = tables.read_scores(folder / measure.TEST_SCORES, index.classes).probs
    scorer, models = Scorer(choose_device("32"), 64), ensemble.load(Run().teacher, index)
    assert len(models) == 2
    of_each = [scorer.score(model, index, "test") for model in models]
    np.testing.assert_allclose(both, np.mean(of_each, axis=0), rtol=1e-6)
    assert not np.allclose(of_each[0], of_each[1])


def test_the_table_compares_the_best_student_with_each_loss_alone(trained: Path) -> None:
    for role in ("teacher", "student"):
        CliRunner().invoke(measure.main, [role], catch_exceptions=False)
        Path("reports/measure", measure.TEST_SCORES).rename(f"{role}.parquet")
    rows: list[dict[str, Any]] = [
        {"loss": loss, "method": method, "generation": generation, "run": run, "val_mAP": 50.0,
         "test_mAP": 60.0 + run + gain, "test_scores": trained / f"{role}.parquet",
         "prepared": trained}
        for run in range(5)
        for loss, method, generation, role, gain in (
            ("an", "teacher", None, "teacher", 0.1 * run),
            ("gr", "teacher", None, "teacher", 0.0),
            ("bce", "val alone", None, "teacher", -1.0),
            ("gr", "band", 1.0, "student", 2.0),
        )
    ]  # fmt: skip
    text = re.sub(" +", " ", claims.table(pd.DataFrame(rows), 5))
    assert "| gr, band, generation 1, above | over runs | p (Holm) |" in text
    assert "| gr alone | +2.00 ± 0.00 | 0.000 |" in text
    assert "| an alone | +1.80 ± 0.16 |" in text
    assert "| bce, val alone | +3.00 ± 0.00 | 0.000 |" in text
    assert "stablished" in text.splitlines()[-1] or "alone (p <" in text.splitlines()[-1]
    incomplete = pd.DataFrame(rows[:-1])  # the student lacks a run
    assert claims.table(incomplete, 5) == ""


def test_kept_cells_without_test_scores_still_have_a_table(tmp_path: Path) -> None:
    work = cells.Cells(tmp_path, {}, jobs=1, kept=True)
    values = {"evaluate": {"batch_size": 4}}
    for name in (
        "data/index.parquet", "data/images.parquet", "data/truth.parquet",
        "data/student/model.safetensors", "reports/train_student/metrics.json",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert work._of_student(values, tmp_path, tmp_path) == {}
