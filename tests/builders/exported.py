"""Models and photographs for exports."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from pipeline.artifacts.decisions import Decisions, OperatingPoint
from pipeline.artifacts.spec import Spec
from pipeline.core.arrays import Images
from pipeline.images import reading
from pipeline.inference.score import to_float
from pipeline.models import model_file
from pipeline.models.classifier import BatchNorm, Classifier

CLASSES = ("cat", "dog | wolf", "élan “du nord”")
DECISIONS = Decisions(
    thresholds=(0.25, 0.5, 0.125),
    at_precision=(OperatingPoint(0.9, (0.75, None, 0.5)),),
    calibration=((1.5, -0.25), (1.0, 0.0), (0.5, 1.0)),
    val_positives=(12, 30, 11),
)


def save_model(
    path: Path, backbone: str, size: int = 32, boost_lu: float | None = None
) -> Classifier:
    """Write a model whose scores spread over the photos, and read it again.

    Mean and standard deviation are uneven, so that an exchanged channel would show.
    """
    torch.manual_seed(0)
    spec = Spec(
        backbone, CLASSES, size, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), boost_lu, role="student",
        decisions=DECISIONS,
    )  # fmt: skip
    model = Classifier(spec)
    images = to_float(torch.from_numpy(resized(photos(48), size)))
    with torch.no_grad():
        for part in model.modules():
            if isinstance(part, BatchNorm):
                part.momentum = None  # the statistics become those of the photos
        model.train()(images)
        model.eval()
        weight, bias = (model.head.get_parameter(name) for name in ("weight", "bias"))
        weight.normal_()  # torchvision's vision transformers begin with zeros
        spread = model(images).std(dim=0).view(-1, *(1,) * (weight.dim() - 1))
        weight.div_(spread)
        bias.sub_(model(images).mean(dim=0))
    model_file.save(path, model)
    return model_file.load(path)


def photos(n: int) -> list[Image.Image]:
    """Return RGB images of several sizes and shapes, with smooth areas and edges."""
    rng = np.random.RandomState(0)
    made = []
    for _ in range(n):
        width, height = rng.randint(40, 160, 2).tolist()
        noise = Image.fromarray(rng.randint(0, 256, (height, width, 3)).astype(np.uint8))
        image = noise.filter(ImageFilter.GaussianBlur(float(rng.rand() * 4)))
        colour = tuple(rng.randint(0, 256, 3).tolist())
        image.paste(colour, (0, 0, width // 2, height // rng.randint(2, 5)))
        made.append(image)
    return made


def resized(images: list[Image.Image], size: int) -> Images:
    """Return images as the pipeline resizes them, (N, size, size, 3)."""
    return np.stack([reading.squeezed(image, size) for image in images])
