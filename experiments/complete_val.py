"""complete_val: as prepare, but the val images are training images, too, with complete labels.

Run `python -m experiments.complete_val` with `added` (to the training images) or `alone` (in their
place). A comparison whose val images have complete labels needs these rows: the labels that choose
the epoch and the rule could also be trained on.
"""

from dataclasses import replace
from typing import Literal

import click
import numpy as np

from pipeline.artifacts.run import Run
from pipeline.artifacts.tables import made_from
from pipeline.core.errors import InputError
from pipeline.core.params import read_section
from pipeline.datasets.prepare import Prepared, PrepareParams, prepare
from stages import PARAMS, SoloStage
from stages.prepare import write

# Names the copy of a val image.
SUFFIX = " (train)"


@click.command(cls=SoloStage)
@click.argument("how", type=click.Choice(["added", "alone"]))
def main(how: Literal["added", "alone"]) -> None:
    """Write an index whose training images are those of val, alone or added."""
    params = read_section(PARAMS, "prepare", PrepareParams)
    if params.val_labels != "clean":
        raise InputError(
            f"prepare.val_labels = {params.val_labels!r}: should be clean, so that the val images "
            f"have complete labels to learn from"
        )
    write(Run(), with_val(prepare(params), alone=how == "alone"))


def with_val(prepared: Prepared, alone: bool) -> Prepared:
    """Return the data with a copy of each val image among the training images.

    Args:
        prepared: data with complete val labels.
        alone: whether to remove the other training images.
    """
    index, truth = prepared.index, prepared.truth
    val = index.rows("val")
    rows = np.arange(len(index.image_ids))
    if alone:
        rows = rows[index.splits != "train"]
    names = [*index.ids(rows), *(f"{name}{SUFFIX}" for name in index.ids(val))]
    complete = np.where(index.labels[val], 1, -1).astype(index.targets.dtype)
    order = np.array(sorted(range(len(names)), key=names.__getitem__))
    taken = np.append(rows, val)[order]
    copied = (np.arange(len(names)) >= len(rows))[order]
    targets = np.concatenate([index.targets[rows], complete])[order]
    labels = index.labels[taken] & ~copied[:, None]
    made = replace(
        index,
        image_ids=[names[row] for row in order],
        paths=[index.paths[row] for row in taken],
        splits=np.where(copied, "train", index.splits[taken]),
        targets=targets,
        labels=labels,
        sizes=index.sizes[taken],
        sha256=[index.sha256[row] for row in taken],
    )
    known = dict(zip(truth.image_ids, truth.labels, strict=True))
    known |= {f"{index.image_ids[row]}{SUFFIX}": index.labels[row] for row in val}
    in_truth = [name for name in made.image_ids if name in known]
    return Prepared(
        made,
        replace(
            truth, image_ids=in_truth, labels=np.stack([known[name] for name in in_truth]),
            about=made_from(index=made.digest()),
        ),
        [prepared.images[row] for row in taken] if prepared.images else [],
        [prepared.names[row] for row in taken] if prepared.names else [],
    )  # fmt: skip


if __name__ == "__main__":
    main()
