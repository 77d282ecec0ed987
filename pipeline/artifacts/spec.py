"""The metadata of a model file: the model's description, and a digest against damage.

The metadata of a safetensors file map names to texts. We use a single JSON text, since
safetensors writes several in random order, and equal models should give equal files.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from pipeline.artifacts import parquet
from pipeline.artifacts.cross_fitting import Fold
from pipeline.artifacts.decisions import Decisions
from pipeline.artifacts.run import Role
from pipeline.core.errors import InputError, one_line

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
RGB = tuple[float, float, float]
Positive = Annotated[float, Field(gt=0)]

KEY = "spml.spec"


@dataclass(frozen=True)
class Resize:
    """How an upright 8-bit image becomes the model's input; `reading.squeezed` does it.

    Attributes:
        mode: both sides become input_size pixels; the aspect ratio is not kept, nothing is cut.
        interpolation: Pillow's, which averages over all pixels where it shrinks.
        channels: their order. Values are divided by 255.
    """

    mode: Literal["squash"] = "squash"
    interpolation: Literal["bilinear"] = "bilinear"
    channels: Literal["RGB"] = "RGB"


@dataclass(frozen=True)
class Spec:
    """The description of a model in its file, besides the weights.

    Attributes:
        backbone: its name, see `backbones`.
        classes: the C class names.
        input_size: side of its input images, in pixels.
        mean: mean of the three channels of images in 0..1; subtracted first.
        std: standard deviation of the same; divided by second.
        boost_lu: the factor of `boost.boosted`, or None for a plain head.
        held_out: the fold of training images that were held out of its training, or None.
        frozen_backbone: whether only the head was trained, so that the backbone's features are
            cached, see `features.load`.
        role: teacher or student; None if unknown.
        made_from: digests of its training data, see `tables.made_from`.
        resize: how images are resized. Earlier models do not say it; it was always the same.
        decisions: thresholds and calibration chosen on val; None if its labels are not complete
            or none is positive, and in earlier models.
    """

    __pydantic_config__ = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    backbone: str
    classes: tuple[str, ...]
    input_size: Annotated[int, Field(ge=8, le=2048)]
    mean: RGB
    std: tuple[Positive, Positive, Positive]
    boost_lu: Annotated[float, Field(ge=1)] | None = None
    held_out: Fold | None = None
    frozen_backbone: bool = False
    role: Role | None = None
    made_from: dict[str, str] = field(default_factory=dict)
    resize: Resize = Resize()
    decisions: Decisions | None = None

    def __post_init__(self) -> None:
        """Check that the decisions are for as many classes."""
        if self.decisions and len(self.decisions.thresholds) != len(self.classes):
            raise ValueError(f"decisions should have {len(self.classes)} values, one per class")


_SPEC = TypeAdapter(Spec)


def describe(spec: Spec, state: State) -> dict[str, str]:
    """Return the metadata of a model file: the spec, and a digest of it and of the weights."""
    # Fields with their default values are left out.
    plain = Spec(spec.backbone, spec.classes, spec.input_size, spec.mean, spec.std)
    omitted = {
        key
        for key in ("held_out", "frozen_backbone", "role", "made_from", "decisions")
        if getattr(spec, key) == getattr(plain, key)
    }
    described = {key: value for key, value in asdict(spec).items() if key not in omitted}
    described = {"schema_version": parquet.SCHEMA_VERSION, **described}
    described["digest"] = _digest(described, state)
    return {KEY: json.dumps(described, ensure_ascii=False)}


def read(path: Path, metadata: Mapping[str, str], state: State) -> Spec:
    """Check a model file's metadata, and its weights by the digest; return the description.

    A file from another program or an earlier version has no digest.

    Raises:
        InputError: the file was damaged or changed, or its metadata describe no model.
    """
    described = _parse(path, metadata)
    digest = described.pop("digest", None)
    if digest is not None and digest != _digest(described, state):
        raise InputError(
            f"{path}: is damaged: its weights or metadata are not those that were written; "
            f"run the stage that trains it again"
        )
    return _checked(path, metadata, described)


def digest(path: Path, metadata: Mapping[str, str]) -> str | None:
    """Return the digest in a model file's metadata; None if there is none.

    Raises:
        InputError: its metadata describe no model.
    """
    described = _parse(path, metadata)
    digest = described.pop("digest", None)
    _checked(path, metadata, described)
    return None if digest is None else str(digest)


def _checked(path: Path, metadata: Mapping[str, str], described: dict[str, Any]) -> Spec:
    described = {key: value for key, value in described.items() if key != "schema_version"}
    try:
        return _SPEC.validate_json(json.dumps(described))
    except ValidationError as error:
        first = error.errors()[0]
        key = one_line(".".join(str(part) for part in first["loc"]))
        message = one_line(first["msg"])
        raise InputError(
            f"{path}: metadata {KEY!r} = {metadata[KEY][:80]!r}: {key or 'all'}: {message}; should "
            f"describe a model, as the stage that trains it writes it"
        ) from None


def _parse(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    try:
        described = json.loads(metadata[KEY])
    except (ValueError, RecursionError):
        described = None
    if not isinstance(described, dict):
        raise InputError(
            f"{path}: metadata {KEY!r} = {metadata[KEY][:80]!r}: should describe a model, as the "
            f"stage that trains it writes it"
        )
    return described


def _digest(described: dict[str, Any], state: State) -> str:
    """Return a digest of a spec and of names, types, shapes and bytes of the weights."""
    import torch  # here, so that commands that read no model start fast

    found = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        found.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        found.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()
