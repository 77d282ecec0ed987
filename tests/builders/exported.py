"""Models and photographs for exports."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

from pipeline.artifacts.decisions import Decisions, OperatingPoint
from pipeline.artifacts.spec import Spec
from pipeline.core.arrays import Images
from pipeline.images import reading
from pipeline.models import model_file
from pipeline.models.classifier import Classifier

CLASSES = ("cat", "dog | wolf", "élan “du nord”")
DECISIONS = Decisions(
    thresholds=(0.25, 0.5, 0.125),
    at_precision=(OperatingPoint(0.9, (0.75, None, 0.5)),),
    calibration=((1.5, -0.25), (1.0, 0.0), (0.5, 1.0)),
    val_positives=(12, 30, 11),
)


def make_model(
    backbone: str, size: int = 32, boost_lu: float | None = None, role: str = "student"
) -> Classifier:
    """Make a model whose scores of images differ: with statistics and biases as after a training.

    Mean and standard deviation are uneven, so that an exchanged channel would show.
    """
    torch.manual_seed(0)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    spec = Spec(backbone, CLASSES, size, mean, std, boost_lu, role=role, decisions=DECISIONS)  # type: ignore[arg-type]
    model = Classifier(spec).eval()
    with torch.no_grad():
        for buffer in model.net.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.8, 1.2)
        for weight in model.net.parameters():
            if weight.dim() == 1:
                weight.add_(0.05 * torch.randn_like(weight))
    return model


def save_model(path: Path, backbone: str, **options: object) -> Classifier:
    """Make a model, scale its head so that scores spread, and write it as a model file."""
    model = make_model(backbone, **options)  # type: ignore[arg-type]
    size = model.spec.input_size
    images = torch.rand(16, 3, size, size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        spread = model(images).std(dim=0).mean().clamp(min=1e-6)
        model.head.get_parameter("weight").mul_((1 / spread).clamp(max=100))
        model.head.get_parameter("bias").sub_(model(images).mean(dim=0))
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
