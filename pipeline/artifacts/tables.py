"""The tables that stages exchange, as typed objects, with their readers and writers."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.artifacts import answers, parquet
from pipeline.artifacts.answers import Answers
from pipeline.artifacts.parquet import check_values, from_vectors, to_lists, to_matrix, to_vectors
from pipeline.artifacts.rule import LabelRule, is_key
from pipeline.core.arrays import BoolMatrix, Probs, RowNumbers, Targets
from pipeline.core.errors import InputError

SPLITS = ("train", "val", "test")
# Metadata of scores that are means over an image and its mirror image.
FLIPPED = {"spml.flip": "true"}

# Holds the images without a file; lies beside the index.
# Metadata of the index and the truth. Corrections belong in the source of the data, so a change of
# their content, by any program, counts as damage.
DIGEST = "spml.digest"
IMAGES_FILE = "images.parquet"

# The column types of all tables; NUMBERS are class numbers.
STRING = pa.string()
NUMBERS = pa.list_(pa.int64())
FLOATS = pa.list_(pa.float32())
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

ValLabels = Literal["clean", "observed"]


@dataclass(frozen=True)
class Index:
    """The data before training: one entry per image, sorted by image_id (N in all).

    Attributes:
        classes: the C class names.
        image_ids: N unique names.
        paths: N posix paths, relative to the data root (absolute if the source gave an absolute
            path); None if the image is in images.parquet.
        splits: N of "train", "val", "test".
        targets: (N, C) int8, 1 observed positive, -1 observed negative, 0 unknown.
        labels: (N, C) bool, the labels that select the best epoch; False outside "val".
        sizes: N int64, bytes of each image's file; -1 if it was missing.
        sha256: N hex digests of each image's file; None if it was missing.
        val_labels: "clean" if `labels` are complete, "observed" if they are observed labels.
        images: images.parquet, which holds the images without a path. It lies beside the index
            and is ignored when two indices are compared.
    """

    classes: tuple[str, ...]
    image_ids: list[str]
    paths: list[str | None]
    splits: npt.NDArray[np.str_]
    targets: Targets
    labels: BoolMatrix
    sizes: npt.NDArray[np.int64]
    sha256: list[str | None]
    val_labels: ValLabels = "clean"
    images: Path = field(default=Path(IMAGES_FILE), compare=False)

    @property
    def complete_val_labels(self) -> BoolMatrix | None:
        """The labels of the val images, (N_val, C); None if some of them are unknown."""
        val = self.rows("val")
        if self.val_labels == "observed" and (self.targets[val] == 0).any():
            return None
        labels: BoolMatrix = self.labels[val]
        return labels

    def rows(self, split: str) -> RowNumbers:
        """Return the row numbers of a split, ascending."""
        return np.flatnonzero(self.splits == split)

    def ids(self, rows: RowNumbers) -> list[str]:
        """Return the image_ids of `rows`."""
        return [self.image_ids[row] for row in rows]

    def digest(self) -> str:
        """Return a digest of the images, their splits and labels, independent of their paths."""
        return _digest(
            self.classes, self.image_ids, self.splits.tolist(), self.sha256, self.targets,
            self.labels, self.val_labels,
        )  # fmt: skip


@dataclass(frozen=True)
class Truth:
    """The complete labels of the test images, and of the train images if they are known.

    Of the stages, only `evaluate` may read them.

    Attributes:
        image_ids: N unique names.
        labels: (N, C).
        about: other metadata, see `made_from`; the same in the other tables.
    """

    image_ids: list[str]
    labels: BoolMatrix
    about: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a digest of the images and their labels."""
        return _digest(self.image_ids, self.labels)

    def of(self, index: Index, split: str) -> BoolMatrix:
        """Return the labels of a split, in the order of the index's rows.

        Raises:
            InputError: the truth lacks an image of the split.
        """
        image_ids = index.ids(index.rows(split))
        labels, known = self.labels_of(image_ids)
        for row in np.flatnonzero(~known):
            raise InputError(
                f"truth.parquet: has no image_id {image_ids[row]!r}; run prepare again"
            )
        return labels

    def known_of(self, index: Index, split: str) -> tuple[BoolMatrix, npt.NDArray[np.bool_]]:
        """Return the labels of a split as far as they are known, in the order of `of`.

        Real data with only observed labels has no truth of its train images.

        Returns:
            (n, C) labels, False for unknown images; (n,) whether an image's labels are known.
        """
        return self.labels_of(index.ids(index.rows(split)))

    def labels_of(self, image_ids: list[str]) -> tuple[BoolMatrix, npt.NDArray[np.bool_]]:
        """Return the labels of n images as far as they are known.

        Returns:
            (n, C) labels, False for unknown images; (n,) whether an image's labels are known.
        """
        row_of = {name: row for row, name in enumerate(self.image_ids)}
        rows = np.array([row_of.get(name, -1) for name in image_ids], np.int64)
        known = rows >= 0
        labels = np.zeros((len(rows), self.labels.shape[1]), np.bool_)
        labels[known] = self.labels[rows[known]]
        return labels, known


@dataclass(frozen=True)
class Scores:
    """The teacher's probabilities for the images of a split.

    Attributes:
        probs: (N, C) float32.
    """

    image_ids: list[str]
    probs: Probs
    about: dict[str, str] = field(default_factory=dict)

    @property
    def flip(self) -> bool:
        """Whether each score is the mean over an image and its mirror image."""
        return FLIPPED.items() <= self.about.items()

    def digest(self) -> str:
        """Return a digest of the images and their scores."""
        return _digest(self.image_ids, self.probs)


@dataclass(frozen=True)
class PseudoLabels:
    """The labels that the student treats as complete, (N_train, C), sorted by image_id.

    Attributes:
        observed: the observed positives.
        labels: the student's positives.
        probs: the teacher's probabilities, NaN where `labels` is False.
        rule: the rule that made the labels; None if unknown.
        targets: float32 in 0..1, the probability of the class; None: the labels, 0 or 1.
        weights: float32 >= 0, the loss weight of each entry; None: all 1.
        answers: int8, what a person said about each entry (an `Answer`), which the labels follow;
            None: no corrections were given.
        about: metadata other than the rule.
    """

    image_ids: list[str]
    observed: BoolMatrix
    labels: BoolMatrix
    probs: Probs
    rule: LabelRule | None
    targets: npt.NDArray[np.float32] | None = None
    weights: npt.NDArray[np.float32] | None = None
    answers: Answers | None = None
    about: dict[str, str] = field(default_factory=dict)

    def digest(self) -> str:
        """Return a digest of the images, of the student's targets and of the answers."""
        given = () if self.answers is None else (self.answers,)
        return _digest(self.image_ids, self.student_targets(), *given)

    @property
    def added(self) -> BoolMatrix:
        """The positives beyond the observed ones, true or false."""
        added: BoolMatrix = self.labels & ~self.observed
        return added

    @property
    def ignored(self) -> BoolMatrix:
        """The entries of weight 0, which the student's loss ignores."""
        if self.weights is None:
            return np.zeros_like(self.labels)
        ignored: BoolMatrix = self.weights == 0
        return ignored

    @property
    def corrected(self) -> BoolMatrix:
        """The entries that a person answered."""
        if self.answers is None:
            return np.zeros_like(self.labels)
        corrected: BoolMatrix = self.answers != 0
        return corrected

    def student_targets(self) -> npt.NDArray[np.float32]:
        """Return the student's targets, (N_train, C); with weights (N_train, C, 2).

        With weights, the last axis holds target and weight.
        """
        targets = (self.labels if self.targets is None else self.targets).astype(np.float32)
        return targets if self.weights is None else np.stack([targets, self.weights], axis=-1)


def write_index(path: Path, index: Index) -> None:
    """Write index.parquet."""
    val = index.splits == "val"
    annotated = index.splits != "test"  # the test images have no observed labels
    columns = {
        "image_id": pa.array(index.image_ids, pa.string()),
        "path": pa.array(index.paths, pa.string()),
        "split": pa.array(index.splits.tolist(), pa.string()),
        "observed": to_lists(index.targets == 1, annotated),
        "observed_negatives": to_lists(index.targets == -1, annotated),
        "labels": to_lists(index.labels, val),
        "size": pa.array(index.sizes, pa.int64(), mask=index.sizes < 0),
        "sha256": pa.array(index.sha256, pa.string()),
    }
    about = {"spml.val_labels": index.val_labels, DIGEST: index.digest()}
    parquet.write(path, "index", columns, index.classes, about)


def write_truth(path: Path, truth: Truth, classes: tuple[str, ...]) -> None:
    """Write truth.parquet."""
    columns = {
        "image_id": pa.array(truth.image_ids, pa.string()),
        "labels": to_lists(truth.labels),
    }
    about = truth.about | {DIGEST: truth.digest()}
    parquet.write(path, "truth", columns, classes, about)


def write_images(
    path: Path, image_ids: list[str], images: list[bytes], names: list[str] | None = None
) -> None:
    """Write images.parquet: the encoded images that have no file.

    `names` are the file names that they would have; None: the image_ids.
    """
    image = pa.StructArray.from_arrays(
        [pa.array(images, pa.binary()), pa.array(names or image_ids, pa.string())],
        fields=[pa.field("bytes", pa.binary()), pa.field("path", pa.string())],
    )
    columns = {"image_id": pa.array(image_ids, pa.string()), "image": image}
    parquet.write(path, "images", columns, ())


def write_scores(path: Path, scores: Scores, classes: tuple[str, ...]) -> None:
    """Write scores.parquet or val_scores.parquet."""
    columns = {
        "image_id": pa.array(scores.image_ids, pa.string()),
        "probs": from_vectors(scores.probs),
    }
    parquet.write(path, "scores", columns, classes, scores.about)


def write_pseudo_labels(path: Path, pseudo: PseudoLabels, classes: tuple[str, ...]) -> None:
    """Write pseudo_labels.parquet.

    The first six columns are always there and hold the plain labels; further columns depend on
    the rule and on corrections.
    """
    labels = to_lists(pseudo.labels)
    names = pa.array(classes, pa.string()).take(labels.values)
    scores = pa.array(pseudo.probs[pseudo.labels], pa.float32())
    columns = {
        "image_id": pa.array(pseudo.image_ids, pa.string()),
        "observed": to_lists(pseudo.observed),
        "labels": labels,
        "label_names": pa.ListArray.from_arrays(labels.offsets, names),
        "scores": pa.ListArray.from_arrays(labels.offsets, scores),
        "n_added": pa.array(pseudo.added.sum(axis=1), pa.int64()),
    }
    if pseudo.targets is not None:
        columns["targets"] = from_vectors(pseudo.targets)
    if pseudo.weights is not None:
        banded = pseudo.rule is not None and pseudo.rule.rule == "band"
        zero_or_one = pseudo.rule is not None and pseudo.rule.weights == "none"
        if banded or zero_or_one:
            columns["ignored"] = to_lists(pseudo.ignored)
        if not zero_or_one:
            columns["weights"] = from_vectors(pseudo.weights)
    if pseudo.answers is not None:
        columns |= answers.to_columns(pseudo.answers)
    rule = {} if pseudo.rule is None else pseudo.rule.to_metadata()
    parquet.write(path, "pseudo_labels", columns, classes, rule | pseudo.about)


def read_index(path: Path, needed: tuple[str, ...] = SPLITS) -> Index:
    """Read index.parquet.

    Args:
        path: the file.
        needed: the splits that must have images.

    Raises:
        InputError: the file is missing or damaged, is not an index, has an unknown split,
            lacks images in a needed split, or was changed since it was written.
    """
    columns = {
        "image_id": STRING, "path": STRING, "split": STRING, "observed": NUMBERS,
        "observed_negatives": NUMBERS, "labels": NUMBERS, "size": pa.int64(), "sha256": STRING,
    }  # fmt: skip
    table, classes = parquet.read(path, "index", columns)
    n_classes = len(classes)
    val_labels = table.schema.metadata.get(b"spml.val_labels", b"").decode(errors="replace")
    if val_labels not in get_args(ValLabels):
        raise InputError(
            f"{path}: metadata 'spml.val_labels' = {val_labels!r}: should be clean or observed; "
            f"run the stage prepare again"
        )
    observed = to_matrix(path, table["observed"], n_classes)
    negatives = to_matrix(path, table["observed_negatives"], n_classes)
    index = Index(
        classes=classes,
        image_ids=parquet.image_ids(path, table),
        paths=table["path"].to_pylist(),
        splits=_splits(path, table, needed),
        targets=observed.astype(np.int8) - negatives.astype(np.int8),
        labels=to_matrix(path, table["labels"], n_classes),
        sizes=pc.fill_null(table["size"], -1).to_numpy(),
        sha256=table["sha256"].to_pylist(),
        val_labels=cast("ValLabels", val_labels),
        images=path.with_name(IMAGES_FILE),
    )
    written = table.schema.metadata.get(DIGEST.encode(), b"").decode(errors="replace")
    _check_unchanged(path, written, index.digest())
    return index


def _splits(path: Path, table: pa.Table, needed: tuple[str, ...]) -> npt.NDArray[np.str_]:
    """Return the split of each image of an index."""
    splits = table["split"].to_pylist()
    for row in (row for row, split in enumerate(splits) if split not in SPLITS):
        raise InputError(
            f"{path}: image_id {table['image_id'][row].as_py()!r}: split {splits[row]!r}: should "
            f"be one of {', '.join(SPLITS)}"
        )
    for split in needed:
        if split not in splits:
            raise InputError(f"{path}: has no {split} images; should have at least one")
    return np.array(splits, dtype=np.str_)


def read_truth(path: Path, expected: tuple[str, ...] | None = None) -> Truth:
    """Read truth.parquet.

    Args:
        path: the file.
        expected: the classes that it must have; None accepts any. The same in other readers.

    Raises:
        InputError: the file is missing or damaged, is not a truth table, has other classes, or
            was changed since it was written.
    """
    table, classes = parquet.read(path, "truth", {"image_id": STRING, "labels": NUMBERS})
    parquet.check_same_classes(path, classes, expected)
    image_ids = parquet.image_ids(path, table)
    parquet.check_known(path, table, "labels")
    labels = to_matrix(path, table["labels"], len(classes))
    about = parquet.about(path, table)
    written = about.pop(DIGEST, "")
    truth = Truth(image_ids, labels, about)
    _check_unchanged(path, written, truth.digest())
    return truth


def _check_unchanged(path: Path, written: str, digest: str) -> None:
    """Refuse an index or a truth that another program has changed; "" if no digest was written.

    Raises:
        InputError: the digest of the content is not the one that was written.
    """
    if written not in ("", digest):
        raise InputError(
            f"{path}: its rows are not those that prepare wrote; change the source of the data, "
            f"and run prepare again"
        )


def read_images(path: Path, image_ids: list[str]) -> list[bytes]:
    """Read the encoded images of some image_ids from images.parquet, in their order.

    Raises:
        InputError: the file or one of the images is missing.
    """
    table, _ = parquet.read(path, "images", {"image_id": STRING, "image": IMAGE})
    row_of = {name: row for row, name in enumerate(parquet.image_ids(path, table))}
    absent = [name for name in image_ids if name not in row_of]
    if absent:
        raise InputError(f"{path}: has no image {absent[0]!r}; run prepare again")
    rows = pa.array([row_of[name] for name in image_ids], pa.int64())
    encoded: list[bytes] = pc.struct_field(table["image"].take(rows), "bytes").to_pylist()
    return encoded


def read_scores(path: Path, expected: tuple[str, ...] | None = None) -> Scores:
    """Read scores.parquet or val_scores.parquet.

    Raises:
        InputError: the file is missing, is not a table of scores, has other classes, or has a
            score outside 0 to 1.
    """
    table, classes = parquet.read(path, "scores", {"image_id": STRING, "probs": FLOATS})
    parquet.check_same_classes(path, classes, expected)
    image_ids = parquet.image_ids(path, table)
    probs = _probabilities(path, table, "probs", classes)
    return Scores(image_ids, probs, parquet.about(path, table))


def _probabilities(path: Path, table: pa.Table, name: str, classes: tuple[str, ...]) -> Probs:
    probs = to_vectors(path, table, name, classes)
    right = (probs >= 0) & (probs <= 1)  # False for NaN, too
    check_values(path, table, classes, probs, right, "a probability, from 0 to 1")
    return probs


def read_pseudo_labels(path: Path, expected: tuple[str, ...] | None = None) -> PseudoLabels:
    """Read pseudo_labels.parquet.

    Raises:
        InputError: the file is missing, is not a table of pseudo-labels, has other classes, or
            has invalid targets, weights or settings of its rule.
    """
    columns = {"image_id": STRING, "observed": NUMBERS, "labels": NUMBERS, "scores": FLOATS}
    optional = {"ignored": NUMBERS, "targets": FLOATS, "weights": FLOATS}
    optional |= dict.fromkeys(answers.COLUMNS, NUMBERS)
    table, classes = parquet.read(path, "pseudo_labels", columns, optional)
    parquet.check_same_classes(path, classes, expected)
    image_ids = parquet.image_ids(path, table)
    parquet.check_known(path, table, "observed")
    parquet.check_known(path, table, "labels")
    labels = to_matrix(path, table["labels"], len(classes))
    scores = pc.list_flatten(table["scores"]).to_numpy()
    if len(scores) != labels.sum():
        raise InputError(
            f"{path}: has {len(scores)} scores for {labels.sum()} different labels; should have "
            f"one for each"
        )
    lengths = [pc.fill_null(pc.list_value_length(table[name]), 0) for name in ("labels", "scores")]
    for row in np.flatnonzero(lengths[0].to_numpy() != lengths[1].to_numpy()):
        raise InputError(
            f"{path}: image_id {image_ids[row]!r}: has {lengths[1][row]} scores for "
            f"{lengths[0][row]} labels; should have one for each"
        )
    probs = np.full(labels.shape, np.nan, dtype=np.float32)
    # In a file that was corrected by hand the labels may be unsorted.
    rows = np.repeat(np.arange(len(labels)), lengths[0].to_numpy())
    probs[rows, pc.list_flatten(table["labels"]).to_numpy()] = scores
    targets = None
    if "targets" in table.column_names:
        targets = _probabilities(path, table, "targets", classes)
    about = parquet.about(path, table)
    return PseudoLabels(
        image_ids=image_ids,
        observed=to_matrix(path, table["observed"], len(classes)),
        labels=labels,
        probs=probs,
        rule=LabelRule.from_metadata(path, about),
        targets=targets,
        weights=_weights(path, table, classes),
        answers=answers.from_columns(path, table, classes),
        about={key: value for key, value in about.items() if not is_key(key)},
    )


def _weights(
    path: Path, table: pa.Table, classes: tuple[str, ...]
) -> npt.NDArray[np.float32] | None:
    """Return the weights from the columns of pseudo_labels.parquet; None: all 1."""
    weights = None
    if "weights" in table.column_names:
        weights = to_vectors(path, table, "weights", classes)
        right = (weights >= 0) & np.isfinite(weights)
        check_values(path, table, classes, weights, right, "a weight, 0 or more")
    if "ignored" in table.column_names:
        used = ~to_matrix(path, table["ignored"], len(classes))
        weights = used.astype(np.float32) if weights is None else np.where(used, weights, 0)
    return weights


def check_same_images(path: Path, found: list[str], expected: list[str]) -> None:
    """Check that a table has exactly the expected images, in their order.

    Raises:
        InputError: it has others, or another order.
    """
    if found != expected:
        raise InputError(
            f"{path}: its {len(found)} image_ids are not the {len(expected)} of the index; "
            f"it was made for other data: run `dvc repro`"
        )


# --- provenance ------------------------------------------------------------------------


def made_from(**digests: str) -> dict[str, str]:
    """Return the metadata that record a file's sources: a digest by name, as index="...".

    The digests are of the content, not of the file: rewriting a file in another program without
    a change keeps its digest.
    """
    return {f"spml.made_from.{name}": digest for name, digest in digests.items()}


def check_made_from(path: Path, about: Mapping[str, str], **digests: str) -> None:
    """Check that a file was made from the current sources; a source that it omits passes.

    Args:
        path: the file.
        about: its metadata.
        digests: of the current sources, by name, as for `made_from`.

    Raises:
        InputError: it was made from another source.
    """
    for key, digest in made_from(**digests).items():
        if about.get(key, digest) != digest:
            source = key.rpartition(".")[2].replace("_", " ")
            raise InputError(
                f"{path}: was made with another {source} than the current one: run `dvc repro`, "
                f"or, to keep changes by hand, the stages after the changed file"
            )


def _digest(*parts: object) -> str:
    """Return a digest of arrays, and of lists that JSON can write."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str} {part.shape}\n".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(json.dumps(part).encode() + b"\n")
    return digest.hexdigest()
