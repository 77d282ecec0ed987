"""Export as ONNX: normalisation and sigmoid in the graph, classes and thresholds as metadata."""

from pathlib import Path

import torch

from pipeline.artifacts.spec import Spec
from pipeline.core import optional
from pipeline.core.arrays import Images, Probs
from pipeline.core.errors import InputError, one_line
from pipeline.export import network
from pipeline.export.network import INPUT, OUTPUT, Served
from pipeline.models.classifier import Classifier

FILE = "model.onnx"
PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def check_can(spec: Spec) -> None:
    """Check that the needed packages are there.

    Raises:
        InputError: one is not installed.
    """
    for name in PACKAGES:
        optional.package(name, "--to onnx", *(other for other in PACKAGES if other != name))


def write(folder: Path, model: Classifier) -> None:
    """Write model.onnx into a folder.

    Raises:
        InputError: torch cannot export the network.
    """
    size = model.spec.input_size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    try:
        program = torch.onnx.export(
            Served(model).eval(), (example,), dynamo=True, verbose=False, input_names=[INPUT],
            output_names=[OUTPUT], dynamic_shapes={INPUT: {0: torch.export.Dim("batch")}},
        )  # fmt: skip
    except Exception as error:  # the exporter wraps whatever a network's code raises
        raise InputError(
            f"{model.source}: torch cannot export {model.spec.backbone} as ONNX: "
            f"{one_line(error)[:300]}"
        ) from None
    assert program is not None
    program.model.metadata_props.update(network.metadata(model.spec))
    program.save(folder / FILE)


def scores(folder: Path, images: Images) -> Probs:
    """Return the scores (N, C) that ONNX Runtime computes of (N, H, W, 3) uint8 images."""
    runtime = optional.package("onnxruntime", "--to onnx")
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # errors
    session = runtime.InferenceSession(
        str(folder / FILE), options, providers=["CPUExecutionProvider"]
    )

    def run(batch: Images) -> Probs:
        (found,) = session.run([OUTPUT], {INPUT: batch})
        result: Probs = found
        return result

    return network.in_batches(run, images)
