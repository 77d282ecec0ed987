"""How long each stage took the last time that it ran in a folder.

The notes lie in the cache folder and not beside the results, since equal results have equal bytes.
A stage that DVC restores from its cache leaves the note of its last run.
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.core import files, places


@dataclass(frozen=True)
class Note:
    """The last run of a stage.

    Attributes:
        seconds: from the call of the command to its end, without Python's start.
        ended: when it ended, in seconds since 1970.
    """

    seconds: float
    ended: float


def write(stage: str, note: Note) -> None:
    """Keep the note of a stage that ran in the working folder."""
    with files.atomic_write(_folder() / f"{stage}.json") as temporary:
        temporary.write_text(json.dumps(asdict(note)), "utf-8")


def read() -> dict[str, Note]:
    """Return the notes of the stages that ran in the working folder, the earliest first."""
    notes = {}
    for path in _folder().glob("*.json"):
        with suppress(OSError, ValueError, KeyError, TypeError):  # damaged: no note
            values = json.loads(path.read_text("utf-8"))
            notes[path.stem] = Note(float(values["seconds"]), float(values["ended"]))
    return dict(sorted(notes.items(), key=lambda item: item[1].ended))


def _folder() -> Path:
    """Return the folder of the notes; several projects may share the cache folder."""
    project = hashlib.sha256(os.fsencode(Path.cwd())).hexdigest()[:16]
    return places.cache_folder() / "seconds" / project
