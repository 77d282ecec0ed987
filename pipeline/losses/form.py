"""The form that the losses share: one term per entry, chosen by what is known about it."""

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus


def minus_log_p(logits: Tensor) -> Tensor:
    """Return -log(sigmoid(g)), finite for every finite g."""
    return softplus(-logits)


def minus_log_not_p(logits: Tensor) -> Tensor:
    """Return -log(1 - sigmoid(g)), finite for every finite g."""
    return softplus(logits)


class Loss(nn.Module):
    """A mean over batch and classes of one term per entry.

    A loss says what it does with an entry that is unknown; observed positives and observed
    negatives get the log-likelihood unless it says otherwise. It takes logits (no sigmoid
    before) and computes in float32 whatever the precision of the network.
    """

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a batch, a float32 scalar.

        Args:
            logits: (B, C), of any floating type.
            targets: (B, C), 1 observed positive, 0 unknown, -1 observed negative.
        """
        logits = logits.float()
        terms = torch.where(targets == 0, self.unknown(logits), self.positive(logits))
        terms = torch.where(targets == -1, self.negative(logits), terms)
        return terms.mean()

    def positive(self, logits: Tensor) -> Tensor:
        """Return the (B, C) terms of observed positives."""
        return minus_log_p(logits)

    def unknown(self, logits: Tensor) -> Tensor:
        """Return the (B, C) terms of unknown labels."""
        raise NotImplementedError

    def negative(self, logits: Tensor) -> Tensor:
        """Return the (B, C) terms of observed negatives."""
        return minus_log_not_p(logits)
