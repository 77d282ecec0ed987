"""The page that links all pages: numbers, references of a sweep, absent and old pages."""

import json
import os
from pathlib import Path

import pytest

from pipeline.artifacts.run import Run
from pipeline.core.errors import InputError
from pipeline.core.seconds import Note
from pipeline.reports import overview
from tests.checks.pages import check_policy, read

METRICS = {
    "teacher.mAP": 90.0, "teacher.val_mAP": 91.0, "student.mAP": 92.5, "student.val_mAP": 93.0,
    "student.mAP_low": 91.0, "student.mAP_high": 94.0, "difference.mAP": 2.5,
    "difference.mAP_low": 1.25, "difference.mAP_high": 3.0,
}  # fmt: skip
RESULTS = """method,tau,seed,val_mAP,test_mAP
student,0.5,0,99,99
an,,0,60,70
an,,1,62,72
full_labels,,0,97,98
"""


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return an evaluated run without other pages."""
    run = Run.at(tmp_path)
    run.evaluation.mkdir(parents=True)
    (run.evaluation / "metrics.json").write_text(json.dumps(METRICS))
    (run.evaluation / "index.html").write_text("")
    made = {"made_with": {"data": "<digits>"}, "findings": ["Val prefers the teacher."]}
    (run.evaluation / "run.json").write_text(json.dumps(made))
    return run


def cells(run: Run) -> list[str]:
    page = overview.write(run, "abc1234", {"prepare": Note(1.25, 0.0)}).read_text()
    check_policy(page)
    return read(page).cells


def add(run: Run, folder: str, name: str, text: str = "") -> Path:
    path = run.reports / folder / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


def test_the_terminal_has_the_map_of_each_model_with_its_interval(run: Run, tmp_path: Path) -> None:
    assert overview.numbers(run) == [
        "teacher mAP on test    90.00",
        "student mAP on test    92.50   95 % interval 91.00 to 94.00",
        "difference mAP on test +2.50   95 % interval +1.25 to +3.00",
    ]
    assert overview.numbers(Run.at(tmp_path / "other")) == []


def test_the_page_has_numbers_findings_facts_and_seconds(run: Run) -> None:
    found = cells(run)
    at = found.index("student")
    assert found[at : at + 4] == ["student", "92.50", "93.00", "91.00 to 94.00"]
    at = found.index("student minus teacher")
    assert found[at : at + 4] == ["student minus teacher", "+2.50", "+2.00", "+1.25 to +3.00"]
    assert found[found.index("data") + 1] == "<digits>"
    assert found[found.index("commit") + 1] == "abc1234"
    assert found[found.index("prepare") + 1] == "1.2"
    assert "AN: unknown labels as negative, of the last sweep" not in found
    text = (run.reports / "index.html").read_text()
    assert "Val prefers the teacher." in text


def test_a_sweep_gives_the_references_over_its_seeds(run: Run) -> None:
    add(run, "sweep", "results.csv", RESULTS)
    found = cells(run)
    at = found.index("AN: unknown labels as negative, of the last sweep")
    assert found[at + 1 : at + 4] == ["71.00 ± 1.41", "61.00 ± 1.41", "–"]
    at = found.index("all labels known (oracle), of the last sweep")
    assert found[at + 1 : at + 3] == ["98.00", "97.00"]
    add(run, "sweep", "results.csv", RESULTS.replace("70", "many"))
    with pytest.raises(InputError, match=r"results\.csv: has no number in 'test_mAP'"):
        cells(run)


def test_only_pages_that_exist_are_linked_and_an_old_one_is_told(run: Run) -> None:
    old = add(run, "labels", "index.html")
    os.utime(old, (1e9, 1e9))
    add(run, "compare", "index.html")
    cells(run)
    text = (run.reports / "index.html").read_text()
    links = [attrs["href"] for tag, attrs in read(text).tags if tag == "a"]
    assert links == ["evaluate/index.html", "labels/index.html", "compare/index.html"]
    assert all((run.reports / str(link)).exists() for link in links)
    assert "The evaluation is newer: call <code>python -m stages.labels</code> again." in text
    assert text.count("is newer") == 1
    assert "Not written yet: call <code>make sweep</code>." in text


def test_without_an_evaluation_the_page_says_what_to_call(tmp_path: Path) -> None:
    assert cells(Run.at(tmp_path))[0] == "commit"
    text = (tmp_path / "reports" / "index.html").read_text()
    assert "This run is not evaluated yet: call <code>make repro</code>." in text


def test_a_damaged_file_is_named(run: Run) -> None:
    (run.evaluation / "metrics.json").write_text("[")
    with pytest.raises(InputError, match=r"metrics\.json: should hold names and values in JSON"):
        cells(run)
    assert not (run.reports / "index.html").exists()
