"""All reports have the val mAP of the saved model."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from experiments import measure
from pipeline.artifacts import tables
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.inference.score import choose_device
from pipeline.inference.scorer import Scorer
from pipeline.models import model_file
from tests.conftest import RunStage, SetParams

# The second phase is short and has a high learning rate, so its models are worse.
TWO_PHASES = {
    "mode": "linear_init", "linear.epochs": 4, "linear.lr": 3e-2, "fit.epochs": 1,
    "fit.lr": 5.0, "fit.schedule": "constant",
}  # fmt: skip


def val_maps(folder: Path) -> list[float]:
    """The val mAP of every epoch, as written by DVCLive."""
    return pd.read_csv(folder / "plots/metrics/val_mAP.tsv", sep="\t")["val_mAP"].tolist()


def test_after_two_phases_every_report_has_the_val_map_of_the_saved_model(
    workplace: Path, set_params: SetParams, run_stage: RunStage
) -> None:
    set_params({f"train.{key}": value for key, value in TWO_PHASES.items()})
    set_params({
        "train_teacher.members": 2, "train_student.generations": 2,
        "prepare.observe.num_pos": "all", "prepare.observe.num_neg": "all",
    })  # fmt: skip
    stages = ("prepare", "train_teacher", "score", "pseudo_label", "train_student", "evaluate")
    output = {stage: run_stage(stage).output for stage in stages}
    assert CliRunner().invoke(measure.main, []).exit_code == 0

    index = tables.read_index(Path("data/index.parquet"))
    val, fabric = index.labels[index.rows("val")], choose_device("32")
    reports = {
        "teacher/model": "train_teacher", "teacher/member-2": "train_teacher/member-2",
        "student/model": "train_student",
        "student/generation-1": "train_student/generation-1",
    }  # fmt: skip
    kept = {}
    for name, report in reports.items():
        model = model_file.load(Path("data") / f"{name}.safetensors")
        probs = Scorer(fabric, 256).score(model, index, "val")
        kept[name] = mean_average_precision(val, probs)
        folder = Path("reports") / report
        found = json.loads((folder / "metrics.json").read_text())
        assert max(val_maps(folder)) > kept[name] + 0.5, "the first phase was to be the better"
        assert found["best_val_mAP"] == pytest.approx(kept[name], abs=1e-4)
        assert found["best_epoch"] == 5
        assert val_maps(folder)[4] == found["best_val_mAP"]

    metrics = json.loads(Path("reports/evaluate/metrics.json").read_text())
    for name in ("teacher", "student"):
        assert metrics[f"{name}.val_mAP"] == pytest.approx(kept[f"{name}/model"], abs=1e-3)
        message = f"best epoch 5, val mAP {kept[f'{name}/model']:.2f}"
        assert message in output[f"train_{name}"]
    measured = json.loads(Path("reports/measure/metrics.json").read_text())
    assert measured["val_mAP"] == metrics["teacher.val_mAP"]
    for folder in ("evaluate", "train_student"):
        table = pd.read_csv(Path("reports") / folder / "generations.csv")
        expected = [kept["student/generation-1"], kept["student/model"]]
        np.testing.assert_allclose(table["val_mAP"], expected, atol=1e-3)
