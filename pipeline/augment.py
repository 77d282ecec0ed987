"""From stored pictures to what a model takes, on the device, with random changes in training."""

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from pipeline.params import Params

# Random numbers in 0..1 that `augment` uses up per picture: flip, right, down, zoom.
DICE = 4


class AugmentParams(Params):
    """`train_teacher.augment` and `train_student.augment`."""

    flip: float = Field(ge=0, le=1)
    shift: float = Field(ge=0, le=0.5)
    zoom: float = Field(ge=0, lt=1)


def to_float(pictures: Tensor) -> Tensor:
    """Turn (B, H, W, 3) uint8 into (B, 3, H, W) float32 in 0..1, channels last in memory."""
    return pictures.permute(0, 3, 1, 2).float() / 255


def augment(pictures: Tensor, params: AugmentParams, dice: Tensor) -> Tensor:
    """Flip, shift and zoom each picture by chance.

    Args:
        pictures: (B, H, W, 3) uint8.
        params: the chance to flip; the largest shift in each direction, as a share of the
            side; the largest zoom, 0.2 for 0.8 to 1.2. Edges are repeated outwards.
        dice: (B, 4) in 0..1, the random numbers to use.

    Returns:
        (B, 3, H, W) float32 in 0..1.
    """
    batch = to_float(pictures)
    flipped = dice[:, 0] < params.flip
    if params.flip:
        batch = torch.where(flipped[:, None, None, None], batch.flip(3), batch)
    if params.shift or params.zoom:
        # The grid spans -1..1, so a share of the side is twice that on it.
        shift = (2 * dice[:, 1:3] - 1) * 2 * params.shift
        scale = 1 / (1 + (2 * dice[:, 3] - 1) * params.zoom)
        still = torch.zeros_like(scale)
        across = torch.stack([scale, still, shift[:, 0]], dim=1)
        down = torch.stack([still, scale, shift[:, 1]], dim=1)
        grid = affine_grid(torch.stack([across, down], 1), list(batch.shape), align_corners=False)
        batch = grid_sample(batch, grid, padding_mode="border", align_corners=False)
    return batch.contiguous(memory_format=torch.channels_last)
