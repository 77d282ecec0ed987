"""inputs: files outside the project, params in use -> data/inputs/.

DVC always runs this stage. It runs the later stages only if the files of this stage changed. So
this stage must be quick: it imports torch, which the classes of the trainings' params need, only
if params.yaml or the code has changed.
"""

import contextlib
import json
from collections.abc import Callable
from functools import partial
from importlib.metadata import version

import click

from pipeline.artifacts.run import Run
from pipeline.core import identity, kept, optional, places
from pipeline.core.params import Values, check_section, read_values
from pipeline.datasets import inputs
from pipeline.datasets.inputs import Description
from pipeline.datasets.prepare import PrepareParams
from pipeline.inference import outside
from pipeline.models import timm_backbones
from pipeline.pseudo_labels.rules import PseudoLabelParams
from stages import PARAMS, SoloStage


@click.command(cls=SoloStage)
def main() -> None:
    """Describe the files outside the project by their content, and the params in use."""
    values = read_values(PARAMS)
    described = {name: describe(values) for name, describe in DESCRIBED.items()}
    for name, description in described.items():
        inputs.write(Run().data / "inputs" / f"{name}.json", description)


def _data(values: Values) -> Description:
    return inputs.of_data(check_section(str(PARAMS), "prepare", values, PrepareParams))


def _corrections(values: Values) -> Description:
    params = check_section(str(PARAMS), "pseudo_label", values, PseudoLabelParams)
    key = "pseudo_label.corrections"
    path = places.corrections_file(params.corrections, key)
    return inputs.of_file(params.corrections, path, key)


def _training(name: str, values: Values) -> Description:
    """Describe a training's params in use and initial weights."""
    checked = _cached(name, values, _checked_training)
    weights = inputs.of_weights(checked["weights"], checked["key"])
    libraries = timm_backbones.libraries(checked["params"]["model"]["backbone"])
    return {"params": checked["params"], "weights": weights, **libraries}


def _score(values: Values) -> Description:
    """Describe the table of another model's scores."""
    file = _cached("score", values, _checked_score)["file"]
    return inputs.of_file(file, outside.path_of(file) if file else None, outside.FILE)


def _cached(name: str, values: Values, check: Callable[[str, Values], Values]) -> Values:
    """Return the result of a check that needs torch, from the cache if nothing has changed."""
    own = repr([values.get(name), values.get("train")])
    # The names of backbones are torchvision's and timm's.
    versions = version("torchvision"), optional.version("timm")
    key = identity.name_of(name, own, identity.sources(), *versions)
    path = places.cache_folder() / "params" / f"{key}.json"
    checked: Values | None = None
    with contextlib.suppress(FileNotFoundError, kept.DamagedError):
        checked = json.loads(kept.read(path, path.name))
    if checked is None:
        checked = check(name, values)
        kept.write(path, json.dumps(checked).encode())
    return checked


def _checked_training(name: str, values: Values) -> Values:
    """Return the params in use of a training, and its weights with their key in params.yaml."""
    from pipeline.training.generations import StudentParams
    from pipeline.training.teachers import TrainTeacherParams

    section = TrainTeacherParams if name == "train_teacher" else StudentParams
    params = check_section(str(PARAMS), name, values, section)
    used = params.in_use()
    weights = params.model.weights if "model" in used else None
    key = params.model.key(f"{name}.model", "weights")
    return {"params": used, "weights": weights, "key": key}


def _checked_score(name: str, values: Values) -> Values:
    """Return the table of another model's scores."""
    from pipeline.inference.score import ScoreParams

    return {"file": check_section(str(PARAMS), name, values, ScoreParams).outside.file}


# The description files by name. Each function receives all sections of params.yaml.
DESCRIBED: dict[str, Callable[[Values], Description]] = {
    "data": _data,
    "train_teacher": partial(_training, "train_teacher"),
    "score": _score,
    "pseudo_label": _corrections,
    "train_student": partial(_training, "train_student"),
}


if __name__ == "__main__":
    main()
