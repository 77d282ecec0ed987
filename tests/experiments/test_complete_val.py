"""Training on the val images, with their complete labels."""

import numpy as np
import pytest

from experiments.complete_val import SUFFIX, with_val
from pipeline.artifacts.tables import made_from
from pipeline.core.params import check_section
from pipeline.datasets.prepare import Prepared, PrepareParams, prepare
from presets import preset


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    values = preset.values(preset.DEFAULT)
    values["prepare"]["digits"] |= {"n_train": 12, "n_val": 5, "n_test": 4}
    return prepare(check_section("params.yaml", "prepare", values, PrepareParams))


@pytest.mark.parametrize(("alone", "n_train"), [(True, 5), (False, 17)])
def test_a_copy_of_each_val_image_is_a_training_image_with_complete_labels(
    prepared: Prepared, alone: bool, n_train: int
) -> None:
    made, index = with_val(prepared, alone), prepared.index
    found = made.index
    assert found.image_ids == sorted(found.image_ids)
    assert len(found.rows("train")) == n_train
    before = {name: row for row, name in enumerate(index.image_ids)}
    for row, name in enumerate(found.image_ids):
        old = before[name.removesuffix(SUFFIX)]
        assert made.images[row] == prepared.images[old]
        assert found.sha256[row] == index.sha256[old]
        if name.endswith(SUFFIX):
            assert found.splits[row] == "train"
            assert np.array_equal(found.targets[row] == 1, index.labels[old])
            assert np.array_equal(found.targets[row] == -1, ~index.labels[old])
            assert not found.labels[row].any()
        else:
            assert found.splits[row] == index.splits[old]
            assert np.array_equal(found.targets[row], index.targets[old])
            assert np.array_equal(found.labels[row], index.labels[old])


@pytest.mark.parametrize("alone", [True, False])
def test_the_truth_has_the_labels_of_all_train_and_test_images(
    prepared: Prepared, alone: bool
) -> None:
    made = with_val(prepared, alone)
    assert np.array_equal(
        made.truth.of(made.index, "test"), prepared.truth.of(prepared.index, "test")
    )
    _, known = made.truth.known_of(made.index, "train")
    assert known.all()
    copies = made.index.rows("train")[made.index.targets[made.index.rows("train")].all(axis=1)]
    assert np.array_equal(
        made.truth.labels_of(made.index.ids(copies))[0],
        prepared.index.labels[prepared.index.rows("val")],
    )
    assert made.truth.about == made_from(index=made.index.digest())
