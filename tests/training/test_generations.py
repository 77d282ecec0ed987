"""Generations of students: the rule makes the labels of each from scores of the previous one."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from pipeline.artifacts import tables
from pipeline.artifacts.tables import Scores
from pipeline.core.errors import InputError
from pipeline.core.params import read_section
from pipeline.images import decode_cache
from pipeline.inference.score import choose_device, predict
from pipeline.losses.student import FullSupervision
from pipeline.models import model_file
from pipeline.pseudo_labels.rules import PseudoLabelParams, pseudo_labels
from pipeline.training import generations
from pipeline.training.generations import StudentParams
from tests.conftest import RunStage, SetParams, StartAfter


@pytest.fixture
def several(workplace: Path, start_after: StartAfter) -> Path:
    """A workplace with three generations of students and the outputs of all earlier stages."""
    changes = {"train_student.generations": 3, "pseudo_label.tau": 0.3, "score.flip": True}
    start_after("train_student", changes)
    return workplace


def test_the_loss_of_vlpl_trains_every_generation(
    workplace: Path, start_after: StartAfter, set_params: SetParams, run_stage: RunStage
) -> None:
    start_after("pseudo_label")
    set_params({"train_student.loss": "vlpl", "train_student.generations": 2})
    run_stage("train_student")
    vlpl = model_file.digest(workplace / "data" / "student")
    set_params({"train_student.loss": "bce"})
    run_stage("train_student")
    assert model_file.digest(workplace / "data" / "student") != vlpl
    set_params({"train_student.loss": "vlpl", "train_student.prior_weight": 0.1})
    assert run_stage("train_student", exit_code=1).output == (
        "Error: params.yaml: train_student.prior_weight = 0.1: should be 0, since loss is vlpl\n"
    )


def test_each_generation_learns_from_the_scores_of_the_one_before(
    several: Path, run_stage: RunStage
) -> None:
    student = several / "data" / "student"
    assert {path.name for path in student.iterdir()} == {
        "generation-1.safetensors", "generation-2.safetensors", "generation-2.parquet",
        "generation-3.parquet", "model.safetensors",
    }  # fmt: skip
    index = tables.read_index(several / "data" / "index.parquet")
    rule = read_section(several / "params.yaml", "pseudo_label", PseudoLabelParams)
    fabric, rows = choose_device("32"), index.rows("train")
    for number in (1, 2):
        model = model_file.load(student / f"generation-{number}.safetensors")
        images = decode_cache.load(index, rows, 24)
        scores = Scores(index.ids(rows), predict(fabric, model, images, 256, flip=True))
        expected = pseudo_labels(rule, index, scores)
        found = tables.read_pseudo_labels(student / f"generation-{number + 1}.parquet")
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.probs, expected.probs)

    run_stage("evaluate")
    reported = pd.read_csv(several / "reports" / "evaluate" / "generations.csv")
    trained = pd.read_csv(several / "reports" / "train_student" / "generations.csv")
    metrics = pd.read_json(several / "reports" / "evaluate" / "metrics.json", typ="series")
    assert reported["generation"].tolist() == trained["generation"].tolist() == [1, 2, 3]
    assert reported["val_mAP"].tolist() == trained["val_mAP"].tolist()
    assert reported["mAP"].iloc[2] == metrics["student.mAP"]
    assert reported["val_mAP"].iloc[2] == metrics["student.val_mAP"]
    assert reported["precision"].iloc[0] == metrics["pseudo_labels.precision"]
    assert reported["recall"].iloc[0] == metrics["pseudo_labels.recall"]
    assert "Generations of students" in (several / "reports/evaluate/index.html").read_text()


def test_the_first_generation_is_the_student_alone(
    several: Path, set_params: SetParams, run_stage: RunStage
) -> None:
    first = (several / "data" / "student" / "generation-1.safetensors").read_bytes()
    set_params({"train_student.generations": 1})
    run_stage("train_student")
    assert [path.name for path in (several / "data" / "student").iterdir()] == ["model.safetensors"]
    assert (several / "data" / "student" / "model.safetensors").read_bytes() == first


def test_the_truth_changes_no_label_no_weight_and_no_student(
    several: Path, set_params: SetParams, run_stage: RunStage
) -> None:
    set_params({
        "pseudo_label.rule": "soft", "pseudo_label.calibrate": "isotonic",
        "pseudo_label.annotator": "uniform", "pseudo_label.weights": "confidence",
        "train_teacher.folds": 2, "train_student.generations": 2,
        "train_student.prior_weight": 1.0,
    })  # fmt: skip
    made = [several / "data" / name for name in ("teacher", "student")]
    files = [several / "data" / f"{name}.parquet" for name in ("scores", "pseudo_labels")]

    def run() -> dict[Path, bytes]:
        for stage in ("train_teacher", "score", "pseudo_label", "train_student"):
            run_stage(stage)
        inside = [path for folder in made for path in folder.iterdir()]
        return {path: path.read_bytes() for path in [*files, *inside]}

    before = run()
    index = tables.read_index(several / "data" / "index.parquet")
    truth = several / "data" / "truth.parquet"
    known = tables.read_truth(truth)
    turned = np.random.default_rng(0).permutation(~known.labels)
    tables.write_truth(truth, replace(known, labels=turned), index.classes)
    assert run() == before
    assert len(before) == 2 + 3 + 3


def test_a_stopped_run_resumes_with_its_current_generation(
    workplace: Path, start_after: StartAfter, run_stage: RunStage
) -> None:
    start_after("pseudo_label", {"train_student.generations": 2})
    params = read_section(workplace / "params.yaml", "train_student", StudentParams)
    rule = read_section(workplace / "params.yaml", "pseudo_label", PseudoLabelParams)
    index = tables.read_index(workplace / "data" / "index.parquet")
    pseudo = tables.read_pseudo_labels(workplace / "data" / "pseudo_labels.parquet")
    relabel = partial(pseudo_labels, rule, index)

    def run(relabel: Any) -> list[generations.Generation]:
        return generations.train_all(
            "train_student", params, index, pseudo, relabel, FullSupervision
        )

    def stop(*_: Scores) -> None:
        raise InputError("stopped")

    with pytest.raises(InputError, match="stopped"):
        run(stop)
    (kept,) = (workplace / ".cache" / "resume").glob("*.ckpt")
    when = kept.stat().st_mtime_ns
    made = run(relabel)
    assert kept.stat().st_mtime_ns == when, "the first generation was trained again"
    generations.write(workplace / "a", workplace / "b", made, index.classes)
    assert not list((workplace / ".cache" / "resume").glob("*.ckpt"))
    run_stage("train_student")
    whole = (workplace / "data" / "student" / "model.safetensors").read_bytes()
    assert (workplace / "a" / "model.safetensors").read_bytes() == whole
