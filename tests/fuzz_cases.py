"""The inputs of the fuzzer: valid ones, and damaged or absurd ones of each kind.

A kind is a function. It damages the valid inputs of a template in the working folder, at random,
and returns the stage that should read them.
"""

import bz2
import copy
import csv
import io
import json
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import click
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from click.testing import CliRunner
from PIL import ExifTags, Image
from ruamel.yaml import YAML

from pipeline.artifacts import tables
from pipeline.models import classifier, model_file
from stages import prepare, score
from tests.builders.layouts import voc2012
from tests.builders.layouts.coco_json import TEST, TRAIN
from tests.conftest import PARAMS, SMALL, edit_params

Kind = Callable[[Random], str]
SIDE = 8
IMAGES = [f"p/{number}.png" for number in range(6)]
SMALLEST: dict[str, Any] = SMALL | {
    "prepare.source": "table",
    "prepare.val_fraction": 0.4,
    "train.model.input_size": SIDE,
    "train_teacher.train.fit.epochs": 1,
}

# --- valid inputs ----------------------------------------------------------------------


def make_templates(folder: Path) -> None:
    """Write the valid inputs that the kinds start from, in a folder for each source."""
    for source, make in {"table": _table, "coco_json": _coco_json, "voc2012": _voc2012}.items():
        make(folder / source / "root")
        shutil.copy(PARAMS, folder / source / "params.yaml")
        path = folder / source / "params.yaml"
        edit_params(path, SMALLEST | {"prepare.source": source})
        sections = YAML(typ="safe").load(path.read_text())
        (folder / source / "sections.json").write_text(json.dumps(sections))
    shutil.copytree(folder / "table", folder / "trained")
    with working_in(folder / "trained"):
        _trained()


@contextmanager
def working_in(folder: Path) -> Iterator[None]:
    """Change to a folder that contains the data root."""
    before = Path.cwd(), dict(os.environ)
    os.chdir(folder)
    os.environ["SPML_DATA_ROOT"] = str(folder / "root")
    os.environ["SPML_CACHE"] = str(folder / ".cache")
    os.environ.pop("SPML_DEVICES", None)
    try:
        yield
    finally:
        os.chdir(before[0])
        os.environ.clear()
        os.environ.update(before[1])


def _image(number: int, form: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    noise = np.random.RandomState(number).randint(0, 256, (SIDE, SIDE, 4)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).convert("RGB").convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def _write_images(root: Path, paths: list[str]) -> None:
    for number, path in enumerate(paths):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(_image(number))


def _table(root: Path) -> None:
    _write_images(root, IMAGES)
    rows = {
        "image": IMAGES,
        "split": ["train", "train", "val", "val", "test", "test"],
        "labels": ["a", "b c", "a", "b", "c", "a b"],
        "observed": ["a", "b", "a", "b", "c", "a"],
    }
    pd.DataFrame(rows).to_csv(root / "labels.csv", index=False)
    lists = {name: [row.split() for row in rows[name]] for name in ("labels", "observed")}
    pd.DataFrame(rows | lists).to_parquet(root / "labels.parquet")


def _coco_json(root: Path) -> None:
    root.mkdir(parents=True)
    for name, content in {"train": TRAIN, "test": TEST}.items():
        (root / f"{name}.json").write_text(json.dumps(content))
        _write_images(root, [image["file_name"] for image in content["images"]])


def _voc2012(root: Path) -> None:
    root.mkdir(parents=True)
    voc2012.make(root)
    names = [*voc2012.TRAIN, *voc2012.VAL]
    _write_images(root / "JPEGImages", [f"{name}.jpg" for name in names])
    (root / "Annotations").mkdir()
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>7</xmax><ymax>8</ymax></bndbox>"
    for name, labels in voc2012.TRAIN.items():
        objects = "".join(f"<object><name>{label}</name>{box}</object>" for label in labels)
        size = f"<size><width>{SIDE}</width><height>{SIDE}</height></size>"
        (root / f"Annotations/{name}.xml").write_text(f"<annotation>{size}{objects}</annotation>")


def _trained() -> None:
    """Run prepare and score, with untrained models in place of the trainings."""
    _run(prepare.main)
    classes = tables.read_index(Path("data/index.parquet")).classes
    spec = classifier.Spec("small_cnn", classes, SIDE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    for name in ("teacher", "student"):
        Path("data", name).mkdir(exist_ok=True)
        model_file.save(Path("data", name, "model.safetensors"), classifier.Classifier(spec))
    shutil.copy("data/teacher/model.safetensors", "root/weights.safetensors")
    _run(score.main)


def _run(command: click.Command) -> None:
    result = CliRunner().invoke(command, [], catch_exceptions=False)
    assert result.exit_code == 0, result.output


# --- damage ----------------------------------------------------------------------------

WORDS = [
    "", " ", "a\nb", "a\r\nb", "a\u2028b", "\x1b[2J", "\0", "x" * 5000, "..", "../..", "/", "/etc",
    "/dev/null", "a/" * 2000, "=cmd|' /C calc'!A0", "狮子", "\udcff", "'", '"', "1e5", "null",
    "nan", "train", "a", "a,b", "p/0.png", "9" * 5000, "-1", "%s%n", "{}", "a b", "\ufeff",
    "\u202e", "٣",
]  # fmt: skip
VALUES = [
    None, True, False, 0, 1, -1, 2, 255, 2**31, 2**63, 2**64, -(2**63), 10**30, 10**400, 0.0, -0.0,
    0.5, 1.5, -0.1, 1e-320, 1e308, float("nan"), float("inf"), -float("inf"), [], {}, [[]], [None],
    [1, "a"], {"a": None}, {"": {}}, ["a", "a"], [0.5, 2.0], {"a": 1, "b": 2, "c": 3},
]  # fmt: skip
NUMBERS = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1]


def value(random: Random) -> Any:
    """Return a value of any type, often a wrong one."""
    # A copy, so that a later change of a list does not change the next case.
    chosen = copy.deepcopy(random.choice(random.choice([WORDS, VALUES])))
    if random.random() < 0.05:
        for _ in range(random.choice([3, 200, 500])):
            chosen = [chosen] if random.random() < 0.5 else {"a": chosen}
    return chosen


def damaged(random: Random, content: bytes) -> bytes:
    """Return the bytes with random changes: flipped, overwritten, added, removed, repeated, cut."""
    data = bytearray(content)
    for _ in range(random.choice([1, 1, 1, 2, 5, 20])):
        at = random.randrange(len(data) + 1)
        length = random.choice([1, 1, 2, 4, 8, 50])
        match random.randrange(7):
            case 0 if at < len(data):
                data[at] ^= 1 << random.randrange(8)
            case 1:
                data[at : at + length] = random.randbytes(length)
            case 2:
                data[at:at] = random.randbytes(length)
            case 3:
                del data[at : at + length]
            case 4:
                data[at:at] = data[at : at + length] * random.choice([1, 2, 100])
            case 5:
                form, size = random.choice([("<B", 8), ("<H", 16), (">H", 16), ("<I", 32),
                                            (">I", 32), ("<Q", 64), (">Q", 64)])  # fmt: skip
                number = random.choice(NUMBERS) % 2**size
                data[at : at + size // 8] = struct.pack(form, number)
            case 6 if random.random() < 0.2:
                del data[at:]
    return bytes(data)


def damage(random: Random, path: str) -> None:
    Path(path).write_bytes(damaged(random, Path(path).read_bytes()))


def changed(random: Random, tree: Any) -> Any:
    """Return a tree of objects and lists with a part replaced, removed, renamed or repeated."""
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        tree = _changed_once(random, tree)
    return tree


def _changed_once(random: Random, tree: Any) -> Any:
    if not isinstance(tree, dict | list) or not tree or random.random() < 0.1:
        return value(random)
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree)))
    key = random.choice(keys)
    if random.random() < 0.6:
        tree[key] = _changed_once(random, tree[key])
    elif isinstance(tree, list):
        match random.randrange(3):
            case 0:
                del tree[key]
            case 1:
                tree.insert(key, value(random))
            case 2:
                tree.append(tree[key])
    else:
        match random.randrange(3):
            case 0:
                del tree[key]
            case 1:
                tree[random.choice(WORDS)] = tree.pop(key)
            case 2:
                tree[random.choice(WORDS)] = value(random)
    return tree


def spliced(random: Random, text: str, pieces: list[str]) -> str:
    """Return a text with pieces inserted or lines repeated."""
    for _ in range(random.choice([1, 1, 2, 4])):
        at = random.randrange(len(text) + 1)
        if random.random() < 0.7:
            text = text[:at] + random.choice(pieces) + text[at + random.choice([0, 0, 1, 5]) :]
        else:
            lines = text.split("\n")
            lines.insert(random.randrange(len(lines) + 1), random.choice(lines))
            text = "\n".join(lines)
    return text


def write_text(path: str, text: str) -> None:
    Path(path).write_bytes(text.encode("utf-8", "surrogatepass"))


# --- kinds -----------------------------------------------------------------------------

STAGES = ["prepare", "train_teacher", "score", "pseudo_label", "train_student", "evaluate"]
YAML_PIECES = [
    "&a ", "*a", "<<: *a", "!!int ", "!!bool ", "!!binary ", "!!timestamp ", "!!set ", "!!omap ",
    "!!python/object:os.system ", "[", "]", "{", "}", ": ", "- ", "\n", "\t", "? ", "| ", "> ",
    "# ", "'", '"', "---\n", "...\n", "%YAML 1.1\n", "0x", "1e999", ".nan", "~", "[" * 300,
    "\u2028", ",", "&a [*a]", "&b {<<: *b}", "2025-13-45", "0x" + "f" * 5000, "9" * 5000, "\0",
    "\ufeff", "=",
]  # fmt: skip


def params(random: Random) -> str:
    """Damage params.yaml: keys, types, values, structure, anchors, tags, invalid YAML."""
    stage = random.choice(STAGES)
    # A training stage reads its section and then fails without the index.
    use("trained" if stage in ("score", "pseudo_label") else "table", stage)
    sections = json.loads(Path("sections.json").read_text())
    text = PARAMS.read_text()
    text = "\n\n".join(
        part for part in text.split("\n\n") if part.startswith((f"{stage}:", "train:"))
    ).replace("source: digits", "source: table")
    match random.randrange(4):
        case 0:
            Path("params.yaml").write_bytes(damaged(random, text.encode()))
        case 1:
            write_text("params.yaml", spliced(random, text, YAML_PIECES))
        case _:
            read = [stage, "train"] if stage.startswith("train_") else [stage]
            tree = {name: changed(random, sections[name]) for name in read}
            # JSON is valid YAML, and gives forms that YAML writers do not produce.
            Path("params.yaml").write_text(_as_json(tree))
    return stage


def table(random: Random) -> str:
    """Damage a user's table: bytes, fields and columns of CSV and Parquet, Parquet's metadata."""
    as_csv = random.random() < 0.5
    path = "root/labels.csv" if as_csv else "root/labels.parquet"
    changes = {
        "prepare.table.file": Path(path).name,
        "prepare.observe.process": random.choice(["uniform", "given"]),
        "prepare.classes": random.choice([None, None, ["a", "b", "c"], ["a", "x"]]),
    }
    use("table", changes=changes)
    if random.random() < 0.4:
        damage(random, path)
    elif as_csv:
        _change_csv(random, path)
    else:
        _change_parquet(random, path)
    return "prepare"


def corrections(random: Random) -> str:
    """Damage a table of corrections, as `table`."""
    as_csv = random.random() < 0.5
    path = "root/marks.csv" if as_csv else "root/marks.parquet"
    use("trained", "pseudo_label", {"pseudo_label.corrections": Path(path).name})
    first, second, *_ = pq.read_table("data/scores.parquet")["image_id"].to_pylist()
    labels = ["present", "absent", "unknown", ""]
    marks = pd.DataFrame(
        {"image_id": [first, first, second, second], "class": [*"abab"], "label": labels}
    )
    marks.to_csv(path, index=False) if as_csv else marks.to_parquet(path, index=False)
    if random.random() < 0.4:
        damage(random, path)
    elif as_csv:
        _change_csv(random, path)
    else:
        _change_parquet(random, path)
    return "pseudo_label"


def _change_csv(random: Random, path: str) -> None:
    if random.random() < 0.5:
        pieces = [*WORDS, ",", '"', "\n", "\r", ";", '"a\nb"', "," * 50]
        write_text(path, spliced(random, Path(path).read_text(), pieces))
        return
    rows = list(csv.reader(io.StringIO(Path(path).read_text())))
    for _ in range(random.choice([1, 2])):
        row = 0 if random.random() < 0.3 else random.randrange(1, len(rows))
        words = [*WORDS, "image_id", "observed_negatives", "labels", "image"] if row == 0 else WORDS
        rows[row][random.randrange(len(rows[row]))] = random.choice(words)
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_text(path, text.getvalue())


def _change_parquet(random: Random, path: str) -> None:
    rows = pq.read_table(path)
    for _ in range(random.choice([1, 1, 2])):
        name = random.choice(rows.column_names)
        number = rows.column_names.index(name)
        match random.randrange(4):
            case 0:
                rows = rows.set_column(number, name, _any_column(random, len(rows)))
            case 1:
                new = random.choice(["image_id", "observed_negatives", name, "", "a\nb"])
                rows = rows.append_column(new, _any_column(random, len(rows)))
            case 2:
                rows = rows.remove_column(number) if rows.num_columns > 1 else rows
            case 3:
                classes = {"feature": {"_type": "ClassLabel", "names": ["a", "b", "c"]},
                           "_type": "Sequence"}  # fmt: skip
                features = {"info": {"features": {"labels": classes}}}
                about = _as_json(changed(random, features)).encode()
                rows = rows.replace_schema_metadata({b"huggingface": about})
    pq.write_table(rows, path)


def _any_column(random: Random, length: int) -> pa.Array:
    content = _image(0)
    make = [
        lambda: [random.choice([0, 1, 2, -1, 99]) for _ in range(length)],
        lambda: [[random.choice([0, 1, 2, -1, 99])] for _ in range(length)],
        lambda: [random.choice([None, "a", "train", "a\nb"]) for _ in range(length)],
        lambda: [[random.choice(["a", None, "a\nb"])] for _ in range(length)],
        lambda: [{"bytes": random.choice([content, b"", None]), "path": f"{row}"}
                 for row in range(length)],
        lambda: [random.choice([content, content, damaged(random, content)])
                 for _ in range(length)],
        lambda: [None] * length,
        lambda: [random.choice([0.5, float("nan"), float("inf")]) for _ in range(length)],
        lambda: [[["a"]]] * length,
        lambda: [pd.Timestamp(2026, 1, 1)] * length,
        lambda: [True] * length,
    ]  # fmt: skip
    return pa.array(random.choice(make)())


def coco_json(random: Random) -> str:
    """Damage JSON in the format of COCO: bytes, values, keys and structure."""
    process = random.choice(["uniform", "size", "location"])
    use("coco_json", changes={"prepare.observe.process": process})
    path = random.choice(["root/train.json", "root/train.json", "root/test.json"])
    if random.random() < 0.3:
        damage(random, path)
    elif random.random() < 0.2:
        pieces = ["[" * 3000, '{"a":' * 3000, "NaN", "-Infinity", "9" * 5000, "1e999", "\\ud800"]
        write_text(path, spliced(random, Path(path).read_text(), pieces))
    else:
        Path(path).write_text(_as_json(changed(random, json.loads(Path(path).read_text()))))
    return "prepare"


def _as_json(tree: Any) -> str:
    try:
        return json.dumps(tree)
    except RecursionError:
        return "[" * 5000


BOMB = "<!DOCTYPE a [<!ENTITY a 'aaaaaaaaaa'>" + "".join(
    f"<!ENTITY {of} '{f'&{name};' * 10}'>"
    for name, of in zip("abcdefghi", "bcdefghij", strict=True)
)
XML_PIECES = [
    "<object>", "</object>", "<name>", "</name>", "<bndbox>", "</bndbox>", "<xmin>", "</xmin>", "&",
    "&amp;", "&a;", "<![CDATA[", "]]>", "<!--", "-->", "<?xml version='1.0' encoding='utf-16'?>",
    "nan", "inf", "-1", "1e308", "9" * 400, "\0", "<a>" * 5000, "\n", "cat", "１", "<difficult>1",
    "<?xml version='1.0' encoding='nonsense'?>", "<!DOCTYPE a SYSTEM 'file:///etc/passwd'>",
]  # fmt: skip


def voc_xml(random: Random) -> str:
    """Damage VOC's XML files with boxes, and its lists of images."""
    use("voc2012", changes={"prepare.observe.process": random.choice(["size", "location"])})
    folder = random.choice(["Annotations"] * 4 + ["ImageSets/Main"])
    path = str(random.choice(sorted(Path("root", folder).iterdir())))
    text = Path(path).read_text()
    match random.randrange(10):
        case 0 | 1 | 2:
            damage(random, path)
        case 3:
            write_text(path, f"{BOMB}]><annotation>{random.choice('&a;&e;&j;')}</annotation>")
        case 4:
            write_text(path, random.choice(WORDS))
        case _:
            write_text(path, spliced(random, text, XML_PIECES))
    return "prepare"


FORMS = [
    ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("PNG", "L"), ("PNG", "1"), ("PNG", "I;16"),
    ("JPEG", "RGB"), ("JPEG", "CMYK"), ("JPEG", "L"), ("GIF", "P"), ("WEBP", "RGB"),
    ("WEBP", "RGBA"),
    ("BMP", "RGB"), ("BMP", "P"), ("TIFF", "RGB"), ("TIFF", "F"), ("TIFF", "I"), ("TIFF", "CMYK"),
    ("TIFF", "I;16"), ("PPM", "RGB"), ("PPM", "I"), ("JPEG2000", "RGB"), ("TGA", "RGBA"),
    ("ICO", "RGBA"), ("PCX", "RGB"), ("SGI", "RGB"), ("AVIF", "RGB"), ("DDS", "RGBA"), ("IM", "F"),
    ("ICNS", "RGBA"), ("SPIDER", "F"), ("QOI", "RGB"), ("EPS", "RGB"), ("PDF", "RGB"),
]  # fmt: skip


def image(random: Random) -> str:
    """Damage an image, as a file or inside a table: many formats, headers with huge sizes."""
    content = _any_image(random)
    embedded = random.random() < 0.2
    use("table", changes={"prepare.table.file": "labels.parquet"} if embedded else {})
    if embedded:
        images = [content, *(_image(number) for number in range(1, len(IMAGES)))]
        rows = pq.read_table("root/labels.parquet")
        rows = rows.set_column(0, "image", pa.array(images)).replace_schema_metadata(None)
        pq.write_table(rows, "root/labels.parquet")
    else:
        Path("root", random.choice(IMAGES)).write_bytes(content)
    return "prepare"


def _any_image(random: Random) -> bytes:
    if random.random() < 0.15:
        return random.choice([_huge_png, _huge_bmp, _huge_gif, _huge_tiff])(random)
    form, mode = random.choice(FORMS)
    options: dict[str, Any] = {}
    if form in ("PNG", "JPEG", "WEBP", "TIFF", "AVIF") and random.random() < 0.3:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = random.randrange(10)
        options["exif"] = exif
    if form == "TIFF":
        options["compression"] = random.choice(["raw", "tiff_lzw", "tiff_deflate", "packbits"])
    try:
        content = _image(random.randrange(3), form, mode, **options)
    except (OSError, ValueError, KeyError, RuntimeError):  # the format does not support it
        content = _image(0)
    return damaged(random, content)


def _huge_png(random: Random) -> bytes:
    width, height = (random.choice([1, 9, 30_000, 2**24, 2**31 - 1]) for _ in range(2))
    depth, colour = random.choice([(1, 0), (8, 2), (16, 6), (16, 0), (8, 3)])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, random.randrange(2))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def _huge_bmp(random: Random) -> bytes:
    width, height = (random.choice([1, 9, 30_000, 2**31 - 1, -1, -9]) for _ in range(2))
    bits = random.choice([1, 4, 8, 16, 24, 32])
    compressed = random.choice([0, 0, 1, 2, 3])
    header = struct.pack(
        "<IIIIiiHHIIIIII", 100, 0, 54, 40, width, height, 1, bits, compressed, 0, 0, 0,
        random.choice([0, 256, 2**31]), 0,
    )  # fmt: skip
    return b"BM" + header + bytes(200)


def _huge_gif(random: Random) -> bytes:
    small, large = _image(0, "GIF", "P"), struct.pack("<HH", 65535, random.choice([9, 65535]))
    at = small.index(b",\0\0\0\0")
    data = bytearray(small)
    if random.random() < 0.5:
        data[6:10] = large
    if random.random() < 0.5:
        data[at + 5 : at + 9] = large
    return bytes(data)


def _huge_tiff(random: Random) -> bytes:
    tags = {
        256: random.choice([1, 30_000, 2**31]), 257: random.choice([1, 30_000, 2**31]),
        258: random.choice([1, 8, 12, 16, 32, 64]), 259: random.choice([1, 5, 7, 8, 32773, 34925]),
        262: random.choice([0, 1, 2, 3, 5, 6]), 273: random.choice([8, 10**9]),
        277: random.choice([1, 3, 4, 1000]), 278: random.choice([1, 2**31]),
        279: random.choice([0, 100, 2**31]), 339: random.choice([1, 2, 3, 4]),
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(400)


def safetensors(random: Random) -> str:
    """Damage a weights file or a model file: bytes, header, description in the metadata."""
    stage, path = random.choice([
        ("train_teacher", "root/weights.safetensors"), ("score", "data/teacher/model.safetensors"),
    ])  # fmt: skip
    use("trained", stage, {"train_teacher.train.model.weights": "weights.safetensors"})
    content = Path(path).read_bytes()
    length = struct.unpack("<Q", content[:8])[0]
    header, tensors = json.loads(content[8 : 8 + length]), content[8 + length :]
    match random.randrange(8):
        case 6:  # unchanged, so that some cases succeed
            return stage
        case 0:
            damage(random, path)
            return stage
        case 1:  # in the header, which holds most of the fields
            raw = damaged(random, content[8 : 8 + length])
            Path(path).write_bytes(content[:8] + raw + tensors)
            return stage
        case 2:
            size = struct.pack("<Q", random.choice(NUMBERS) % 2**64)
            Path(path).write_bytes(size + content[8:])
            return stage
        case 3 if "__metadata__" in header:
            about = json.loads(header["__metadata__"]["spml.spec"])
            header["__metadata__"]["spml.spec"] = _as_json(changed(random, about))
        case 4:
            header["__metadata__"] = changed(random, header["__metadata__"])
        case _:
            header = changed(random, header)
    raw = _as_json(header).encode()
    Path(path).write_bytes(struct.pack("<Q", len(raw)) + raw + tensors)
    return stage


def archive(random: Random) -> str:
    """Damage a downloaded archive (.tar, .gz, .bz2, .xz, .zip): bytes, names, sizes and kinds."""
    use("voc2012")
    root = Path("root")
    files = {
        f"VOCdevkit/VOC2012/{path.relative_to(root).as_posix()}": path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }
    shutil.rmtree(root)
    root.mkdir()
    for _ in range(random.choice([0, 0, 1, 2])):
        files[random.choice([*WORDS, "a/" * 200 + "b", "VOCdevkit", "C:\\a", "a/../b"])] = b"x"
    form = random.choice(["", "gz", "bz2", "xz", "zip", "lzma"])
    content = _zip(random, files) if form == "zip" else _tar(random, files, form)
    if random.random() < 0.7:
        content = damaged(random, content)
    (root / "VOCtrainval_11-May-2012.tar").write_bytes(content)
    return "prepare"


def _zip(random: Random, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    method = random.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA,
                            zipfile.ZIP_BZIP2])  # fmt: skip
    with zipfile.ZipFile(buffer, "w", method) as packed:
        for name, content in files.items():
            info = zipfile.ZipInfo(name.encode("utf-8", "replace").decode())
            if random.random() < 0.01:
                info.external_attr = random.choice([0o120777, 0o20666, 0o40755]) << 16
            packed.writestr(info, content, method)
            if random.random() < 0.01:
                info.file_size = random.choice(NUMBERS) % 2**32
    return buffer.getvalue()


def _tar(random: Random, files: dict[str, bytes], form: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name.encode("utf-8", "replace").decode())
            info.size = len(content)
            if random.random() < 0.01:
                info.type = random.choice([b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"S", b"K"])
                info.linkname = random.choice(["/etc/passwd", "a", ".."])
            tar.addfile(info, io.BytesIO(content))
    plain = buffer.getvalue()
    if random.random() < 0.3:
        plain = damaged(random, plain)
    if form in ("xz", "lzma"):
        kind = lzma.FORMAT_XZ if form == "xz" else lzma.FORMAT_ALONE
        return lzma.compress(plain, kind, preset=0)
    if form == "gz":
        return zlib.compress(plain, 1, 31)
    if form == "bz2":
        return bz2.compress(plain, 1)
    return plain


def environment(random: Random) -> str:
    """Set SPML_DATA_ROOT, SPML_CACHE or SPML_DEVICES; never several devices, which take long."""
    stage = random.choice(["prepare", "score"])
    use("trained", stage)
    name = random.choice(["SPML_DATA_ROOT", "SPML_CACHE", "SPML_DEVICES"])
    here = os.getcwd()  # noqa: PTH109 (a text)
    texts = [
        *(word.replace("\0", "") for word in WORDS), "0", "01", "1.0", "+1", " 1", "1 ", "1_0", "²",
        "９" * 30, "99999999999999999999", "0x1", "1e1", "all", "-0", "None", "auto",
        f"{here}/root", f"{here}/{'root'}/labels.csv", f"{here}/nowhere", f"{here}/data/../root",
        f"{here}/a\nb", "/proc/1/root", "/proc/self/fd/999", "~", "$HOME", "root", "x" * 300,
    ]  # fmt: skip
    chosen = random.choice(texts)
    if random.random() < 0.3:
        chosen = spliced(random, chosen, [*WORDS, "/", "1"]).replace("\0", "")
    if name == "SPML_DEVICES" and chosen.isdecimal() and 1 < int(chosen[:4000]) < 10_000:
        chosen = "1"
    os.environ[name] = chosen
    return stage


KINDS: dict[str, Kind] = {
    "params": params,
    "table": table,
    "corrections": corrections,
    "coco_json": coco_json,
    "voc_xml": voc_xml,
    "image": image,
    "safetensors": safetensors,
    "archive": archive,
    "environment": environment,
}

# The folder of the templates; set by the runner.
templates = Path()


def use(template: str, stage: str = "prepare", changes: dict[str, Any] | None = None) -> None:
    """Fill the working folder with valid inputs and a short params.yaml.

    It holds only the sections that the stage reads, since reading a full params.yaml would take
    most of the time.
    """
    shutil.copytree(templates / template, ".", dirs_exist_ok=True)
    sections = json.loads(Path("sections.json").read_text())
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        section = sections
        for parent in parents:
            section = section.setdefault(parent, {})
        section[last] = value
    read = {name: sections[name] for name in (stage, "train")}
    Path("params.yaml").write_text(json.dumps(read))
