"""Another model's scores from a table: reading, scales, refusals, and the stages that use them."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments.keys import in_use
from pipeline.artifacts.run import Run
from pipeline.artifacts.tables import Index
from pipeline.core.errors import InputError
from pipeline.core.hashes import of_file
from pipeline.evaluation.metrics import mean_average_precision
from pipeline.inference import outside
from pipeline.inference.outside import OutsideParams
from pipeline.models import model_file
from tests.builders.index import index_of
from tests.conftest import STAGES, RunStage, SetParams, StartAfter

# In another order than the index, and with its columns in another order.
CSV = """\
c1,image_id,c0
0.25,i03,0.75
0.5,i00,0.125
1,i02,0
0.0,i01,1e-3
"""


def make_index(splits: tuple[str, ...] = ("train", "val", "train", "test")) -> Index:
    return index_of(splits, np.zeros((len(splits), 2)))


def params(file: Path, **changes: Any) -> OutsideParams:
    settings = {"scale": "probability", "temperature": 1.0, "weight": 0.5} | changes
    return OutsideParams(file=str(file), **settings)


def refusal(file: Path, **changes: Any) -> str:
    with pytest.raises(InputError) as refused:
        outside.read(params(file, **changes), make_index())
    assert "\n" not in str(refused.value)
    return str(refused.value).removeprefix(f"{file}: ")


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    path = tmp_path / "scores.csv"
    path.write_text(CSV)
    return path


@pytest.fixture(params=["csv", "parquet"])
def either(request: pytest.FixtureRequest, csv: Path) -> Path:
    if request.param == "csv":
        return csv
    path = csv.with_suffix(".parquet")
    pd.read_csv(csv).to_parquet(path, index=False)
    return path


def test_rows_and_columns_are_put_into_the_order_of_the_index(either: Path) -> None:
    found = outside.read(params(either), make_index())
    assert {split: scores.image_ids for split, scores in found.items()} == {
        "train": ["i00", "i02"], "val": ["i01"], "test": ["i03"],
    }  # fmt: skip
    assert found["train"].probs.tolist() == [[0.125, 0.5], [0.0, 1.0]]
    assert found["val"].probs.tolist() == [[np.float32(1e-3), 0.0]]
    assert found["test"].probs.tolist() == [[0.75, 0.25]]


def test_the_scores_tell_the_content_of_the_file(csv: Path) -> None:
    about = outside.read(params(csv), make_index())["val"].about
    assert about["spml.made_from.outside"] == of_file(csv)
    assert about["spml.made_from.index"] == make_index().digest()


def test_test_images_may_be_missing_but_not_some_of_them(csv: Path) -> None:
    without = csv.with_name("without.csv")
    without.write_text(CSV.replace("0.25,i03,0.75\n", ""))
    found = outside.read(params(without), make_index())
    assert found["test"].image_ids == []
    assert found["test"].probs.shape == (0, 2)
    index = make_index(("train", "val", "test", "test"))
    with pytest.raises(InputError, match=r"lacks 1 of the 2 test images: i03; .* all or none$"):
        outside.read(params(without), index)


def test_logits_become_probabilities_at_the_temperature(csv: Path) -> None:
    csv.write_text("image_id,c0,c1\ni00,2,-1\ni01,0,700\ni02,-800,0.5\n")
    found = outside.read(params(csv, scale="logit", temperature=2.0), make_index())
    by_hand = [[1 / (1 + math.exp(-1)), 1 / (1 + math.exp(0.5))], [0.0, 1 / (1 + math.exp(-0.25))]]
    np.testing.assert_allclose(found["train"].probs, by_hand, rtol=1e-6)
    assert found["val"].probs.tolist() == [[0.5, 1.0]]


def test_similarities_become_a_softmax_over_the_classes_at_the_temperature(csv: Path) -> None:
    # VLPL's temperature is .01. The difference of .01 is a factor of e, that of .02 of e^2.
    csv.write_text("image_id,c0,c1\ni00,0.21,0.20\ni01,0.30,0.28\ni02,-1,1\n")
    found = outside.read(params(csv, scale="softmax", temperature=0.01), make_index())
    e = math.e
    np.testing.assert_allclose(found["train"].probs[0], [e / (e + 1), 1 / (e + 1)], rtol=1e-6)
    np.testing.assert_allclose(found["val"].probs[0], [e**2 / (e**2 + 1), 1 / (e**2 + 1)], 1e-6)
    assert found["train"].probs[1].tolist() == [0.0, 1.0]


def test_the_mean_is_weighted_by_the_share_of_the_outside_scores() -> None:
    teacher, other = np.float32([[0.2, 1.0]]), np.float32([[0.6, 0.0]])
    np.testing.assert_allclose(outside.mean(teacher, other, 0.25), [[0.3, 0.75]], rtol=1e-6)
    assert np.array_equal(outside.mean(teacher, other, 0.0), teacher)
    assert np.array_equal(outside.mean(teacher, other, 1.0), other)


WANTED = "should have image_id and one column for each of the 2 classes"
BROKEN = [
    ("c1,", "d1,", f"its columns: lacks c1 and has d1 besides; {WANTED}"),
    ("c1,image_id,c0", "c1,image,c0",
     f"its columns: lacks image_id and has image besides; {WANTED}"),
    ("0.5,i00", "0.5,i01", "image_id 'i01' is there twice; should be once"),
    ("0.5,i00", "0.5,x",
     "1 of its 4 images are not in the index: x; should be image_ids of data/index.parquet"),
    ("0.5,i00,0.125\n", "", "lacks 1 of the 2 train images: i00; should have all"),
    ("0.0,i01,1e-3\n", "", "lacks 1 of the 1 val images: i01; should have all"),
    ("0.5,i00", "high,i00", "image_id 'i00', class 'c1': 'high': should be a number"),
    ("0.5,i00", ",i00", "image_id 'i00', class 'c1': '': should be a number"),
    ("0.5,i00", "nan,i00", "image_id 'i00', class 'c1': 'nan': should be a number"),
    ("0.5,i00", "inf,i00", "image_id 'i00', class 'c1': 'inf': should be a number"),
    ("0.5,i00", "1.5,i00",
     "image_id 'i00', class 'c1': 1.5: should be a probability, from 0 to 1; for other scores set "
     "score.outside.scale to logit or softmax"),
    ("0.5,i00,0.125", "0.5,i00,0.125,7", "its rows have more fields than its header"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), BROKEN)
def test_a_mistake_in_the_table_is_refused_in_one_line(
    old: str, new: str, message: str, csv: Path
) -> None:
    assert old in CSV
    text = CSV.replace(old, new, 1)
    if message.startswith("its rows have more"):
        text = text.replace("0.25,i03,0.75", "0.25,i03,0.75,7")
        text = text.replace("1,i02,0\n", "1,i02,0,7\n").replace("1e-3", "1e-3,7")
    csv.write_text(text)
    assert refusal(csv) == message


def test_a_table_without_names_of_images_in_parquet_is_refused(csv: Path) -> None:
    path = csv.with_suffix(".parquet")
    pd.DataFrame({"image_id": [0, 1], "c0": [0.5, 0.5], "c1": [0.5, 0.5]}).to_parquet(path)
    assert refusal(path) == "row 1: image_id = 0: should be a text"


def test_a_temperature_that_makes_a_value_infinite_is_refused(csv: Path) -> None:
    csv.write_text(CSV.replace("0.5,", "1e308,"))
    message = refusal(csv, scale="softmax", temperature=1e-3)
    assert message.startswith("score.outside.temperature = 0.001: is too small for the values of")


def test_a_missing_file_or_another_format_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "x.csv") == "no such file (score.outside.file)"
    assert refusal(tmp_path / "x.npy") == "should be a .csv or .parquet file"


# --- the stages ------------------------------------------------------------------------


def write_scores(path: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> pd.DataFrame:
    """Write random probabilities of the images of the workplace's index."""
    index = Run().read_index()
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.random((len(index.image_ids), 10)), columns=list(index.classes))
    frame.insert(0, "image_id", index.image_ids)
    frame = frame[np.isin(index.splits, splits)].sample(frac=1, random_state=0)
    frame.to_csv(path, index=False)
    return frame.set_index("image_id")


@pytest.fixture
def alone(workplace: Path, start_after: StartAfter, set_params: SetParams) -> pd.DataFrame:
    """A prepared workplace, and a table of scores that take the place of a teacher's."""
    start_after("prepare")
    set_params(
        {
            "train_teacher.source": "scores",
            "score.outside.file": str(workplace / "outside.csv"),
        }
    )
    return write_scores(workplace / "outside.csv")


def metrics() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path("reports/evaluate/metrics.json").read_text())
    return found


def test_without_a_teacher_the_outside_scores_make_the_labels(
    alone: pd.DataFrame, run_stage: RunStage
) -> None:
    output = {stage: run_stage(stage).output for stage in STAGES[1:]}
    assert output["train_teacher"].startswith("no teacher is trained")
    assert [path.name for path in Path("data/teacher").iterdir()] == ["no_teacher.json"]
    index = Run().read_index()
    train, test = index.rows("train"), index.rows("test")
    expected = alone.loc[index.ids(train)].to_numpy(np.float32)
    assert np.array_equal(Run().read_scores(index).probs, expected)
    labels = Run().read_pseudo_labels(index).labels
    assert np.array_equal(labels, (expected > np.float32(0.4)) | (index.targets[train] == 1))
    truth = Run().read_truth(index).of(index, "test")
    by_hand = mean_average_precision(truth, alone.loc[index.ids(test)].to_numpy())
    assert metrics()["teacher.mAP"] == pytest.approx(by_hand, abs=1e-4)
    assert 0 < metrics()["teacher.val_mAP"] < 100


def test_without_test_scores_the_rest_is_reported(
    alone: pd.DataFrame, workplace: Path, run_stage: RunStage
) -> None:
    write_scores(workplace / "outside.csv", ("train", "val"))
    for stage in STAGES[1:]:
        output = run_stage(stage).output
    assert metrics()["teacher.mAP"] is None
    assert metrics()["student.mAP"] > 0
    assert "note: The scores from outside have no test images: teacher.mAP is unknown." in output
    assert pd.read_csv("reports/evaluate/per_class.csv")["teacher_AP"].isna().all()


def test_the_mean_with_a_teacher_leaves_the_teacher_as_it_is(
    workplace: Path, start_after: StartAfter, set_params: SetParams, run_stage: RunStage
) -> None:
    start_after("score")
    index = Run().read_index()
    teacher = Run().read_scores(index).probs
    given = write_scores(workplace / "outside.csv", ("train", "val"))
    file = str(workplace / "outside.csv")
    set_params({"score.outside.file": file, "score.outside.weight": 0.25})
    run_stage("score")
    ids = index.ids(index.rows("train"))
    expected = 0.75 * teacher + 0.25 * given.loc[ids].to_numpy()
    np.testing.assert_allclose(Run().read_scores(index).probs, expected, rtol=1e-6)
    for stage in ("pseudo_label", "train_student", "evaluate"):
        run_stage(stage)
    assert metrics()["teacher.mAP"] > 0


def test_no_teacher_and_no_scores_is_refused(
    alone: pd.DataFrame, set_params: SetParams, run_stage: RunStage
) -> None:
    set_params({"score.outside.file": None})
    run_stage("train_teacher")
    output = run_stage("score", exit_code=1).output
    assert output == (
        "Error: score.outside.file = null: no teacher was trained (train_teacher.source is "
        "scores); should be a table of another model's scores\n"
    )
    assert not Path("data/scores.parquet").exists()


def test_scores_of_a_teacher_are_refused_after_the_teacher_is_gone(
    workplace: Path, start_after: StartAfter, set_params: SetParams, run_stage: RunStage
) -> None:
    start_after("train_student")
    set_params({"train_teacher.source": "scores"})
    run_stage("train_teacher")
    output = run_stage("evaluate", exit_code=1).output
    assert "data/scores.parquet: was made with another teacher than the current one" in output


def test_a_missing_teacher_is_explained(alone: pd.DataFrame, run_stage: RunStage) -> None:
    run_stage("train_teacher")
    with pytest.raises(InputError, match=r"no teacher was trained: train_teacher\.source is "):
        model_file.load(Run().teacher_model)


def test_the_content_of_the_table_is_an_input(
    alone: pd.DataFrame, workplace: Path, run_stage: RunStage, set_params: SetParams
) -> None:
    path, described = workplace / "outside.csv", Path("data/inputs/score.json")
    run_stage("inputs")
    first = described.read_text()
    assert json.loads(first) == {"file": str(path), "sha256": of_file(path)}
    path.write_text(path.read_text() + "\n")
    run_stage("inputs")
    assert described.read_text() != first
    assert json.loads(Path("data/inputs/train_teacher.json").read_text()) == {
        "params": {"source": "scores"}, "weights": {"weights": None},
    }  # fmt: skip
    path.unlink()
    output = run_stage("inputs", exit_code=1).output
    assert output == f"Error: {path}: no such file (score.outside.file)\n"
    set_params({"score.outside.file": None})
    run_stage("inputs")
    assert json.loads(described.read_text()) == {"file": None}


def test_settings_that_are_not_read_count_as_unused() -> None:
    outside_keys = {
        "score.outside.file": None, "score.outside.scale": "logit",
        "score.outside.temperature": 2.0, "score.outside.weight": 0.5,
        "train_teacher.source": "scores", "train_teacher.loss": "gr",
        "train_teacher.fit.lr": 0.1,
    }  # fmt: skip
    assert in_use(outside_keys) == {"train_teacher.source": "scores"}
    assert set(in_use(outside_keys | {"score.outside.file": "x.csv"})) == {
        "train_teacher.source", "score.outside.file", "score.outside.scale",
        "score.outside.temperature", "score.outside.weight",
    }  # fmt: skip
