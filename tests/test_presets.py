"""The presets, and the shipped params.yaml, are complete and valid."""

from pathlib import Path

import pytest

from pipeline.datasets.prepare import PrepareParams
from pipeline.params import Params, read_section
from pipeline.pseudo_labels import PseudoLabelParams
from stages.evaluate import EvaluateParams
from stages.score import ScoreParams
from stages.train_student import TrainStudentParams
from stages.train_teacher import TrainTeacherParams
from tests.conftest import ROOT

SECTIONS: dict[str, type[Params]] = {
    "prepare": PrepareParams,
    "train_teacher": TrainTeacherParams,
    "score": ScoreParams,
    "pseudo_label": PseudoLabelParams,
    "train_student": TrainStudentParams,
    "evaluate": EvaluateParams,
}
FILES = [ROOT / "params.yaml", *sorted((ROOT / "presets").glob("*.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=[path.name for path in FILES])
def test_every_section_of_a_preset_is_valid(path: Path) -> None:
    for name, section in SECTIONS.items():
        read_section(path, name, section)
