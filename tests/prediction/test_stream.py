"""A stream of images through a model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.artifacts.spec import Spec
from pipeline.core.errors import InputError
from pipeline.images import reading
from pipeline.inference.score import choose_device, predict
from pipeline.models.classifier import Classifier
from pipeline.models.weights import CENTRED
from pipeline.prediction import stream
from pipeline.prediction.find import Named
from pipeline.prediction.stream import AHEAD, MOST, Scored
from tests.builders import images


def model(input_size: int = 16) -> Classifier:
    torch.manual_seed(0)
    made = Classifier(Spec("small_cnn", ("a", "b", "c"), input_size, *CENTRED)).eval()
    made.source = "m.safetensors"
    return made


def scored(given: list[Named], by: Classifier | None = None) -> list[Scored]:
    return list(stream.score(choose_device("32"), by or model(), given))


def some(n: int) -> list[Named]:
    return [Named(f"{number}.png", images.encoded(number)) for number in range(n)]


def test_every_image_is_scored_once_as_the_stages_score_it() -> None:
    given = some(MOST + 6)
    found = scored(given)
    assert [len(each.images) for each in found] == [MOST, 6]
    assert [image for each in found for image in each.images] == given
    pixels = np.stack([reading.squeezed(reading.decode(image.encoded()), 16) for image in given])
    expected = predict(choose_device("32"), model(), pixels, MOST)
    assert np.array_equal(np.concatenate([each.probs for each in found]), expected)
    assert np.ptp(expected, axis=0).min() > 0


def test_unreadable_images_are_named_and_the_others_scored(tmp_path: Path) -> None:
    broken = [
        Named("gone.png", tmp_path / "gone.png"),
        Named("folder.png", tmp_path),
        Named("empty.png", b""),
        Named("cut.png", images.encoded()[:200]),
    ]
    good = some(2)
    (found,) = scored([good[0], *broken, good[1]])
    assert found.images == good
    (alone,) = scored(good)
    assert np.array_equal(found.probs, alone.probs)
    reasons = dict(found.unreadable)
    assert list(reasons) == [image.name for image in broken]
    assert reasons["gone.png"] == "No such file or directory"
    assert reasons["folder.png"] == "Is a directory"
    assert reasons["empty.png"] == "empty file"
    (nothing,) = scored(broken)
    assert nothing.probs.shape == (0, 3)


def test_only_a_few_batches_are_read_ahead() -> None:
    taken = 0

    def endless() -> Iterator[Named]:
        nonlocal taken
        while True:
            taken += 1
            yield some(1)[0]

    found = stream.score(choose_device("32"), model(), endless())
    for number in range(1, 4):
        next(found)
        assert taken <= (number + AHEAD) * MOST
    found.close()


def test_a_batch_of_large_images_is_small() -> None:
    large = model(2048)
    large.forward = lambda batch: torch.zeros(len(batch), 3)  # type: ignore[method-assign]
    assert [len(each.images) for each in scored(some(6), large)] == [4, 2]


def test_a_model_that_gives_no_numbers_is_named() -> None:
    damaged = model()
    damaged.net[-1].bias.data[1] = torch.nan
    with pytest.raises(InputError, match=r"^m.safetensors: gives '0.png', class 'b', nan; "):
        scored(some(2), damaged)
