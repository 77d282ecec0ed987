"""The benchmark of corrections: what an order chooses, and the labels once it is corrected."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from benchmarks.corrections import ORDERS, Labelled, _labels, _table
from tests.conftest import Finished

Choose = Callable[[str, int], np.ndarray]


@pytest.fixture
def run(finished: Finished) -> Labelled:
    folder: Path = finished("pseudo_label")
    return Labelled({}, (folder, folder, folder), seed=0)


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_chooses_so_many_entries_that_nobody_has_named(run: Labelled, name: str) -> None:
    chosen = run.first(name, 30)
    assert chosen.sum() == 30
    assert not (chosen & run.pseudo.observed).any()
    np.testing.assert_array_equal(run.first(name, 30), chosen)
    assert not (run.first(name, 10) & ~chosen).any(), "more checks continue the order"


def test_the_order_by_gain_is_that_of_the_command(run: Labelled) -> None:
    chosen = np.zeros_like(run.pseudo.labels)
    chosen[run.order.first(30)] = True
    np.testing.assert_array_equal(run.first("gain", 30), chosen)


def test_corrections_are_judged_with_all_other_labels_and_make_them_perfect(run: Labelled) -> None:
    nothing = np.zeros_like(run.pseudo.labels)
    before = _labels(run, nothing)
    truth, free = run.truth, ~run.pseudo.observed
    added = run.pseudo.labels & free
    assert before["changed"] == 0
    assert before["precision"] == pytest.approx((added & truth).sum() / added.sum(), abs=1e-4)
    some = _labels(run, run.first("random", 50))
    assert some["changed"] + some["wrong"] == before["wrong"]
    all_of_them = _labels(run, free)
    assert all_of_them["changed"] == before["wrong"]
    assert (all_of_them["precision"], all_of_them["recall"], all_of_them["wrong"]) == (1, 1, 0)


def test_the_table_has_the_difference_to_no_corrections_where_students_were_trained() -> None:
    rows = [
        {"seed": seed, "order": name, "changed": 1, "wrong": 2, "precision": 0.5, "recall": 0.25,
         "test_mAP": test}
        for seed in (0, 1)
        for name, test in (("none", 80.0 + seed), ("gain", 81.0 + seed), ("random", None))
    ]  # fmt: skip
    lines = _table(pd.DataFrame(rows), ["none", "gain", "random"]).splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    assert cells[2] == ["none", "1.0", "2.0", "0.5000", "0.2500", "80.50 ± 0.71", ""]
    assert cells[3][-2:] == ["81.50 ± 0.71", "1.00"]
    assert cells[4][-2:] == ["", ""]
