"""The comparison of rules on simulated scores of another model."""

import re

import numpy as np
import pandas as pd
import pytest

from benchmarks.outside_scores import RULES, simulated, table
from experiments import runs
from pipeline.core.params import check_section
from pipeline.evaluation.metrics import average_precisions, mean_average_precision
from pipeline.pseudo_labels.rules import PseudoLabelParams
from pipeline.training.generations import StudentParams
from tests.conftest import PARAMS


@pytest.mark.parametrize("quality", [0.5, 0.9])
def test_simulated_scores_have_the_wanted_quality_and_other_scales_in_each_class(
    quality: float,
) -> None:
    truth = np.random.default_rng(1).random((400, 6)) < 0.25
    train = np.arange(300)
    scores = simulated(truth, train, quality)
    assert mean_average_precision(truth[train], scores[train]) == pytest.approx(
        100 * quality, abs=0.5
    )
    assert average_precisions(truth, scores).std() < 15
    assert scores.std(axis=0).max() > 1.3 * scores.std(axis=0).min()


def test_every_rule_makes_valid_params() -> None:
    base = runs.read(PARAMS)
    for rule in RULES.values():
        made = runs.changed(base, rule)
        check_section("params.yaml", "pseudo_label", made, PseudoLabelParams)
        check_section("params.yaml", "train_student", made, StudentParams)


def test_the_table_leaves_out_what_was_not_trained() -> None:
    rows = [
        {"scores": "teacher", "rule": "band", "scores_val_mAP": 60.0, "precision": 0.8,
         "recall": 0.4, "test_mAP": 61.234},
        {"scores": "teacher", "rule": "tau", "scores_val_mAP": 60.0, "precision": None,
         "recall": 0.0, "test_mAP": None},
    ]  # fmt: skip
    lines = re.sub(" +", " ", table(pd.DataFrame(rows))).splitlines()
    assert "| teacher | 60.00 | 0.80, 0.40: 0.53 | none added |" in lines
    assert "| teacher | 60.00 | 61.23 | |" in lines
