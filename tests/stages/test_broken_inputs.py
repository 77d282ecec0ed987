"""Broken inputs of a user: each ends in its one line, and nothing is written."""

import copy
import importlib
import io
import json
import os
import resource
import shutil
import stat
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from datasets import DatasetDict
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from pipeline.artifacts import tables
from tests.builders.layouts import coco2014, coco_json, cub, nuswide, saved_dataset, voc2012
from tests.builders.miniatures import STAGES, write_images
from tests.checks.folders import everything
from tests.conftest import PARAMS, SMALL, RunStage, edit_params

# Breaks a file below the data root, its argument, or below the working folder.
Break = Callable[[Path], object]

# Bytes that an input may make a stage take more than before: 30,000 x 30,000 pixels would be
# 900 MB with one byte each.
MOST_MEMORY = 400_000_000
NOT_UTF8 = b"L\xf6we"


# --- good miniatures -------------------------------------------------------------------


LABELS = ["a", "b", "a b", "c", "a c", "b c", "a", "", "b", "a b", "b", "c", "a c"]
IMAGES = [f"p/{number}.jpg" for number in range(len(LABELS))]


def make_table(root: Path) -> None:
    """Write 13 images and their table, 9 of train and 4 of test, with observed labels."""
    write_images(root, IMAGES)
    rows = {
        "image": IMAGES,
        "split": ["train"] * 9 + ["test"] * 4,
        "labels": LABELS,
        "observed": [names.partition(" ")[0] for names in LABELS],
    }
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    pd.DataFrame(rows).to_parquet(root / "labels.parquet")


def make_coco_json(root: Path) -> None:
    train = copy.deepcopy(coco_json.TRAIN)
    test = copy.deepcopy(coco_json.TEST)
    for part, content in (("train", train), ("test", test)):
        (root / f"{part}.json").write_text(json.dumps(content))
        write_images(root, [image["file_name"] for image in content["images"]])


def make_cub(root: Path) -> None:
    cub.make(root / "CUB_200_2011")


def make_voc2012(root: Path) -> None:
    voc2012.make(root)
    names = [*voc2012.TRAIN, *voc2012.VAL]
    write_images(root / "JPEGImages", [f"{name}.jpg" for name in names])


def make_saved_dataset(root: Path) -> None:
    part = saved_dataset.part
    parts = {"train": part(0, [[0, 1], [], [2], [1]]), "test": part(4, [[0], [2, 0]])}
    DatasetDict(parts).save_to_disk(root / "dataset")


LONG_TABLE: dict[str, Any] = {
    "prepare.observe.process": "given",
    "prepare.long_table.train": "train.csv",
    "prepare.long_table.val": None,
    "prepare.long_table.test": "test.csv",
    "prepare.long_table.unlisted": "absent",
    "prepare.val_labels": "observed",
    "pseudo_label.prior": "best_bin",
}


def make_long_table(root: Path) -> None:
    """Write labels in a row per image and class, 9 images of train and 4 of test."""
    edit_params(Path("params.yaml"), LONG_TABLE)
    rows = [
        (Path(image).stem, name, int(name in labels))
        for image, labels in zip(IMAGES, LABELS, strict=True)
        for name in sorted({labels[:1], "c"} - {""})
    ]
    frame = pd.DataFrame(rows, columns=["ImageID", "LabelName", "Confidence"])
    in_test = frame["ImageID"].astype(int) >= 9
    for part, chosen in (("train", ~in_test), ("test", in_test)):
        frame[chosen].to_csv(root / f"{part}.csv", index=False)
        write_images(root, [f"{part}/{name}.jpg" for name in frame["ImageID"][chosen].unique()])


GOOD: dict[str, Callable[[Path], object]] = {
    "table": make_table,
    "coco_json": make_coco_json,
    "saved_dataset": make_saved_dataset,
    "long_table": make_long_table,
    "voc2012": make_voc2012,
    "coco2014": coco2014.make,
    "nuswide": nuswide.make_lists,
    "nuswide arrays": nuswide.make_arrays,
    "cub": make_cub,
}


def params_of(good: str) -> dict[str, Any]:
    return {
        "prepare.source": good.partition(" ")[0],
        "prepare.val_fraction": 0.4,
        "train.fit.batch_size": 4,
    }


# --- breaking them ---------------------------------------------------------------------


def content(path: str, value: bytes) -> Break:
    """Replace the content of a file, which must exist."""

    def break_(root: Path) -> None:
        place(root, path).read_bytes()
        place(root, path).write_bytes(value)

    return break_


def cut(path: str, share: float = 0.5) -> Break:
    """Keep only the first part of a file."""

    def break_(root: Path) -> None:
        whole = place(root, path).read_bytes()
        place(root, path).write_bytes(whole[: int(len(whole) * share)])

    return break_


def text(path: str, old: str, new: str) -> Break:
    """Replace the first of a piece of text."""

    def break_(root: Path) -> None:
        before = place(root, path).read_bytes()
        assert old.encode() in before
        replacement = new.encode(errors="surrogateescape")
        place(root, path).write_bytes(before.replace(old.encode(), replacement, 1))

    return break_


def edit(path: str, change: Callable[[Any], object]) -> Break:
    """Change the content of a JSON file."""

    def break_(root: Path) -> None:
        value = json.loads(place(root, path).read_text())
        change(value)
        place(root, path).write_text(json.dumps(value))

    return break_


def array(path: str, value: Any) -> Break:
    return lambda root: np.save(root / path, np.asarray(value), allow_pickle=True)


def gone(path: str) -> Break:
    """Remove a file or folder, which must exist."""

    def break_(root: Path) -> None:
        found = place(root, path)
        shutil.rmtree(found) if found.is_dir() else found.unlink()

    return break_


def folder_instead(path: str) -> Break:
    def break_(root: Path) -> None:
        place(root, path).unlink()
        place(root, path).mkdir()

    return break_


def file_instead(path: str) -> Break:
    def break_(root: Path) -> None:
        shutil.rmtree(place(root, path))
        place(root, path).touch()

    return break_


def forbidden(path: str) -> Break:
    def break_(root: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may read every file")
        place(root, path).chmod(0)

    return break_


def params(**changes: Any) -> Break:
    """Change keys of params.yaml, "__" standing for the dot."""
    return lambda root: edit_params(
        Path("params.yaml"), {key.replace("__", "."): value for key, value in changes.items()}
    )


def data_root(value: str | None) -> Break:
    """Set SPML_DATA_ROOT, or unset it; the fixture restores it."""

    def break_(root: Path) -> None:
        if value is None:
            del os.environ["SPML_DATA_ROOT"]
        else:
            os.environ["SPML_DATA_ROOT"] = str(root / value)

    return break_


def devices(value: str) -> Break:
    """Set SPML_DEVICES; the fixture restores it."""
    return lambda root: os.environ.update(SPML_DEVICES=value)


def cache(value: str) -> Break:
    """Set SPML_CACHE; the fixture restores it."""
    return lambda root: os.environ.update(SPML_CACHE=value)


def both(*breaks: Break) -> Break:
    return lambda root: [break_(root) for break_ in breaks]


def place(root: Path, path: str) -> Path:
    """Return the path below the data root, or below the working folder for ./ and the like."""
    return Path(path) if path.startswith("./") else root / path


def archive(folder: str, name: str, write: Callable[[Path], object]) -> Break:
    """Replace a folder by an archive that should hold it."""
    return both(gone(folder), lambda root: write(root / name))


def tar_with(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with tarfile.open(path, "w") as tar:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, link
            tar.addfile(info)

    return write


def zip_with(
    name: str, size: int | None = None, mode: int = stat.S_IFREG
) -> Callable[[Path], None]:
    """Write a .zip with one member, which may declare a wrong size."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w") as packed:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            packed.writestr(info, b"content")
            if size is not None:
                info.file_size = size  # the size in the directory at the end

    return write


def cut_zip(path: Path) -> None:
    zip_with("annotations/instances_train2014.json")(path)
    path.write_bytes(path.read_bytes()[:-30])


def cut_tgz(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("CUB_200_2011/images.txt")
        info.size = 100_000
        tar.addfile(info, io.BytesIO(os.urandom(info.size)))
    path.write_bytes(path.read_bytes()[:-500])


def huge_png(root: Path) -> None:
    """Write 30,000 x 30,000 pixels of one bit, complete, in 110 kB."""
    side = 30_000
    packer = zlib.compressobj(9)
    row = bytes(1 + (side + 7) // 8)
    pixels = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    header = side.to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    chunks = ((b"IHDR", header), (b"IDAT", pixels), (b"IEND", b""))
    png = b"\x89PNG\r\n\x1a\n" + b"".join(
        len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
        for kind, data in chunks
    )
    (root / "p/3.jpg").write_bytes(png)


def other_image(path: str) -> Break:
    """Replace an image by another one of the same size."""

    def break_(root: Path) -> None:
        with Image.open(root / path) as image:
            size = image.size
        buffer = io.BytesIO()
        Image.new("RGB", size, (1, 2, 3)).save(buffer, "JPEG")
        (root / path).write_bytes(buffer.getvalue())

    return break_


def table_column(name: str, row: int, value: str) -> Break:
    """Change a field of labels.csv."""

    def break_(root: Path) -> None:
        frame = pd.read_csv(root / "labels.csv", dtype=str, keep_default_na=False)
        frame.loc[row, name] = value
        frame.to_csv(root / "labels.csv", index=False)

    return break_


def scores_of(change: Callable[[tables.Scores], tables.Scores], n_classes: int = 3) -> Break:
    def break_(root: Path) -> None:
        path = Path("data/scores.parquet")
        classes = ("a", "b", "c", "d")[:n_classes]
        tables.write_scores(path, change(tables.read_scores(path)), classes)

    return break_


def index_of_other_classes(_: Path) -> None:
    index = tables.read_index(Path("data/index.parquet"))
    other = replace(index, classes=("a", "b", "unicorn"))
    tables.write_index(Path("data/index.parquet"), other)


def metadata(path: str, value: bytes) -> Break:
    """Replace the class names in the metadata of a Parquet file."""

    def break_(root: Path) -> None:
        table = pq.read_table(path)
        about = dict(table.schema.metadata) | {b"spml.classes": value}
        pq.write_table(table.replace_schema_metadata(about), path)

    return break_


def column_of(path: str, name: str, value: pa.Array | None) -> Break:
    """Replace a column of a Parquet file, add it at the end, or remove it."""

    def break_(root: Path) -> None:
        table = pq.read_table(path)
        at = [*table.column_names, name].index(name)
        table = table.drop_columns([name] if at < table.num_columns else [])
        if value is not None:
            table = table.add_column(at, name, value.take(pa.array([0] * len(table))))
        pq.write_table(table, path)

    return break_


def model_with_spec(text: str) -> Break:
    def break_(root: Path) -> None:
        path = Path("data/teacher/model.safetensors")
        save_file(load_file(path), path, {"spml.spec": text})

    return break_


def model_without_pipeline(root: Path) -> None:
    save_file({"weight": np.zeros(3, np.float32)}, "data/teacher/model.safetensors")


# --- the table -------------------------------------------------------------------------


@dataclass(frozen=True)
class Broken:
    """A broken input.

    Attributes:
        name: the problem.
        good: the miniature to break.
        break_: breaks it.
        expected: texts in the error line: the file or key, and the bad value.
        stage: the stage to run.
        before: changes of params.yaml before the good miniature is prepared.
    """

    name: str
    good: str
    break_: Break
    expected: tuple[str, ...]
    stage: str = "prepare"
    before: dict[str, Any] = field(default_factory=dict)


TRAIN2014 = "annotations/instances_train2014.json"
VAL2014 = "annotations/instances_val2014.json"
ZIP, TGZ = "annotations_trainval2014.zip", "CUB_200_2011.tgz"
TAR = "VOCtrainval_11-May-2012.tar"
CUB_LABELS = "CUB_200_2011/attributes/image_attribute_labels.txt"
NUS_LABELS = "Groundtruth/TrainTestLabels/Labels_sky_Train.txt"
ARROW = "dataset/train/data-00000-of-00001.arrow"
FLOATS = pa.list_(pa.float32())
PARQUET = {"prepare.table.file": "labels.parquet"}
GIVEN = {"prepare.observe.process": "given"}
UNVERIFIED = {"prepare.verify_images": False}


def flipped(path: str) -> Break:
    """Change a bit in the middle of a file."""

    def break_(_: Path) -> None:
        before = bytearray(Path(path).read_bytes())
        before[len(before) // 2] ^= 8
        Path(path).write_bytes(before)

    return break_


def copied(found: str, path: str) -> Break:
    return lambda root: shutil.copyfile(found, path)


def no_rows(path: str) -> Break:
    return lambda root: pq.write_table(pq.read_table(path).slice(0, 0), path)


def other_index(_: Path) -> None:
    """Replace the observed labels, as another prepare.seed does."""
    index = tables.read_index(Path("data/index.parquet"))
    tables.write_index(Path("data/index.parquet"), replace(index, targets=index.targets * 0))


def model_of_nan(_: Path) -> None:
    """Set the weights of a model to nan, and remove its digest."""
    path = Path("data/student/model.safetensors")
    with safe_open(path, "np") as file:
        described = json.loads(file.metadata()["spml.spec"])
    del described["digest"]
    state = {key: value * np.float32(np.nan) if value.dtype.kind == "f" else value
             for key, value in load_file(path).items()}  # fmt: skip
    save_file(state, path, {"spml.spec": json.dumps(described)})


def huggingface(text: str) -> Break:
    """Replace the description of the columns in labels.parquet."""

    def break_(root: Path) -> None:
        edit_params(Path("params.yaml"), {"prepare.table.file": "labels.parquet"})
        table = pq.read_table(root / "labels.parquet")
        table = table.replace_schema_metadata({"huggingface": text})
        pq.write_table(table, root / "labels.parquet")

    return break_


HUGGINGFACE = ("labels.parquet: metadata 'huggingface' = ", ": should be an object as datasets")

BROKEN = [
    # JSON in the format of COCO
    Broken("truncated JSON", "coco_json", cut("train.json"), ("train.json: is damaged",)),
    Broken("JSON that is a list", "coco2014", content(VAL2014, b"[]"),
           (VAL2014, "should hold an object, holds list")),
    Broken("JSON that is not UTF-8", "coco2014", content(TRAIN2014, NOT_UTF8),
           (TRAIN2014, "is not UTF-8 text")),
    Broken("a JSON file that is a folder", "coco2014", folder_instead(VAL2014),
           (VAL2014, "cannot be read: Is a directory")),
    Broken("a JSON file that may not be read", "coco2014", forbidden(VAL2014),
           (VAL2014, "cannot be read: Permission denied")),
    Broken("a category unknown", "coco_json",
           edit("train.json", lambda c: c["annotations"][1].update(category_id=99)),
           ("train.json: annotations[1]: category_id = 99: is not among the categories",)),
    Broken("an image id twice", "coco_json",
           edit("train.json", lambda c: c["images"][1].update(id=7)),
           ("train.json: images[1]: id = 7: appears twice",)),
    Broken("an annotation of an unknown image", "coco2014",
           edit(TRAIN2014, lambda c: c["annotations"][2].update(image_id=5)),
           (TRAIN2014, "annotations[2]: image_id = 5: is not among the images")),
    Broken("a box of three numbers", "coco2014",
           edit(TRAIN2014, lambda c: c["annotations"][0].update(bbox=[1, 2, 3])),
           (TRAIN2014, "annotations[0]: bbox = [1, 2, 3]: should be left")),
    Broken("other categories in val than in train", "coco2014",
           edit(VAL2014, lambda c: c["categories"][1].update(name="owl")),
           (VAL2014, "categories[1] = 'owl', id 13: should be 'stop sign'")),
    Broken("a category in test alone", "coco_json",
           edit("test.json", lambda c: c["categories"].append({"id": 9, "name": "owl"})),
           ("test.json", "owl is in only one of them")),
    Broken("an image in two files", "coco_json",
           edit("test.json", lambda c: c["images"][0].update(file_name="c.jpg")),
           ("prepare.coco_json", "in two of the files", "c.jpg")),
    Broken("a file name that leads out", "coco2014",
           edit(TRAIN2014, lambda c: c["images"][0].update(file_name="../x.jpg")),
           (TRAIN2014, "file_name = '../x.jpg'")),
    # a row per image and class
    Broken("a confidence of 2", "long_table", text("train.csv", ",1\n", ",2\n"),
           ("train.csv: row ", "Confidence '2': should be 1 (present) or 0 (absent)")),
    Broken("two confidences", "long_table",
           text("train.csv", "\n0,a,1\n", "\n0,a,1\n0,a,0\n"),
           ("train.csv: ImageID '0', LabelName 'a': has the confidences 1 and 0",)),
    Broken("a label outside prepare.classes", "long_table",
           lambda root: edit_params(Path("params.yaml"), {"prepare.classes": ["a", "b"]}),
           ("LabelName 'c' is not in prepare.classes",)),
    Broken("a row without its confidence", "long_table", text("test.csv", ",1\n", "\n"),
           ("test.csv: cannot be read as csv: CSV parse error",)),
    # archives
    Broken("an archive with ../", "coco2014",
           archive("annotations", ZIP, zip_with("../outside.txt")),
           (ZIP, "member '../outside.txt' leads out of the folder")),
    Broken("an archive with an absolute path", "cub",
           archive("CUB_200_2011", TGZ, tar_with("/etc/x")),
           (TGZ, "member '/etc/x' has an absolute path")),
    Broken("an archive with a symlink", "coco2014",
           archive("annotations", ZIP, zip_with("annotations", mode=stat.S_IFLNK)),
           (ZIP, "member 'annotations' is a link")),
    Broken("an archive with a hard link", "voc2012",
           archive("ImageSets", TAR, tar_with("VOCdevkit/x", tarfile.LNKTYPE, "/etc/passwd")),
           (TAR, "member 'VOCdevkit/x' is a link to '/etc/passwd'")),
    Broken("an archive with a device", "cub",
           archive("CUB_200_2011", TGZ, tar_with("CUB_200_2011/null", tarfile.CHRTYPE)),
           (TGZ, "member 'CUB_200_2011/null' is a device")),
    Broken("a truncated archive", "coco2014", archive("annotations", ZIP, cut_zip),
           (ZIP, "is truncated or damaged")),
    Broken("a truncated .tgz", "cub", archive("CUB_200_2011", TGZ, cut_tgz),
           (TGZ, "is truncated or damaged")),
    Broken("an archive that is text", "coco2014",
           archive("annotations", ZIP, lambda path: path.write_text("404 not found")),
           (ZIP, "is truncated or damaged")),
    Broken("an archive larger than the disk", "coco2014",
           archive("annotations", ZIP, zip_with("annotations/x", size=2**55)),
           (ZIP, "needs 36,028,797,019 MB unpacked")),
    Broken("an archive that is a folder", "coco2014",
           archive("annotations", ZIP, lambda path: path.mkdir()),
           ("holds no COCO 2014", "unpack annotations_trainval2014.zip there")),
    # NUS-WIDE
    Broken("a list of labels that is too short", "nuswide", content(NUS_LABELS, b"0\n1\n0\n"),
           (NUS_LABELS, "has 3 lines; should have 4")),
    Broken("a label that is not 0 or 1", "nuswide", content(NUS_LABELS, b"0\n1\nyes\n0\n"),
           (NUS_LABELS, "line 3: 'yes': should be 0 or 1")),
    Broken("a list with a path that leads out", "nuswide",
           content("ImageList/TestImagelist.txt", b"a\\1.jpg\r\n..\\..\\2.jpg\r\n"),
           ("TestImagelist.txt: line 2: '..", "should be the path of an image")),
    Broken("an array of wrong shape", "nuswide arrays",
           array("formatted_train_labels.npy", np.zeros((4, 80))),
           ("formatted_train_labels.npy", "(4, 80); should be numbers (4, 81)")),
    Broken("an array of objects", "nuswide arrays",
           array("formatted_val_images.npy", np.array(["a.jpg", None], dtype=object)),
           ("formatted_val_images.npy", "pickled objects are refused")),
    Broken("a truncated array", "nuswide arrays", cut("formatted_train_labels.npy", 0.9),
           ("formatted_train_labels.npy: is truncated",)),
    Broken("an array with a 2", "nuswide arrays",
           array("formatted_val_labels.npy", np.full((2, 81), 2)),
           ("formatted_val_labels.npy: row 0, column 0: 2: should be 0 or 1",)),
    # CUB
    Broken("an attribute of an image missing", "cub", text(CUB_LABELS, "1 2 0 3 27.7080\n", ""),
           (CUB_LABELS, "image 1 and attribute 2: appear 0 times")),
    Broken("a line with two fields", "cub", text(CUB_LABELS, "1 2 0 3 27.7080", "1 2"),
           (CUB_LABELS, "line 2: '1 2': should be image, attribute, is_present")),
    Broken("a list that is not UTF-8", "cub", content("CUB_200_2011/images.txt", NOT_UTF8),
           ("CUB_200_2011/images.txt: is not UTF-8 text",)),
    Broken("an image number twice", "cub", text("CUB_200_2011/images.txt", "\n10 ", "\n2 "),
           ("CUB_200_2011/images.txt: line 3: 2 appears twice",)),
    # VOC
    Broken("a class file that is not UTF-8", "voc2012",
           content("ImageSets/Main/cat_train.txt", NOT_UTF8),
           ("cat_train.txt: is not UTF-8 text",)),
    Broken("a class file without labels", "voc2012",
           content("ImageSets/Main/dog_val.txt", b"2009_000003\n"),
           ("dog_val.txt: line 1: '2009_000003': should be a name and -1, 0 or 1",)),
    Broken("a class file that is not there", "voc2012", gone("ImageSets/Main/cow_val.txt"),
           ("cow_val.txt: no such file", "VOCtrainval_11-May-2012.tar")),
    Broken("a file in the place of a folder", "voc2012", file_instead("JPEGImages"),
           ("images cannot be read: JPEGImages/2008_000002.jpg (Not a directory)",)),
    # images
    Broken("a JPEG of no bytes", "table", content("p/3.jpg", b""), ("p/3.jpg (empty file)",)),
    Broken("a truncated JPEG", "table", cut("p/3.jpg", 0.9), ("p/3.jpg (image file is truncated",)),
    Broken("an image of 30,000 x 30,000", "table", huge_png,
           ("p/3.jpg (30000 x 30000 pixels, more than 134,217,728)",)),
    Broken("text that is called .jpg", "table", content("p/3.jpg", b"no image"),
           ("p/3.jpg (unknown image format)",)),
    Broken("a folder in the place of an image", "table", folder_instead("p/3.jpg"),
           ("p/3.jpg (Is a directory)",), before=UNVERIFIED),
    Broken("an image that may not be read", "table", forbidden("p/3.jpg"),
           ("p/3.jpg (Permission denied)",)),
    Broken("images that are not there", "table", gone("p"),
           ("13 of 13 images cannot be read", "p/12.jpg (no such file)", "and 3 more")),
    # tables
    Broken("a CSV that is not UTF-8", "table", text("labels.csv", "a b", "a\udcf6b"),
           ("labels.csv: cannot be read as csv", "can't decode byte 0xf6")),
    Broken("a CSV that is a folder", "table", folder_instead("labels.csv"),
           ("labels.csv", "cannot be read as csv", "Is a directory")),
    Broken("a CSV with commas between labels", "table", text("labels.csv", ",a b,", ",a,b,"),
           ("labels.csv: cannot be read as csv", "Expected 4 fields in line 4, saw 5")),
    Broken("a CSV without a column", "table", text("labels.csv", "split", "part"),
           ("labels.csv: column 'split' is missing; its columns are image, part",)),
    Broken("an image twice", "table", table_column("image", 2, "p/1.jpg"),
           ("labels.csv: 1 of the images are listed more than once: p/1.jpg",)),
    Broken("a split unknown", "table", table_column("split", 2, "training"),
           ("labels.csv: unknown split 'training'; should be train, val or test",)),
    Broken("an image without a path", "table", table_column("image", 2, ""),
           ("labels.csv: row 3: image = '': should be a path",)),
    Broken("observed labels that the complete ones contradict", "table",
           table_column("observed", 2, "c"),
           ("labels.csv: row 3: 'c' is in observed, but not among its labels",), before=GIVEN),
    Broken("a test image without complete labels", "table", table_column("labels", 10, ""),
           ("prepare.source = 'table': 1 of the 4 test images have no complete labels: p/10",),
           before=GIVEN),
    Broken("a Parquet that is text", "table", content("labels.parquet", b"image,labels"),
           ("labels.parquet: cannot be read as parquet",), before=PARQUET),
    Broken("a truncated Parquet", "table", cut("labels.parquet"),
           ("labels.parquet: cannot be read as parquet",), before=PARQUET),
    # a saved dataset
    Broken("a saved dataset without the column", "saved_dataset",
           params(prepare__saved_dataset__labels="tags"),
           ("dataset/train: column 'tags' is missing; its columns are image, labels",)),
    Broken("a saved dataset that lost a file", "saved_dataset", gone(ARROW),
           (ARROW, "no such file", "state.json lists it")),
    Broken("a saved dataset that is truncated", "saved_dataset", cut(ARROW),
           (ARROW, "cannot be read as Arrow")),
    Broken("a split of a saved dataset unknown", "saved_dataset",
           edit("dataset/dataset_dict.json", lambda c: c["splits"].append("extra")),
           ("dataset/extra: unknown split; should be one of train",)),
    # params.yaml and the environment
    Broken("params.yaml that is no YAML", "table", content("./params.yaml", b"prepare: [1, 2"),
           ("params.yaml: line 1: ",)),
    Broken("params.yaml that is not UTF-8", "table", content("./params.yaml", NOT_UTF8),
           ("params.yaml: is not UTF-8 text",)),
    Broken("a key unknown", "table", params(prepare__sauce="table"),
           ("params.yaml: prepare.sauce: unknown key",)),
    Broken("a value of another type", "table", params(prepare__seed="twelve"),
           ("params.yaml: prepare.seed = 'twelve': should be a whole number",)),
    Broken("a class named twice", "table", params(prepare__classes=["a", "b", "c", "a"]),
           ("prepare.classes: 'a' appears twice",)),
    Broken("a label outside prepare.classes", "table", params(prepare__classes=["a", "b"]),
           ("labels.csv: row 4: label 'c' is not in prepare.classes",)),
    Broken("a class that a benchmark does not have", "voc2012",
           params(prepare__classes=["cat", "unicorn"]), ("prepare.classes = 'unicorn'",)),
    Broken("SPML_DATA_ROOT not set", "table", data_root(None), ("SPML_DATA_ROOT is not set",)),
    Broken("SPML_DATA_ROOT not there", "table", data_root("nowhere"),
           ("SPML_DATA_ROOT = ", "nowhere': should be a folder that exists")),
    Broken("SPML_DATA_ROOT a file", "table", data_root("labels.csv"),
           ("SPML_DATA_ROOT = ", "labels.csv': should be a folder that exists")),
    Broken("a number of devices beyond all reason", "trained", devices("99999999999999999999"),
           ("SPML_DEVICES = '99999999999999999999': should be a number of devices",), "score"),
    Broken("a cache thousands of folders deep", "trained", cache("a/" * 1900),
           ("SPML_CACHE = 'a/a/", "should be at most 100 folders deep"), "score"),
    Broken("a data root of another set", "cub", gone("CUB_200_2011"),
           ("holds no CUB-200-2011; looked for", "CUB_200_2011.tgz")),
    # the artifacts between stages
    Broken("an image that changed since prepare", "trained", other_image("p/4.jpg"),
           ("p/4.jpg (has changed since prepare", "run `dvc repro`"), "score"),
    Broken("an image deleted since prepare", "trained", gone("p/0.jpg"),
           ("images cannot be read: p/0.jpg (no such file)",), "train_teacher"),
    Broken("an image deleted since a prepare that did not look at it", "table", gone("p/0.jpg"),
           ("images cannot be read: p/0.jpg (no such file)",), "train_teacher", UNVERIFIED),
    Broken("a test image deleted since prepare", "trained", gone("p/10.jpg"),
           ("images cannot be read: p/10.jpg (no such file)",), "evaluate"),
    Broken("an index that is text", "trained", content("./data/index.parquet", b"image_id"),
           ("data/index.parquet: cannot be read as Parquet",), "train_teacher"),
    Broken("an index whose class names are not JSON", "trained",
           metadata("data/index.parquet", b"[a, b"),
           ("data/index.parquet: metadata 'spml.classes' = b'[a, b': should be a JSON list",),
           "train_teacher"),
    Broken("an index that is a folder", "trained", folder_instead("./data/index.parquet"),
           ("data/index.parquet",), "score"),
    Broken("an index with a column of another type", "trained",
           column_of("data/index.parquet", "observed", pa.array(["a"])),
           ("data/index.parquet: column 'observed' is string; should be list<",),
           "train_teacher"),
    Broken("a model that is text", "trained",
           content("./data/teacher/model.safetensors", b"no model"),
           ("data/teacher/model.safetensors", "safetensors"), "score"),
    Broken("a truncated model", "trained", cut("./data/teacher/model.safetensors"),
           ("data/teacher/model.safetensors", "safetensors"), "score"),
    Broken("a model of something else", "trained", model_without_pipeline,
           ("data/teacher/model.safetensors: has no metadata 'spml.spec'",), "score"),
    Broken("an index whose classes were renamed", "trained",
           metadata("data/index.parquet", b'["a", "b", "unicorn"]'),
           ("data/index.parquet: its rows are not those that prepare wrote",), "score"),
    Broken("a model of other classes", "trained", index_of_other_classes,
           ("data/teacher/model.safetensors: its 3 classes (a, b, c) are not the 3 of the index "
            "(a, b, unicorn)",), "score"),
    Broken("a model whose description is damaged", "trained", model_with_spec('{"backbone": 1'),
           ("data/teacher/model.safetensors: metadata 'spml.spec' = '{\"backbone\": 1'",), "score"),
    Broken("a model whose description lacks keys", "trained", model_with_spec("{}"),
           ("data/teacher/model.safetensors: metadata 'spml.spec' = '{}'",), "evaluate"),
    Broken("scores of other images", "trained",
           scores_of(lambda s: tables.Scores([f"x{name}" for name in s.image_ids], s.probs)),
           ("data/scores.parquet: its 5 image_ids are not the 5 of the index",), "pseudo_label"),
    Broken("scores of other classes", "trained",
           scores_of(lambda s: tables.Scores(s.image_ids, np.hstack([s.probs, s.probs[:, :1]])), 4),
           ("data/scores.parquet: its 4 classes (a, b, c, d) are not the 3 of the index",),
           "pseudo_label"),
    Broken("scores of fewer classes than it names", "trained",
           column_of("data/scores.parquet", "probs", pa.array([[0.5, 0.5]])),
           ("data/scores.parquet: image_id 'p/", "has 2 probs; should have 3, one per class"),
           "pseudo_label"),
    Broken("scores that are no numbers", "trained",
           scores_of(lambda s: tables.Scores(s.image_ids, s.probs * np.float32(np.nan))),
           ("data/scores.parquet: image_id 'p/", "class 'a': nan: should be a probability"),
           "pseudo_label"),
    Broken("scores that are logits", "trained",
           scores_of(lambda s: tables.Scores(s.image_ids, s.probs - 3)),
           ("data/scores.parquet: image_id 'p/", ": should be a probability, from 0 to 1"),
           "evaluate"),
    Broken("pseudo-labels without a column", "trained",
           column_of("data/pseudo_labels.parquet", "labels", None),
           ("data/pseudo_labels.parquet: has no column 'labels'",), "train_student"),
    Broken("pseudo-labels with fewer scores than labels", "trained",
           column_of("data/pseudo_labels.parquet", "scores", pa.array([[]], FLOATS)),
           ("data/pseudo_labels.parquet: has 0 scores for",), "train_student"),
    Broken("pseudo-labels of a class that is none", "trained",
           column_of("data/pseudo_labels.parquet", "labels", pa.array([[7]])),
           ("data/pseudo_labels.parquet: class number 7: should be from 0 to 2",), "evaluate"),
    Broken("pseudo-labels with targets that are none", "trained",
           column_of("data/pseudo_labels.parquet", "targets", pa.array([[0, 2.0, 1]], FLOATS)),
           ("data/pseudo_labels.parquet: image_id 'p/", "class 'b': 2.0: should be a prob"),
           "train_student"),
    Broken("pseudo-labels with weights of other classes", "trained",
           column_of("data/pseudo_labels.parquet", "weights", pa.array([[1.0]], FLOATS)),
           ("data/pseudo_labels.parquet: image_id 'p/", "has 1 weights; should have 3"),
           "train_student"),
    Broken("no scores of val for isotonic", "trained",
           both(gone("./data/val_scores.parquet"), params(pseudo_label__calibrate="isotonic")),
           ("data/val_scores.parquet: no such file; run the stage score first",), "pseudo_label"),
    Broken("scores of val that are of train", "trained",
           both(lambda root: shutil.copy("data/scores.parquet", "data/val_scores.parquet"),
                params(pseudo_label__calibrate="isotonic")),
           ("data/val_scores.parquet: its 5 image_ids are not the 4 of the index",),
           "pseudo_label"),
    Broken("corrections that do not exist", "trained",
           params(pseudo_label__corrections="marks.csv"),
           ("root/marks.csv: no such file (pseudo_label.corrections)",), "pseudo_label"),
    Broken("corrections that do not exist, before any stage", "trained",
           params(pseudo_label__corrections="marks.csv"),
           ("root/marks.csv: no such file (pseudo_label.corrections)",), "inputs"),
    Broken("corrections of no table", "trained", params(pseudo_label__corrections="marks.xlsx"),
           ("params.yaml: pseudo_label.corrections = 'marks.xlsx': should be a .csv or .parquet",),
           "pseudo_label"),
    Broken("corrections without a data root", "trained",
           both(params(pseudo_label__corrections="marks.csv"), data_root(None)),
           ("SPML_DATA_ROOT is not set, but pseudo_label.corrections needs it",), "pseudo_label"),
    Broken("a corrected image unknown", "trained",
           both(params(pseudo_label__corrections="marks.csv"),
                lambda root: (root / "marks.csv").write_text("image_id,class,label\nx,a,absent\n")),
           ("root/marks.csv: row 1: image_id 'x': is no image of the index",), "pseudo_label"),
    Broken("corrections that are not Parquet", "trained",
           both(params(pseudo_label__corrections="marks.parquet"),
                lambda root: (root / "marks.parquet").write_text("image_id,class,label\n")),
           ("root/marks.parquet: cannot be read as parquet",), "pseudo_label"),
    Broken("no tau for a soft rule", "trained",
           params(pseudo_label__rule="soft", pseudo_label__tau=0.0),
           ("params.yaml: pseudo_label.tau = 0.0: should be a number > 0 and < 1, since rule is",),
           "pseudo_label"),
    Broken("a band without negatives", "trained",
           params(pseudo_label__rule="band", pseudo_label__width=0.5),
           ("params.yaml: pseudo_label.width = 0.5: should be below tau = 0.4",), "pseudo_label"),
    Broken("a rule that is none", "trained", params(pseudo_label__rule="quota"),
           ("params.yaml: pseudo_label.rule = 'quota': should be 'tau', 'top_k', 'band' or 'soft'",
            ), "pseudo_label"),
    Broken("a truth of other images", "trained",
           column_of("data/truth.parquet", "image_id", pa.array(["x"])),
           ("data/truth.parquet: image_id 'x' is there twice",), "evaluate"),
    Broken("a truth of another draw", "trained", other_index,
           ("data/truth.parquet: was made with another index than the current one",),
           "evaluate"),
    Broken("scores with a flipped byte", "trained", flipped("data/scores.parquet"),
           ("data/scores.parquet: is damaged: its bytes differ from those",), "pseudo_label"),
    Broken("a model with a flipped byte", "trained", flipped("data/teacher/model.safetensors"),
           ("data/teacher/model.safetensors: is damaged: its weights",), "score"),
    Broken("a student in the place of the teacher", "trained",
           copied("data/student/model.safetensors", "data/teacher/model.safetensors"),
           ("data/teacher/model.safetensors: is a student; should be a teacher",), "score"),
    Broken("a teacher in the place of the student", "trained",
           copied("data/teacher/model.safetensors", "data/student/model.safetensors"),
           ("data/student/model.safetensors: is a teacher; should be a student",), "evaluate"),
    Broken("an index in the place of the truth", "trained",
           copied("data/index.parquet", "data/truth.parquet"),
           ("data/truth.parquet: is a table 'index'; should be 'truth'",), "evaluate"),
    Broken("scores of another teacher", "trained",
           scores_of(lambda s: replace(s, about=tables.made_from(teacher="another"))),
           ("data/scores.parquet: was made with another teacher than the current one",),
           "evaluate"),
    Broken("pseudo-labels of other scores", "trained",
           scores_of(lambda s: replace(s, probs=s.probs / 2)),
           ("data/pseudo_labels.parquet: was made with another scores than",), "evaluate"),
    Broken("a student of other pseudo-labels", "trained",
           column_of("data/pseudo_labels.parquet", "weights", pa.array([[1, 1, 0.5]], FLOATS)),
           ("data/student/model.safetensors: was made with another pseudo labels than",),
           "evaluate"),
    Broken("an index without rows", "trained", no_rows("data/index.parquet"),
           ("data/index.parquet: has no train images; should have at least one",), "score"),
    Broken("an index with an unknown split", "trained",
           column_of("data/index.parquet", "split", pa.array(["training"])),
           ("data/index.parquet: image_id 'p/0.jpg': split 'training': should be one of",),
           "train_teacher"),
    Broken("a model whose description is a number", "trained", model_with_spec("3"),
           ("data/teacher/model.safetensors: metadata 'spml.spec' = '3': should describe",),
           "score"),
    Broken("a model whose description is a list", "trained", model_with_spec("[]"),
           ("data/teacher/model.safetensors: metadata 'spml.spec' = '[]': should describe",),
           "score"),
    Broken("a model whose description has wrong types", "trained",
           model_with_spec('{"backbone": ["a\\nb"], "classes": 3, "input_size": null}'),
           ("data/teacher/model.safetensors: metadata 'spml.spec' = ", ": backbone: Input should"),
           "score"),
    Broken("a model whose weights are nan", "trained", model_of_nan,
           ("data/student/model.safetensors: gives 'p/10.jpg', class 'a', nan; ",),
           "evaluate"),
    Broken("a curve that is text", "trained",
           content("./reports/train_teacher/plots/metrics/val_mAP.tsv", b"it went\nup\n"),
           ("reports/train_teacher/plots/metrics/val_mAP.tsv: line 2: ", "should be step 1 and"),
           "evaluate"),
    Broken("a curve that is empty", "trained",
           content("./reports/train_student/plots/metrics/loss.tsv", b""),
           ("reports/train_student/plots/metrics/loss.tsv: has no epoch",), "evaluate"),
    Broken("class names that are null", "table", huggingface("null"), HUGGINGFACE),
    Broken("class names that are a text", "table", huggingface('"x"'), HUGGINGFACE),
    Broken("class names in a number", "table", huggingface('{"info": 3}'), HUGGINGFACE),
    Broken("class names that are no JSON", "table", huggingface("{"), HUGGINGFACE),
]  # fmt: skip


# --- running them ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which all stages have run on the table, with the data root `root` in it."""
    folder = tmp_path_factory.mktemp("trained")
    make_table(folder / "root")
    shutil.copy(PARAMS, folder / "params.yaml")
    edit_params(folder / "params.yaml", SMALL | params_of("table"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("SPML_DATA_ROOT", str(folder / "root"))
        for stage in STAGES:
            command = importlib.import_module(f"stages.{stage}").main
            CliRunner().invoke(command, [], catch_exceptions=False)
    return folder


@pytest.fixture
def root(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = workplace / "root"
    folder.mkdir()
    monkeypatch.setenv("SPML_DATA_ROOT", str(folder))
    for name in ("SPML_CACHE", "SPML_DEVICES"):  # so that the case's settings are undone
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return folder


def peak_memory() -> int:
    """The peak memory of this process, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@pytest.mark.parametrize("broken", BROKEN, ids=[broken.name for broken in BROKEN])
def test_a_broken_input_ends_in_its_line_and_changes_nothing(
    broken: Broken,
    root: Path,
    workplace: Path,
    run_stage: RunStage,
    request: pytest.FixtureRequest,
) -> None:
    if broken.good == "trained":
        trained = request.getfixturevalue("trained")
        for name in ("data", "reports", "root"):
            shutil.copytree(trained / name, workplace / name, dirs_exist_ok=True)
        shutil.copy(trained / "params.yaml", workplace)
    else:
        GOOD[broken.good](root)
        edit_params(workplace / "params.yaml", params_of(broken.good) | broken.before)
        run_stage("prepare")
    broken.break_(root)
    before, memory = everything(workplace), peak_memory()

    output = run_stage(broken.stage, exit_code=1).output

    *messages, error = output.splitlines()
    assert error.startswith("Error: ")
    for words in broken.expected:
        assert words in error
    assert all(line.startswith(("warning: ", "device: ")) for line in messages)
    assert everything(workplace) == before
    assert peak_memory() - memory < MOST_MEMORY
