"""Write a model in another form, with its card, and compare both on images."""

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from PIL import Image

from pipeline.artifacts.spec import Spec
from pipeline.core import files
from pipeline.core.arrays import Images
from pipeline.core.errors import InputError
from pipeline.export import card, network, onnx_file, origin, timm_folder, torchscript_file
from pipeline.images import decode_cache, reading
from pipeline.models import model_file
from pipeline.models.classifier import Classifier

Format = Literal["onnx", "timm", "torchscript"]
CARD = "README.md"
N_IMAGES = 100  # to compare on


@dataclass(frozen=True)
class Kind:
    """A form that a model can be exported in.

    Attributes:
        module: with `check_can`, `write` and `scores`.
        names: of the files in the folder.
        by: the library that opens it, for messages.
        hub_name: the name under which a hub lists it, or None.
        form: for the card: the files, the input and the output.
        code: for the card: Python that scores a file. {size} stands for the input size.
    """

    module: ModuleType
    names: tuple[str, ...]
    by: str
    hub_name: str | None
    form: str
    code: str


_IMAGE = """image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("RGB")"""
_PIXELS = f"""{_IMAGE}
image = image.resize(({{size}}, {{size}}), Image.Resampling.BILINEAR)"""
_UINT8 = (
    "Input `images`: uint8 of batch x {size} x {size} x 3, RGB, any number of images. The "
    "normalisation is inside. Output `scores`: float32 of batch x {classes}, after the sigmoid, "
    "not calibrated."
)
KINDS: dict[Format, Kind] = {
    "onnx": Kind(
        onnx_file,
        (onnx_file.FILE, f"{onnx_file.FILE}.data"),
        "ONNX Runtime",
        "onnx",
        f"{onnx_file.FILE} is an ONNX file; classes, thresholds and calibration are in its "
        f"metadata as JSON, under spml.classes and so on. {_UINT8}",
        f"""import json

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession("{onnx_file.FILE}")
about = session.get_modelmeta().custom_metadata_map
classes = json.loads(about["spml.classes"])
{_PIXELS}
(scores,) = session.run(["scores"], {{{{"images": np.asarray(image)[None]}}}})
print(dict(zip(classes, scores[0].tolist())))""",
    ),
    "timm": Kind(
        timm_folder,
        ("model.safetensors", timm_folder.CONFIG),
        "timm",
        "timm",
        "timm and transformers open the folder; config.json has classes, preparation, thresholds "
        "and calibration. Input: float32 of batch x 3 x {size} x {size}, which the library's "
        "transform or processor makes. Output: logits, batch x {classes}; their sigmoid is the "
        "score.",
        f"""import timm
from PIL import Image, ImageOps

model = timm.create_model("local-dir:.", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
{_IMAGE}
scores = model(transform(image)[None]).sigmoid()[0]
print(dict(zip(model.pretrained_cfg["label_names"], scores.tolist())))

# The same with transformers, which applies the sigmoid itself:
from transformers import pipeline

print(pipeline("image-classification", ".")(image, top_k=None))""",
    ),
    "torchscript": Kind(
        torchscript_file,
        (torchscript_file.FILE,),
        "TorchScript",
        None,
        f"{torchscript_file.FILE} is a TorchScript file, which torch has deprecated in favour of "
        f"ONNX and torch.export; classes, thresholds and calibration are in its extra file "
        f"{torchscript_file.DESCRIPTION}. {_UINT8}",
        f"""import json

import numpy as np
import torch
from PIL import Image, ImageOps

extra = {{{{"{torchscript_file.DESCRIPTION}": ""}}}}
model = torch.jit.load("{torchscript_file.FILE}", _extra_files=extra)
about = json.loads(extra["{torchscript_file.DESCRIPTION}"])
{_PIXELS}
scores = model(torch.from_numpy(np.array(image)[None]))[0]
print(dict(zip(json.loads(about["spml.classes"]), scores.tolist())))""",
    ),
}


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        folder: of the files.
        by: the library that the model was compared in.
        images: the images that it was compared on, in words.
        largest: the largest difference of a score from PyTorch's.
    """

    folder: Path
    by: str
    images: str
    largest: float


def write(path: Path, to: Format, folder: Path) -> Exported:
    """Write a model file's network in another form to a folder, completely or not at all.

    Args:
        path: the model file.
        to: the form.
        folder: the new folder; an earlier export in it is replaced.

    Raises:
        InputError: the model cannot be read, or has no such form; a package is not installed; the
            folder holds other files; the other library computes other scores.
    """
    kind = KINDS[to]
    _check_folder(folder)
    model = model_file.load(path)
    kind.module.check_can(model.spec)
    model.requires_grad_(False)  # a TorchScript file keeps it
    images, of = _images(path, model.spec)
    ours = network.scores(model, images)
    known = origin.read(path, model.spec)
    with files.atomic_write(folder) as temporary:
        temporary.mkdir()
        kind.module.write(temporary, model)
        theirs = kind.module.scores(temporary, images)
        largest = network.check_same(model, kind.by, ours, theirs)
        (temporary / CARD).write_text(_card(kind, model, known), encoding="utf-8")
    return Exported(folder, kind.by, of, largest)


def _card(kind: Kind, model: Classifier, known: origin.Origin) -> str:
    values = {"size": model.spec.input_size, "classes": len(model.spec.classes)}
    form, code = kind.form.format(**values), kind.code.format(**values)
    return card.text(model.spec, known, kind.hub_name, form, code)


def _check_folder(folder: Path) -> None:
    """Refuse a folder with files that no export wrote, since they would be lost."""
    ours = {CARD, *(name for kind in KINDS.values() for name in kind.names)}
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; --out should be a new folder")
    others = sorted({inner.name for inner in folder.iterdir()} - ours) if folder.exists() else []
    if others:
        raise InputError(
            f"{folder}: holds {others[0]!r}, which is of no export; --out should be a new folder"
        )


def _images(path: Path, spec: Spec) -> tuple[Images, str]:
    """Return images to compare on, and what they are: the run's, else random ones."""
    run = origin.run_of(path)
    if run is not None:
        try:
            index = run.read_index()
            rows = index.rows("test")[:N_IMAGES]
            images = np.empty((len(rows), spec.input_size, spec.input_size, 3), np.uint8)

            def keep(position: int, image: Image.Image) -> None:
                images[position] = reading.squeezed(image, spec.input_size)

            decode_cache.for_each(index, rows, keep)
            return images, f"{len(rows)} test images"
        except InputError:
            pass  # moved since; the caller says that the images were random
    return _random(spec.input_size), f"{N_IMAGES} random images"


def _random(side: int) -> Images:
    """Return noise from coarse to fine: networks amplify rounding on noise that is fine alone."""
    rng = np.random.default_rng(0)
    images = []
    for number in range(N_IMAGES):
        cells = min(side, 2 ** (1 + number % 6))
        noise = rng.integers(0, 256, (cells, cells, 3), dtype=np.uint8)
        images.append(reading.squeezed(Image.fromarray(noise), side))
    return np.stack(images)
