"""Corrections: read from a table, ranked above the other labels, kept through the generations."""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.artifacts import tables
from pipeline.artifacts.answers import Answer, Answers
from pipeline.artifacts.tables import Index, PseudoLabels, Scores
from pipeline.core import files
from pipeline.core.errors import InputError
from pipeline.evaluation.evaluate import evaluate
from pipeline.evaluation.kinds import Kind, kinds_of
from pipeline.pseudo_labels import corrections
from pipeline.pseudo_labels.rules import PseudoLabelParams, pseudo_labels, summary
from tests.builders.index import index_of
from tests.conftest import RunStage, SetParams, StartAfter

Row = tuple[str, str, str]

# Three train images of the classes c0, c1, c2, then one image of val and one of test.
TARGETS = np.array([[1, 0, 0], [0, -1, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]])
PROBS = np.array([[0.9, 0.1, 0.6], [0.8, 0.2, 0.7], [0.1, 0.45, 0.3]], np.float32)
PLAIN = {
    "rule": "tau", "tau": 0.5, "calibrate": "none", "prior": "val", "annotator": "ignored",
    "top_k": 1, "width": 0.2, "weights": "none", "keep_observed": True, "corrections": None,
}  # fmt: skip


@pytest.fixture
def index() -> Index:
    return index_of(["train"] * 3 + ["val", "test"], TARGETS)


def written(folder: Path, rows: Iterable[Row], name: str = "marks.csv") -> Path:
    frame = pd.DataFrame(list(rows), columns=["image_id", "class", "label"])
    if name.endswith("csv"):
        frame.to_csv(folder / name, index=False)
    else:
        frame.to_parquet(folder / name)
    return folder / name


def answers_of(**entries: Answer) -> Answers:
    """Return answers; "i0_c1" is the entry of the first image and the second class."""
    answers: Answers = np.zeros((3, 3), np.int8)
    for name, answer in entries.items():
        answers[int(name[1]), int(name[4])] = answer
    return answers


def labelled(index: Index, answers: Answers | None, **changes: object) -> PseudoLabels:
    params = PseudoLabelParams.model_validate(PLAIN | changes)
    return pseudo_labels(params, index, Scores(["i00", "i01", "i02"], PROBS), answers=answers)


# --- the table -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["marks.csv", "marks.parquet"])
def test_a_table_is_read_with_an_answer_per_entry(tmp_path: Path, index: Index, name: str) -> None:
    rows = [("i00", "c1", "present"), ("i02", "c2", "absent"), ("i01", "c0", "unknown"),
            ("i00", "c1", "present"), ("i00", "c2", "")]  # fmt: skip
    found = corrections.read(written(tmp_path, rows, name), index)
    expected = answers_of(i0_c1=Answer.PRESENT, i2_c2=Answer.ABSENT, i1_c0=Answer.UNKNOWN)
    np.testing.assert_array_equal(found, expected)


def test_further_columns_and_a_byte_order_mark_do_not_matter(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "marks.csv"
    path.write_text('\ufeffscore,label,class,image_id\n0.5,absent,"c0",i01\n', encoding="utf-8")
    np.testing.assert_array_equal(corrections.read(path, index), answers_of(i1_c0=Answer.ABSENT))


def test_names_that_look_like_numbers_or_nothing_stay_names(tmp_path: Path) -> None:
    index = index_of(
        ["train"] * 2, np.zeros((2, 2)), classes=("1.0", "a, b"), image_ids=["007", "NA"]
    )
    rows = [("007", "1.0", "present"), ("NA", "a, b", "absent")]
    for name in ("marks.csv", "marks.parquet"):
        found = corrections.read(written(tmp_path, rows, name), index)
        assert found.tolist() == [[1, 0], [0, -1]]


def test_a_name_that_was_kept_from_being_a_formula_is_found(tmp_path: Path) -> None:
    index = index_of(["train"], np.zeros((1, 2)), classes=("=1+1", "'b"), image_ids=["@x"])
    path = tmp_path / "marks.csv"
    columns = {"image_id": ["@x"] * 2, "class": list(index.classes), "label": ["present"] * 2}
    files.write_csv(path, {name: list(values) for name, values in columns.items()})
    assert "'@x,'=1+1,present" in path.read_text()
    assert corrections.read(path, index).tolist() == [[1, 1]]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([("i9", "c0", "present")],
         "row 1: image_id 'i9': is no image of the index; should be an image_id of train"),
        ([("i00", "c0", "present"), ("i03", "c0", "present")],
         "row 2: image_id 'i03': is an image of val; should be one of train"),
        ([("i00", "cat", "present")], "row 1: class 'cat': should be one of c0, c1, c2"),
        ([("i00", "c0", "yes")], "row 1: label 'yes': should be present, absent, unknown, or e"),
        ([("i00", "c0", "present"), ("i01", "c0", ""), ("i00", "c0", "absent")],
         "row 3: image_id 'i00', class 'c0': is absent here and present in row 1; should have one"),
    ],
)  # fmt: skip
def test_a_wrong_row_is_refused_by_its_number(
    tmp_path: Path, index: Index, rows: list[Row], expected: str
) -> None:
    for name in ("marks.csv", "marks.parquet"):
        path = written(tmp_path, rows, name)
        with pytest.raises(InputError) as error:
            corrections.read(path, index)
        assert str(error.value).startswith(f"{path}: {expected}")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "cannot be read as csv: Empty CSV file"),
        (b"image_id,class\n", "should have one column 'label'; its columns are image_id, class"),
        (b"image_id,class,label,label\n", "should have one column 'label'; its columns are"),
        (b"image_id,class,label\na,b\n", "cannot be read as csv: CSV parse error: Expected 3 col"),
        (b"image_id,class,label\nL\xf6we,b,present\n", "cannot be read as csv: "),
    ],
)
def test_a_broken_table_is_refused(
    tmp_path: Path, index: Index, content: bytes, expected: str
) -> None:
    path = tmp_path / "marks.csv"
    path.write_bytes(content)
    with pytest.raises(InputError) as error:
        corrections.read(path, index)
    assert str(error.value).startswith(f"{path}: {expected}")


def test_a_column_that_holds_no_texts_is_refused(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "marks.parquet"
    lists = pa.array([["present"]])
    table = {"image_id": pa.array(["i00"]), "class": pa.array(["c0"]), "label": lists}
    pq.write_table(pa.table(table), path)
    with pytest.raises(InputError, match=r"column 'label' is list.*; should be texts"):
        corrections.read(path, index)


# --- their rank ------------------------------------------------------------------------

# Against the rule, the observed positive of i00 and the observed negative of i01.
ANSWERS = answers_of(
    i0_c0=Answer.ABSENT, i0_c2=Answer.ABSENT, i1_c1=Answer.PRESENT, i2_c0=Answer.PRESENT,
    i1_c0=Answer.UNKNOWN, i2_c2=Answer.UNKNOWN,
)  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"rule": "top_k"}, {"rule": "band"}, {"rule": "soft"}, {"weights": "confidence"},
        {"rule": "band", "weights": "confidence"}, {"keep_observed": False},
    ],
)  # fmt: skip
def test_answers_rank_above_observed_labels_and_every_rule(
    tmp_path: Path, index: Index, changes: dict[str, object]
) -> None:
    made = labelled(index, ANSWERS, **changes)
    # What the answers leave alone is as without them.
    free, plain = ANSWERS == Answer.NONE, labelled(index, None, **changes)
    np.testing.assert_array_equal(made.labels[free], plain.labels[free])
    targets, weights = _targets_and_weights(made)
    before = _targets_and_weights(plain)
    np.testing.assert_array_equal(targets[free], before[0][free])
    np.testing.assert_array_equal(weights[free], before[1][free])
    for answer, target, weight in ((Answer.PRESENT, 1, 1), (Answer.ABSENT, 0, 1)):
        assert (targets[answer == ANSWERS] == target).all()
        assert (weights[answer == ANSWERS] == weight).all()
    assert (weights[ANSWERS == Answer.UNKNOWN] == 0).all()
    assert made.ignored[ANSWERS == Answer.UNKNOWN].all()
    assert summary(made)["corrected"] == 6
    np.testing.assert_array_equal(np.isnan(made.probs), ~made.labels)

    path = tmp_path / "pseudo_labels.parquet"
    tables.write_pseudo_labels(path, made, index.classes)
    read = tables.read_pseudo_labels(path, index.classes)
    assert read.answers is not None
    np.testing.assert_array_equal(read.answers, ANSWERS)
    np.testing.assert_array_equal(read.student_targets(), made.student_targets())
    assert read.digest() == made.digest() != replaced_answers(made).digest()


def _targets_and_weights(pseudo: PseudoLabels) -> tuple[np.ndarray, np.ndarray]:
    both = pseudo.student_targets()
    return (both[..., 0], both[..., 1]) if both.ndim == 3 else (both, np.ones_like(both))


def replaced_answers(pseudo: PseudoLabels) -> PseudoLabels:
    return PseudoLabels(**(vars(pseudo) | {"answers": None}))


def test_the_file_names_the_classes_of_each_answer(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "pseudo_labels.parquet"
    tables.write_pseudo_labels(path, labelled(index, ANSWERS), index.classes)
    read = pd.read_parquet(path)
    assert read["corrected_present"].map(list).tolist() == [[], [1], [0]]
    assert read["corrected_absent"].map(list).tolist() == [[0, 2], [], []]
    assert read["corrected_unknown"].map(list).tolist() == [[], [0], [2]]
    # Weights of 0 and 1 need no column of numbers.
    assert "weights" not in read.columns
    assert read["ignored"].map(list).tolist() == [[], [0], [2]]

    tables.write_pseudo_labels(path, labelled(index, None), index.classes)
    columns = ["image_id", "observed", "labels", "label_names", "scores", "n_added"]
    assert list(pd.read_parquet(path).columns) == columns


def test_an_entry_with_two_answers_in_the_file_is_refused(tmp_path: Path, index: Index) -> None:
    path = tmp_path / "pseudo_labels.parquet"
    tables.write_pseudo_labels(path, labelled(index, ANSWERS), index.classes)
    table = pq.read_table(path)
    at = table.column_names.index("corrected_absent")
    pq.write_table(table.set_column(at, "corrected_absent", table["corrected_present"]), path)
    with pytest.raises(InputError, match=r"image_id 'i01', class 'c1': is in corrected_absent and"):
        tables.read_pseudo_labels(path, index.classes)


def test_corrected_entries_are_a_kind_of_their_own_and_are_not_judged(index: Index) -> None:
    made = labelled(index, ANSWERS)
    truth = np.array([[1, 1, 1], [1, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 1]], np.bool_)
    kinds = kinds_of(
        made.labels, index.targets[:3], made.ignored, truth[:3], corrected=made.corrected
    )
    assert (kinds[ANSWERS == Answer.PRESENT] == Kind.CORRECTED_POSITIVE).all()
    answered = (ANSWERS == Answer.ABSENT) | (ANSWERS == Answer.UNKNOWN)
    assert (kinds[answered] == Kind.CORRECTED_NEGATIVE).all()
    assert set(kinds[ANSWERS == Answer.NONE]) == {
        Kind.FALSE_NEGATIVE, Kind.TRUE_POSITIVE, Kind.TRUE_NEGATIVE, Kind.OBSERVED,
    } - {Kind.OBSERVED}  # fmt: skip
    all_truth = tables.Truth(index.image_ids, truth)
    probs = dict.fromkeys(("teacher", "student"), np.full((1, 3), 0.5, np.float32))
    vals = dict.fromkeys(probs, 50.0)
    metrics = evaluate(index, all_truth, made, probs, vals).metrics
    # Left to judge: one positive, right, and one missed, of i01 and i00.
    assert metrics["pseudo_labels.corrected"] == 6
    assert metrics["pseudo_labels.precision"] == 1
    assert metrics["pseudo_labels.recall"] == 0.5
    assert (
        "pseudo_labels.corrected"
        not in evaluate(index, all_truth, labelled(index, None), probs, vals).metrics
    )


# --- the stages ------------------------------------------------------------------------


def test_the_stage_takes_the_table_and_names_it_by_its_content(
    workplace: Path, start_after: StartAfter, run_stage: RunStage, set_params: SetParams,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    start_after("pseudo_label")
    run_stage("inputs")
    described = workplace / "data/inputs/pseudo_label.json"
    assert json.loads(described.read_text()) == {"file": None}
    plain = (workplace / "data/pseudo_labels.parquet").read_bytes()
    before = tables.read_pseudo_labels(workplace / "data/pseudo_labels.parquet")
    monkeypatch.setenv("SPML_DATA_ROOT", str(workplace))
    set_params({"pseudo_label.corrections": "marks.csv"})
    image_id, label = before.image_ids[5], bool(before.labels[5, 3])

    rows = [(image_id, "3", "absent" if label else "present")]
    contents = set()
    for _ in range(2):
        written(workplace, rows)
        run_stage("inputs")
        contents.add(described.read_text())
        assert run_stage("pseudo_label").output.count(f", {len(rows)} corrected: data/") == 1
        rows += [(image_id, "4", "unknown")]
    assert len(contents) == 2, "another content gives another description"
    after = tables.read_pseudo_labels(workplace / "data/pseudo_labels.parquet")
    assert after.labels[5, 3] != label
    assert after.ignored[5].tolist() == [column == 4 for column in range(10)]
    counts = pd.read_csv(workplace / "reports/pseudo_label/per_class.csv")
    assert counts["corrected"].tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 0]

    set_params({"pseudo_label.corrections": None})
    run_stage("pseudo_label")
    assert (workplace / "data/pseudo_labels.parquet").read_bytes() == plain


def test_every_generation_of_students_keeps_the_corrections(
    workplace: Path, start_after: StartAfter, run_stage: RunStage, set_params: SetParams
) -> None:
    start_after("pseudo_label")
    before = tables.read_pseudo_labels(workplace / "data/pseudo_labels.parquet")
    # Every answer contradicts the rule; those of class 0 say unknown.
    rows = [
        (image_id, str(column), "unknown" if column == 0 else "absent" if on else "present")
        for image_id, labels in zip(before.image_ids[:20], before.labels, strict=False)
        for column, on in enumerate(labels)
    ]
    path = written(workplace, rows)
    set_params({"pseudo_label.corrections": str(path), "train_student.generations": 2})
    run_stage("pseudo_label")
    run_stage("train_student")
    second = tables.read_pseudo_labels(workplace / "data/student/generation-2.parquet")
    assert second.answers is not None
    assert (second.answers != 0).sum() == 200
    np.testing.assert_array_equal(second.labels[:20, 1:], ~before.labels[:20, 1:])
    assert second.ignored[:20, 0].all()
