"""Partial labels in a long table, as Open Images ships them: reading and refusals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artifacts.run import Run
from pipeline.core.errors import InputError
from pipeline.datasets import long_table
from pipeline.datasets.long_table import FoldersParams, LongTableParams
from pipeline.datasets.rows import Rows
from tests.builders.miniatures import write_images
from tests.conftest import STAGES, RunStage, SetParams

TRAIN = """\
ImageID,Source,LabelName,Confidence
0b,verification,/m/dog,1
0b,crowdsource,/m/dog,1.0
0b,verification,/m/cat,0
0a,verification,/m/cat,1
07,verification,/m/owl,0
"""
VAL = "ImageID,Source,LabelName,Confidence\n1a,verification,/m/dog,1\n"
TEST = "ImageID,Source,LabelName,Confidence\n2a,verification,/m/cat,1\n2a,v,/m/dog,0\n"
CLASSES = "LabelName,DisplayName\n/m/owl,Owl\n/m/dog,Dog\n/m/ant,Ant\n/m/cat,Cat\n"
FOLDERS = FoldersParams(train="train", val="validation", test="test")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name, text in (("train", TRAIN), ("val", VAL), ("test", TEST), ("classes", CLASSES)):
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


def read(root: Path, wanted: list[str] | None = None, **changes: Any) -> Rows:
    settings: dict[str, Any] = {
        "train": "train.csv", "val": "val.csv", "test": "test.csv", "classes": "classes.csv",
        "folders": FOLDERS, "suffix": ".jpg", "unlisted": "absent",
    }  # fmt: skip
    return long_table.read(LongTableParams(**settings | changes), root, wanted)


def refusal(root: Path, wanted: list[str] | None = None, **changes: Any) -> str:
    with pytest.raises(InputError) as refused:
        read(root, wanted, **changes)
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{root}/")


def test_one_is_a_positive_zero_a_negative_and_no_row_unknown(root: Path) -> None:
    rows = read(root)
    assert rows.classes == ("Owl", "Dog", "Cat"), "those with a row, in the order of the file"
    assert rows.image_ids == ["0b", "0a", "07", "1a", "2a"]
    assert rows.splits == ["train", "train", "train", "val", "test"]
    assert rows.paths == [
        "train/0b.jpg", "train/0a.jpg", "train/07.jpg", "validation/1a.jpg", "test/2a.jpg",
    ]  # fmt: skip
    assert rows.targets is not None
    assert rows.targets.tolist() == [[0, 1, -1], [0, 0, 1], [-1, 0, 0], [0, 1, 0], [0, -1, 1]]
    assert (rows.truth == (rows.targets == 1)).all()
    assert rows.files == tuple(root / f"{n}.csv" for n in ("train", "val", "test", "classes"))


@pytest.mark.parametrize(
    ("unlisted", "known"),
    [("absent", [False] * 3 + [True] * 2), ("unknown", [False] * 5)],
)
def test_only_on_request_is_a_class_without_a_row_absent_and_never_in_train(
    unlisted: str, known: list[bool], root: Path
) -> None:
    rows = read(root, unlisted=unlisted)
    assert rows.known is not None
    assert rows.known.tolist() == known


def test_an_image_with_a_row_for_each_class_is_complete(root: Path) -> None:
    rows = read(root, ["Cat", "Dog"], unlisted="unknown")
    assert rows.known is not None
    assert dict(zip(rows.image_ids, rows.known.tolist(), strict=True)) == {
        "0b": True, "0a": False, "1a": False, "2a": True,
    }  # fmt: skip


def test_an_image_without_a_row_of_the_chosen_classes_is_left_out(root: Path) -> None:
    rows = read(root, ["Cat", "Dog"])
    assert rows.classes == ("Cat", "Dog")
    assert rows.image_ids == ["0b", "0a", "1a", "2a"]
    assert rows.targets is not None
    assert rows.targets.tolist() == [[-1, 1], [1, 0], [0, 1], [1, -1]]


def test_without_a_class_file_the_labels_are_the_names(root: Path) -> None:
    assert read(root, classes=None).classes == ("/m/cat", "/m/dog", "/m/owl")
    names = ["/m/owl", "/m/cat", "/m/dog"]
    assert read(root, names, classes=None).classes == tuple(names)


def test_a_class_file_may_lack_its_header_and_give_a_name_to_two_labels(root: Path) -> None:
    (root / "classes.csv").write_text('/m/owl,Owl\n/m/cat,"Cat"\n/m/dog,Cat\n')
    assert read(root).classes == ("Owl", "Cat (/m/cat)", "Cat (/m/dog)")


def test_a_parquet_file_gives_the_same_rows(root: Path) -> None:
    table = pd.read_csv(root / "train.csv", dtype={"Confidence": float})
    pq.write_table(pa.Table.from_pandas(table), root / "train.parquet")
    csv, parquet = read(root), read(root, train="train.parquet")
    assert parquet.image_ids == csv.image_ids
    assert np.array_equal(parquet.targets, csv.targets)  # type: ignore[arg-type]


def test_val_may_be_split_off_train(root: Path) -> None:
    assert set(read(root, val=None).splits) == {"train", "test"}


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("07,verification,/m/owl,0", "07,machine,/m/owl,2",
         "train.csv: row 5: Confidence '2': should be 1 (present) or 0 (absent)"),
        ("/m/owl,0", "/m/owl,0.7",
         "train.csv: row 5: Confidence '0.7': should be 1 (present) or 0 (absent)"),
        ("/m/owl,0", "/m/owl,",
         "train.csv: row 5: Confidence '': should be 1 (present) or 0 (absent)"),
        ("0b,crowdsource,/m/dog,1.0", "0b,crowdsource,/m/dog,0",
         "train.csv: ImageID '0b', LabelName '/m/dog': has the confidences 1 and 0; should have "
         "one of them"),
        ("/m/owl,0", "/m/orca,0",
         "train.csv: row 5: LabelName '/m/orca' is not in the file prepare.long_table.classes"),
        ("07,", ",", "train.csv: row 5: ImageID is empty; should name an image"),
        ("LabelName,", "Label,",
         "train.csv: column 'LabelName' is missing; its columns are ImageID, Source, Label, "
         "Confidence"),
        ("/m/owl,0", "/m/owl,0,0",
         "train.csv: cannot be read as csv: CSV parse error: "),
        (TRAIN.partition("\n")[2], "", "train.csv: has no rows"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_table_is_refused_in_one_line(
    old: str, new: str, message: str, root: Path
) -> None:
    assert old in TRAIN
    (root / "train.csv").write_text(TRAIN.replace(old, new))
    assert refusal(root).startswith(message)


def test_a_label_outside_the_wanted_classes_is_refused_unless_it_is_described(root: Path) -> None:
    assert (
        refusal(root, ["/m/dog", "/m/cat"], classes=None)
        == "train.csv: row 5: LabelName '/m/owl' is not in prepare.classes"
    )
    assert refusal(root, ["Dog", "Orca"]).startswith(
        "prepare.classes = 'Orca': is no name in the file prepare.long_table.classes; should be"
    )
    assert (
        refusal(root, ["Dog", "Dog"]) == "prepare.classes: 'Dog' appears twice; should appear once"
    )


def test_an_image_in_two_splits_is_refused(root: Path) -> None:
    (root / "val.csv").write_text(VAL.replace("1a", "0a"))
    expected = f"val.csv: ImageID '0a' is in {root}/train.csv, too; should be in one split"
    assert refusal(root) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("/m/owl\n", "classes.csv: ['/m/owl']: should be two fields, LabelName, DisplayName"),
        ("a,b\na,c\n", "classes.csv: LabelName 'a' is there twice; should be once"),
        ("Eule,L\xf6we", "classes.csv: cannot be read as csv: 'utf-8' codec"),
    ],
)
def test_a_mistake_in_the_class_file_is_refused_in_one_line(
    content: str, message: str, root: Path
) -> None:
    (root / "classes.csv").write_bytes(content.encode("latin-1"))
    assert refusal(root).startswith(message)


@pytest.mark.parametrize("key", ["train", "val", "test", "classes"])
def test_a_missing_file_is_named_with_its_key(key: str, root: Path) -> None:
    (root / f"{key}.csv").unlink()
    assert refusal(root) == f"{key}.csv: no such file (prepare.long_table.{key})"


@pytest.fixture
def prepared(root: Path, set_params: SetParams, monkeypatch: pytest.MonkeyPatch) -> None:
    """Point params.yaml to the tables, which have images."""
    rows = read(root)
    write_images(root, rows.paths or [])
    monkeypatch.setenv("SPML_DATA_ROOT", str(root))
    changes = {"train": "train.csv", "val": "val.csv", "test": "test.csv", "unlisted": "absent"}
    set_params(
        {
            "prepare.source": "long_table",
            "prepare.observe.process": "given",
            "train.fit.batch_size": 2,
        }
        | {f"prepare.long_table.{key}": value for key, value in changes.items()}
    )


def test_all_stages_run_on_partial_labels(prepared: None, run_stage: RunStage) -> None:
    for stage in STAGES:
        run_stage(stage)
    index = Run().read_index()
    train = index.rows("train")
    assert index.ids(train) == ["07", "0a", "0b"]
    assert index.targets[train].tolist() == [[0, 0, -1], [1, 0, 0], [-1, 1, 0]]
    pseudo = Run().read_pseudo_labels(index)
    assert not pseudo.labels[index.targets[train] == -1].any(), "observed negatives stay"
    assert "teacher.mAP" in json.loads(Path("reports/evaluate/metrics.json").read_text())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"prepare.long_table.unlisted": "unknown"},
         "prepare.source = 'long_table': 1 of the 1 test images have no complete labels: 2a; "),
        ({"prepare.observe.process": "uniform"},
         "prepare.observe.process = 'uniform': draws from complete labels, which long_table does "
         "not give; should be given\n"),
    ],
)  # fmt: skip
def test_labels_that_are_not_complete_are_not_taken_as_such(
    changes: dict[str, Any], message: str, prepared: None, run_stage: RunStage,
    set_params: SetParams,
) -> None:  # fmt: skip
    set_params(changes)
    output = run_stage("prepare", exit_code=1).output
    assert output.startswith(f"Error: {message}")
    assert output.count("\n") == 1
    assert not Path("data").exists()
