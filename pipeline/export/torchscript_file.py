"""Export as TorchScript, for programs in C++ that run it already.

torch has deprecated TorchScript in favour of torch.export and ONNX. It still writes and reads it.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from pipeline.artifacts.spec import Spec
from pipeline.core.arrays import Images, Probs
from pipeline.core.errors import InputError, one_line
from pipeline.export import network
from pipeline.export.network import Served
from pipeline.models.classifier import Classifier

FILE = "model.pt"
DESCRIPTION = "spml.json"  # the file inside it with the metadata


def check_can(spec: Spec) -> None:
    """Check nothing: torch is all that is needed, and it traces every backbone."""


@torch.inference_mode()
def write(folder: Path, model: Classifier) -> None:
    """Write model.pt into a folder.

    Raises:
        InputError: torch cannot trace the network.
    """
    size = model.spec.input_size
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    described = json.dumps(network.metadata(model.spec), ensure_ascii=False)
    with _quiet():
        try:
            traced: Any = torch.jit.trace(  # type: ignore[no-untyped-call]
                Served(model).eval(), example, check_trace=False
            )
        except RuntimeError as error:
            raise InputError(
                f"{model.source}: torch cannot trace {model.spec.backbone}: {one_line(error)[:300]}"
            ) from None
        traced.save(str(folder / FILE), _extra_files={DESCRIPTION: described})


@torch.inference_mode()
def scores(folder: Path, images: Images) -> Probs:
    """Return the scores (N, C) that the written file gives for (N, H, W, 3) uint8 images."""
    with _quiet():
        loaded: Any = torch.jit.load(str(folder / FILE))  # type: ignore[no-untyped-call]

    def run(batch: Images) -> Probs:
        found: Probs = loaded(torch.from_numpy(batch)).numpy()
        return found

    return network.in_batches(run, images)


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide that TorchScript is deprecated, and that a trace fixes the sides of images.

    The check against PyTorch would find a wrong trace.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]
        yield
