"""The losses: `form` is what they have in common, `catalogue` chooses one by name.

From Python, `losses.build` is all it takes; docs/api.md shows how.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.losses.standalone import build

__all__ = ["build"]


def __getattr__(name: str) -> Any:
    # Imported when it is asked for: a student, whose code is two modules of this package, would
    # depend on every loss otherwise.
    if name == "build":
        from pipeline.losses.standalone import build

        return build
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
