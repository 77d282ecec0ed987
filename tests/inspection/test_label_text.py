"""The terminal pages on a pseudo-label file: line width, source of the truth, escaped names."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.cells import cell_len

from pipeline.artifacts import tables
from pipeline.artifacts.answers import Answer
from pipeline.artifacts.rule import LabelRule
from pipeline.inspection import label_file, label_text, label_truth, label_words
from pipeline.inspection.label_file import LabelFile
from pipeline.inspection.terminal import rendered
from tests.builders import label_files
from tests.builders.label_files import HOSTILE, lines_of


def read(folder: Path, truth: bool = True) -> LabelFile:
    file = label_file.read(folder / "a.parquet")
    if not truth:
        return file
    return label_truth.with_truth(file, folder / "truth.parquet", required=True)


@pytest.mark.parametrize("cells", [80, 120])
def test_every_line_fits_and_is_printable_with_any_names(cells: int, tmp_path: Path) -> None:
    names = [f"\x1b[2J\n写真 {row}" for row in range(60)]
    label_files.write(tmp_path, {"a.parquet": 0.3}, classes=HOSTILE, image_ids=names)
    file = read(tmp_path)
    pages = [label_text.overview(file, 10, False)]
    pages += [label_text.one_class(file, column, 10) for column in range(len(HOSTILE))]
    pages += [label_text.one_image(file, row) for row in range(10)]
    for line in (line for page in pages for line in lines_of(page, cells)):
        assert line.isprintable()
        assert cell_len(line) <= cells


def test_right_and_wrong_labels_have_their_colours(tmp_path: Path) -> None:
    label_files.write(tmp_path, {"a.parquet": 0.4})
    text = rendered(label_text.overview(read(tmp_path), 10, False), 80)
    assert " right" in text.split("\x1b[32m")[1].split("\x1b[0m")[0]
    assert " wrong" in text.split("\x1b[31m")[1].split("\x1b[0m")[0]
    assert "missed" in text
    page = rendered(label_text.one_class(read(tmp_path), 0, 10), 80)
    assert "\x1b[32mright\x1b[0m" in page
    assert "\x1b[31mwrong\x1b[0m" in page


def test_without_truth_nothing_is_called_right_or_wrong(tmp_path: Path) -> None:
    label_files.write(tmp_path, {"a.parquet": 0.4})
    file = read(tmp_path, truth=False)
    for page in (
        label_text.overview(file, 10, False),
        label_text.one_class(file, 0, 10),
        label_text.one_image(file, 0),
    ):
        text = "\n".join(lines_of(page))
        assert "truth" in text
        for word in ("right", "wrong", "missed", "precision"):
            assert word not in text


def test_a_long_table_shows_the_most_frequent_classes_and_counts_the_rest(tmp_path: Path) -> None:
    classes = tuple(f"c{column}" for column in range(45))
    label_files.write(tmp_path, {"a.parquet": 0.5}, classes=classes, negatives=0)
    file = read(tmp_path)
    positives = label_file.per_class(file)["positives"]
    lines = lines_of(label_text.overview(file, 0, False))
    place = next(row for row, line in enumerate(lines) if line.startswith("class "))
    names = [line.split()[0] for line in lines[place + 1 : place + 41]]
    counts = [positives[classes.index(name)] for name in names]
    assert counts == sorted(positives, reverse=True)[:40]
    assert lines[place + 41] == "5 more classes are left out; --all shows them"
    lines = lines_of(label_text.overview(file, 0, True))
    assert [line.split()[0] for line in lines[place + 1 :]] == list(classes)


def test_many_labels_are_cut_in_a_table_of_images_but_not_on_the_image_s_own_page(
    tmp_path: Path,
) -> None:
    classes = tuple(f"c{column}" for column in range(30))
    label_files.write(tmp_path, {"a.parquet": 0.0}, n=1, classes=classes, negatives=0)
    text = "\n".join(lines_of(label_text.overview(read(tmp_path), 10, True)))
    assert "and 21 more" in text
    lines = lines_of(label_text.one_image(read(tmp_path), 0))
    assert len(lines[lines.index("") + 1 :]) == 30


def test_labels_against_the_annotator_are_counted_and_named(tmp_path: Path) -> None:
    label_files.write(tmp_path, {"a.parquet": 0.5}, keep=False)
    file = read(tmp_path)
    text = "\n".join(lines_of(label_text.overview(file, 10, False)))
    counts = label_file.summary(file)
    assert f"dropped    {counts['dropped']:,} observed positives have no label" in text
    assert f"against    {counts['against']:,} added labels are observed negatives" in text
    row, column = (file.pseudo.labels & file.negatives).nonzero()
    assert label_words.entry(file, row[0], column[0]).plain == "added, but observed negative"
    row, column = (file.pseudo.observed & ~file.pseudo.labels).nonzero()
    assert label_words.entry(file, row[0], column[0]).plain == "observed, dropped"
    assert "observed, dropped" in "\n".join(lines_of(label_text.one_image(file, int(row[0]))))


def test_any_rule_is_shown_with_its_settings(tmp_path: Path) -> None:
    label_files.write(tmp_path, {"a.parquet": 0.5})
    file = read(tmp_path)
    assert label_words.rule(file) == "tau (tau 0.5)"
    unnamed = replace(file, pseudo=replace(file.pseudo, rule=None))
    assert label_words.rule(unnamed) == "not named in the file"
    other = LabelRule("band", more={"low": "0.1", "high": "\x1b"})
    hostile = replace(file, pseudo=replace(file.pseudo, rule=other))
    assert label_words.rule(hostile) == "band (low 0.1, high \\x1b)"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("0.4", "0.4"),
        ("0.6234567890123456", "0.6235"),
        ("[0.45161962509155273, null, 0.5, 0.535788357257843]", "0.4516 to 0.5358"),
        ("[0.1, 0.2, 1]", "0.1 to 1"),
        ("true", "true"),
        ("3", "3"),
        ("prior", "prior"),
        ("[]", "[]"),
        ("[true, false]", "[true, false]"),
        ('{"cat": 0.3}', '{"cat": 0.3}'),
        ("[" * 100_000, "[" * 100_000),
    ],
    ids=lambda text: text[:20],
)
def test_a_setting_is_shortened_to_four_digits_or_a_range(value: str, text: str) -> None:
    assert label_words.setting(value) == text


def test_a_histogram_shows_its_counts_and_a_class_without_labels_has_none(tmp_path: Path) -> None:
    label_files.write(tmp_path, {"a.parquet": 0.5}, classes=("cat", "dog", "cow"))
    file = read(tmp_path)
    lines = lines_of(label_text.one_class(file, 0, 10))
    bars = [line.split() for line in lines if line[:2] in ("0.", "1.") and line[4] == "-"]
    assert sum(int(bar[1]) for bar in bars) == file.pseudo.labels[:, 0].sum()
    assert set("".join(bar[2] for bar in bars if len(bar) > 2)) == set("o+x")
    for _, count, *bar in bars:
        assert len("".join(bar)) == int(count), "a sign for each of a few labels"
    assert "a sign is" not in "\n".join(lines)
    label_files.write(tmp_path, {"a.parquet": 0.5}, n=3000)
    assert ", x wrong; a sign is about " in "\n".join(
        lines_of(label_text.one_class(read(tmp_path), 0, 0))
    )
    label_files.write(tmp_path, {"a.parquet": 0.5})
    file = read(tmp_path)
    file.pseudo.labels[:, 0] = False
    assert "no label of this class" in label_text.one_class(file, 0, 10)


def test_entries_in_a_band_have_a_column_a_count_and_a_line(tmp_path: Path) -> None:
    label_files.write(tmp_path, {"a.parquet": 0.7}, width=0.2)
    file = read(tmp_path)
    ignored = file.pseudo.ignored
    lines = lines_of(label_text.overview(file, 60, False), 120)
    assert f"ignored    {ignored.sum()} entries, left out of the student's loss" in lines
    heads = [line.split() for line in lines if line.startswith("class ")]
    assert heads[0][5] == "ignored"
    (cat,) = [line.split() for line in lines if line.startswith("cat ")]
    assert int(cat[5]) == ignored[:, 0].sum()
    (images,) = [line.split() for line in lines if line.startswith("image ")]
    assert images == ["image", "observed", "added", "missed", "ignored"]
    row = int(ignored.any(axis=1).nonzero()[0][0])
    kinds = [line.split() for line in lines_of(label_text.one_image(file, row))]
    assert sum(line[:2] == ["-", "ignored"] for line in kinds) == ignored[row].sum()
    label_files.write(tmp_path, {"a.parquet": 0.7})
    assert "ignored" not in "\n".join(lines_of(label_text.overview(read(tmp_path), 60, False)))


def test_corrected_entries_are_counted_and_named(tmp_path: Path) -> None:
    label_files.write(tmp_path, {"a.parquet": 0.4})
    before = read(tmp_path)
    lines = lines_of(label_text.overview(before, 10, False))
    assert not [line for line in lines if line.startswith("corrected")]
    answers = np.zeros(before.pseudo.labels.shape, np.int8)
    answers[0, :2] = Answer.PRESENT, Answer.ABSENT
    labels = before.pseudo.labels.copy()
    labels[0, :2] = True, False
    probs = np.where(labels, np.nan_to_num(before.pseudo.probs, nan=0.2), np.float32(np.nan))
    pseudo = replace(before.pseudo, labels=labels, probs=probs, answers=answers)
    tables.write_pseudo_labels(tmp_path / "a.parquet", pseudo, before.classes)
    file = read(tmp_path)
    assert label_file.summary(file)["corrected"] == 2
    assert "corrected  2 entries, by a person" in lines_of(label_text.overview(file, 10, False))
    assert "corrected  1 entries, by a person" in lines_of(label_text.one_class(file, 0, 10))
    rows = [" ".join(line.split()[1:]) for line in lines_of(label_text.one_image(file, 0))]
    assert "corrected cat" in rows
    assert "corrected, no label dog" in rows
