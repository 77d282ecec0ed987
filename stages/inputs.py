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
    return inputs.of_corrections(params.corrections, "pseudo_label.corrections")


def _training(name: str, values: Values) -> Description:
    """Describe a training's params in use and initial weights."""
    own = repr([values.get(name), values.get("train")])
    # The names of backbones are torchvision's and timm's.
    versions = version("torchvision"), optional.version("timm")
    key = identity.name_of(name, own, identity.sources(), *versions)
    path = places.cache_folder() / "params" / f"{key}.json"
    checked = None
    with contextlib.suppress(FileNotFoundError, kept.DamagedError):
        checked = json.loads(kept.read(path, path.name))
    if checked is None:
        checked = _checked(name, values)
        kept.write(path, json.dumps(checked).encode())
    weights = inputs.of_weights(checked["weights"], checked["key"])
    libraries = timm_backbones.libraries(checked["params"]["model"]["backbone"])
    return {"params": checked["params"], "weights": weights, **libraries}


def _checked(name: str, values: Values) -> Values:
    """Return the params in use of a training, and its weights with their key in params.yaml."""
    from pipeline.training.generations import StudentParams
    from pipeline.training.teachers import TrainTeacherParams

    section = TrainTeacherParams if name == "train_teacher" else StudentParams
    params = check_section(str(PARAMS), name, values, section)
    key = params.model.key(f"{name}.model", "weights")
    return {"params": params.in_use(), "weights": params.model.weights, "key": key}


# The description files by name. Each function receives all sections of params.yaml.
DESCRIBED: dict[str, Callable[[Values], Description]] = {
    "data": _data,
    "train_teacher": partial(_training, "train_teacher"),
    "pseudo_label": _corrections,
    "train_student": partial(_training, "train_student"),
}


if __name__ == "__main__":
    main()
