"""Exports: other libraries open them and give the scores that PyTorch gives."""

import contextlib
import io
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from pipeline.core.errors import InputError
from pipeline.export import network, timm_folder, write
from pipeline.export.write import KINDS, Format
from pipeline.models import timm_backbones
from tests.builders.exported import CLASSES, DECISIONS, photos, resized, save_model

# In CI these are installed, as requirements.txt pins them.
timm = pytest.importorskip("timm")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

# Of a score, between two libraries that sum in another order.
CLOSE = 1e-4
FAMILIES = [
    "resnext50_32x4d", "densenet121", "efficientnet_b0", "convnext_tiny", "mobilenet_v2",
    "mnasnet1_0", "vit_b_32", "vgg11_bn", "timm/convnext_atto", "timm/resnet10t",
    "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
]  # fmt: skip


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "model.safetensors"


def run_code_of_the_card(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the Python in README.md on an image, as a reader would; return what it prints."""
    (code,) = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    photos(1)[0].save(folder / "image.jpg", quality=95)
    monkeypatch.chdir(folder)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), torch.inference_mode():
        exec(code, {})
    (folder / "image.jpg").unlink()
    return printed.getvalue()


def by_onnx(folder: Path, images: Any) -> Any:
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"))
    return session.run(["scores"], {"images": images})[0]


def by_timm(folder: Path, images: list[Any]) -> Any:
    """Return scores of Pillow images through timm's own preparation."""
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    prepare = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
    with torch.inference_mode():
        return model(torch.stack([prepare(image) for image in images])).sigmoid().numpy()


def test_onnx_takes_any_number_of_images_as_they_are_decoded(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(path, "small_cnn")
    exported = write.write(path, "onnx", tmp_path / "out")
    images = resized(photos(5), 32)
    ours = network.scores(model, images)
    assert ours.std(axis=0).min() > 0.05, "scores that are all alike would show nothing"
    for n in (1, 5):
        assert np.abs(by_onnx(tmp_path / "out", images[:n]) - ours[:n]).max() < CLOSE
    assert exported.largest < CLOSE
    assert exported.images == "100 random images"
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"model.onnx", "README.md"}

    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    about = session.get_modelmeta().custom_metadata_map
    said = {key.removeprefix("spml."): json.loads(text) for key, text in about.items()}
    assert said["classes"] == list(CLASSES)
    assert said["thresholds"] == list(DECISIONS.thresholds)
    assert said["at_precision"] == [{"precision": 0.9, "thresholds": [0.75, None, 0.5]}]
    assert said["calibration"][0] == [1.5, -0.25]
    assert (said["input_size"], said["resize"]["mode"]) == (32, "squash")
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [
        ("images", "tensor(uint8)", ["batch", 32, 32, 3])
    ]
    assert "'élan “du nord”': 0." in run_code_of_the_card(tmp_path / "out", monkeypatch)


def test_timm_opens_the_folder_and_prepares_images_as_we_do(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backbone in ("resnet18", "timm/vit_tiny_patch16_224"):
        model = save_model(path, backbone, size=48)
        write.write(path, "timm", tmp_path / "out")
        images = photos(6)
        ours = network.scores(model, resized(images, 48))
        assert ours.std(axis=0).min() > 0.01
        assert np.abs(by_timm(tmp_path / "out", images) - ours).max() < CLOSE
        names = {"model.safetensors", "config.json", "README.md"}
        assert {p.name for p in (tmp_path / "out").iterdir()} == names
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architecture"] == "vit_tiny_patch16_224"
    assert config["label_names"] == list(CLASSES)
    assert config["problem_type"] == "multi_label_classification"
    assert config["id2label"]["1"] == CLASSES[1]
    assert config["pretrained_cfg"]["crop_mode"] == "squash"
    assert config["spml"]["spml.thresholds"] == list(DECISIONS.thresholds)


def test_torchscript_gives_the_same_scores(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = save_model(path, "small_cnn")
    assert write.write(path, "torchscript", tmp_path / "out").largest < CLOSE
    images = resized(photos(3), 32)
    with pytest.warns(FutureWarning, match="deprecated"):
        loaded = torch.jit.load(str(tmp_path / "out" / "model.pt"))
    found = loaded(torch.from_numpy(images)).numpy()
    assert np.abs(found - network.scores(model, images)).max() < CLOSE
    with pytest.warns(FutureWarning, match="deprecated"):
        assert "'cat': 0." in run_code_of_the_card(tmp_path / "out", monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", FAMILIES)
def test_timm_computes_the_scores_of_100_images_with_each_family(
    backbone: str, path: Path, tmp_path: Path
) -> None:
    model = save_model(path, backbone, size=64)
    write.write(path, "timm", tmp_path / "out")
    images = photos(100)
    ours = network.scores(model, resized(images, 64))
    assert ours.std(axis=0).min() > 0.01
    assert np.abs(by_timm(tmp_path / "out", images) - ours).max() < CLOSE


@pytest.mark.slow
def test_each_counterpart_in_timm_has_as_many_values_in_the_same_order() -> None:
    for ours, theirs in timm_folder.COUNTERPARTS.items():
        with torch.device("meta"):
            one = torchvision.models.get_model(ours).state_dict()
            other = timm_backbones.build(f"timm/{theirs}", 1000, 224).state_dict()
        positions = one.pop(timm_folder.POSITIONS, None)
        sizes = [value.numel() for value in one.values()]
        if positions is not None:
            sizes.insert(1, positions.numel())
        assert sizes == [value.numel() for value in other.values()], ours


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["mobilenet_v2", "timm/vit_tiny_patch16_224"])
def test_transformers_opens_the_folder_and_gives_the_same_scores_of_100_images(
    backbone: str, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    transformers = pytest.importorskip("transformers")
    model = save_model(path, backbone, size=64)
    folder = tmp_path / "out"
    write.write(path, "timm", folder)
    images = photos(100)
    ours = network.scores(model, resized(images, 64))
    network_there = transformers.AutoModelForImageClassification.from_pretrained(folder).eval()
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    with torch.inference_mode():
        logits = network_there(**processor(images, return_tensors="pt")).logits
    assert np.abs(logits.sigmoid().numpy() - ours).max() < CLOSE
    assert network_there.config.id2label[2] == CLASSES[2]
    classify = transformers.pipeline("image-classification", str(folder))
    for image, scores in zip(images[:3], ours, strict=False):
        found = {each["label"]: each["score"] for each in classify(image, top_k=None)}
        assert found == pytest.approx(dict(zip(CLASSES, scores.tolist(), strict=True)), abs=CLOSE)
    assert "'score': 0." in run_code_of_the_card(folder, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backbone", "boost_lu"),
    [("mobilenet_v2", None), ("resnet50", None), ("vit_b_32", None), ("resnet18", 5.0),
     ("timm/vit_tiny_patch16_224", None), ("timm/convnext_atto", None)],
)  # fmt: skip
def test_onnx_runtime_computes_the_scores_of_100_images(
    backbone: str, boost_lu: float | None, path: Path, tmp_path: Path
) -> None:
    model = save_model(path, backbone, size=64, boost_lu=boost_lu)
    write.write(path, "onnx", tmp_path / "out")
    images = resized(photos(100), 64)
    ours = network.scores(model, images)
    assert ours.std(axis=0).min() > 0.01
    assert np.abs(by_onnx(tmp_path / "out", images) - ours).max() < CLOSE


@pytest.mark.parametrize(
    ("backbone", "boost_lu", "message"),
    [
        ("small_cnn", None, r"^--to timm: timm has no network equal to small_cnn; should be --to"),
        ("mobilenet_v3_small", None, r"timm has no network equal to mobilenet_v3_small; should"),
        ("resnet18", 5.0, r"^--to timm: timm has no head that boosts its activation maps"),
    ],
)
def test_a_model_without_a_counterpart_in_timm_is_refused_in_one_line(
    backbone: str, boost_lu: float | None, message: str, path: Path, tmp_path: Path
) -> None:
    save_model(path, backbone, boost_lu=boost_lu)
    with pytest.raises(InputError, match=message):
        write.write(path, "timm", tmp_path / "out")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("to", "missing", "install"),
    [
        ("onnx", "onnxruntime", "pip install onnxruntime onnx onnxscript"),
        ("onnx", "onnxscript", "pip install onnxscript onnx onnxruntime"),
        ("timm", "timm", "pip install timm"),
    ],
)
def test_a_missing_package_is_named_with_the_command_to_install_it(
    to: Format, missing: str, install: str, path: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    save_model(path, "small_cnn")
    monkeypatch.setitem(sys.modules, missing, None)  # as if it were not installed
    with pytest.raises(InputError) as caught:
        write.write(path, to, tmp_path / "out")
    assert str(caught.value) == f"--to {to} needs {missing}: {install}"


def foreign_files(path: Path) -> Iterator[str]:
    """Make the file a model of other programs or a damaged one; yield what is wrong with it."""
    save_model(path, "small_cnn")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    yield "cannot be read as safetensors"
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    yield "is damaged"
    save_file(timm.create_model("resnet10t").state_dict(), path)
    yield "has no metadata 'spml.spec': not a model of this pipeline"
    torch.save({"a": torch.zeros(1)}, path)
    yield "cannot be read as safetensors"
    path.unlink()
    yield "no such file"


def test_a_damaged_or_foreign_model_file_is_refused_in_one_line(path: Path, tmp_path: Path) -> None:
    for wrong in foreign_files(path):
        with pytest.raises(InputError) as caught:
            write.write(path, "onnx", tmp_path / "out")
        assert str(caught.value).startswith(f"{path}: {wrong}")
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_files_is_not_replaced(path: Path, tmp_path: Path) -> None:
    save_model(path, "small_cnn")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match=r"home: holds 'thesis.tex', which is of no export"):
        write.write(path, "torchscript", tmp_path / "home")
    assert (tmp_path / "home" / "thesis.tex").exists()
    with pytest.raises(InputError, match=r"is a file; --out should be a new folder"):
        write.write(path, "torchscript", path)
    for _ in range(2):  # an earlier export is replaced
        write.write(path, "torchscript", tmp_path / "out")


def test_scores_that_differ_are_refused(path: Path) -> None:
    model = save_model(path, "small_cnn")
    ours = np.array([[0.5, 0.25, 0.75]], np.float32)
    assert network.check_same(model, "x", ours, ours + np.float32(2e-5)) < 1e-4
    for wrong in (ours + np.float32(1e-3), np.full_like(ours, np.nan)):
        with pytest.raises(InputError, match=r"model.safetensors: x gives scores that differ"):
            network.check_same(model, "x", ours, wrong)


def test_each_form_has_a_card_whose_code_is_filled_in() -> None:
    assert set(KINDS) == {"onnx", "timm", "torchscript"}
    for kind in KINDS.values():
        code = kind.code.format(size=64, classes=3)
        compile(code, "card", "exec")
        assert "{" not in kind.form.format(size=64, classes=3)
