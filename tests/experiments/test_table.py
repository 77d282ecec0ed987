"""Rows of runs: their groups, their means over seeds, the preferred row."""

import math
import re
from itertools import product

import pandas as pd
import pytest

from experiments import table
from experiments.keys import grouping_keys
from tests.builders.runs import run, sweep


def test_means_and_deviations_are_those_of_pandas() -> None:
    runs = sweep()
    keys = grouping_keys(runs)
    columns = table.columns_of_rows(table.rows(runs, keys), keys)
    frame = pd.DataFrame([one.params | one.metrics for one in runs])
    grouped = frame.groupby(keys)
    assert columns["train_teacher.loss"] == ["em"] * 3 + ["wan"] * 3
    assert columns["pseudo_label.tau"] == ["0.3", "0.4", "0.5"] * 2
    assert columns["runs"] == [3] * 6
    for metric in table.METRICS:
        assert columns[metric] == pytest.approx(grouped[metric].mean().tolist(), abs=1e-4)
        assert columns[f"{metric}.std"] == pytest.approx(grouped[metric].std().tolist(), abs=1e-4)


def test_one_run_has_no_deviation_and_an_unknown_metric_has_no_mean() -> None:
    one = run()
    one.metrics["pseudo_labels.precision"] = None
    one.metrics["pseudo_labels.recall"] = math.nan
    del one.metrics["pseudo_labels.positives_per_image"]
    rows = table.rows([one], ["pseudo_label.tau"])
    columns = table.columns_of_rows(rows, ["pseudo_label.tau"])
    for name in ("precision", "recall", "positives_per_image"):
        assert columns[f"pseudo_labels.{name}"] == [None]
    assert columns["student.mAP"] == [90.0]
    assert columns["student.mAP.std"] == [None]
    text = table.markdown(rows, ["pseudo_label.tau"], ["pseudo_label.tau"])
    assert [cell.strip() for cell in text.splitlines()[-1].split("|")] == [
        "", "0.4", "1", "89.00", "89.00", "90.00", "**91.00**", "", "", "", "",
    ]  # fmt: skip


def test_the_mean_of_a_metric_leaves_out_runs_without_it() -> None:
    lacking = run(train_student__seed=1)
    lacking.metrics["pseudo_labels.precision"] = None
    (row,) = table.rows([run(), lacking], ["pseudo_label.tau"])
    assert row.measured("pseudo_labels.precision") == [0.8]
    assert len(row.runs) == 2


def test_the_preferred_row_has_the_highest_mean_on_val_whatever_its_test_mAP() -> None:
    runs = [
        run(student=99, val=90, pseudo_label__tau=0.3),
        run(student=50, val=93, pseudo_label__tau=0.4),
        run(student=50, val=90, pseudo_label__tau=0.4, train_student__seed=1),
        run(student=60, val=91.4, pseudo_label__tau=0.5),
    ]
    rows = table.rows(runs, ["pseudo_label.tau"])
    assert [row.preferred for row in rows] == [False, True, False]


def test_each_data_set_has_a_preferred_row() -> None:
    runs = [
        run(val=90 + source + tau, prepare__source=f"s{source}", pseudo_label__tau=tau)
        for source, tau in product(range(2), (0.2, 0.4))
    ]
    rows = table.rows(runs, grouping_keys(runs))
    assert [(row.values[-1], row.preferred) for row in rows] == [
        ("s0", False),
        ("s1", False),
        ("s0", True),
        ("s1", True),
    ]


def test_a_row_without_val_is_not_preferred() -> None:
    one = run()
    del one.metrics["student.val_mAP"]
    assert [row.preferred for row in table.rows([one], ["pseudo_label.tau"])] == [False]


def test_rows_are_sorted_by_numeric_value() -> None:
    values = [10, 9, None, 0.5, True, "b", "a", [2]]
    runs = [run(**{"train_student__x": value}) for value in values]
    ordered = [row.values[0] for row in table.rows(runs, ["train_student.x"])]
    assert ordered == [None, 0.5, 9, 10, [2], "a", "b", True]


def test_a_duplicate_run_counts_once() -> None:
    kept = table.without_duplicates([run("a"), run("workspace"), run("b", student=91)])
    assert [one.name for one in kept] == ["a", "b"]
    again = table.rows(kept, ["pseudo_label.tau"])
    assert [one.name for one in table.repeated(again)] == ["b"]
    assert table.repeated(table.rows(sweep(), ["pseudo_label.tau"])) == []


def test_keys_that_differ_within_rows_are_named() -> None:
    runs = sweep()
    assert table.mixed(table.rows(runs, ["pseudo_label.tau"])) == ["train_teacher.loss"]
    assert table.mixed(table.rows(runs, grouping_keys(runs))) == []


def test_of_many_keys_only_those_that_distinguish_rows_are_shown() -> None:
    more = {f"train_student__fit__x{number}": 1 for number in range(9)}
    runs = [
        run(),
        run(**more, prepare__source="table"),
        run(**more, prepare__source="table", train_student__fit__y=3),
    ]
    keys = grouping_keys(runs)
    assert len(keys) == 13
    assert table.needed(table.rows(runs, keys), keys) == [
        "train_teacher.loss",
        "pseudo_label.tau",
        "prepare.source",
        "train_student.fit.y",
    ]
    few = grouping_keys(sweep())
    assert table.needed(table.rows(sweep(), few), few) == few


def test_each_run_has_a_row_with_all_differing_keys() -> None:
    runs = [*sweep(), run("other", train_student__fit__lr=1.0)]
    columns = table.columns_of_runs(table.rows(runs, ["pseudo_label.tau"]), ["pseudo_label.tau"])
    assert list(columns) == [
        "run",
        "pseudo_label.tau",
        "train_teacher.loss",
        "train_student.fit.lr",
        "prepare.seed",
        "train_teacher.seed",
        "train_student.seed",
        *table.METRICS,
    ]
    assert sorted(columns["run"]) == sorted(one.name for one in runs)
    assert {len(column) for column in columns.values()} == {len(runs)}


def test_a_value_cannot_break_the_table() -> None:
    runs = [run(prepare__classes=["a|b", "c\nd", "\x1b"], prepare__note="x|y\n\x1b[2J" * 9)]
    keys = ["prepare.classes", "prepare.note"]
    rows = table.rows(runs, keys)
    text = table.markdown(rows, keys, keys)
    assert len(text.splitlines()) == 3
    assert text.replace("\n", "").isprintable()
    assert text.splitlines()[-1].replace("\\|", "").count("|") == 11
    assert table.label(rows[0], keys, keys).isprintable()


def test_columns_of_the_markdown_align() -> None:
    runs = sweep()
    keys = grouping_keys(runs)
    lines = table.markdown(table.rows(runs, keys), keys, keys).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert re.match(r"\| loss +\| tau +\| runs +\| teacher mAP", lines[0])
    assert sum("**" in line for line in lines) == 1
    assert len(lines) == 8


def test_the_label_of_a_row_names_its_values() -> None:
    runs = [run(), run(train_student__fit__lr=1.0)]
    found = grouping_keys(runs)
    rows = table.rows(runs, found)
    assert table.label(rows[0], found, found) == "wan, tau 0.4, student lr 0.002"
    assert table.label(rows[0], found, found[:1]) == "wan"
    assert table.label(rows[0], found, []) == "all runs"
    two = ["train_student.fit.lr", "train_student.linear.lr", "prepare.source"]
    rows = table.rows([run(train_student__linear__lr=3.0)], two)
    assert table.label(rows[0], two, two) == (
        "student.fit.lr 0.002, student.linear.lr 3, source digits"
    )
