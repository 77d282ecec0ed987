"""The difference between two pseudo-label files, compared with counts by pandas."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.artifacts import tables
from pipeline.core.errors import InputError
from pipeline.inspection import label_diff, label_file, label_truth
from pipeline.inspection.label_diff import LabelDiff
from tests.builders import label_files

TAUS = {"low.parquet": 0.4, "high.parquet": 0.7}


def compared(folder: Path, one: str, two: str, truth: bool = True) -> LabelDiff:
    before = label_file.read(folder / one)
    if truth:
        before = label_truth.with_truth(before, folder / "truth.parquet", required=True)
    return label_diff.compare(before, label_file.read(folder / two))


def entries(path: Path, column: str = "labels") -> set[tuple[str, int]]:
    frame = pd.read_parquet(path).explode(column).dropna(subset=[column])
    return {
        (name, int(label)) for name, label in zip(frame["image_id"], frame[column], strict=True)
    }


def test_gained_and_lost_labels_are_those_that_pandas_finds(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS, keep=False)
    low, high = (entries(tmp_path / name) for name in TAUS)
    truth = entries(tmp_path / "truth.parquet")
    index = tmp_path / "index.parquet"
    seen = entries(index, "observed") | entries(index, "observed_negatives")
    lost = low - high
    assert lost & seen
    forward = label_diff.summary(compared(tmp_path, "low.parquet", "high.parquet"))
    assert forward == {
        "ignored_before": 0,
        "ignored_after": 0,
        "images": 60,
        "images_changed": len({name for name, _ in lost}),
        "before": len(low),
        "after": len(high),
        "gained": 0,
        "gained_right": 0,
        "gained_wrong": 0,
        "lost": len(lost),
        "lost_right": len((lost - seen) & truth),
        "lost_wrong": len(lost - seen - truth),
        "other_observed": 0,
    }
    backward = label_diff.summary(compared(tmp_path, "high.parquet", "low.parquet"))
    for name in ("", "_right", "_wrong"):
        assert backward[f"gained{name}"] == forward[f"lost{name}"] > 0
    per_class = label_diff.per_class(compared(tmp_path, "low.parquet", "high.parquet"))
    for column in range(3):
        assert per_class["lost"][column] == len([1 for _, label in lost if label == column])


def test_without_truth_changes_are_counted_and_not_judged(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS)
    counts = label_diff.summary(compared(tmp_path, "low.parquet", "high.parquet", truth=False))
    assert counts["lost"] > 0
    assert counts["lost_right"] == counts["lost_wrong"] == 0


def test_a_file_does_not_differ_from_itself(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS)
    diff = compared(tmp_path, "low.parquet", "low.parquet")
    assert label_diff.same_scores(diff)
    counts = label_diff.summary(diff)
    assert counts["before"] == counts["after"]
    assert counts["images_changed"] == counts["gained"] == counts["lost"] == 0


def test_different_scores_and_different_observed_labels_are_noticed(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS)
    assert label_diff.same_scores(compared(tmp_path, "low.parquet", "high.parquet"))
    before = label_file.read(tmp_path / "low.parquet")
    observed = before.pseudo.observed.copy()
    observed[:7] = ~observed[:7]
    probs = before.pseudo.probs * np.float32(0.99)
    pseudo = replace(before.pseudo, observed=observed, probs=probs)
    tables.write_pseudo_labels(tmp_path / "other.parquet", pseudo, before.classes)
    diff = compared(tmp_path, "low.parquet", "other.parquet")
    assert not label_diff.same_scores(diff)
    assert label_diff.summary(diff)["other_observed"] == 7
    assert not (diff.right | diff.wrong)[:7].any()


def test_files_of_other_classes_or_images_are_refused(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS)
    label_files.write(tmp_path / "x", {"b.parquet": 0.5}, classes=("cat", "dog"))
    label_files.write(tmp_path / "y", {"b.parquet": 0.5}, n=50)
    one = tmp_path / "low.parquet"
    with pytest.raises(InputError) as error:
        compared(tmp_path, "low.parquet", "x/b.parquet")
    assert str(error.value) == (
        f"{tmp_path / 'x/b.parquet'}: its 2 classes (cat, dog) should be the 3 of {one} "
        f"(cat, dog, sea lion)"
    )
    with pytest.raises(InputError) as error:
        compared(tmp_path, "low.parquet", "y/b.parquet")
    assert str(error.value) == (
        f"{tmp_path / 'y/b.parquet'}: its 50 images should be the 60 of {one} in the same order; "
        f"50 are in both"
    )
