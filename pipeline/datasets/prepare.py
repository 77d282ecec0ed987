"""From a source to the index and the truth: read, split, observe, check the pictures."""

import logging
from collections import Counter
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from pipeline import images
from pipeline.arrays import Targets
from pipeline.datasets import digits, table, voc2012
from pipeline.datasets.digits import DigitsParams
from pipeline.datasets.rows import Rows
from pipeline.datasets.table import TableParams
from pipeline.errors import InputError, some
from pipeline.observe import ObserveParams, observe, split_off_val
from pipeline.params import Params
from pipeline.tables import Index, Truth

log = logging.getLogger(__name__)


class PrepareParams(Params):
    """`prepare`: which pictures, how they are split, what the annotator saw."""

    source: Literal["digits", "table", "voc2012"]
    seed: int = Field(ge=0, lt=2**32)
    classes: Annotated[list[str], Field(min_length=2)] | None
    val_fraction: float = Field(gt=0, lt=1)
    val_labels: Literal["clean", "observed"]
    observe: ObserveParams
    verify_pictures: bool
    digits: DigitsParams
    table: TableParams


@dataclass(frozen=True)
class Prepared:
    """What the stage writes; `pictures` are the encoded ones that have no file."""

    index: Index
    truth: Truth
    pictures: list[bytes]


def prepare(params: PrepareParams) -> Prepared:
    """Read a source, split it, draw the observed labels, check that every picture decodes.

    Raises:
        InputError: the source is not as it should be; a split is empty; a picture is
            missing or cannot be decoded.
    """
    rows = _read_source(params)
    _check_classes(rows.classes, params.source)
    splits, targets = _split_and_observe(rows, params)
    # Sorted by image_id, every later file is in one order, and a reader can search it.
    order = np.array(sorted(range(len(rows.image_ids)), key=rows.image_ids.__getitem__))
    splits, targets, truth = splits[order], targets[order], rows.truth[order]
    image_ids = [rows.image_ids[row] for row in order]
    paths = [rows.paths[row] if rows.paths is not None else None for row in order]
    pictures = [rows.pictures[row] for row in order] if rows.pictures is not None else []
    if rows.pictures is None:
        sizes, sha256 = images.inspect(
            [path for path in paths if path is not None], verify=params.verify_pictures
        )
    else:
        sizes, sha256 = images.fingerprints(pictures)
    labels = (truth if params.val_labels == "clean" else targets == 1) & (splits == "val")[:, None]
    index = Index(rows.classes, image_ids, paths, splits, targets, labels, sizes, sha256)
    known = splits != "val"
    truth_ids = [name for name, keep in zip(image_ids, known, strict=True) if keep]
    _tell(index, truth)
    return Prepared(index, Truth(truth_ids, truth[known]), pictures)


def _read_source(params: PrepareParams) -> Rows:
    if params.source == "digits":
        if params.classes is not None:
            raise InputError("prepare.classes: should be null for digits, which has 0 to 9")
        return digits.read(params.digits, params.seed)
    wanted_by = f"prepare.source = {params.source!r}"
    if params.source == "table":
        root = images.root_of([params.table.file], wanted_by)
        return table.read(params.table, root, params.classes)
    return voc2012.read(images.data_root(wanted_by), params.classes)


def _check_classes(classes: tuple[str, ...], source: str) -> None:
    if len(classes) < 2:
        raise InputError(
            f"prepare.source = {source!r}: {len(classes)} classes found "
            f"({', '.join(classes) or 'none'}); multi-label learning needs at least 2"
        )
    twice = [name for name, count in Counter(classes).items() if count > 1]
    if twice:
        raise InputError(f"prepare.classes: {twice[0]!r} is named twice; should be there once")


def _split_and_observe(rows: Rows, params: PrepareParams) -> tuple[np.ndarray, Targets]:
    """Draw the observed labels of all that is not test, then split val off if there is none."""
    splits = np.array(rows.splits, dtype="<U5")
    targets = np.zeros(rows.truth.shape, dtype=np.int8)
    annotated = np.flatnonzero(splits != "test")
    targets[annotated] = observe(rows.truth[annotated], params.observe, params.seed)
    if not (splits == "val").any():
        _, val = split_off_val(len(annotated), params.val_fraction, params.seed)
        splits[annotated[val]] = "val"
    for split in ("train", "val", "test"):
        if not (splits == split).any():
            raise InputError(
                f"prepare.source = {params.source!r}: has no {split} pictures; train, val and "
                f"test need at least one each ({len(annotated)} pictures are not test; where the "
                f"source has no val, prepare.val_fraction = {params.val_fraction} splits it off)"
            )
    return splits, targets


def _tell(index: Index, truth: np.ndarray) -> None:
    """Log the counts, and what a user may not expect."""
    train = index.splits == "train"
    counts = ", ".join(f"{(index.splits == s).sum():,} {s}" for s in ("train", "val", "test"))
    log.info(
        "%s pictures, %d classes, %.2f positives a picture (train)",
        counts, len(index.classes), truth[train].sum(axis=1).mean(),
    )  # fmt: skip
    observed = (index.targets[train] == 1).sum(axis=0)
    if (observed == 0).any():
        names = [name for name, n in zip(index.classes, observed, strict=True) if n == 0]
        log.warning("%d classes have no observed positive: %s", len(names), some(names))
    unlabelled = int((~truth[train].any(axis=1)).sum())
    if unlabelled:
        log.warning("%s training pictures have no positive label", f"{unlabelled:,}")
