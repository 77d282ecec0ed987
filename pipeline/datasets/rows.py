"""What every source returns."""

from dataclasses import dataclass

from pipeline.arrays import BoolMatrix


@dataclass(frozen=True)
class Rows:
    """The pictures of a source with their complete labels, in the source's own order.

    The order matters: splits and observed labels are drawn along it.

    Attributes:
        classes: the C class names.
        image_ids: N unique names.
        splits: N of "train", "val", "test". Without any "val", one is split off "train".
        truth: (N, C) bool, the complete labels.
        paths: N posix paths, relative to the data root or absolute; None for pictures
            that have no file.
        pictures: the encoded pictures (PNG) where `paths` is None.
    """

    classes: tuple[str, ...]
    image_ids: list[str]
    splits: list[str]
    truth: BoolMatrix
    paths: list[str] | None
    pictures: list[bytes] | None = None
