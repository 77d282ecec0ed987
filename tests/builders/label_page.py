"""The tables of a small run, for the page of labels."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.artifacts import tables
from pipeline.artifacts.tables import Index, Scores, Truth
from pipeline.images import reading
from pipeline.pseudo_labels.rules import PseudoLabelParams, pseudo_labels
from stages import labels

HOSTILE = (
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "\"quoted\" & 'single'",
    "$5 {{script}} ${alert(3)}",
    "two\nlines",
    "猫",
    "قطة",
    "very long " * 30,
)
N_TRAIN = 40


def rule_of(tau: float, keep_observed: bool = True, **changes: Any) -> PseudoLabelParams:
    values = {
        "rule": "tau", "tau": tau, "calibrate": "none", "prior": "val", "annotator": "ignored",
        "top_k": 3, "width": 0.3, "weights": "none", "keep_observed": keep_observed,
        "corrections": None,
    }  # fmt: skip
    return PseudoLabelParams.model_validate(values | changes)


def make_data(
    folder: Path,
    classes: tuple[str, ...] = ("cat", "dog", "cow"),
    image_ids: tuple[str, ...] = (),
    tau: float = 0.4,
    keep_observed: bool = True,
    negatives: bool = False,
    n_known: int = N_TRAIN,
    size: tuple[int, int] = (12, 8),
    **rule: Any,
) -> Path:
    """Write the tables of a small run, with one val and one test image; return their folder."""
    rng = np.random.RandomState(3)
    names = [*image_ids, *(f"p{number:03}" for number in range(N_TRAIN + 2 - len(image_ids)))]
    n_classes = len(classes)
    probs = rng.rand(N_TRAIN, n_classes).astype(np.float32)
    # A score equal to tau is not above it, although these two as float32 exceed 0.4 and 0.15.
    probs[::7, 0], probs[3::7, 1] = np.float32(tau), np.float32(0.15)
    truth = rng.rand(N_TRAIN, n_classes) < probs
    targets = np.zeros((N_TRAIN + 2, n_classes), np.int8)
    train = np.arange(1, N_TRAIN + 1)
    for row, present in zip(train, truth, strict=True):
        if present.any():
            targets[row, rng.choice(np.flatnonzero(present))] = 1
        if negatives and not present.all():
            targets[row, rng.choice(np.flatnonzero(~present))] = -1
    images = [encoded(number, size) for number in range(N_TRAIN + 2)]
    sizes, sha256 = reading.fingerprints(images)
    index = Index(
        classes=classes,
        image_ids=sorted(names),
        paths=[None] * len(names),
        splits=np.array(["test", *["train"] * N_TRAIN, "val"]),
        targets=targets,
        labels=np.zeros(targets.shape, np.bool_),
        sizes=sizes,
        sha256=sha256,
    )
    data = folder / "data"
    train_ids = index.ids(train)
    scores = Scores(train_ids, probs)
    params = rule_of(tau, keep_observed, **rule)
    tables.write_index(data / "index.parquet", index)
    tables.write_images(data / "images.parquet", index.image_ids, images)
    tables.write_scores(data / "scores.parquet", scores, classes)
    known = Truth(train_ids[:n_known], truth[:n_known])
    tables.write_truth(data / "truth.parquet", known, classes)
    pseudo = pseudo_labels(params, index, scores)
    tables.write_pseudo_labels(data / "pseudo_labels.parquet", pseudo, classes)
    return data


def encoded(seed: int, size: tuple[int, int]) -> bytes:
    noise = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def run(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(labels.main, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


def change_rule(path: Path, changes: dict[bytes, bytes]) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **changes}), path)
