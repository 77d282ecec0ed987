"""The curve over the share of observed labels."""

import re
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import label_shares


def results() -> pd.DataFrame:
    return pd.DataFrame(
        {"line": line, "share": share, "run": run, "test_mAP": value + 2 * run}
        for line, values in {"an": (50.0, 80.0), "student of gr": (60.0, 81.0)}.items()
        for share, value in zip((0.1, 1.0), values, strict=True)
        for run in range(2)
    )


def test_the_table_has_a_row_per_line_and_a_column_per_share() -> None:
    text = re.sub(" +", " ", label_shares.table(results()))
    assert "| test mAP | 10% of labels | 100% of labels |" in text
    assert "| an | 51.00 ± 1.41 | 81.00 ± 1.41 |" in text
    assert "| student of gr | 61.00 ± 1.41 | 82.00 ± 1.41 |" in text


def test_the_figure_is_drawn(tmp_path: Path) -> None:
    label_shares.draw(tmp_path / "shares.png", results())
    with Image.open(tmp_path / "shares.png") as figure:
        assert figure.width > 900


@pytest.mark.parametrize("given", ["0,1", "1.5", "half", ""])
def test_shares_outside_of_0_to_1_are_refused(given: str) -> None:
    result = CliRunner().invoke(label_shares.main, ["default", "--shares", given])
    assert result.exit_code == 1
    assert f"--shares {given!r}: should be shares above 0" in result.output


@pytest.mark.slow
def test_a_loss_is_trained_for_each_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPML_CACHE", str(tmp_path / "cache"))
    options = [
        "default", "--runs", "1", "--losses", "an", "--students", "", "--shares", "0.3",
        "--out", str(tmp_path / "out"), "--set=train.fit.epochs=2", "--set=train.fit.batch_size=8",
        *(f"--set=prepare.digits.{key}" for key in ("n_train=40", "n_val=20", "n_test=20")),
    ]  # fmt: skip
    result = CliRunner().invoke(label_shares.main, options, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = pd.read_csv(tmp_path / "out" / "shares.csv")
    assert rows[["line", "share"]].to_numpy().tolist() == [["an", 0.3]]
    assert rows["test_mAP"].between(1, 99).all()
    assert (tmp_path / "out" / "shares.png").exists()
