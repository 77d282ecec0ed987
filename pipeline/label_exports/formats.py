"""Write the labels of a run in one of the formats."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.artifacts.tables import SPLITS, Index, PseudoLabels, Truth
from pipeline.core import files, places
from pipeline.core.arrays import BoolMatrix
from pipeline.label_exports.content import IMAGES, Content, gather

# The files of each format, beside the images.
FILES = {
    "csv": ("labels.csv",),
    "coco": tuple(f"{split}.json" for split in SPLITS),
    "fiftyone": ("metadata.json", "samples.json"),
}


def write(folder: Path, form: str, index: Index, pseudo: PseudoLabels, truth: Truth) -> Content:
    """Write an export in one atomic write; return its content.

    Args:
        folder: the folder to make; it may hold only an older export of the same format.
        form: one of FILES.
        index: the index.
        pseudo: the pseudo-labels of the train images.
        truth: the complete labels.

    Raises:
        InputError: the folder holds other files, or an image is missing.
    """
    files.check_replaceable(folder, {*FILES[form], IMAGES}, "export")
    with files.atomic_write(folder.resolve()) as temporary:
        temporary.mkdir()
        content = gather(temporary, index, pseudo, truth)
        WRITERS[form](temporary, content)
    return content


def to_csv(folder: Path, content: Content) -> None:
    """Write labels.csv, which `prepare.source: table` reads.

    Names are separated by spaces. If a class name is no plain word, the names of an image are a
    JSON list.
    """
    plain = all(name.isidentifier() or name.isdecimal() for name in content.classes)

    def cell(entries: BoolMatrix, row: int) -> str:
        names = content.names(entries, row)
        return " ".join(names) if plain else json.dumps(names, ensure_ascii=False)

    added = content.labels & ~content.observed & (content.splits == "train")[:, None]
    with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(
            ["image", "split", "labels", "observed", "observed_negatives", "added",
             "added_scores", "ignored", "corrected", "image_id"]
        )  # fmt: skip
        for row, path in enumerate(content.paths):
            table.writerow(
                [
                    path, content.splits[row],
                    cell(content.labels, row) if content.known[row] else "",
                    cell(content.observed, row), cell(content.ruled_out, row), cell(added, row),
                    " ".join(f"{score:.4f}" for score in content.scores[row, added[row]]),
                    cell(content.ignored, row), cell(content.corrected, row),
                    content.image_ids[row],
                ]
            )  # fmt: skip


def to_coco(folder: Path, content: Content) -> None:
    """Write train.json, val.json and test.json, which `prepare.source: coco_json` reads.

    Annotations are of whole images: they have no box. `source` says where a label comes from,
    `score` is the teacher's probability. As in LVIS, `neg_category_ids` are known to be absent.
    A split without known labels has no file.
    """
    categories = [{"id": number, "name": name} for number, name in enumerate(content.classes, 1)]
    for split in SPLITS:
        rows = np.flatnonzero((content.splits == split) & content.known)
        if not len(rows):
            continue
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for row in rows.tolist():
            images.append(
                {
                    "id": row + 1,
                    "file_name": content.paths[row],
                    "image_id": content.image_ids[row],
                    "neg_category_ids": (np.flatnonzero(content.ruled_out[row]) + 1).tolist(),
                    "ignored_category_ids": (np.flatnonzero(content.ignored[row]) + 1).tolist(),
                }
            )
            for column in np.flatnonzero(content.labels[row]).tolist():
                entry: dict[str, Any] = {
                    "id": len(annotations) + 1,
                    "image_id": row + 1,
                    "category_id": column + 1,
                    "source": content.source(row, column),
                }
                if not np.isnan(content.scores[row, column]):
                    entry["score"] = _rounded(content.scores[row, column])
                annotations.append(entry)
        parts = {"images": images, "annotations": annotations, "categories": categories}
        _write_json(folder / f"{split}.json", parts)


def to_fiftyone(folder: Path, content: Content) -> None:
    """Write metadata.json and samples.json, which FiftyOne imports as LegacyFiftyOneDataset.

    The split is a tag. The fields are pseudo_labels with their scores as confidence (train),
    ignored (train), observed, observed_negatives and ground_truth (where it is known).

    Raises:
        InputError: the images are files below the data root, and it is not set.
    """
    outside = [content.paths[row] for row in np.flatnonzero(~content.inside)]
    root = places.root_of(outside, "the export for fiftyone").resolve()
    samples = []
    for row, path in enumerate(content.paths):
        sample: dict[str, Any] = {
            "filepath": path if content.inside[row] else str(root / path),
            "tags": [str(content.splits[row])],
            "image_id": content.image_ids[row],
            "observed": _classifications(content, content.observed, row),
            "observed_negatives": _classifications(content, content.ruled_out, row),
        }
        if content.splits[row] == "train":
            sample["pseudo_labels"] = _classifications(content, content.labels, row, scored=True)
            sample["ignored"] = _classifications(content, content.ignored, row)
        known = content.known if content.splits[row] != "train" else content.truth_known
        if known[row]:
            complete = content.truth if content.splits[row] == "train" else content.labels
            sample["ground_truth"] = _classifications(content, complete, row)
        samples.append(sample)
    _write_json(folder / "samples.json", {"samples": samples})
    about = {"media_type": "image", "info": {"classes": list(content.classes)}}
    _write_json(folder / "metadata.json", about)


def _classifications(
    content: Content, entries: BoolMatrix, row: int, scored: bool = False
) -> dict[str, Any]:
    found: list[dict[str, Any]] = []
    for column in np.flatnonzero(entries[row]).tolist():
        found.append({"_cls": "Classification", "label": content.classes[column]})
        if scored:
            found[-1]["confidence"] = _rounded(content.scores[row, column])
            found[-1]["source"] = content.source(row, column)
    return {"_cls": "Classifications", "classifications": found}


def _rounded(score: np.float32) -> float:
    """Return a score with as many digits as tell two float32 apart."""
    return float(f"{score:.9g}")


def _write_json(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


WRITERS: dict[str, Callable[[Path, Content], None]] = {
    "csv": to_csv,
    "coco": to_coco,
    "fiftyone": to_fiftyone,
}
