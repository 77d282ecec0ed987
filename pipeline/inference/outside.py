"""Scores of another model, from a user's table: checked, and turned into probabilities.

No torch, so that the scores of any model can be read without one.
"""

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import Field
from scipy.special import expit, softmax

from pipeline.artifacts.tables import SPLITS, Index, Scores, made_from
from pipeline.core import frames, hashes, places
from pipeline.core.arrays import Probs
from pipeline.core.errors import InputError, excerpt, some
from pipeline.core.params import Params, Values

Scale = Literal["probability", "logit", "softmax"]
FILE, IMAGE_ID = "score.outside.file", "image_id"


class OutsideParams(Params):
    """`score.outside`: a table of another model's scores.

    Attributes:
        file: .csv or .parquet, absolute or relative to the data root; None: there is none.
        scale: what its values v are. "probability": from 0 to 1. "logit": sigmoid(v / t) is the
            probability. "softmax": the softmax of v / t over the classes is.
        temperature: t.
        weight: the share of these scores in the mean with the teacher's; without a teacher these
            scores are alone.
    """

    file: str | None
    scale: Scale
    temperature: float = Field(gt=0)
    weight: float = Field(ge=0, le=1)

    @classmethod
    def unused(cls, values: Values) -> set[str]:
        """Return all other settings without a file, and the temperature of probabilities."""
        if values.get("file") is None:
            return {"scale", "temperature", "weight"}
        return {"temperature"} if values.get("scale") == "probability" else set()


def path_of(file: str) -> Path:
    """Return the path of `score.outside.file`.

    Raises:
        InputError: the data root is needed and is not set, or is no folder.
    """
    return places.root_of([file], FILE) / file


def read(params: OutsideParams, index: Index) -> dict[str, Scores]:
    """Read the table: a row per image, with its image_id and a column for each class.

    Rows and columns may have any order. The images of train and val are needed; those of test
    may be missing, all of them.

    Args:
        params: the table; its file is not None.
        index: the index.

    Returns:
        The probabilities of each split, in the order of the index; those of "test" have no row
        if the table has none. Their metadata hold the digest of the file.

    Raises:
        InputError: the file cannot be read; a class, an image of train or val, or some images of
            test are missing; there is another column, or an image that the index lacks or that is
            there twice; a value is no number, or no probability.
    """
    assert params.file is not None
    path = path_of(params.file)
    frame = frames.read(path, FILE)
    _check_columns(path, [str(name) for name in frame.columns], index.classes)
    image_ids = _image_ids(path, frame, index)
    values = _numbers(path, image_ids, frame, index.classes)
    probs = _probabilities(path, params, image_ids, values, index.classes)
    about = made_from(index=index.digest(), outside=hashes.of_file(path))
    row_of = {name: row for row, name in enumerate(image_ids)}
    found = {}
    for split in SPLITS:
        names = [name for name in index.ids(index.rows(split)) if name in row_of]
        found[split] = Scores(names, probs[[row_of[name] for name in names]], about)
    return found


def mean(teacher: Probs, outside: Probs, weight: float) -> Probs:
    """Return the mean of two models' probabilities, (N, C); `weight` is the share of `outside`."""
    return ((1 - weight) * teacher.astype(np.float64) + weight * outside).astype(np.float32)


def _check_columns(path: Path, found: list[str], classes: tuple[str, ...]) -> None:
    """Refuse missing, unknown and doubled columns."""
    twice = [name for name, count in Counter(found).items() if count > 1]
    missing = [name for name in (IMAGE_ID, *classes) if name not in found]
    extra = [name for name in found if name not in (IMAGE_ID, *classes)]
    wanted = f"should have {IMAGE_ID} and one column for each of the {len(classes)} classes"
    if twice:
        raise InputError(f"{path}: has two columns {twice[0]!r}; {wanted}")
    if missing or extra:
        problems = [f"lacks {some(missing, 5)}"] if missing else []
        problems += [f"has {some(extra, 5)} besides"] if extra else []
        raise InputError(f"{path}: its columns: {' and '.join(problems)}; {wanted}")


def _image_ids(path: Path, frame: pd.DataFrame, index: Index) -> list[str]:
    """Return the names of the images; refuse missing, unknown and doubled ones."""
    image_ids: list[str] = frame[IMAGE_ID].tolist()
    for row, name in enumerate(image_ids):
        if not isinstance(name, str):
            raise InputError(f"{path}: row {row + 1}: image_id = {excerpt(name)}: should be a text")
    twice = [name for name, count in Counter(image_ids).items() if count > 1]
    if twice:
        raise InputError(f"{path}: image_id {twice[0]!r} is there twice; should be once")
    there, known = set(image_ids), set(index.image_ids)
    unknown = [name for name in image_ids if name not in known]
    if unknown:
        raise InputError(
            f"{path}: {len(unknown)} of its {len(image_ids)} images are not in the index: "
            f"{some(unknown, 3)}; should be image_ids of data/index.parquet"
        )
    for split in SPLITS:
        expected = index.ids(index.rows(split))
        missing = [name for name in expected if name not in there]
        if missing and not (split == "test" and len(missing) == len(expected)):
            raise InputError(
                f"{path}: lacks {len(missing)} of the {len(expected)} {split} images: "
                f"{some(missing, 3)}; should have all{' or none' if split == 'test' else ''}"
            )
    return image_ids


def _numbers(
    path: Path, image_ids: list[str], frame: pd.DataFrame, classes: tuple[str, ...]
) -> npt.NDArray[np.float64]:
    """Return the values, (N, C); refuse one that is no finite number."""
    values = np.empty((len(frame), len(classes)))
    for column, name in enumerate(classes):
        cells = frame[name]
        try:
            values[:, column] = np.asarray(cells, np.float64)
        except (TypeError, ValueError):  # find the first one
            values[:, column] = pd.to_numeric(cells, errors="coerce")
    for row, column in np.argwhere(~np.isfinite(values)):
        raise InputError(
            f"{path}: image_id {image_ids[row]!r}, class {classes[column]!r}: "
            f"{excerpt(frame[classes[column]].iloc[row])}: should be a number"
        )
    return values


def _probabilities(
    path: Path,
    params: OutsideParams,
    image_ids: list[str],
    values: npt.NDArray[np.float64],
    classes: tuple[str, ...],
) -> Probs:
    """Return the probabilities, (N, C), of values on the declared scale."""
    if params.scale == "probability":
        for row, column in np.argwhere((values < 0) | (values > 1)):
            raise InputError(
                f"{path}: image_id {image_ids[row]!r}, class {classes[column]!r}: "
                f"{values[row, column]}: should be a probability, from 0 to 1; for other scores "
                f"set score.outside.scale to logit or softmax"
            )
        return values.astype(np.float32)
    with np.errstate(over="ignore"):
        logits = values / params.temperature
    if not np.isfinite(logits).all():
        raise InputError(
            f"score.outside.temperature = {params.temperature}: is too small for the values of "
            f"{path}; should be larger"
        )
    probs = expit(logits) if params.scale == "logit" else softmax(logits, axis=1)
    found: Probs = probs.astype(np.float32)
    return found
