"""The command that compares runs: its output, files and errors."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner

from experiments import compare
from tests.builders.runs import write
from tests.checks.pages import check_policy, read

WRITTEN = ["compare.png", "compare.svg", "index.html", "runs.csv", "table.csv", "table.md"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a working folder with a sweep of two taus and two seeds, and an unfinished run."""
    monkeypatch.chdir(tmp_path)
    for tau, seed in ((0.4, 0), (0.4, 1), (0.6, 0), (0.6, 1)):
        metrics = {"student.mAP": 90 + 10 * tau + seed, "student.val_mAP": 95 - tau + seed}
        write(tmp_path / f"sweep/{tau}-{seed}", params(tau, seed), metrics | {"teacher.mAP": 90})
    write(tmp_path / "sweep/waits", params(0.8, 0), None)
    return tmp_path


def params(tau: float, seed: int, loss: str = "wan") -> dict[str, Any]:
    return {
        "prepare": {"source": "digits", "seed": 0},
        "train_teacher": {"loss": loss, "seed": seed},
        "pseudo_label": {"tau": tau},
        "train_student": {"seed": seed},
    }


def run(*arguments: str, exit_code: int = 0) -> str:
    result = CliRunner().invoke(compare.main, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result.output


def test_a_sweep_becomes_a_table_files_and_a_figure() -> None:
    output = run("sweep")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in output.splitlines()[:4]]
    assert rows[0] == [
        "loss", "tau", "runs", "teacher mAP", "teacher val mAP", "student mAP", "student val mAP",
        "precision", "recall", "positives per image",
    ]  # fmt: skip
    assert rows[2] == [
        "wan", "0.4", "2", "90.00 ± 0.00", "", "94.50 ± 0.71", "**95.10 ± 0.71**", "", "", "",
    ]  # fmt: skip
    assert rows[3][:6] == ["wan", "0.6", "2", "90.00 ± 0.00", "", "96.50 ± 0.71"]
    assert "left out: sweep/waits (no metrics)" in output
    assert output.endswith("runs: 4, rows: 2; table and figure: reports/compare/index.html\n")

    assert sorted(path.name for path in Path("reports/compare").iterdir()) == WRITTEN
    assert Path("reports/compare/table.md").read_text() in output
    table = pd.read_csv("reports/compare/table.csv")
    assert table["student.mAP"].tolist() == [94.5, 96.5]
    assert table["student.mAP.std"].tolist() == pytest.approx([0.7071, 0.7071])
    assert table["preferred"].tolist() == [True, False]
    assert table["pseudo_labels.precision"].isna().all()
    runs = pd.read_csv("reports/compare/runs.csv")
    assert runs["run"].tolist() == [
        f"sweep/{name}" for name in ("0.4-0", "0.4-1", "0.6-0", "0.6-1")
    ]
    assert runs["train_student.seed"].tolist() == [0, 1, 0, 1]


def test_a_teacher_above_its_student_on_val_is_bold_and_told(folder: Path) -> None:
    metrics = {"student.mAP": 99, "student.val_mAP": 98, "teacher.mAP": 97, "teacher.val_mAP": 98.5}
    write(folder / "more", params(0.2, 0), metrics)
    output = run("sweep", "more")
    lines = [re.sub(" +", " ", line) for line in output.splitlines()]
    assert "**98.50**" in next(line for line in lines if line.startswith("| wan | 0.2 |"))
    assert "**98.00**" not in output
    told = "Val prefers the teacher of the best row, wan, tau 0.2: it has 98.50 mAP on val, the"
    assert f"note: {told} student 98.00." in output
    page = Path("reports/compare/index.html").read_text()
    check_policy(page)
    assert told in page
    assert "★ 98.50" in read(page).cells
    assert Path("reports/index.html").exists()


def test_the_same_runs_give_the_same_bytes() -> None:
    run("sweep")
    before = {path: path.read_bytes() for path in Path("reports/compare").iterdir()}
    run("sweep", "sweep/0.4-0")
    assert {path: path.read_bytes() for path in Path("reports/compare").iterdir()} == before


def test_chosen_keys_define_the_rows_and_other_differing_keys_are_listed(folder: Path) -> None:
    write(folder / "more", params(0.4, 0, loss="em"), {"student.mAP": 70, "student.val_mAP": 70})
    output = run("sweep", "more", "--by", "loss")
    assert [line.split("|")[1].strip() for line in output.splitlines()[2:4]] == ["em", "wan"]
    assert "runs of a row also differ in pseudo_label.tau" in output
    output = run("sweep", "--by", "train_student.seed", "--by", "tau")
    header = [cell.strip() for cell in output.splitlines()[0].split("|")]
    assert header[1:4] == ["train_student.seed", "tau", "runs"]
    assert "also differ" not in output


def test_equal_params_with_other_metrics_are_named(folder: Path) -> None:
    write(folder / "sweep/again", params(0.6, 1), {"student.mAP": 70, "student.val_mAP": 70})
    assert "runs with the same params as another run, but other metrics: sweep/again" in run(
        "sweep"
    )


def test_columns_that_distinguish_no_rows_are_counted(folder: Path) -> None:
    values = params(0.4, 0)
    values["train_student"] |= {f"x{number}": 1 for number in range(10)}
    write(folder / "sweep/other", values, {"student.mAP": 70, "student.val_mAP": 70})
    output = run("sweep")
    assert (
        "train_student.x1, train_student.x2, train_student.x3 and 6 more differ only together "
        "with these; table.csv has them" in output
    )
    assert "train_student.x9" in pd.read_csv("reports/compare/table.csv")


def test_runs_without_a_student_have_a_table_and_no_figure(folder: Path) -> None:
    write(folder / "a", params(0.4, 0), {"teacher.mAP": 80.0})
    run("sweep")
    run("a")
    assert sorted(path.name for path in Path("reports/compare").iterdir()) == WRITTEN[2:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nix"], "nix: no such folder; should hold runs"),
        (["empty"], "empty: holds no params.yaml, nor does a folder below; should hold runs"),
        (["sweep/waits"], "no run has metrics; left out: sweep/waits (no metrics)"),
        (["sweep", "--by", "pseudo_label.tua"], "should be one such as pseudo_label.tau"),
        (["sweep", "--all-commits"], "--all-commits: concerns the experiments of DVC"),
        ([], "dvc exp show: you are not inside of a DVC repository"),
    ],
)
def test_an_error_is_one_line_and_leaves_no_file(
    arguments: list[str], message: str, folder: Path
) -> None:
    (folder / "empty").mkdir()
    output = run(*arguments, exit_code=1)
    assert output.startswith("Error: ")
    assert message in output
    assert output.count("\n") == 1
    assert not Path("reports").exists()


def test_names_of_folders_and_values_are_escaped(folder: Path) -> None:
    values = params(0.4, 0)
    values["prepare"]["source"] = "\x1b[2J|x"
    write(folder / "sweep/\x1b[2J", values, {"student.mAP": 70, "student.val_mAP": 70})
    write(folder / "sweep/\x1b[3J", values, None)
    output = run("sweep")
    assert output.replace("\n", "").isprintable()
    assert "sweep/\\x1b[3J (no metrics)" in output
    runs = pd.read_csv("reports/compare/runs.csv")
    assert "\x1b[2J|x" in runs["prepare.source"].tolist()
