"""Export as a folder that timm opens, and transformers through its wrapper of timm.

torchvision's and timm's networks of the same architecture hold the same weights in the same order,
mostly under other names. The export loads them into timm's network and compares the scores.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.artifacts.spec import Spec
from pipeline.core import optional
from pipeline.core.arrays import Images, Probs
from pipeline.core.errors import InputError
from pipeline.export import network
from pipeline.inference.score import to_float
from pipeline.models import timm_backbones
from pipeline.models.classifier import Classifier

WANTED_BY = "--to timm"
CONFIG = "config.json"
# torchvision's networks that timm has, too, under the same name or another.
SAME_NAME = (
    "resnet18", "resnet34", "resnet50", "resnet101", "resnet152", "resnext50_32x4d",
    "resnext101_32x8d", "resnext101_64x4d", "wide_resnet50_2", "wide_resnet101_2", "densenet121",
    "densenet161", "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "convnext_tiny", "convnext_small",
    "convnext_base", "convnext_large", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn",
    "vgg16_bn", "vgg19_bn",
)  # fmt: skip
COUNTERPARTS = {name: name for name in SAME_NAME} | {
    "mobilenet_v2": "mobilenetv2_100",
    "mnasnet1_0": "mnasnet_100",
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
}
POSITIONS = "encoder.pos_embedding"  # of torchvision's vision transformers


def check_can(spec: Spec) -> None:
    """Check that timm is there and has the model's network.

    Raises:
        InputError: timm is not installed, or has no such network.
    """
    optional.package("timm", WANTED_BY)
    if spec.boost_lu is not None:
        raise InputError(
            f"{WANTED_BY}: timm has no head that boosts its activation maps (boost_lu = "
            f"{spec.boost_lu}); should be --to onnx"
        )
    if not timm_backbones.is_one(spec.backbone) and spec.backbone not in COUNTERPARTS:
        raise InputError(
            f"{WANTED_BY}: timm has no network equal to {spec.backbone}; should be --to onnx, or a "
            f"model with a backbone timm/NAME or one of {', '.join(COUNTERPARTS)}"
        )


def write(folder: Path, model: Classifier) -> None:
    """Write model.safetensors and config.json into a folder.

    Raises:
        InputError: timm's network has other weights.
    """
    timm = optional.package("timm", WANTED_BY)
    spec = model.spec
    if timm_backbones.is_one(spec.backbone):
        theirs: Any = model.net
    else:
        name = timm_backbones.PREFIX + COUNTERPARTS[spec.backbone]
        theirs = timm_backbones.build(name, len(spec.classes), spec.input_size)
        theirs.load_state_dict(_renamed(timm, model, theirs))
    numbered = list(enumerate(spec.classes))
    timm.models.save_for_hf(
        theirs.to(memory_format=torch.contiguous_format), folder, safe_serialization=True,
        model_config={
            "label_names": spec.classes,
            # transformers then applies a sigmoid and not a softmax.
            "problem_type": "multi_label_classification",
            "id2label": {str(number): name for number, name in numbered},
            "label2id": {name: number for number, name in numbered},
            "spml": {key: json.loads(text) for key, text in network.metadata(spec).items()},
        },
        data_config={
            "input_size": (3, spec.input_size, spec.input_size), "mean": spec.mean,
            "std": spec.std, "interpolation": spec.resize.interpolation, "crop_pct": 1.0,
            "crop_mode": spec.resize.mode,
        },
    )  # fmt: skip
    path = folder / CONFIG
    config = json.loads(path.read_text(encoding="utf-8"))
    # transformers passes the number of classes itself, too.
    config.get("model_args", {}).pop("num_classes", None)
    path.write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@torch.inference_mode()
def scores(folder: Path, images: Images) -> Probs:
    """Return the scores (N, C) of the network that timm opens, of (N, H, W, 3) uint8 images."""
    timm = optional.package("timm", WANTED_BY)
    net = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    mean, std = (
        torch.tensor(net.pretrained_cfg[name]).view(1, 3, 1, 1) for name in ("mean", "std")
    )

    def run(batch: Images) -> Probs:
        found: Probs = torch.sigmoid(net((to_float(torch.from_numpy(batch)) - mean) / std)).numpy()
        return found

    return network.in_batches(run, images)


def _renamed(timm: Any, model: Classifier, theirs: Any) -> dict[str, Tensor]:
    """Return the model's weights under timm's names.

    Raises:
        InputError: timm's network has other weights.
    """
    ours = list(model.net.state_dict().items())
    names = [name for name, _ in ours]
    if POSITIONS in names:  # timm has them after the class token
        ours.insert(1, ours.pop(names.index(POSITIONS)))
    wanted = theirs.state_dict()
    if [value.numel() for _, value in ours] != [value.numel() for value in wanted.values()]:
        raise InputError(
            f"{WANTED_BY}: {model.spec.backbone} has other weights in timm {timm.__version__}; "
            f"should be --to onnx"
        )
    renamed: dict[str, Tensor] = timm.models.remap_state_dict(dict(ours), theirs)
    return renamed
