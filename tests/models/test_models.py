"""Backbones, their heads, weights from files, the model file."""

import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from pydantic import ValidationError
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from pipeline.artifacts.cross_fitting import Fold
from pipeline.artifacts.decisions import Decisions, OperatingPoint
from pipeline.artifacts.spec import Resize, Spec
from pipeline.core.errors import InputError
from pipeline.models import backbones, classifier, model_file, weights
from pipeline.models.classifier import Classifier, ModelParams
from pipeline.models.weights import CENTRED, IMAGENET

CLASSES = ("cat", "dog", "élan “du nord”")
# RegNet computes its widths with tensors, which cannot be done on the meta device.
REGNETS = ["regnet_x_400mf", "regnet_x_800mf", "regnet_y_400mf", "regnet_y_800mf"]
OTHERS = [name for name in backbones.names()[1:] if not name.startswith("regnet_")]


def params(
    backbone: str = "small_cnn", weights: Path | str | None = None, **kwargs: Any
) -> ModelParams:
    chosen = {"input_size": 32, "freeze_batch_norm": False, "boost_lu": None, **kwargs}
    where = None if weights is None else str(weights)
    return ModelParams.model_validate({"backbone": backbone, "weights": where, **chosen})


def untrained(backbone: str, n_classes: int, input_size: int = 224) -> Classifier:
    classes = tuple(str(number) for number in range(n_classes))
    return Classifier(Spec(backbone, classes, input_size, *CENTRED))


def decisions(n_classes: int, threshold: float = 0.25) -> Decisions:
    points = (OperatingPoint(0.9, (None,) + (0.5,) * (n_classes - 1)),)
    return Decisions((threshold,) * n_classes, points, ((1.0, -0.5),) * n_classes, (3,) * n_classes)


def images(n: int = 2, size: int = 32) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def pretrained(backbone: str = "small_cnn") -> nn.Module:
    """A network of seven classes, as a training script would save it."""
    torch.manual_seed(1)
    small = backbone == "small_cnn"
    net: nn.Module = (
        backbones.SmallCNN(7) if small else torchvision.models.get_model(backbone, num_classes=7)
    )
    with torch.no_grad():
        for buffer in net.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
    return net


def assert_backbone_is(model: Classifier, net: nn.Module) -> None:
    """Check that all weights are equal except the head, which is new and of another shape."""
    of_net = net.state_dict()
    for key, value in model.net.state_dict().items():
        if not key.startswith(model.head_name):
            assert torch.equal(value, of_net[key]), key
    assert model.head.get_parameter("weight").shape[0] == len(CLASSES)


# --- backbones -------------------------------------------------------------------------


def test_backbones_are_all_of_torchvisions_classification_models() -> None:
    names = backbones.names()
    assert names[0] == "small_cnn"
    assert {"resnet50", "vit_b_32", "convnext_tiny", "regnet_y_128gf"} < set(names)
    assert len(names) >= 81
    assert not any("raft" in name or "fcn" in name or "r3d" in name for name in names)


@pytest.mark.parametrize("backbone", OTHERS)
def test_only_the_head_depends_on_the_number_of_classes(backbone: str) -> None:
    size = 299 if backbone == "inception_v3" else 224
    with torch.device("meta"):
        model, other = untrained(backbone, 13, size), untrained(backbone, 17, size)
    shapes = {key: value.shape for key, value in other.net.state_dict().items()}
    differing = {k for k, value in model.net.state_dict().items() if value.shape != shapes[k]}
    assert f"{model.head_name}.weight" in differing
    assert differing <= {f"{model.head_name}.weight", f"{model.head_name}.bias"}
    assert model.head.get_parameter("weight").shape[0] == 13


@pytest.mark.parametrize("backbone", REGNETS)
def test_the_head_of_a_regnet_is_its_last_layer(backbone: str) -> None:
    model = untrained(backbone, 13)
    assert model.head is model.net.fc
    assert model.head.get_parameter("weight").shape[0] == 13


@pytest.mark.parametrize("n_classes", [2, 96, 512, 4096], ids=str)
@pytest.mark.parametrize("backbone", ["small_cnn", "alexnet", "resnet18", "squeezenet1_1"])
def test_the_head_is_found_though_other_layers_are_as_wide(backbone: str, n_classes: int) -> None:
    with torch.device("meta"):
        model = untrained(backbone, n_classes)
        last = [m for m in model.net.modules() if isinstance(m, nn.Linear | nn.Conv2d)][-1]
    assert model.head is last


@pytest.mark.parametrize(
    ("backbone", "size"),
    [
        ("small_cnn", 8),
        ("resnet18", 32),
        ("mobilenet_v3_small", 32),
        ("shufflenet_v2_x0_5", 32),
        ("squeezenet1_1", 32),
        ("mnasnet0_5", 32),
        ("regnet_y_400mf", 32),
        ("densenet121", 32),
        ("swin_t", 32),
    ],
)
def test_images_become_a_logit_per_class(backbone: str, size: int) -> None:
    model = classifier.build(params(backbone, input_size=size), CLASSES)
    with torch.inference_mode():
        logits = model(images(2, size))
    assert logits.shape == (2, len(CLASSES))
    assert torch.isfinite(logits).all()


def test_small_cnn_finds_a_class_anywhere_in_the_image() -> None:
    model = classifier.build(params("small_cnn", input_size=64), CLASSES)
    model.net[-1].weight.data.mul_(100)
    paper = torch.full((1, 3, 64, 64), 0.5)
    inked = paper.clone()
    inked[:, :, 24:32, 24:32] = images(1, 8)
    with torch.inference_mode():
        here, there = model(inked), model(inked.roll((8, -8), dims=(2, 3)))
        assert (here - model(paper)).abs().min() > 0.01
    torch.testing.assert_close(here, there, rtol=1e-4, atol=1e-4)


def test_an_unknown_backbone_is_refused_with_the_right_names() -> None:
    with pytest.raises(ValidationError, match=r"should be small_cnn.* or a torchvision .*resnet50"):
        params("resnet51")


@pytest.mark.parametrize(
    ("backbone", "size"),
    [("alexnet", 16), ("convnext_tiny", 24), ("inception_v3", 64), ("vit_b_32", 48),
     ("maxvit_t", 64)],
)  # fmt: skip
def test_a_size_that_the_backbone_cannot_take_is_refused_in_one_line(
    backbone: str, size: int
) -> None:
    with torch.device("meta"), pytest.raises(InputError) as caught:
        classifier.build(params(backbone, input_size=size), CLASSES)
    message = str(caught.value)
    assert message.startswith(f"model.input_size = {size}: {backbone} cannot take images of")
    assert "\n" not in message


def test_logits_do_not_depend_on_the_memory_layout_of_images() -> None:
    model = classifier.build(params(), CLASSES)
    batch = images()
    with torch.inference_mode():
        torch.testing.assert_close(
            model(batch), model(batch.contiguous(memory_format=torch.channels_last))
        )


# --- batch norm ------------------------------------------------------------------------


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "free"])
def test_frozen_batch_norm_keeps_its_statistics_and_learns_its_weights(frozen: bool) -> None:
    model = classifier.build(params(freeze_batch_norm=frozen), CLASSES)
    norm = next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    statistics, weight = norm.running_mean.clone(), norm.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(2):
        model.train()
        model(images(4)).pow(2).sum().backward()
        optimizer.step()
        model.eval()
    assert torch.equal(norm.running_mean, statistics) is frozen
    assert not torch.equal(norm.weight, weight)


# --- weights ---------------------------------------------------------------------------


def as_pth(state: Any, path: Path) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize("ending", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "module."], ids=["bare", "DataParallel"])
def test_weights_come_from_a_file(ending: str, prefix: str, tmp_path: Path) -> None:
    net = pretrained()
    state = {prefix + key: value for key, value in net.state_dict().items()}
    path = tmp_path / f"weights{ending}"
    if ending == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    model = classifier.build(params(weights=path), CLASSES)
    assert_backbone_is(model, net)
    assert (model.spec.mean, model.spec.std) == IMAGENET


def test_weights_may_be_wrapped_as_by_training_scripts(tmp_path: Path) -> None:
    net = pretrained()
    wrapped = {"state_dict": {"state_dict": net.state_dict()}, "epoch": 3}
    model = classifier.build(params(weights=as_pth(wrapped, tmp_path / "w.pth")), CLASSES)
    assert_backbone_is(model, net)


def test_weights_of_a_mnasnet_load_and_its_model_file_too(tmp_path: Path) -> None:
    # MNASNet refuses a state without version numbers, which a file does not have.
    net = pretrained("mnasnet0_5")
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    model = classifier.build(params("mnasnet0_5", tmp_path / "w.safetensors"), CLASSES)
    assert_backbone_is(model, net)
    model_file.save(tmp_path / "model.safetensors", model)
    assert_backbone_is(model_file.load(tmp_path / "model.safetensors"), net)


def test_weights_of_a_densenet_may_have_the_names_of_old_files(tmp_path: Path) -> None:
    net = pretrained("densenet121")
    old = {}
    for key, value in net.state_dict().items():
        for layer in ("norm1", "norm2", "conv1", "conv2"):
            key = key.replace(f".{layer}.", f".{layer[:-1]}.{layer[-1]}.")  # noqa: PLW2901
        old[key] = value
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    model = classifier.build(params("densenet121", as_pth(old, tmp_path / "w.pth")), CLASSES)
    assert_backbone_is(model, net)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("encoder.layers.encoder_layer_0.mlp.linear_1.bias",
         "encoder.layers.encoder_layer_0.mlp.0.bias"),
        ("encoder.layers.encoder_layer_11.mlp.linear_2.weight",
         "encoder.layers.encoder_layer_11.mlp.3.weight"),
    ],
    ids=["first", "second"],
)  # fmt: skip
def test_old_layer_names_of_a_vision_transformer_are_updated(old: str, new: str) -> None:
    with torch.device("meta"):
        today = untrained("vit_b_32", 3).net.state_dict()
    assert weights._current_name(old) == new
    assert new in today
    assert all(weights._current_name(key) == key for key in today)


def test_positions_of_a_vision_transformer_are_interpolated_to_our_size() -> None:
    with torch.device("meta"):
        model = untrained("vit_b_32", 3, input_size=64)
        wanted = model.net.state_dict()["encoder.pos_embedding"].shape
    grid = torch.arange(49.0).reshape(1, 49, 1).expand(1, 49, 768)
    of_224 = torch.cat([torch.full((1, 1, 768), -5.0), grid], dim=1)
    fitted = weights._fit_positions(
        {"encoder.pos_embedding": of_224}, model.spec.backbone, model.spec.input_size
    )
    positions = fitted["encoder.pos_embedding"]
    assert positions.shape == wanted == (1, 5, 768)
    assert (positions[:, 0] == -5).all()  # the class token has no position
    assert positions[0, 1:, 0].diff().gt(0).all()  # still row by row
    assert positions[0, 1:, 0].mean().item() == pytest.approx(24, abs=0.1)


def test_a_relative_path_of_weights_is_below_the_data_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "root" / "w").mkdir(parents=True)
    net = pretrained()
    as_pth(net.state_dict(), tmp_path / "root" / "w" / "a.pth")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SPML_DATA_ROOT", str(tmp_path / "root"))
    assert_backbone_is(classifier.build(params(weights="w/a.pth"), CLASSES), net)
    monkeypatch.delenv("SPML_DATA_ROOT")
    with pytest.raises(InputError, match=r"SPML_DATA_ROOT is not set, but model.weights needs it"):
        classifier.build(params(weights="w/a.pth"), CLASSES)


def test_weights_by_name_are_torchvisions_with_their_normalisation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # torch.hub finds the file in its place and downloads nothing.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = torchvision.models.get_weight("SqueezeNet1_1_Weights.IMAGENET1K_V1").url
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    net = pretrained("squeezenet1_1")
    as_pth(net.state_dict(), tmp_path / "hub" / "checkpoints" / url.rsplit("/", 1)[1])
    model = classifier.build(params("squeezenet1_1", "IMAGENET1K_V1"), CLASSES)
    assert_backbone_is(model, net)
    assert (model.spec.mean, model.spec.std) == IMAGENET


def test_weights_that_cannot_be_downloaded_are_an_error_of_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nothing listens there
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError) as caught:
        classifier.build(params("resnet18", "IMAGENET1K_V1"), CLASSES)
    message = str(caught.value)
    assert message.startswith("model.weights = 'IMAGENET1K_V1': cannot be downloaded")
    assert message.endswith("give a local file instead")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("backbone", "weights", "has"),
    [
        ("resnet50", "IMAGENET1K_V9", "resnet50 has IMAGENET1K_V1, IMAGENET1K_V2"),
        ("resnet50", "weights.ckpt", "resnet50 has IMAGENET1K_V1, IMAGENET1K_V2"),
        ("small_cnn", "IMAGENET1K_V1", "small_cnn has no weights"),
    ],
)
def test_unknown_weights_are_refused_with_the_right_names(
    backbone: str, weights: str, has: str
) -> None:
    with pytest.raises(InputError) as caught:
        classifier.build(params(backbone, weights), CLASSES)
    assert str(caught.value) == (
        f"model.weights = {weights!r}: should be null, a file ending in .safetensors, .pth, .pt, "
        f"or of torchvision ({has})"
    )


class Malicious:
    """Unpickles by running a command."""

    def __init__(self, mark: Path):
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def test_a_file_of_weights_cannot_run_code(tmp_path: Path) -> None:
    mark = tmp_path / "was-run"
    path = as_pth({"conv1.0.weight": Malicious(mark)}, tmp_path / "evil.pth")
    with pytest.raises(InputError) as caught:
        classifier.build(params(weights=path), CLASSES)
    assert not mark.exists()
    assert str(caught.value) == (
        f"{path}: cannot be read as weights; should be a state dict of tensors alone, as "
        f"torch.save(model.state_dict(), ...) writes it"
    )
    # The file does run code if it is unpickled.
    torch.load(path, weights_only=False)
    assert mark.exists()


def _saved(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _within_itself() -> bytes:
    state: dict[str, Any] = {}
    state["state_dict"] = state
    return _saved(state)


NO_WEIGHTS = {
    "a state within itself": _within_itself(),
    "empty": b"",
    "text": b"this is a letter, not a file of weights\n",
    "web page": b"<!DOCTYPE html>\n<html>404</html>\n",
    "zip": b"PK\x03\x04" + bytes(60),
    "zeros": bytes(500),
    "pickle": pickle.dumps({"a": 1}, protocol=2),
    "list": _saved([torch.zeros(1)]),
    "no tensors": _saved({"epoch": 3, "model": torch.zeros(1)}),
    "number keys": _saved({1: torch.zeros(1)}),
    "numpy": _saved({"a": np.zeros(1)}),
    "whole model": _saved(nn.Linear(1, 1)),
}


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", NO_WEIGHTS.values(), ids=NO_WEIGHTS)
def test_a_file_that_holds_no_weights_is_refused_in_one_line(
    ending: str, content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / f"file{ending}"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        classifier.build(params(weights=path), CLASSES)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert "weights_only" not in message  # no advice to run the file's code


def test_messages_name_the_key_where_it_stands_in_params_yaml() -> None:
    for chosen, key in (
        (params("resnet18", "nothing"), "weights"),
        (params("alexnet", input_size=16), "input_size"),
    ):
        with torch.device("meta"), pytest.raises(InputError) as caught:
            classifier.build(chosen, CLASSES, "train_student.model")
        assert str(caught.value).startswith(f"train_student.model.{key} = ")


def test_missing_weights_are_named(tmp_path: Path) -> None:
    path = tmp_path / "nowhere.safetensors"
    with pytest.raises(InputError) as caught:
        classifier.build(params(weights=path), CLASSES)
    assert str(caught.value) == f"{path}: no such file (model.weights)"


@pytest.mark.parametrize(
    ("backbone", "problem"),
    [
        ("resnet18", "has no 'conv1.weight': not weights of resnet18"),
        ("mnasnet0_5", "has no 'layers.0.weight': not weights of mnasnet0_5"),
        ("vit_b_32", "has no 'class_token': not weights of vit_b_32"),
        ("small_cnn", "has no '0.weight': not weights of small_cnn"),
        ("squeezenet1_0", "'features.0.weight' has shape (64, 3, 3, 3), squeezenet1_0 needs "
         "(96, 3, 7, 7)"),
    ],
)  # fmt: skip
def test_weights_of_another_backbone_are_refused_with_the_key(
    backbone: str, problem: str, tmp_path: Path
) -> None:
    path = as_pth(pretrained("squeezenet1_1").state_dict(), tmp_path / "squeezenet.pth")
    with torch.device("meta"), pytest.raises(InputError) as caught:
        classifier.build(params(backbone, path), CLASSES)
    assert str(caught.value) == f"model.weights = {str(path)!r}: {problem}"


# --- normalisation and the model file --------------------------------------------------


def test_a_model_without_weights_takes_images_centred() -> None:
    model = classifier.build(params(), CLASSES)
    assert (model.spec.mean, model.spec.std) == CENTRED


def test_images_are_normalised_inside_the_model() -> None:
    spec = Spec("small_cnn", CLASSES, 32, (0.1, 0.2, 0.3), (0.5, 0.25, 2.0))
    model = Classifier(spec).eval()
    grey = torch.full((1, 3, 32, 32), 0.6)
    normalised = torch.tensor([1.0, 1.6, 0.15]).view(1, 3, 1, 1).expand(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(model(grey), model.net(normalised))


@pytest.mark.parametrize("backbone", ["small_cnn", "shufflenet_v2_x0_5"])
def test_a_model_file_is_enough_to_use_the_model(backbone: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    model = classifier.build(params(backbone), CLASSES)
    model.train()(images(4))  # changes the batch norm's statistics
    model.eval()
    path = tmp_path / "deep" / "model.safetensors"
    model_file.save(path, model)
    again = model_file.load(path)
    with torch.inference_mode():
        assert torch.equal(again(images()), model(images()))
    assert again.spec == model.spec
    assert not again.training
    assert [p.name for p in path.parent.iterdir()] == ["model.safetensors"]


def test_equal_models_are_equal_files(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = classifier.build(params(), CLASSES)
    contents = set()
    for _ in range(5):
        model_file.save(path, model)
        contents.add(path.read_bytes())
        model = model_file.load(path)
    assert len(contents) == 1


@pytest.mark.parametrize("held_out", [None, Fold(1, 2, 24, 0)], ids=["all", "fold"])
def test_the_model_file_records_a_frozen_backbone_only(
    held_out: Fold | None, tmp_path: Path
) -> None:
    path, model = tmp_path / "model.safetensors", untrained("small_cnn", 3)
    for frozen in (True, False):
        model.spec = replace(model.spec, frozen_backbone=frozen, held_out=held_out)
        model_file.save(path, model)
        assert model_file.load(path).spec == model.spec
        assert (b"frozen_backbone" in path.read_bytes()) is frozen


def test_a_model_file_holds_thresholds_and_the_resizing(tmp_path: Path) -> None:
    path, model = tmp_path / "model.safetensors", untrained("small_cnn", 3)
    for chosen in (decisions(3), None):
        model.spec = replace(model.spec, decisions=chosen)
        model_file.save(path, model)
        assert model_file.load(path).spec == model.spec
        assert (b"decisions" in path.read_bytes()) is (chosen is not None)
    assert model.spec.resize == Resize("squash", "bilinear", "RGB")


def test_a_model_file_of_before_thresholds_and_resizing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    described_as(path, lambda spec: spec.pop("resize") and None)
    assert b"resize" not in path.read_bytes()
    assert model_file.load(path).spec == untrained("small_cnn", 3).spec


def test_a_model_file_gives_its_weights_and_its_normalisation(tmp_path: Path) -> None:
    spec = Spec("small_cnn", ("a", "b", "c", "d"), 64, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    donor = Classifier(spec)
    model_file.save(tmp_path / "model.safetensors", donor)
    model = classifier.build(params(weights=tmp_path / "model.safetensors"), CLASSES)
    assert_backbone_is(model, donor.net)
    assert model.spec == Spec("small_cnn", CLASSES, 32, spec.mean, spec.std)


def test_a_missing_model_names_the_stage_to_run(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(InputError) as caught:
        model_file.load(path)
    assert str(caught.value) == f"{path}: no such file; run the stage that trains it first"


def test_a_file_that_is_not_a_model_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"not at all")
    with pytest.raises(InputError, match=r"model.safetensors: cannot be read as safetensors: "):
        model_file.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(InputError, match=r"has no metadata 'spml.spec': not a model of this"):
        model_file.load(path)


def described_as(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write a model file with the metadata of another program, so without a digest."""
    model_file.save(path, untrained("small_cnn", 3))
    with safe_open(path, "pt") as file:
        described = json.loads(file.metadata()["spml.spec"])
    del described["digest"]
    changed = change(described)
    described = described if changed is None else changed
    save_file(load_file(path), path, {"spml.spec": json.dumps(described)})


WRONG_SPECS: dict[str, Callable[[dict[str, Any]], object]] = {
    "a number": lambda spec: 3,
    "a list": lambda spec: [],
    "a text": lambda spec: "small_cnn",
    "a number as classes": lambda spec: spec.update(classes=3),
    "numbers as classes": lambda spec: spec.update(classes=[1, 2, 3]),
    "no mean": lambda spec: spec.update(mean=None),
    "a mean of two": lambda spec: spec.update(mean=[0.5, 0.5]),
    "a text as std": lambda spec: spec.update(std="abc"),
    "a std of zero": lambda spec: spec.update(std=[0, 0.5, 0.5]),
    "a std that is no number": lambda spec: spec.update(std=[float("nan"), 0.5, 0.5]),
    "a size of 10^30": lambda spec: spec.update(input_size=10**30),
    "a fold of nothing": lambda spec: spec.update(
        held_out={"number": 1, "of": 0, "images": 24, "seed": 0}
    ),
    "a fold that is a number": lambda spec: spec.update(held_out=3),
    "a resize of another kind": lambda spec: spec.update(resize={"mode": "crop"}),
    "thresholds for other classes": lambda spec: spec.update(decisions=asdict(decisions(2))),
    "a threshold above 1": lambda spec: spec.update(decisions=asdict(decisions(3, 1.5))),
    "operating points for other classes": lambda spec: spec.update(
        decisions=asdict(decisions(3)) | {"val_positives": [3, 3]}
    ),
    "a key of two lines": lambda spec: spec.update({"a\nb": 1}),
}


@pytest.mark.parametrize("change", WRONG_SPECS.values(), ids=WRONG_SPECS)
def test_a_description_of_wrong_types_is_refused_in_one_line_wherever_it_is_read(
    change: Callable[[dict[str, Any]], object], tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    described_as(path, change)
    for read in (
        lambda: model_file.load(path),
        lambda: model_file.digest(tmp_path),
        lambda: classifier.build(params(weights=path), CLASSES),
    ):
        with pytest.raises(InputError) as caught:
            read()
        assert str(caught.value).startswith(f"{path}: metadata 'spml.spec' = ")
        assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("backbone", ["no\nbackbone", "list_models", "resnet18"])
def test_a_description_of_another_backbone_is_refused_in_one_line(
    backbone: str, tmp_path: Path
) -> None:
    path = tmp_path / "model.safetensors"
    described_as(path, lambda spec: spec.update(backbone=backbone))
    with pytest.raises(InputError) as caught:
        model_file.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert len(str(caught.value).splitlines()) == 1


def test_a_model_file_without_a_digest_is_read(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    described_as(path, lambda spec: None)
    assert model_file.load(path).spec == untrained("small_cnn", 3).spec


def test_every_changed_byte_of_a_model_file_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model_file.save(path, untrained("small_cnn", 3))
    content = path.read_bytes()
    end = 8 + int.from_bytes(content[:8], "little")
    for at in [*range(0, end, 43), *range(end, len(content), len(content) // 20), len(content) - 1]:
        changed = bytearray(content)
        changed[at] ^= 1
        path.write_bytes(changed)
        for read in (model_file.load, lambda path: classifier.build(params(weights=path), CLASSES)):
            with pytest.raises(InputError) as caught:
                read(path)
            assert len(str(caught.value).splitlines()) == 1


def test_two_swapped_weights_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model_file.save(path, untrained("small_cnn", 3))
    state = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    mean, var = "net.1.running_mean", "net.1.running_var"
    save_file(state | {mean: state[var], var: state[mean]}, path, metadata)
    with pytest.raises(InputError, match="is damaged: its weights or metadata are not those"):
        model_file.load(path)


def test_a_model_of_another_role_is_refused_if_a_role_is_expected(tmp_path: Path) -> None:
    path, model = tmp_path / "model.safetensors", untrained("small_cnn", 3)
    for role in ("teacher", "student", None):
        model.spec = replace(model.spec, role=role, made_from={"spml.made_from.index": "1"})
        model_file.save(path, model)
        assert model_file.load(path).spec == model.spec
        assert classifier.build(params(weights=path), CLASSES).spec.role is None
        if role == "student":
            with pytest.raises(InputError) as caught:
                model_file.load(path, role="teacher")
            assert str(caught.value) == (
                f"{path}: is a student; should be a teacher: run `dvc repro`"
            )
        else:
            model_file.load(path, role="teacher")


def test_a_model_file_whose_weights_do_not_fit_its_digest_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    model = untrained("small_cnn", 3)
    model.spec = Spec("small_cnn", ("a", "b"), 32, *CENTRED)
    model_file.save(path, model)
    with pytest.raises(InputError) as caught:
        model_file.load(path)
    assert str(caught.value) == f"{path}: its weights do not fit its backbone small_cnn"
