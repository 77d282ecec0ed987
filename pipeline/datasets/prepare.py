"""Make the index and the truth of a source: read, split, draw observed labels, check images."""

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, get_args

import numpy as np
from pydantic import Field

from pipeline.artifacts.tables import Index, Truth, ValLabels, made_from
from pipeline.core import places
from pipeline.core.arrays import RowNumbers, Targets
from pipeline.core.errors import InputError, some
from pipeline.core.params import Params, Values
from pipeline.datasets import (
    coco2014,
    coco_json,
    coloured_digits,
    cub,
    digits,
    long_table,
    nuswide,
    saved_dataset,
    table,
    voc2012,
)
from pipeline.datasets.coco_json import CocoJsonParams
from pipeline.datasets.digits import DigitsParams
from pipeline.datasets.long_table import LongTableParams
from pipeline.datasets.observe import (
    BIASED,
    ObserveParams,
    observe,
    split_off_val,
    weights_of_classes,
)
from pipeline.datasets.rows import Rows
from pipeline.datasets.saved_dataset import SavedDatasetParams
from pipeline.datasets.table import TableParams
from pipeline.images import reading

log = logging.getLogger(__name__)

# The sources that compose their images and need no data root.
EMBEDDED = ("digits", "coloured_digits")
# The sources that can hold observed labels, and those whose objects can have boxes.
WITH_OBSERVED = ("table", "saved_dataset", "long_table")
WITH_BOXES = ("coco_json", "voc2012", "coco2014")
# The readers of the benchmarks that need the data root alone.
BENCHMARKS: dict[str, Callable[[Path, list[str] | None], Rows]] = {
    "coco2014": coco2014.read,
    "nuswide": nuswide.read,
    "cub": cub.read,
}


class PrepareParams(Params):
    """`prepare`: the source of the images, the split, the observed labels."""

    source: Literal[
        "digits",
        "coloured_digits",
        "table",
        "coco_json",
        "saved_dataset",
        "long_table",
        "voc2012",
        "coco2014",
        "nuswide",
        "cub",
    ]
    seed: int = Field(ge=0, lt=2**32)
    classes: Annotated[list[str], Field(min_length=2)] | None
    val_fraction: float = Field(gt=0, lt=1)
    val_labels: ValLabels
    observe: ObserveParams
    verify_images: bool
    digits: DigitsParams
    coloured_digits: DigitsParams
    table: TableParams
    coco_json: CocoJsonParams
    saved_dataset: SavedDatasetParams
    long_table: LongTableParams

    @classmethod
    def unused(cls, values: Values) -> set[str]:
        """Return the sections of other sources."""
        sources = get_args(cls.model_fields["source"].annotation)
        return {name for name in sources if name in cls.model_fields} - {str(values.get("source"))}


@dataclass(frozen=True)
class Prepared:
    """The result of `prepare`.

    Attributes:
        index: all images.
        truth: the known complete labels of the train and test images.
        images: the encoded images without a file.
        names: a file name for each of `images`.
    """

    index: Index
    truth: Truth
    images: list[bytes]
    names: list[str]


def prepare(params: PrepareParams) -> Prepared:
    """Read a source, split it, draw the observed labels, check that every image decodes.

    Raises:
        InputError: the source is invalid; a split is empty; an image cannot be decoded or is
            missing (without `verify_images` a missing image is a warning).
    """
    rows = read_source(params)
    _check_classes(rows.classes, params.source)
    splits, targets = _split_and_observe(rows, params)
    # Sort by image_id: every later file has this order, and readers can search it.
    order = np.array(sorted(range(len(rows.image_ids)), key=rows.image_ids.__getitem__))
    splits, targets, truth = splits[order], targets[order], rows.truth[order]
    image_ids = [rows.image_ids[row] for row in order]
    paths = [rows.paths[row] if rows.paths is not None else None for row in order]
    images = [rows.images[row] for row in order] if rows.images is not None else []
    known = np.ones(len(order), np.bool_) if rows.known is None else rows.known[order]
    if rows.images is None:
        sizes, sha256 = reading.inspect(
            [path for path in paths if path is not None], verify=params.verify_images
        )
    else:
        if params.verify_images and params.source not in EMBEDDED:  # these were just made
            reading.verify(image_ids, images, params.source)
        sizes, sha256 = reading.fingerprints(images)
    labels = (truth if params.val_labels == "clean" else targets == 1) & (splits == "val")[:, None]
    index = Index(
        rows.classes, image_ids, paths, splits, targets, labels, sizes, sha256, params.val_labels
    )
    in_truth = known & (splits != "val")
    truth_ids = [name for name, keep in zip(image_ids, in_truth, strict=True) if keep]
    _log_counts(index, truth, known)
    names = [
        reading.file_name(name, encoded)
        for name, encoded in zip(image_ids, images, strict=False)  # `images` may be empty
    ]
    about = made_from(index=index.digest())
    return Prepared(index, Truth(truth_ids, truth[in_truth], about), images, names)


def root_of_source(params: PrepareParams) -> Path:
    """Return the folder that the paths of the source are relative to.

    Raises:
        InputError: the source needs the data root, and it is not set or not a folder.
    """
    wanted_by = f"prepare.source = {params.source!r}"
    own: dict[str, list[str | None]] = {
        "table": [params.table.file],
        "coco_json": [params.coco_json.train, params.coco_json.val, params.coco_json.test],
        "saved_dataset": [params.saved_dataset.folder],
        "long_table": [
            params.long_table.train, params.long_table.val, params.long_table.test,
            params.long_table.classes,
        ],
    }  # fmt: skip
    if params.source in own:
        named = [file for file in own[params.source] if file is not None]
        return places.root_of(named, wanted_by)
    return places.data_root(wanted_by)


def read_source(params: PrepareParams) -> Rows:
    """Read the images and labels of the source.

    Raises:
        InputError: the source is invalid.
    """
    given = params.observe.process == "given"
    if given and params.source not in WITH_OBSERVED:
        raise InputError(
            f"prepare.observe.process = 'given': {params.source} has no observed labels; should "
            f"be another process, or prepare.source {' or '.join(WITH_OBSERVED)}"
        )
    if params.source == "long_table" and not given:
        raise InputError(
            f"prepare.observe.process = {params.observe.process!r}: draws from complete labels, "
            f"which long_table does not give; should be given"
        )
    if params.source in EMBEDDED:
        return _compose(params)
    root = root_of_source(params)
    if params.source in BENCHMARKS:
        return BENCHMARKS[params.source](root, params.classes)
    if params.source == "voc2012":
        # The boxes are thousands of small files, so they are read only when needed.
        with_boxes = params.observe.process in ("size", "location")
        return voc2012.read(root, params.classes, with_boxes)
    return _read_own(params, root, given)


def _read_own(params: PrepareParams, root: Path, given: bool) -> Rows:
    """Read the user's own data, in one of its forms."""
    if params.source == "table":
        return table.read(params.table, root, params.classes, given)
    if params.source == "coco_json":
        return coco_json.read(params.coco_json, root, params.classes)
    if params.source == "saved_dataset":
        return saved_dataset.read(params.saved_dataset, root, params.classes, given)
    return long_table.read(params.long_table, root, params.classes)


def _compose(params: PrepareParams) -> Rows:
    """Compose the scenes of an embedded source."""
    if params.classes is not None:
        raise InputError(f"prepare.classes: should be null for {params.source}")
    if params.source == "digits":
        return digits.read(params.digits, params.seed)
    return coloured_digits.read(params.coloured_digits, params.seed)


def _check_classes(classes: tuple[str, ...], source: str) -> None:
    if len(classes) < 2:
        raise InputError(
            f"prepare.source = {source!r}: {len(classes)} classes found "
            f"({', '.join(classes) or 'none'}); multi-label learning needs at least 2"
        )
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise InputError(f"prepare.classes: {twice[0]!r} appears twice; should appear once")


def _split_and_observe(rows: Rows, params: PrepareParams) -> tuple[np.ndarray, Targets]:
    """Draw the observed labels of all images except test, then split val off if there is none."""
    splits = np.array(rows.splits, dtype="<U5")
    targets = np.zeros(rows.truth.shape, dtype=np.int8)
    annotated = np.flatnonzero(splits != "test")
    targets[annotated] = _observed(rows, annotated, params)
    if not (splits == "val").any():
        _, val = split_off_val(len(annotated), params.val_fraction, params.seed)
        splits[annotated[val]] = "val"
    for split in ("train", "val", "test"):
        if not (splits == split).any():
            raise InputError(
                f"prepare.source = {params.source!r}: has no {split} images; train, val and "
                f"test need at least one each ({len(annotated)} images are not test; where the "
                f"source has no val, prepare.val_fraction = {params.val_fraction} splits it off)"
            )
    _check_known(rows, splits, params)
    return splits, targets


def _observed(rows: Rows, annotated: RowNumbers, params: PrepareParams) -> Targets:
    """Return the observed labels of the annotated rows."""
    process, truth = params.observe.process, rows.truth[annotated]
    seed = params.seed if params.observe.seed is None else params.observe.seed
    if process == "given":
        assert rows.targets is not None
        return rows.targets[annotated]
    if process not in BIASED:
        return observe(truth, params.observe, seed)
    if params.observe.class_weights is not None:
        of_classes = weights_of_classes(params.observe.class_weights, rows.classes)
        weights = np.broadcast_to(of_classes, truth.shape)
        return observe(truth, params.observe, seed, weights)
    found = (rows.weights or {}).get(process)
    if found is None:
        needed = "a box or area" if process == "size" else "a box, and images with width, height"
        raise InputError(
            f"prepare.observe.process = {process!r}: needs objects with {needed}, which "
            f"{params.source} does not give here; should be another process, or prepare.source "
            f"{' or '.join(WITH_BOXES)} with boxes"
        )
    return observe(truth, params.observe, seed, found[annotated])


def _check_known(rows: Rows, splits: np.ndarray, params: PrepareParams) -> None:
    """Refuse unknown complete labels of test images, and of val images if val_labels is clean."""
    if rows.known is None:
        return
    for split in ("test", "val") if params.val_labels == "clean" else ("test",):
        of_split = splits == split
        lacking = [rows.image_ids[row] for row in np.flatnonzero(of_split & ~rows.known)]
        if lacking:
            key = "prepare.source" if split == "test" else "prepare.val_labels"
            value = params.source if split == "test" else params.val_labels
            raise InputError(
                f"{key} = {value!r}: {len(lacking)} of the {of_split.sum()} {split} images have "
                f"no complete labels: {some(lacking)}; should have"
                f"{'' if split == 'test' else ', or be observed'} (null, or an empty field in "
                f"CSV, means unknown; [] means no labels)"
            )


def _log_counts(index: Index, truth: np.ndarray, known: np.ndarray) -> None:
    """Log the counts; warn of classes and training images without positives."""
    train = index.splits == "train"
    counts = ", ".join(f"{(index.splits == s).sum():,} {s}" for s in ("train", "val", "test"))
    unknown = int((train & ~known).sum())
    if unknown:
        log.info(
            "%s images, %d classes, %.2f observed positives an image (train); the complete "
            "labels of %s training images are unknown",
            counts, len(index.classes), (index.targets[train] == 1).sum(axis=1).mean(),
            f"{unknown:,}",
        )  # fmt: skip
    else:
        log.info(
            "%s images, %d classes, %.2f positives an image (train)",
            counts, len(index.classes), truth[train].sum(axis=1).mean(),
        )  # fmt: skip
    observed = (index.targets[train] == 1).sum(axis=0)
    if (observed == 0).any():
        names = [name for name, n in zip(index.classes, observed, strict=True) if n == 0]
        log.warning("%d classes have no observed positive: %s", len(names), some(names))
    unlabelled = int((~truth[train & known].any(axis=1)).sum())
    if unlabelled:
        log.warning("%s training images have no positive label", f"{unlabelled:,}")
