"""MixUp: the blends of pairs of images, and their loss."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.core.errors import InputError
from pipeline.losses.assume_negative import AN
from pipeline.losses.base import Loss, Task
from pipeline.losses.catalogue import LOSSES, settings_of
from pipeline.losses.expected_positives import ROLE
from pipeline.losses.student import FullSupervision
from pipeline.training import mixup
from pipeline.training.augment import AugmentParams
from pipeline.training.mixup import Mix
from tests.builders.training import AUGMENT_OFF, Counting, make_index, make_params, run

TARGETS = torch.tensor([[1, 0, -1], [0, -1, -1], [0, 1, 0], [-1, 1, 1]], dtype=torch.int8)


def params(**kwargs: Any) -> AugmentParams:
    return AugmentParams.model_validate(AUGMENT_OFF | kwargs)


def mix(labels: Any = "mean", share: float = 0.75) -> Mix:
    return Mix(share, torch.tensor([1, 0]), labels)


def test_without_mixup_nothing_is_drawn_and_nothing_blended() -> None:
    rng, batch = np.random.default_rng(0), torch.rand(4, 3, 2, 2)
    for off in (None, params()):
        assert mixup.draw(off, 4, rng) is None
    assert rng.random() == np.random.default_rng(0).random()
    assert mixup.blend(batch, None) is batch


def test_a_draw_depends_on_the_generator_only() -> None:
    drawn = [mixup.draw(params(mixup=0.4), 5, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    shares = [one.share for one in drawn if one is not None]
    assert shares[0] == shares[1] != shares[2]
    assert all(0 <= share <= 1 for share in shares)
    assert sorted(drawn[0].partners.tolist()) == list(range(5))  # type: ignore[union-attr]


def test_shares_have_the_beta_distribution() -> None:
    rng = np.random.default_rng(0)
    drawn = [mixup.draw(params(mixup=0.2), 1, rng) for _ in range(4000)]
    shares = np.array([one.share for one in drawn if one is not None])
    assert shares.mean() == pytest.approx(0.5, abs=0.02)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), abs=0.01)


def test_each_image_is_blended_with_its_partner_by_the_share() -> None:
    batch = torch.rand(2, 3, 4, 4).contiguous(memory_format=torch.channels_last)
    blended = mixup.blend(batch, mix())
    torch.testing.assert_close(blended[0], 0.75 * batch[0] + 0.25 * batch[1])
    torch.testing.assert_close(blended[1], 0.75 * batch[1] + 0.25 * batch[0])
    assert blended.is_contiguous(memory_format=torch.channels_last)


def test_the_loss_is_the_mean_of_the_losses_of_both_images_with_their_rows() -> None:
    logits, rows = torch.randn(2, 3), torch.tensor([3, 0])
    loss = ROLE(Task(TARGETS, 1), 1.0, 1.0)
    own = loss(logits, TARGETS[[3, 0]], torch.tensor([3, 0]))
    partners = loss(logits, TARGETS[[0, 3]], torch.tensor([0, 3]))
    value = mixup.loss_of(loss, logits, TARGETS, rows, mix())
    torch.testing.assert_close(value, 0.75 * own + 0.25 * partners)
    assert not torch.isclose(own, partners)
    assert torch.equal(mixup.loss_of(loss, logits, TARGETS, rows, None), own)


def test_the_union_prefers_positive_to_unknown_to_negative_labels() -> None:
    logits, rows = torch.randn(2, 3), torch.tensor([0, 2])
    expected = torch.tensor([[1, 1, 0], [1, 1, 0]], dtype=torch.int8)
    assert torch.equal(mixup.union(TARGETS[[0, 2]], TARGETS[[2, 0]]), expected)
    loss = AN(Task(TARGETS, 1))
    value = mixup.loss_of(loss, logits, TARGETS, rows, mix("union"))
    assert torch.equal(value, loss(logits, expected, rows))


def test_in_a_union_each_target_keeps_its_weight() -> None:
    one = torch.tensor([[[1.0, 0.3], [0.2, 0.5], [0.0, 0.4]]])
    other = torch.tensor([[[0.0, 0.9], [0.7, 0.6], [0.0, 0.1]]])
    expected = torch.tensor([[[1.0, 0.3], [0.7, 0.6], [0.0, 0.4]]])  # among equal ones the first
    assert torch.equal(mixup.union(one, other), expected)


def test_per_image_is_true_for_losses_with_state_of_every_image() -> None:
    values = {
        "alpha": 0.1, "beta": 0.1, "theta": 0.5, "warmup_epochs": 1, "gamma": 1.0, "epsilon": 0.1,
        "expected_positives": 1.0, "lr_multiplier": 1.0, "lambda": 0.1, "gamma_pos": 1.0,
        "gamma_neg": 1.0, "focusing_gradient": False, "margin": 0.1, "tau": 0.5, "delta": 1.0,
        "w": [0.0, 1.0], "b": [0.0, 1.0], "mu": [0.5, 0.5], "sigma": [1.0, 1.0],
        "q2": 0.5, "q3": 0.5, "cutout": 0.5, "rand_augment": 1, "rand_magnitude": 9,
    }  # fmt: skip
    n = 17
    task = Task(torch.randint(-1, 2, (n, 3)), 5)
    stateful = set()
    for name, kind in {**LOSSES, "student": FullSupervision}.items():
        names = [] if name == "student" else list(settings_of(kind).model_fields)
        given = {"lambda_" if key == "lambda" else key: values[key] for key in names}
        loss: Loss = kind(task, **given)
        has_rows = any(len(kept) == n for kept in loss.state_dict().values() if kept.ndim)
        assert loss.per_image is has_rows, name
        stateful |= {name} if has_rows else set()
    assert stateful == {"role", "em_apl", "ll_cp"}


def test_a_union_is_refused_for_a_loss_with_state_of_every_image(workplace: Path) -> None:
    union = make_params(epochs=1, augment={"mixup": 0.4, "mixup_labels": "union"})
    index = make_index(8, 4)
    with pytest.raises(InputError) as caught:
        run(index, union, lambda task: ROLE(task, None, 1.0))
    assert str(caught.value) == (
        "train_x.augment.mixup_labels = 'union': the loss ROLE stores state of every "
        "image, and a blend is of two images; should be mean"
    )
    run(index, union)


def test_the_loop_mixes_images_and_not_features(workplace: Path) -> None:
    index = make_index(8, 4)
    calls = {}
    for mode in ("end_to_end", "linear"):
        for alpha in (0.0, 0.4):
            counted = Counting()
            run(index, make_params(epochs=1, mode=mode, augment={"mixup": alpha}), counted)
            calls[mode, alpha] = counted.steps
    # The mean calls the loss twice a step.
    assert calls["end_to_end", 0.4] == 2 * calls["end_to_end", 0.0]
    assert calls["linear", 0.4] == calls["linear", 0.0]
