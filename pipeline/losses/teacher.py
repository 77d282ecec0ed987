"""The losses of teachers, which learn from observed labels: what is assumed of the unknown."""

import torch
from torch import Tensor

from pipeline.losses.form import Loss, minus_log_not_p, minus_log_p


class BCE(Loss):
    """Binary cross-entropy of the observed labels; unknown labels count nothing.

    The loss of the oracles. With every label observed it is full supervision; with one
    positive and all negatives it is IUN, "ignore unobserved positives". The mean is over all
    B * C entries, known or not.

    Source: Cole et al. 2021, section 4.
    """

    def unknown(self, logits: Tensor) -> Tensor:
        """Return zeros."""
        return torch.zeros_like(logits)


class AN(Loss):
    """Assume negative: every unknown label is a negative.

    Source: Cole et al. 2021, eq. 2.
    """

    def unknown(self, logits: Tensor) -> Tensor:
        """Return -log(1 - p)."""
        return minus_log_not_p(logits)


class WAN(Loss):
    """Weak assume negative: as AN, the unknown weighted by gamma.

    Source: Cole et al. 2021, eq. 3; gamma = 1/(C - 1) there, which gives a picture's unknown
    labels together the weight of its one positive.
    """

    def __init__(self, gamma: float):
        super().__init__()
        self.gamma = gamma

    def unknown(self, logits: Tensor) -> Tensor:
        """Return -gamma * log(1 - p)."""
        return self.gamma * minus_log_not_p(logits)


class EM(Loss):
    """Entropy maximisation: the unknown are told to stay undecided, -alpha * H(p).

    The gradient of an unknown logit g is alpha * g * p * (1 - p): it vanishes at p = .5, where
    unknown labels are drawn to. A teacher's scores are read accordingly: the authors advise
    a threshold of .75, not .5.

    Source: Zhou et al. 2022, eq. 4 and 5.
    """

    def __init__(self, alpha: float):
        super().__init__()
        self.alpha = alpha

    def unknown(self, logits: Tensor) -> Tensor:
        """Return -alpha * H(p), the gradient flowing through p."""
        p = torch.sigmoid(logits)
        entropy = p * minus_log_p(logits) + (1 - p) * minus_log_not_p(logits)
        return -self.alpha * entropy
