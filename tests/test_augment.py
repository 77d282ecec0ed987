"""Flips, shifts and zooms, with dice that are not thrown but laid."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from pipeline.augment import DICE, AugmentParams, augment, to_float


def floats(low: float, high: float, **kwargs: Any) -> st.SearchStrategy[float]:
    """Floats without subnormal ones, which the device setting of `choose_device` flushes to 0."""
    return st.floats(low, high, allow_subnormal=False, **kwargs)


def params(**kwargs: float) -> AugmentParams:
    return AugmentParams.model_validate({"flip": 0.0, "shift": 0.0, "zoom": 0.0, **kwargs})


def noise(n: int = 3, size: int = 8) -> Tensor:
    pictures = np.random.RandomState(0).randint(0, 256, (n, size, size, 3))
    return torch.from_numpy(pictures.astype(np.uint8))


def dice(n: int = 3, **kwargs: float) -> Tensor:
    """Dice of n pictures; 0.5 moves and zooms nothing."""
    names = ("flip", "across", "down", "zoom")
    return torch.tensor([[kwargs.get(name, 0.5) for name in names]] * n)


def test_to_float_is_channels_first_in_0_to_1() -> None:
    pictures = noise()
    batch = to_float(pictures)
    assert batch.shape == (3, 3, 8, 8)
    assert batch.dtype == torch.float32
    assert torch.equal(batch[1, 2, 3, 4], pictures[1, 3, 4, 2].float() / 255)
    assert to_float(torch.full((1, 1, 1, 3), 255, dtype=torch.uint8)).eq(1).all()


def test_with_nothing_on_the_dice_change_nothing() -> None:
    pictures = noise()
    out = augment(pictures, params(), torch.rand(3, DICE))
    assert torch.equal(out, to_float(pictures))


def test_a_flip_alone_moves_pixels_exactly() -> None:
    pictures = noise()
    chance = torch.tensor([[0.49, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 0.5]])
    out = augment(pictures, params(flip=0.5), chance)
    straight = to_float(pictures)
    assert torch.equal(out[0], straight[0].flip(2))
    assert torch.equal(out[1], straight[1])
    assert torch.equal(out[2], straight[2].flip(2))


@pytest.mark.parametrize(
    ("thrown", "pixels"), [(0.0, 2), (0.25, 1), (0.5, 0), (0.75, -1), (1.0, -2)], ids=str
)
@pytest.mark.parametrize("axis", ["across", "down"])
def test_a_shift_moves_by_its_share_of_the_side_and_repeats_the_edge(
    axis: str, thrown: float, pixels: int
) -> None:
    pictures = noise()
    out = augment(pictures, params(shift=0.25), dice(**{axis: thrown}))
    place = (np.arange(8) - pixels).clip(0, 7)
    straight = to_float(pictures)
    expected = straight[:, :, :, place] if axis == "across" else straight[:, :, place, :]
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("thrown", "side"), [(1.0, 12), (0.5, 8), (0.0, 4)], ids=str)
def test_a_zoom_scales_about_the_middle(thrown: float, side: int) -> None:
    picture = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    picture[:, 12:20, 12:20] = 255
    out = augment(picture, params(zoom=0.5), dice(1, zoom=thrown))[0, 0]
    assert out.sum().item() == pytest.approx(side**2, rel=0.05)
    torch.testing.assert_close(out, out.flip(0), rtol=0, atol=1e-4)
    torch.testing.assert_close(out, out.flip(1), rtol=0, atol=1e-4)


def test_each_picture_has_its_own_dice() -> None:
    pictures = noise(1).expand(2, -1, -1, -1)
    out = augment(pictures, params(shift=0.25), torch.cat([dice(1, across=0.0), dice(1)]))
    assert torch.equal(out[1], augment(pictures[1:], params(shift=0.25), dice(1))[0])
    assert not torch.equal(out[0], out[1])


@given(
    flip=floats(0, 1),
    shift=floats(0, 0.5),
    zoom=floats(0, 0.99),
    thrown=st.lists(floats(0, 1, exclude_max=True, width=32), min_size=8, max_size=8),
)
@settings(deadline=None)
def test_values_stay_in_0_to_1_and_shape_and_type_are_kept(
    flip: float, shift: float, zoom: float, thrown: list[float]
) -> None:
    chance = torch.tensor(thrown).reshape(2, DICE)
    out = augment(noise(2), params(flip=flip, shift=shift, zoom=zoom), chance)
    assert out.shape == (2, 3, 8, 8)
    assert out.dtype == torch.float32
    assert out.min().item() >= -1e-6
    assert out.max().item() <= 1 + 1e-6


@pytest.mark.parametrize("on", [{}, {"flip": 0.5}, {"shift": 0.1}, {"zoom": 0.2}], ids=str)
def test_the_batch_lies_channels_last_in_memory(on: dict[str, float]) -> None:
    out = augment(noise(), params(**on), torch.rand(3, DICE))
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    "values",
    [{"flip": 1.1}, {"flip": -0.1}, {"shift": 0.6}, {"zoom": 1.0}, {"flip": True}, {"turn": 5}],
    ids=str,
)
def test_settings_out_of_range_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        params(**values)
