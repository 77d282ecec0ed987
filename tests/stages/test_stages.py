"""The stages as commands: all six in a row, and their error messages."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from pipeline.evaluation.multilabel import WORDS
from tests.conftest import RunStage, SetParams, StartAfter

STAGES = ["prepare", "train_teacher", "score", "pseudo_label", "train_student", "evaluate"]
TABLE: dict[str, Any] = {
    "prepare.source": "table",
    "prepare.table.file": "labels.csv",
    "train.fit.batch_size": 4,
}
OF_SCORES = ("precision_at_1", "coverage", "ranking_loss", "brier")  # of three classes
REPORT = [
    "contact_sheet.png",
    "curves.png",
    "generations.csv",
    "index.html",
    "metrics.json",
    "per_class.csv",
    "per_class_ap.png",
    "run.json",
    "score_histograms.png",
]


def files_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for top in ("data", "reports")
        for path in sorted((folder / top).rglob("*"))
        if path.is_file()
    }


def write_table(folder: Path, rows: list[tuple[str, str, str]]) -> None:
    """Write labels.csv and an image per row, a patch of colour per label."""
    rng = np.random.RandomState(0)
    for path, _, labels in rows:
        image = rng.randint(0, 60, (30, 20, 3)).astype(np.uint8)
        for place, name in enumerate(labels.split()):
            image[place * 8 : place * 8 + 8, :, "abc".index(name)] += 180
        (folder / path).parent.mkdir(exist_ok=True)
        Image.fromarray(image).save(folder / path)
    frame = pd.DataFrame(rows, columns=["image", "split", "labels"])
    frame.to_csv(folder / "labels.csv", index=False)


@pytest.fixture
def table(workplace: Path, set_params: SetParams, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with 13 small images and their table: 9 train (so 3 batches), 4 test."""
    root = workplace / "root"
    root.mkdir()
    labels = ["a", "b", "a b", "c", "a c", "b c", "a", "", "b", "a b", "b", "c", "a c"]
    parts = ["train"] * 9 + ["test"] * 4
    rows = [(f"p/{n}.png", part, names) for n, (part, names) in enumerate(zip(parts, labels))]  # noqa: B905
    write_table(root, rows)
    monkeypatch.setenv("SPML_DATA_ROOT", str(root))
    set_params(TABLE)
    return root


def test_six_commands_lead_from_nothing_to_a_report(workplace: Path, run_stage: RunStage) -> None:
    output = {name: run_stage(name).output for name in STAGES}

    assert sorted(path.name for path in (workplace / "reports/evaluate").iterdir()) == REPORT
    metrics = json.loads((workplace / "reports/evaluate/metrics.json").read_text())
    expected = [
        "teacher.mAP",
        "teacher.val_mAP",
        "student.mAP",
        "student.val_mAP",
        "classes_evaluated",
        "pseudo_labels.precision",
        "pseudo_labels.recall",
        "pseudo_labels.positives_per_image",
        "truth.positives_per_image",
        *(f"{role}.{name}" for role in ("teacher", "student") for name in WORDS),
    ]
    assert list(metrics)[: len(expected)] == expected
    labels = pd.read_parquet(workplace / "data/pseudo_labels.parquet")
    assert len(labels) == 60
    assert labels["image_id"].is_monotonic_increasing
    for name in ("train_teacher", "score", "train_student", "evaluate"):
        assert sum(line.startswith("device: ") for line in output[name].splitlines()) == 1


def test_every_switch_of_teacher_score_and_student_runs(
    workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    on = {
        "fit.ema": 0.9, "augment.rand_augment": 1, "augment.cutout": 0.3, "augment.mixup": 0.4,
        "augment.flip": 0.5, "fit.epochs": 1,
    }  # fmt: skip
    set_params({f"train.{key}": value for key, value in on.items()})
    set_params(
        {
            "train_teacher.members": 2,
            "train_teacher.folds": 2,
            "score.flip": True,
            "train_student.train.augment.mixup_labels": "union",
            "train_student.prior_weight": 0.1,
        }
    )
    output = {name: run_stage(name).output for name in STAGES}
    assert "member-2-fold-2-of-2, 5 of 5 models: best epoch 1" in output["train_teacher"]
    assert sorted(path.name for path in (workplace / "data/teacher").iterdir()) == [
        "fold-1-of-2.safetensors",
        "fold-2-of-2.safetensors",
        "member-2-fold-1-of-2.safetensors",
        "member-2-fold-2-of-2.safetensors",
        "model.safetensors",
    ]
    index = pd.read_parquet(workplace / "data/index.parquet")
    for split, name in (("train", "scores"), ("val", "val_scores")):
        scores = pd.read_parquet(workplace / f"data/{name}.parquet")
        ids = index[index["split"] == split]["image_id"]
        assert scores["image_id"].tolist() == ids.tolist()
        assert scores["probs"].map(len).eq(10).all()


def test_two_runs_from_nothing_give_equal_bytes(
    workplace: Path, run_stage: RunStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = []
    for name in ("one", "two"):
        folder = workplace / name
        folder.mkdir()
        (folder / "params.yaml").write_bytes((workplace / "params.yaml").read_bytes())
        monkeypatch.chdir(folder)
        for stage in STAGES:
            run_stage(stage)
        results.append(files_of(folder))
    assert results[0] == results[1]


def test_nothing_before_evaluate_needs_the_truth(workplace: Path, run_stage: RunStage) -> None:
    run_stage("prepare")
    (workplace / "data/truth.parquet").unlink()
    for name in STAGES[1:-1]:
        run_stage(name)
    assert "truth.parquet: no such file" in run_stage("evaluate", exit_code=1).output


def test_own_images_run_with_an_unlabelled_image_and_a_last_batch_of_one(
    table: Path, workplace: Path, run_stage: RunStage
) -> None:
    output = run_stage("prepare").output
    for name in STAGES[1:]:
        run_stage(name)
    index = pd.read_parquet(workplace / "data/index.parquet")
    assert index["split"].value_counts().to_dict() == {"train": 7, "val": 2, "test": 4}
    assert "1 training images have no positive label" in output
    labels = pd.read_parquet(workplace / "data/pseudo_labels.parquet")
    assert labels["observed"].str.len().min() == 0


def test_a_class_without_positives_is_warned_of_and_counts_zero(
    table: Path, workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    set_params({"prepare.classes": ["a", "b", "c", "unicorn"]})
    assert "1 classes have no observed positive: unicorn" in run_stage("prepare").output
    for name in STAGES[1:-1]:
        run_stage(name)
    assert "1 classes have no positive in test" in run_stage("evaluate").output
    metrics = json.loads((workplace / "reports/evaluate/metrics.json").read_text())
    assert metrics["classes_evaluated"] == 3
    aps = pd.read_csv(workplace / "reports/evaluate/per_class.csv")["teacher_AP"]
    assert aps.isna().tolist() == [False, False, False, True]
    assert metrics["teacher.mAP"] == pytest.approx(aps.fillna(0).mean(), abs=1e-3)


def test_names_from_files_are_escaped_in_the_terminal(
    table: Path, workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    set_params({"prepare.classes": ["a", "b", "c", "\x1b[31mred"]})
    output = run_stage("prepare").output
    assert "1 classes have no observed positive: \\x1b[31mred" in output
    set_params({"prepare.classes": ["a\n", "a\n", "b\x1b[31m"]})
    output = run_stage("prepare", exit_code=1).output
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert output[:-1].isprintable()


def test_all_labels_observed_is_an_oracle(
    table: Path, workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    set_params(
        {
            "prepare.observe.num_pos": "all",
            "prepare.observe.num_neg": "all",
            "train_teacher.loss": "bce",
        }
    )
    run_stage("prepare")
    index = pd.read_parquet(workplace / "data/index.parquet")
    train = index[index["split"] != "test"]
    known = train["observed"].str.len() + train["observed_negatives"].str.len()
    assert (known == 3).all()
    run_stage("train_teacher")


def test_the_voc_layout_runs(
    workplace: Path,
    run_stage: RunStage,
    set_params: SetParams,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    voc = workplace / "voc/VOCdevkit/VOC2012"
    sets = voc / "ImageSets/Main"
    sets.mkdir(parents=True)
    (voc / "JPEGImages").mkdir()
    for part, first in (("train", 0), ("val", 10)):
        names = [f"2008_{number:06d}" for number in range(first, first + 10)]
        for offset, name in enumerate(("cat", "dog")):
            lines = [f"{n} {1 if (i + offset) % 2 else -1}" for i, n in enumerate(names)]
            (sets / f"{name}_{part}.txt").write_text("\n".join(lines) + "\n")
        for name in names:
            Image.new("RGB", (40, 30), (len(name), 90, 200)).save(voc / f"JPEGImages/{name}.jpg")
    monkeypatch.setenv("SPML_DATA_ROOT", str(workplace / "voc"))
    set_params(TABLE | {"prepare.source": "voc2012", "prepare.classes": ["cat", "dog"]})
    for name in STAGES:
        run_stage(name)
    index = pd.read_parquet(workplace / "data/index.parquet")
    assert index["path"][0] == "VOCdevkit/VOC2012/JPEGImages/2008_000000.jpg"


# --- user errors -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("stage", "change", "expected"),
    [
        ("prepare", {"prepare.source": "coco"}, "prepare.source = 'coco': should be 'digits'"),
        ("prepare", {"prepare.val_fraction": 1}, "prepare.val_fraction = 1: should be a number"),
        ("prepare", {"prepare.observe.num_pos": -1}, "num_pos = -1: should be a number >= 0"),
        ("prepare", {"prepare.source": "table"}, "SPML_DATA_ROOT is not set"),
        (
            "train_teacher",
            {"train_teacher.loss": "emm"},
            "loss = 'emm': is no loss; should be one of",
        ),
        ("train_teacher", {"train_teacher.losses.em.beta": 1}, "losses.em.beta: unknown key"),
        (
            "train_teacher",
            {"train_teacher.train.model.backbone": "resnet51"},
            "train_teacher.train.model.backbone = 'resnet51': is not a backbone",
        ),
        ("train_teacher", {"train_teacher.train.fit.epochs": 0}, "should be a whole number >= 1"),
        (
            "train_teacher",
            {"train_teacher.train.fit.lr": "fast"},
            "fit.lr = 'fast': should be a number",
        ),
        ("score", {"score.precision": "bf16"}, "score.precision: unknown key"),
        ("pseudo_label", {"pseudo_label.tau": 1.5}, "tau = 1.5: should be a number >= 0 and < 1"),
        ("pseudo_label", {"pseudo_label.tau": "abc"}, "tau = 'abc': should be a number >= 0"),
        ("pseudo_label", {"pseudo_label.keep_observed": 1}, "keep_observed = 1: should be"),
        ("train_student", {"train_student.loss": "an"}, "train_student.loss = 'an': is no loss"),
        ("evaluate", {"evaluate.batch_size": 0}, "evaluate.batch_size = 0: should be a whole"),
    ],
)
def test_a_wrong_parameter_is_one_line_and_leaves_no_file(
    stage: str,
    change: dict[str, Any],
    expected: str,
    workplace: Path,
    run_stage: RunStage,
    set_params: SetParams,
) -> None:
    set_params(change)
    output = run_stage(stage, exit_code=1).output
    assert expected in output
    assert output.startswith("Error: ")
    assert output.count("\n") == 1
    assert not files_of(workplace)


@pytest.mark.parametrize("stage", STAGES[1:])
def test_a_stage_without_its_input_names_the_file_and_the_stage_to_run(
    stage: str, workplace: Path, run_stage: RunStage
) -> None:
    output = run_stage(stage, exit_code=1).output
    assert output == "Error: data/index.parquet: no such file; run the stage prepare first\n"


def test_ten_missing_or_broken_images_are_listed_with_the_count(
    table: Path, workplace: Path, run_stage: RunStage
) -> None:
    for number in range(12):
        (table / f"p/{number}.png").unlink()
    (table / "p/12.png").write_bytes(b"not an image")
    output = run_stage("prepare", exit_code=1).output
    assert "13 of 13 images cannot be read" in output
    assert output.count("no such file") == 9
    assert output.count("p/12.png (unknown image format)") == 1
    assert output.endswith("and 3 more\n")
    assert not files_of(workplace)


def test_an_index_can_be_made_without_the_images_but_a_model_cannot(
    table: Path, workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    set_params({"prepare.verify_images": False})
    (table / "p").rename(table / "elsewhere")
    output = run_stage("prepare").output
    assert f"warning: {table}: 13 of 13 images are missing: p/0.png, p/1.png, p/10.png" in output
    assert pd.read_parquet(workplace / "data/index.parquet")["size"].isna().all()
    before = files_of(workplace)
    *_, error = run_stage("train_teacher", exit_code=1).output.splitlines()
    assert error.startswith(f"Error: {table}: 7 of 7 images cannot be read: p/0.png (no such")
    assert files_of(workplace) == before
    (table / "elsewhere").rename(table / "p")
    run_stage("train_teacher")


def test_a_non_finite_loss_is_named_with_step_and_learning_rate(
    workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    run_stage("prepare")
    before = files_of(workplace)
    fit = "train_teacher.train.fit."
    set_params({f"{fit}optimizer": "sgd", f"{fit}schedule": "constant", f"{fit}lr": 1e30})
    set_params({f"{fit}batch_size": 8})
    output = run_stage("train_teacher", exit_code=1).output
    error = output.splitlines()[-1]
    assert "in epoch 1, step " in error
    assert (
        "at a learning rate of 1e+30; train_teacher.train.fit.lr = 1e+30 should be lower" in error
    )
    assert files_of(workplace) == before


def test_scores_below_tau_leave_only_the_observed_labels_with_a_warning(
    workplace: Path, start_after: StartAfter, run_stage: RunStage, set_params: SetParams
) -> None:
    start_after("score")
    set_params({"pseudo_label.tau": 0.999999})
    output = run_stage("pseudo_label").output
    assert "warning: no score above tau = 0.999999 adds a label" in output
    labels = pd.read_parquet(workplace / "data/pseudo_labels.parquet")
    assert (labels["n_added"] == 0).all()
    assert (labels["labels"].map(list) == labels["observed"].map(list)).all()
    run_stage("train_student")
    run_stage("evaluate")
    metrics = json.loads((workplace / "reports/evaluate/metrics.json").read_text())
    assert metrics["pseudo_labels.precision"] is None

    before = files_of(workplace)
    set_params({"pseudo_label.keep_observed": False})
    output = run_stage("pseudo_label", exit_code=1).output
    assert "pseudo_label.tau = 0.999999: no score is above it" in output
    assert files_of(workplace) == before


def test_an_artifact_of_other_data_is_refused(
    workplace: Path, start_after: StartAfter, run_stage: RunStage, set_params: SetParams
) -> None:
    start_after("score")
    set_params({"prepare.digits.n_train": 50})
    run_stage("prepare")
    output = run_stage("pseudo_label", exit_code=1).output
    assert output.startswith("Error: data/scores.parquet: its 60 image_ids are not the 50")
    assert output.count("\n") == 1


def test_an_image_that_changed_since_prepare_is_refused(
    table: Path, workplace: Path, run_stage: RunStage
) -> None:
    run_stage("prepare")
    buffer = io.BytesIO()
    Image.new("RGB", (77, 77)).save(buffer, format="PNG")
    (table / "p/3.png").write_bytes(buffer.getvalue())
    output = run_stage("train_teacher", exit_code=1).output
    assert "p/3.png (has changed since prepare: run `dvc repro`)" in output


def test_all_stages_run_on_observed_labels_without_truth(
    table: Path, workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    frame = pd.read_csv(table / "labels.csv", dtype=str, keep_default_na=False)
    frame["observed"] = frame["labels"].str.split().str[:1].str.join("")
    frame.loc[frame["split"] == "train", "labels"] = ""
    frame.to_csv(table / "labels.csv", index=False)
    set_params({
        "prepare.observe.process": "given", "prepare.val_labels": "observed",
        # as in README, for the user's labels
        "pseudo_label.calibrate": "prior", "pseudo_label.prior": "best_bin",
    })  # fmt: skip
    output = {name: run_stage(name).output for name in STAGES}

    assert "the complete labels of 7 training images are unknown" in output["prepare"]
    assert "note: The truth of the training images is unknown" in output["evaluate"]
    folder = workplace / "reports/evaluate"
    assert sorted(path.name for path in folder.iterdir()) == REPORT
    metrics = json.loads((folder / "metrics.json").read_text())
    expected = [
        "teacher.mAP",
        "teacher.val_mAP",
        "student.mAP",
        "student.val_mAP",
        "classes_evaluated",
        "pseudo_labels.positives_per_image",
        # incomplete val labels give no thresholds, and so no metrics of labels
        *(f"{role}.{name}" for role in ("teacher", "student") for name in OF_SCORES),
    ]
    assert list(metrics)[: len(expected)] == expected
    assert "<strong>The truth of the training images is unknown" in (
        (folder / "index.html").read_text()
    )
    assert "precision" not in pd.read_csv(folder / "per_class.csv").columns
    truth = pd.read_parquet(workplace / "data/truth.parquet")
    assert len(truth) == 4
