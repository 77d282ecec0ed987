"""Score a stream of images: threads decode the next ones while the model runs."""

import os
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric

from pipeline.core.arrays import Images, Probs
from pipeline.core.errors import InputError
from pipeline.images import reading
from pipeline.inference.score import probabilities, to_device
from pipeline.models.classifier import Classifier
from pipeline.prediction.find import Named

# Images at a time for each process: fewer if they are large, so that a batch of the network's
# inputs has at most 2^24 pixels, 200 MB.
MOST, MOST_PIXELS = 64, 2**24
AHEAD = 2  # batches that are decoded while the model runs

# An image, or why it cannot be read.
Decoded = Images | str


@dataclass(frozen=True)
class Scored:
    """The results of some images, in the order given.

    Attributes:
        images: n that were read.
        probs: (n, C) their scores.
        unreadable: name and reason of each of the others.
    """

    images: list[Named]
    probs: Probs
    unreadable: list[tuple[str, str]]


def score(fabric: Fabric, model: Classifier, images: Iterable[Named]) -> Iterator[Scored]:
    """Yield the scores of images, batch by batch; hold a few batches at the same time.

    Images are decoded and resized as those of the training were. With several processes each
    decodes and scores a share of every batch, and all yield the whole.

    Args:
        fabric: the result of `choose_device`.
        model: on the device, in evaluation mode, not wrapped by fabric.
        images: the same in every process.

    Raises:
        InputError: the model's output is not a number.
    """
    size, places = model.spec.input_size, fabric.world_size
    each = max(1, min(MOST, MOST_PIXELS // size**2))
    remaining = iter(images)
    pending: deque[tuple[list[Named], list[Future[Decoded]]]] = deque()
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        while batch := list(islice(remaining, each * places)):
            mine = batch[fabric.global_rank :: places]
            pending.append((batch, [pool.submit(_decoded, image, size) for image in mine]))
            if len(pending) > AHEAD:
                yield _scored(fabric, model, *pending.popleft())
        while pending:
            yield _scored(fabric, model, *pending.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _decoded(image: Named, size: int) -> Decoded:
    try:
        with reading.decoded(image.encoded()) as decoded:
            return reading.squeezed(decoded, size)
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:
        return str(error)


def _scored(
    fabric: Fabric, model: Classifier, batch: list[Named], mine: list[Future[Decoded]]
) -> Scored:
    results: list[Any] = [future.result() for future in mine]  # each a decoded image or a reason
    read = [at for at, result in enumerate(results) if not isinstance(result, str)]
    if read:
        for at, row in zip(read, _probs(fabric, model, [results[at] for at in read]), strict=True):
            results[at] = row
    everyone = _of_all_processes(fabric, results, len(batch))
    good = [at for at, result in enumerate(everyone) if not isinstance(result, str)]
    probs = np.array([everyone[at] for at in good], np.float32)
    probs = probs.reshape(len(good), len(model.spec.classes))
    for row, column in np.argwhere(np.isnan(probs)):
        raise InputError(
            f"{model.source}: gives {batch[good[row]].name!r}, class "
            f"{model.spec.classes[column]!r}, nan; its weights are damaged or too large: it should "
            f"be trained again"
        )
    failed = [
        (batch[at].name, result) for at, result in enumerate(everyone) if isinstance(result, str)
    ]
    return Scored([batch[at] for at in good], probs, failed)


@torch.inference_mode()
def _probs(fabric: Fabric, model: Classifier, images: list[Images]) -> Probs:
    inputs = to_device(np.stack(images), np.arange(len(images)), fabric)
    probs: Probs = probabilities(model, inputs).cpu().numpy()
    return probs


def _of_all_processes(fabric: Fabric, mine: list[Any], n: int) -> list[Any]:
    """Return the results of a batch, in order, from the shares of all processes."""
    if fabric.world_size == 1:
        return mine
    shares: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(shares, mine)
    whole: list[Any] = [None] * n
    for rank, share in enumerate(shares):
        whole[rank :: fabric.world_size] = share
    return whole
