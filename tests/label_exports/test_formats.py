"""Exports of labels: our own sources read them back, and FiftyOne's importer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from pipeline.artifacts import tables
from pipeline.artifacts.run import Run
from pipeline.datasets import coco_json, table
from pipeline.datasets.coco_json import CocoJsonParams
from pipeline.datasets.table import TableParams
from stages import labels
from tests.builders.photographs import NAMES, label_photographs
from tests.checks.folders import everything
from tests.conftest import RunStage, SetParams, StartAfter

PLAIN = ("cat", "dog", "8")


@pytest.fixture
def root(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = workplace / "root"
    folder.mkdir()
    monkeypatch.setenv("SPML_DATA_ROOT", str(folder))
    return folder


def export(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(labels.main, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def labels_of(run: Run) -> dict[str, list[bool]]:
    """Return the labels of a run by image_id: pseudo-labels of train, else the complete ones."""
    index = run.read_index()
    pseudo, truth = run.read_pseudo_labels(index), run.read_truth(index)
    val, test = index.rows("val"), index.rows("test")
    pairs = (
        (pseudo.image_ids, pseudo.labels),
        (index.ids(val), index.labels[val]),
        (index.ids(test), truth.of(index, "test")),
    )
    return {name: row.tolist() for ids, rows in pairs for name, row in zip(ids, rows, strict=True)}


def answered(root: Path, run_stage: RunStage, set_params: SetParams) -> None:
    """Correct three entries, one of them an observed positive."""
    pseudo = tables.read_pseudo_labels(Path("data/pseudo_labels.parquet"))
    classes = tables.read_index(Path("data/index.parquet")).classes
    seen = int(np.flatnonzero(pseudo.observed[0])[0])
    rows = [(0, seen, "absent"), (1, 0, "present"), (2, 1, "unknown")]
    marks = pd.DataFrame(
        [(pseudo.image_ids[row], classes[column], label) for row, column, label in rows],
        columns=["image_id", "class", "label"],
    )
    marks.to_csv(root / "marks.csv", index=False)
    set_params({"pseudo_label.corrections": "marks.csv"})
    run_stage("pseudo_label")


# --- csv -------------------------------------------------------------------------------


@pytest.mark.parametrize("classes", [PLAIN, NAMES])
@pytest.mark.parametrize("corrected", [False, True])
def test_the_table_source_reads_the_csv_back(
    root: Path, run_stage: RunStage, set_params: SetParams, classes: tuple[str, ...],
    corrected: bool,
) -> None:  # fmt: skip
    label_photographs(root, run_stage, set_params, classes)
    if corrected:
        answered(root, run_stage, set_params)
    expected, index = labels_of(Run()), Run().read_index()
    assert export("--to", "csv", "--out", "out") == "labels of 24 images: out\n"
    params = TableParams(file=str(Path("out/labels.csv").resolve()))
    rows = table.read(params, root, list(classes))
    assert rows.splits == index.splits.tolist()
    assert dict(zip(rows.image_ids, rows.truth.tolist(), strict=True)) == expected
    # The observed labels, too; they follow the corrections, so nothing contradicts.
    given = table.read(params, root, list(classes), given=True)
    changed = 3 if corrected else 0
    assert given.targets is not None
    assert (given.targets != index.targets).sum() in range(min(changed, 1), changed + 1)


def test_the_csv_names_what_was_added_ignored_and_corrected(
    root: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    label_photographs(root, run_stage, set_params, PLAIN)
    answered(root, run_stage, set_params)
    export("--to", "csv", "--out", "out")
    read = pd.read_csv("out/labels.csv", dtype=str, keep_default_na=False).set_index("image_id")
    pseudo = tables.read_pseudo_labels(Path("data/pseudo_labels.parquet"))
    assert pseudo.ignored.any()
    for row, image_id in enumerate(pseudo.image_ids):
        named = {column: read.loc[image_id, column].split() for column in read.columns}
        names = {"ignored": pseudo.ignored, "corrected": pseudo.corrected}
        for column, entries in names.items():
            assert named[column] == [PLAIN[number] for number in np.flatnonzero(entries[row])]
        assert len(named["added"]) == len(named["added_scores"])
        scores = dict(zip(PLAIN, pseudo.probs[row], strict=True))
        found = [float(score) for score in named["added_scores"]]
        assert found == pytest.approx([scores[name] for name in named["added"]], abs=5e-5)


# --- COCO ------------------------------------------------------------------------------


def test_the_source_coco_json_reads_the_json_back(
    root: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    label_photographs(root, run_stage, set_params)
    answered(root, run_stage, set_params)
    expected, index = labels_of(Run()), Run().read_index()
    export("--to", "coco", "--out", "out")
    files = {split: str(Path(f"out/{split}.json").resolve()) for split in tables.SPLITS}
    rows = coco_json.read(CocoJsonParams(**files, images=None), root, list(NAMES))
    assert dict(zip(rows.image_ids, rows.truth.tolist(), strict=True)) == expected
    assert dict(zip(rows.image_ids, rows.splits, strict=True)) == dict(
        zip(index.image_ids, index.splits.tolist(), strict=True)
    )

    train = json.loads(Path("out/train.json").read_text("utf-8"))
    sources = [entry["source"] for entry in train["annotations"]]
    pseudo = tables.read_pseudo_labels(Path("data/pseudo_labels.parquet"))
    assert sources.count("corrected") == 1
    assert sources.count("observed") == (pseudo.observed & pseudo.labels).sum()
    assert [entry["score"] for entry in train["annotations"]] == [
        pytest.approx(score, abs=1e-8) for score in pseudo.probs[pseudo.labels]
    ]
    ignored = [len(image["ignored_category_ids"]) for image in train["images"]]
    assert ignored == pseudo.ignored.sum(axis=1).tolist()


# --- FiftyOne --------------------------------------------------------------------------


def test_the_samples_for_fiftyone_have_labels_with_confidence_and_the_truth(
    root: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    label_photographs(root, run_stage, set_params)
    export("--to", "fiftyone", "--out", "out")
    samples = json.loads(Path("out/samples.json").read_text("utf-8"))["samples"]
    index = Run().read_index()
    pseudo, truth = Run().read_pseudo_labels(index), Run().read_truth(index)
    by_id = {sample["image_id"]: sample for sample in samples}

    def names(field: dict[str, Any]) -> list[str]:
        assert field["_cls"] == "Classifications"
        assert {one["_cls"] for one in field["classifications"]} <= {"Classification"}
        return [one["label"] for one in field["classifications"]]

    for row, image_id in enumerate(pseudo.image_ids):
        sample = by_id[image_id]
        assert sample["filepath"] == str(root / image_id)
        assert sample["tags"] == ["train"]
        expected = [NAMES[column] for column in np.flatnonzero(pseudo.labels[row])]
        assert names(sample["pseudo_labels"]) == expected
        scores = [one["confidence"] for one in sample["pseudo_labels"]["classifications"]]
        assert np.array_equal(np.float32(scores), pseudo.probs[row, pseudo.labels[row]])
        complete = truth.known_of(index, "train")[0][row]
        assert names(sample["ground_truth"]) == [NAMES[at] for at in np.flatnonzero(complete)]
    test = [sample for sample in samples if sample["tags"] == ["test"]]
    assert len(test) == 6
    assert all("ground_truth" in sample and "pseudo_labels" not in sample for sample in test)


def test_fiftyone_imports_the_samples(
    root: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    # Its importer needs no database; a Dataset would.
    importers = pytest.importorskip("fiftyone.utils.data.importers", reason="needs fiftyone")
    label_photographs(root, run_stage, set_params)
    export("--to", "fiftyone", "--out", "out")
    with importers.LegacyFiftyOneDatasetImporter(str(Path("out").resolve())) as importer:
        samples = list(importer)
        assert importer.get_dataset_info()["classes"] == list(NAMES)
    pseudo = tables.read_pseudo_labels(Path("data/pseudo_labels.parquet"))
    found = {sample["image_id"]: sample for sample in samples}
    for row, image_id in enumerate(pseudo.image_ids):
        assert Path(found[image_id].filepath).is_file()
        labelled = found[image_id]["pseudo_labels"].classifications
        assert [one.label for one in labelled] == [
            NAMES[column] for column in np.flatnonzero(pseudo.labels[row])
        ]


# --- images and folders ----------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "coco", "fiftyone"])
def test_images_without_a_file_are_written_beside_the_labels(
    workplace: Path, start_after: StartAfter, form: str
) -> None:
    start_after("pseudo_label")
    export("--to", form, "--out", "out")
    index = Run().read_index()
    encoded = tables.read_images(Run().images, index.image_ids)
    if form == "csv":
        read = pd.read_csv("out/labels.csv", dtype=str, keep_default_na=False)
        paths = dict(zip(read["image_id"], read["image"], strict=True))
    elif form == "coco":
        parts = [json.loads(Path(f"out/{split}.json").read_text()) for split in tables.SPLITS]
        paths = {one["image_id"]: one["file_name"] for part in parts for one in part["images"]}
    else:
        samples = json.loads(Path("out/samples.json").read_text())["samples"]
        paths = {one["image_id"]: one["filepath"] for one in samples}
    for image_id, content in zip(index.image_ids, encoded, strict=True):
        assert Path("out", paths[image_id]).read_bytes() == content
    with Image.open(Path("out", paths[index.image_ids[0]])) as image:
        assert image.size == (24, 24)
    before = everything(workplace)
    export("--to", form, "--out", "out")
    assert everything(workplace) == before, "an older export is replaced"


def test_a_folder_with_other_files_stays_and_a_folder_is_needed(
    root: Path, workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    label_photographs(root, run_stage, set_params)
    Path("out").mkdir()
    Path("out/mine.txt").touch()
    before = everything(workplace)
    output = export("--to", "csv", "--out", "out", exit_code=1)
    assert output.startswith("Error: out: holds other files, which would be lost: mine.txt;")
    output = export("--to", "coco", exit_code=1)
    assert output == "Error: --to coco: needs --out, the folder to write, such as --out coco\n"
    assert everything(workplace) == before
