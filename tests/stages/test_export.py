"""The command export: a run's student with its card, and errors of one line."""

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pipeline.artifacts import spec
from pipeline.artifacts.spec import Spec
from pipeline.export import card, origin
from pipeline.export.origin import Origin
from pipeline.models import model_file
from stages.export import main
from tests.conftest import StartAfter, edit_params


def export(*args: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(main, args, catch_exceptions=exit_code != 0)
    assert result.exit_code == exit_code, result.output
    return result


def facts(readme: Path) -> dict[str, str]:
    """Return the first table of a card: names and facts."""
    first = readme.read_text(encoding="utf-8").split("## Input and output")[0]
    rows = re.findall(r"^\| (.+?) \| (.+) \|$", first, re.MULTILINE)
    return dict(rows)


def test_the_student_is_exported_with_a_card_of_its_run(
    start_after: StartAfter, workplace: Path
) -> None:
    start_after()
    output = export("--to", "torchscript").output
    assert re.search(r"^TorchScript and PyTorch on 30 test images: scores differ by at", output)
    assert "exported to reports/export/torchscript: README.md, model.pt" in output
    folder = workplace / "reports" / "export" / "torchscript"
    metrics = json.loads((workplace / "reports/evaluate/metrics.json").read_text())
    said = facts(folder / "README.md")
    assert said["role"] == "student"
    assert said["data"] == "digits: 60 train, 30 val, 30 test images"
    assert said["observed labels"].startswith("process uniform; per training image 1 observed pos")
    assert said["loss"] == "bce"
    assert said["loss of its teacher"] == "wan"
    assert said["label rule"] == "tau 0.4"
    assert said["training"] == "end_to_end, 2 epochs, initial weights: random"
    assert said["test mAP (%)"] == f"{metrics['student.mAP']:.4g}"
    text = (folder / "README.md").read_text(encoding="utf-8")
    by_class = (workplace / "reports/evaluate/per_class.csv").read_text().splitlines()[1:]
    for line in by_class:
        name, positives, _, ap, *_ = line.split(",")
        assert re.search(rf"^\| {name} \| 0.* \| {positives} \| {ap} \|$", text, re.MULTILINE)


def test_a_card_says_nothing_of_another_training(start_after: StartAfter, workplace: Path) -> None:
    start_after()
    export("data/teacher/model.safetensors", "--to", "torchscript", "--out", "teacher")
    said = facts(workplace / "teacher" / "README.md")
    assert (said["role"], said["loss"]) == ("teacher", "wan")
    assert "label rule" not in said

    # Metrics of an earlier model.
    path = workplace / "reports" / "evaluate" / "metrics.json"
    metrics = json.loads(path.read_text())
    path.write_text(json.dumps(metrics | {"student.val_mAP": 1.0}))
    export("--to", "torchscript", "--out", "old")
    said = facts(workplace / "old" / "README.md")
    assert (said["test mAP (%)"], said["label rule"]) == ("not known", "tau 0.4")

    # A model in the place of the run's.
    edit_params(workplace / "params.yaml", {"prepare.seed": 7})
    student = workplace / "data" / "student" / "model.safetensors"
    model = model_file.load(student)
    model.spec = Spec(**{**vars(model.spec), "made_from": {"spml.made_from.pseudo_labels": "0"}})
    model_file.save(student, model)
    export("--to", "torchscript", "--out", "other")
    said = facts(workplace / "other" / "README.md")
    assert {said[name] for name in ("data", "loss", "label rule", "test mAP (%)")} == {"not known"}
    assert "cannot tell: " in (workplace / "other" / "README.md").read_text()

    shutil.copy(student, workplace / "lonely.safetensors")
    assert (
        "on 100 random images"
        in export("lonely.safetensors", "--to", "torchscript", "--out", "lonely").output
    )
    assert "lies in no folder of a run" in (workplace / "lonely" / "README.md").read_text()


def test_errors_of_the_command_are_one_line(start_after: StartAfter, workplace: Path) -> None:
    message = export("--to", "torchscript", exit_code=1).output
    assert message.startswith("Error: data/student/model.safetensors: no such file")
    assert len(message.splitlines()) == 1
    message = export("--to", "tensorflow", exit_code=1).output
    assert "'tensorflow' is not one of 'onnx', 'timm', 'torchscript'" in message
    message = export(exit_code=1).output
    assert "Missing option '--to'" in message
    assert len(message.splitlines()) == 1


def test_an_interval_and_rare_classes_are_in_the_card(tmp_path: Path) -> None:
    described = Spec("small_cnn", ("a|b", "c\nd"), 32, (0.5,) * 3, (0.5,) * 3, role="teacher")
    known = Origin(
        metrics={"mAP": 50.0, "mAP_low": 45.25, "mAP_high": 54.5},
        per_class=(("a|b", "9", "40.5"), ("c\nd", "10", "59.5")),
    )
    text = card.text(described, known, "timm", "Form.", "code()")
    assert "| its 95 % interval | 45.25 to 54.5 |" in text
    assert r"- Fewer than 10 positives in test: a\|b. Their AP" in text
    assert r"| a\|b | not known | not known | not known | not known | 9 | 40.5 |" in text
    assert r"| c\\nd | " in text
    assert "No thresholds are known" in text
    assert "library_name: timm" in text
    assert text.count("not known") > 10
    assert origin.run_of(tmp_path / "model.safetensors") is None
    assert spec.KEY not in text


@pytest.mark.parametrize("library", [None, "onnx"])
def test_the_front_matter_names_a_library_only_if_there_is_one(library: str | None) -> None:
    described = Spec("small_cnn", ("a",), 32, (0.5,) * 3, (0.5,) * 3)
    text = card.text(described, Origin(), library, "Form.", "code()")
    assert text.startswith("---\npipeline_tag: image-classification\n")
    assert ("library_name" in text) is (library is not None)
    assert "# Model, small_cnn, 1 classes" in text
