"""Weights that params name as a file: which names mean one, and where it lies. No torch here."""

from pathlib import Path

from pipeline import images

SUFFIXES = (".safetensors", ".pth", ".pt")


def path_of(weights: str | None, section: str) -> Path | None:
    """Return the file that `model.weights` names; None where it names none.

    Args:
        weights: a file, absolute or relative to the data root; a name of torchvision's; or None.
        section: where that stands in params.yaml, for messages.

    Raises:
        InputError: the data root is needed and is not set, or is no folder.
    """
    if weights is None or not weights.endswith(SUFFIXES):
        return None
    return images.root_of([weights], f"{section}.weights") / weights
