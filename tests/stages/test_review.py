"""review: the labels to look at first, in the terminal and as a table to fill in."""

from pathlib import Path

import pandas as pd
from click.testing import CliRunner

from pipeline.artifacts import tables
from stages import review
from tests.conftest import RunStage, SetParams, StartAfter


def shown(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(review.main, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_the_first_labels_are_shown_with_the_number_to_check(
    workplace: Path, start_after: StartAfter
) -> None:
    start_after("pseudo_label")
    lines = shown("--first", "3").splitlines()
    pseudo = tables.read_pseudo_labels(Path("data/pseudo_labels.parquet"))
    free = (~pseudo.observed).sum()
    assert lines[0].startswith(f"entries    {free:,} that nobody has named, 0 corrected")
    assert [line.split()[1] for line in lines if line.startswith("for ")] == [
        "0.95",
        "0.98",
        "0.99",
    ]
    assert all("expected; " in line for line in lines if line.startswith("for "))
    assert len(lines[lines.index("") + 2 :]) == 3

    Path("data/truth.parquet").unlink()
    assert "measured" not in shown()


def test_the_table_filled_in_corrects_the_labels_and_its_empty_rows_do_not(
    workplace: Path, start_after: StartAfter, run_stage: RunStage, set_params: SetParams
) -> None:
    start_after("pseudo_label")
    assert "fill in the column label" in shown("--first", "5", "--out", "marks.csv")
    marks = pd.read_csv("marks.csv", dtype=str, keep_default_na=False)
    assert len(marks) == 5
    assert set(marks["label"]) == {""}
    turned = {"present": "absent", "absent": "present"}
    marks.loc[:2, "label"] = marks.loc[:2, "now"].map(turned)
    marks.to_csv("marks.csv", index=False)
    set_params({"pseudo_label.corrections": str(workplace / "marks.csv")})
    assert ", 3 corrected: " in run_stage("pseudo_label").output
    after = tables.read_pseudo_labels(Path("data/pseudo_labels.parquet"))
    row_of = {image_id: row for row, image_id in enumerate(after.image_ids)}
    for number, mark in marks.iterrows():
        label = after.labels[row_of[mark["image_id"]], int(mark["class"])]
        wanted = mark["label"] if int(str(number)) < 3 else mark["now"]
        assert label == (wanted == "present")
    again = shown("--first", "0")
    assert ", 3 corrected" in again


def test_a_table_of_another_format_is_refused(workplace: Path, start_after: StartAfter) -> None:
    start_after("pseudo_label")
    output = shown("--out", "marks.xlsx", exit_code=1)
    assert output == "Error: --out marks.xlsx: should be a .csv file\n"
