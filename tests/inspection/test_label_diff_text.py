"""The terminal pages on the difference between two pseudo-label files."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.cells import cell_len

from pipeline.inspection import label_diff, label_diff_text, label_file, label_truth
from pipeline.inspection.label_diff import LabelDiff
from tests.builders import label_files
from tests.builders.label_files import HOSTILE, lines_of

TAUS = {"low.parquet": 0.4, "high.parquet": 0.7}


def compared(folder: Path, truth: bool = True) -> LabelDiff:
    before, after = (label_file.read(folder / name) for name in TAUS)
    if truth:
        before = label_truth.with_truth(before, folder / "truth.parquet", required=True)
    return label_diff.compare(before, after)


@pytest.mark.parametrize("cells", [80, 120])
def test_every_line_fits_and_is_printable_with_any_names(cells: int, tmp_path: Path) -> None:
    names = [f"\x1b[2J\n写真 {row}" for row in range(60)]
    label_files.write(tmp_path, TAUS, classes=HOSTILE, image_ids=names)
    diff = compared(tmp_path)
    pages = [label_diff_text.overview(diff, 10, False)]
    pages += [label_diff_text.one_class(diff, column, 10) for column in range(len(HOSTILE))]
    pages += [label_diff_text.one_image(diff, row) for row in range(10)]
    for line in (line for page in pages for line in lines_of(page, cells)):
        assert line.isprintable()
        assert cell_len(line) <= cells


def test_the_overview_shows_both_rules_and_both_qualities(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS)
    diff = compared(tmp_path)
    text = "\n".join(lines_of(label_diff_text.overview(diff, 10, False), 300))
    for name, tau in TAUS.items():
        assert f"{tmp_path / name}: tau (tau {tau})" in text
    counts = [label_file.summary(file) for file in (diff.before, diff.after)]
    precisions = [each["right"] / (each["right"] + each["wrong"]) for each in counts]
    recalls = [each["right"] / (each["right"] + each["missed"]) for each in counts]
    assert f"precision {precisions[0]:.3f} -> {precisions[1]:.3f}, recall" in text
    assert f"recall {recalls[0]:.3f} -> {recalls[1]:.3f}" in text
    assert "differ" not in text


def test_the_overview_names_different_scores_and_observed_labels(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS)
    diff = compared(tmp_path)
    observed = diff.after.pseudo.observed.copy()
    observed[0] = ~observed[0]
    pseudo = replace(diff.after.pseudo, observed=observed, probs=diff.after.pseudo.probs / 2)
    diff = label_diff.compare(diff.before, replace(diff.after, pseudo=pseudo))
    text = "\n".join(lines_of(label_diff_text.overview(diff, 10, False)))
    assert "teacher   differs: labels in both files have different scores" in text
    assert "observed  labels differ in 1 images" in text


def test_without_truth_nothing_is_called_right_or_wrong(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS)
    diff = compared(tmp_path, truth=False)
    for page in (
        label_diff_text.overview(diff, 10, False),
        label_diff_text.one_class(diff, 0, 10),
        label_diff_text.one_image(diff, 0),
    ):
        text = "\n".join(lines_of(page))
        for word in ("right", "wrong", "missed", "precision"):
            assert word not in text


def test_a_long_table_shows_the_classes_that_changed_most(tmp_path: Path) -> None:
    classes = tuple(f"c{column}" for column in range(45))
    label_files.write(tmp_path, TAUS, classes=classes)
    diff = compared(tmp_path)
    changes = diff.lost.sum(axis=0)
    lines = lines_of(label_diff_text.overview(diff, 0, False))
    place = next(row for row, line in enumerate(lines) if line.startswith("class "))
    names = [line.split()[0] for line in lines[place + 1 : place + 41]]
    assert [changes[classes.index(name)] for name in names] == sorted(changes, reverse=True)[:40]
    assert lines[-1] == "5 more classes are left out; --all shows them"


def test_a_class_lists_its_lost_labels_with_the_highest_scores(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS)
    diff = compared(tmp_path)
    lines = lines_of(label_diff_text.one_class(diff, 1, 3))
    scores = sorted(diff.before.pseudo.probs[diff.lost[:, 1], 1], reverse=True)
    assert f"lost: the 3 of {len(scores)} labels with the highest scores" in lines
    assert [line[:5] for line in lines[-3:]] == [f"{score:.3f}" for score in scores[:3]]


def test_an_image_shows_each_change_of_a_label(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS)
    diff = compared(tmp_path)
    row = int((diff.lost.any(axis=1) & diff.after.pseudo.labels.any(axis=1)).nonzero()[0][0])
    text = "\n".join(lines_of(label_diff_text.one_image(diff, row)))
    assert text.count("lost") == diff.lost[row].sum()
    assert text.count("kept") == diff.after.pseudo.labels[row].sum()
    diff.before.pseudo.labels[row] = diff.after.pseudo.labels[row] = False
    fresh = LabelDiff(diff.before, diff.after)
    assert label_diff_text.one_image(fresh, row)[-1] == "no label in either file"


def test_ignored_entries_are_compared(tmp_path: Path) -> None:
    label_files.write(tmp_path, TAUS, width=0.35)
    diff = compared(tmp_path)
    was, now = diff.before.pseudo.ignored, diff.after.pseudo.ignored
    lines = lines_of(label_diff_text.overview(diff, 0, False), 100)
    assert f"ignored  {was.sum()} -> {now.sum()}" in lines
    (cat,) = [line for line in lines if line.startswith("cat ")]
    assert cat.endswith(f" {was[:, 0].sum()} -> {now[:, 0].sum()}")
    groups = {"no longer": was & ~now, "lost": diff.lost & now}
    for change, entries in groups.items():
        row = int(entries.any(axis=1).nonzero()[0][0])
        text = lines_of(label_diff_text.one_image(diff, row))
        found = [line for line in text if change in line and "ignored" in line]
        assert len(found) == entries[row].sum() > 0
