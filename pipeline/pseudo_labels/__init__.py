"""From scores to what the student takes as complete: NumPy only.

From Python, `pseudo_labels.label` is all it takes; docs/api.md shows how.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.pseudo_labels.standalone import label

__all__ = ["label"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for, as losses.build is.
    if name == "label":
        from pipeline.pseudo_labels.standalone import label

        return label
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
