"""Train a linear head on standardised features, and use it on the features themselves."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.core.arrays import Inputs


class Standardised(nn.Module):
    """A linear head on features of mean 0 and standard deviation 1.

    It is a batch norm without weights, with the statistics of all training features. Weight decay
    and the learning rate then act on all features alike.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, head: nn.Linear, features: Sequence[Inputs]):
        super().__init__()
        self.head = head
        mean, std = statistics(features)
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("std", torch.from_numpy(std))

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits (B, C) of features (B, D)."""
        logits: Tensor = self.head((features - self.mean) / self.std)
        return logits

    @torch.no_grad()
    def fold(self) -> None:
        """Change the head so that it gives the same logits for features as they are."""
        self.head.weight.div_(self.std)
        self.head.bias.sub_(self.head.weight @ self.mean)


def statistics(features: Sequence[Inputs]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each feature over all arrays, (D,) float32 each.

    A feature that is the same for all images has a standard deviation of 1 here.

    Args:
        features: arrays (N, D).
    """
    n, sums = 0, np.zeros((2, features[0][np.arange(1)].shape[1]))
    for array in features:
        n += len(array)
        for rows in np.array_split(np.arange(len(array)), len(array) // 4096 + 1):
            part = array[rows].astype(np.float64)
            sums += [part.sum(axis=0), (part**2).sum(axis=0)]
    mean, squares = sums / n
    variance = squares - mean**2
    # Rounding leaves a variance of about 1e-16 of the square to a constant feature.
    std = np.where(variance > 1e-12 * np.maximum(mean**2, 1e-12), np.sqrt(variance), 1.0)
    return mean.astype(np.float32), std.astype(np.float32)
