"""Backbones of timm: names, heads, features, weights, and trainings in every mode."""

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.artifacts.tables import Index
from pipeline.core.errors import InputError
from pipeline.models import classifier, model_file, timm_backbones
from pipeline.models.classifier import Classifier, ModelParams
from pipeline.models.weights import CENTRED, IMAGENET
from pipeline.training.batch_norm import BatchNorm, _OverProcesses
from tests.builders.training import make_index, make_params, run

# In CI timm is installed, as requirements.txt pins it.
timm = pytest.importorskip("timm")

CLASSES = ("cat", "dog", "élan")
VIT, CONVNEXT, RESNET = "timm/vit_tiny_patch16_224", "timm/convnext_atto", "timm/resnet10t"
MODES = ["end_to_end", "linear", "linear_init"]


def params(backbone: str, weights: Path | str | None = None, **changed: Any) -> ModelParams:
    chosen = {"input_size": 32, "freeze_batch_norm": False, "boost_lu": None, **changed}
    where = None if weights is None else str(weights)
    return ModelParams.model_validate({"backbone": backbone, "weights": where, **chosen})


def build(backbone: str, weights: Path | str | None = None, **changed: Any) -> Classifier:
    torch.manual_seed(0)
    return classifier.build(params(backbone, weights, **changed), CLASSES).eval()


def assert_backbone_is(model: Classifier, state: dict[str, torch.Tensor]) -> None:
    for key, value in model.net.state_dict().items():
        if not key.startswith(f"{model.head_name}."):
            assert torch.equal(value, state[key]), key


@pytest.mark.parametrize(
    ("backbone", "head", "width"),
    [(VIT, "head", 192), (CONVNEXT, "head.fc", 320), (RESNET, "fc", 512)],
)
def test_features_are_timms_and_the_head_makes_the_logits_of_them(
    backbone: str, head: str, width: int
) -> None:
    model, images = build(backbone), torch.rand(2, 3, 32, 32)
    assert model.head_name == head
    with torch.inference_mode():
        logits, taken = model(images), model.features(images)
        normalised = (images - 0.5) / 0.5
        assert torch.equal(logits, model.net(normalised))
        assert torch.equal(
            taken, model.net.forward_head(model.net.forward_features(normalised), pre_logits=True)
        )
        torch.testing.assert_close(model.head(taken), logits)
    assert logits.shape == (2, len(CLASSES))
    assert taken.shape == (2, width)
    assert (model.spec.mean, model.spec.std) == CENTRED


def test_a_model_file_rebuilds_the_network_at_its_size(tmp_path: Path) -> None:
    model, images = build(VIT, input_size=48), torch.rand(2, 3, 48, 48)
    model_file.save(tmp_path / "model.safetensors", model)
    loaded = model_file.load(tmp_path / "model.safetensors")
    assert loaded.spec == model.spec
    with torch.inference_mode():
        assert torch.equal(loaded(images), model(images))
    with pytest.raises(InputError, match=r"^model.input_size = 8: timm/vit_tiny_patch16_224 can"):
        build(VIT, input_size=8)


def test_an_unknown_name_is_refused_with_similar_ones() -> None:
    for name in ("timm/resnet81", "timm/resnet18.nothing", "timm/", "timm/hf-hub:timm/resnet18"):
        with pytest.raises(ValidationError, match=r"is not a model of timm .*; should be one like"):
            params(name)
    with pytest.raises(ValidationError, match=r"should be one like .*timm/resnet18"):
        params("timm/resnet_18")


def test_a_network_with_two_classifiers_is_refused_in_one_line() -> None:
    with pytest.raises(InputError) as caught:
        build("timm/deit_tiny_distilled_patch16_224")
    assert str(caught.value) == (
        "timm/deit_tiny_distilled_patch16_224: has no single layer as its classifier; should be a "
        "backbone like timm/resnet18"
    )


def test_without_timm_params_and_model_files_name_the_command_to_install_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    model_file.save(path, build(RESNET))
    monkeypatch.setitem(sys.modules, "timm", None)  # as if it were not installed
    with pytest.raises(ValidationError, match=r"needs timm: pip install timm"):
        params(RESNET)
    with pytest.raises(InputError) as caught:
        model_file.load(path)
    assert str(caught.value) == (
        f"{path}: its backbone 'timm/resnet10t' needs timm: pip install timm"
    )


@pytest.mark.parametrize("ending", [".pth", ".safetensors"])
def test_weights_come_from_a_file_with_the_normalisation_of_timm(
    ending: str, tmp_path: Path
) -> None:
    net = timm.create_model("convnext_atto", num_classes=7)
    path = tmp_path / f"weights{ending}"
    if ending == ".pth":
        torch.save({"state_dict": net.state_dict()}, path)
    else:
        save_file(net.state_dict(), path)
    model = build(CONVNEXT, path)
    assert_backbone_is(model, net.state_dict())
    assert (model.spec.mean, model.spec.std) == IMAGENET
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"other.safetensors.*not weights of timm/convnext_atto$"):
        build(CONVNEXT, tmp_path / "other.safetensors")


def test_positions_of_a_vision_transformer_are_fitted_to_our_size(tmp_path: Path) -> None:
    net = timm.create_model("vit_tiny_patch16_224")
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    model = build(VIT, tmp_path / "w.safetensors")
    assert net.pos_embed.shape == (1, 197, 192)
    assert model.net.pos_embed.shape == (1, 5, 192)
    assert torch.equal(model.net.pos_embed[:, 0], net.pos_embed[:, 0])  # of the class token
    assert torch.equal(model.net.blocks[0].attn.qkv.weight, net.blocks[0].attn.qkv.weight)
    # A model of this pipeline gives its weights, too.
    model_file.save(tmp_path / "ours.safetensors", model)
    again = build(VIT, tmp_path / "ours.safetensors")
    assert_backbone_is(again, model.net.state_dict())
    assert again.spec.mean == model.spec.mean == (0.5, 0.5, 0.5)


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty cache of huggingface_hub, from which timm reads, without a network."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def test_pretrained_weights_come_from_timms_cache(offline: Path) -> None:
    net = timm.create_model("resnet10t")
    commit = offline / "models--timm--resnet10t.c3_in1k" / "snapshots" / "1a2b"
    (commit.parents[1] / "refs").mkdir(parents=True)
    (commit.parents[1] / "refs" / "main").write_text(commit.name)
    commit.mkdir(parents=True)
    save_file(net.state_dict(), commit / "model.safetensors")
    model = build(RESNET, "pretrained")
    assert_backbone_is(model, net.state_dict())
    assert (model.spec.mean, model.spec.std) == IMAGENET
    assert torch.equal(model.head.weight, build(RESNET).head.weight), "drawn with the same numbers"


def test_pretrained_weights_that_cannot_be_had_are_an_error_of_one_line(offline: Path) -> None:
    with pytest.raises(InputError) as caught:
        build(RESNET, "pretrained")
    message = str(caught.value)
    assert message.startswith("model.weights = 'pretrained': timm/resnet10t cannot be read from")
    assert message.endswith("; give a local file instead")
    with pytest.raises(InputError, match=r"IMAGENET1K_V1': should be null, a file .*or pretrained"):
        build(RESNET, "IMAGENET1K_V1")


def test_boost_lu_takes_the_maps_of_a_resnet_and_refuses_a_vision_transformer() -> None:
    plain, images = build(RESNET, input_size=64), torch.rand(2, 3, 64, 64)
    boosted = build(RESNET, input_size=64, boost_lu=1.0)
    assert isinstance(boosted.net.get_submodule(boosted.maps_name), nn.Module)
    torch.testing.assert_close(boosted(images), plain(images), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match=r"^model.boost_lu = 5.0: timm/vit_tiny_patch16_224 has"):
        build(VIT, boost_lu=5.0)


def test_the_digest_of_a_model_changes_with_the_version_of_timm(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model, ours = build(RESNET), build("small_cnn")
    before = model.digest(), model.digest(head=False), ours.digest()
    monkeypatch.setattr(timm_backbones.optional, "version", lambda name: "0.1")
    assert model.digest() != before[0]
    assert model.digest(head=False) != before[1]
    assert ours.digest() == before[2]


def test_over_processes_a_batch_norm_keeps_the_activation_that_timm_puts_after_it() -> None:
    norm = timm.layers.BatchNormAct2d(4).eval()
    norm.running_mean.uniform_(-1, 1)
    images = torch.randn(2, 4, 3, 3)
    shared = _OverProcesses(norm)
    assert isinstance(norm, BatchNorm)
    assert norm(images).min() == 0
    assert torch.equal(shared(images), norm(images))
    assert list(shared.state_dict()) == list(norm.state_dict())


@pytest.fixture
def index(workplace: Path) -> Index:
    """24 train and 12 val images in the workplace."""
    return make_index()


def test_the_head_of_a_timm_network_is_trained_on_cached_features(index: Index) -> None:
    model = {"backbone": RESNET, "input_size": 32}
    trained = run(index, make_params(0, model, mode="linear"))
    assert trained.machine["timm"] == timm.__version__
    assert len(list(Path(".cache/features").glob("*.npy"))) == 2
    fresh = run(index, make_params(0, model, mode="linear"))
    assert torch.equal(fresh.model.head.weight, trained.model.head.weight)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("backbone", [VIT, CONVNEXT, RESNET])
def test_each_kind_of_network_learns_in_each_mode_and_is_read_again(
    backbone: str, mode: str, index: Index, tmp_path: Path
) -> None:
    model = {"backbone": backbone, "input_size": 32}
    trained = run(index, make_params(0, model, mode=mode, lr=1e-3))
    torch.manual_seed(0)
    begun = classifier.build(params(backbone), index.classes).net.state_dict()
    path = tmp_path / "model.safetensors"
    model_file.save(path, trained.model)
    assert model_file.load(path).spec.frozen_backbone is (mode == "linear")
    state = {key.removeprefix("net."): value for key, value in load_file(path).items()}
    changed = {key for key, value in begun.items() if not torch.equal(state[key], value)}
    of_head = {f"{trained.model.head_name}.weight", f"{trained.model.head_name}.bias"}
    assert of_head <= changed
    assert (changed == of_head) is (mode == "linear")
