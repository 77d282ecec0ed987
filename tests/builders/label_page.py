"""The tables of a small run, for the page of labels."""

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from click.testing import CliRunner, Result
from PIL import Image

from pipeline.artifacts import tables
from pipeline.artifacts.tables import Index, Scores, Truth
from pipeline.core.arrays import Probs
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
# Rules with every calibration; all need val labels, so several val images.
COMBINATIONS: tuple[dict[str, Any], ...] = (
    {"rule": "tau", "calibrate": "none", "weights": "confidence"},
    {"rule": "tau", "calibrate": "affine"},
    {"rule": "tau", "calibrate": "prior", "keep_observed": False},
    {"rule": "tau", "calibrate": "isotonic", "annotator": "uniform"},
    {"rule": "top_k", "calibrate": "none", "top_k": 1},
    {"rule": "top_k", "calibrate": "elkan_noto", "top_k": 2, "keep_observed": False},
    {"rule": "top_k", "calibrate": "isotonic", "top_k": 1, "weights": "confidence"},
    {"rule": "top_k", "calibrate": "prior", "prior": "best_bin", "top_k": 2},
    {"rule": "band", "calibrate": "none", "keep_observed": False},
    {"rule": "band", "calibrate": "prior", "weights": "confidence"},
    {"rule": "band", "calibrate": "isotonic", "annotator": "uniform", "width": 0.2},
    {"rule": "band", "calibrate": "elkan_noto", "width": 0.05},
    {"rule": "soft", "calibrate": "affine", "keep_observed": False},
    {"rule": "soft", "calibrate": "isotonic"},
    {"rule": "soft", "calibrate": "prior", "weights": "confidence"},
)


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
    n_val: int = 1,
    **rule: Any,
) -> Path:
    """Write the tables of a small run, with one test image; return their folder.

    The only val image has no label; several have drawn ones.
    """
    rng = np.random.RandomState(3)
    n_other = 1 + n_val
    n = N_TRAIN + n_other
    names = [*image_ids, *(f"p{number:03}" for number in range(n - len(image_ids)))]
    n_classes = len(classes)
    probs = rng.rand(N_TRAIN, n_classes).astype(np.float32)
    # A score equal to tau is not above it, although these two as float32 exceed 0.4 and 0.15.
    probs[::7, 0], probs[3::7, 1] = np.float32(tau), np.float32(0.15)
    truth = rng.rand(N_TRAIN, n_classes) < probs
    targets = np.zeros((n, n_classes), np.int8)
    train = np.arange(1, N_TRAIN + 1)
    for row, present in zip(train, truth, strict=True):
        if present.any():
            targets[row, rng.choice(np.flatnonzero(present))] = 1
        if negatives and not present.all():
            targets[row, rng.choice(np.flatnonzero(~present))] = -1
    images = [encoded(number, size) for number in range(n)]
    sizes, sha256 = reading.fingerprints(images)
    val_probs = rng.rand(n_val, n_classes).astype(np.float32)
    labels = np.zeros(targets.shape, np.bool_)
    labels[N_TRAIN + 1 :] = (rng.rand(n_val, n_classes) < val_probs) & (n_val > 1)
    index = Index(
        classes=classes,
        image_ids=sorted(names),
        paths=[None] * len(names),
        splits=np.array(["test", *["train"] * N_TRAIN, *["val"] * n_val]),
        targets=targets,
        labels=labels,
        sizes=sizes,
        sha256=sha256,
    )
    data = folder / "data"
    train_ids = index.ids(train)
    scores = Scores(train_ids, probs)
    val_scores = Scores(index.ids(index.rows("val")), val_probs)
    params = rule_of(tau, keep_observed, **rule)
    tables.write_index(data / "index.parquet", index)
    tables.write_images(data / "images.parquet", index.image_ids, images)
    tables.write_scores(data / "scores.parquet", scores, classes)
    tables.write_scores(data / "val_scores.parquet", val_scores, classes)
    known = Truth(train_ids[:n_known], truth[:n_known])
    tables.write_truth(data / "truth.parquet", known, classes)
    pseudo = pseudo_labels(params, index, scores, val_scores)
    tables.write_pseudo_labels(data / "pseudo_labels.parquet", pseudo, classes)
    return data


def taus_to_try(scores: Probs, params: PseudoLabelParams) -> list[float]:
    """Return valid taus: some between scores, some equal to a score or as close as floats are."""
    middle = np.sort(scores[(scores > 0.32) & (scores < 0.98)])
    of_scores = [float(score) for score in middle[:: max(1, len(middle) // 3)]]
    near = [float(np.nextafter(score, limit)) for score in of_scores[:1] for limit in (0.0, 1.0)]
    taus = [0.33, 0.5, 0.625, 0.9, *of_scores, *near]
    if params.rule == "band":
        # A score at the lower end of the band; it is not below it.
        taus += [score + params.width for score in of_scores[:2]]
    above = -1.0 if params.tau_above is None else params.tau_above
    return [tau for tau in taus if above < tau < scores.max()]


def encoded(seed: int, size: tuple[int, int]) -> bytes:
    noise = np.random.RandomState(seed).randint(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    return buffer.getvalue()


def with_files(data: Path, folder: Path, name: str, size: tuple[int, int]) -> Index:
    """Put the images of a run into files and write its index again."""
    index = tables.read_index(data / "index.parquet")
    before, last = str(Path(name).parent), Path(name).name
    paths = [f"{before}/{row}-{last}".removeprefix("./") for row in range(len(index.image_ids))]
    images = [encoded(row, size) for row in range(len(paths))]
    for path, image in zip(paths, images, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(image)
    sizes, sha256 = reading.fingerprints(images)
    index = replace(index, paths=paths, sizes=sizes, sha256=sha256)
    tables.write_index(data / "index.parquet", index)
    return index


def run(*arguments: str, exit_code: int = 0) -> Result:
    result = CliRunner().invoke(labels.main, arguments, catch_exceptions=False)
    assert result.exit_code == exit_code, result.output
    return result


def change_rule(path: Path, changes: dict[bytes, bytes]) -> None:
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({**table.schema.metadata, **changes}), path)
