"""A run on photographs, up to the pseudo-labels: images as files, a table, tables of the run."""

from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.artifacts import tables
from pipeline.artifacts.tables import Scores
from tests.builders.miniatures import write_images
from tests.conftest import RunStage, SetParams

NAMES = ("cat", "sea lion", "traffic light, red")


def label_photographs(
    root: Path, run_stage: RunStage, set_params: SetParams, classes: tuple[str, ...] = NAMES
) -> None:
    """Write 24 images and their table below the data root; prepare and label them.

    Some labels are wrong and some are ignored, since the scores are random.
    """
    rng = np.random.default_rng(0)
    paths = [f"p/{number:02}.jpg" for number in range(24)]
    write_images(root, paths)
    truth = rng.random((24, len(classes))) < 0.5
    truth[np.arange(24), np.arange(24) % len(classes)] = True
    rows = {
        "image": paths,
        "split": ["train"] * 14 + ["val"] * 4 + ["test"] * 6,
        "labels": [[classes[column] for column in np.flatnonzero(row)] for row in truth],
    }
    pd.DataFrame(rows).to_parquet(root / "labels.parquet")
    set_params(
        {
            "prepare.source": "table", "prepare.table.file": "labels.parquet",
            "prepare.classes": list(classes), "prepare.observe.num_neg": 1,
            "pseudo_label.rule": "band", "pseudo_label.tau": 0.6, "pseudo_label.width": 0.2,
        }
    )  # fmt: skip
    run_stage("prepare")
    index = tables.read_index(Path("data/index.parquet"))
    ids = index.ids(index.rows("train"))
    probs = rng.random((len(ids), len(classes)), dtype=np.float32)
    tables.write_scores(Path("data/scores.parquet"), Scores(ids, probs), index.classes)
    run_stage("pseudo_label")
