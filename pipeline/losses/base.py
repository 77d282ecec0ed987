"""The base classes of the losses: the interface to the training loop, and the form of the terms.

Most losses are cases of one form (Chen et al. 2024). The term of an entry depends on its observed
label. With logits g and p = sigmoid(g),

    observed positive    l1(g)
    unknown              v(p) * [k(p) * l2(g) + (1 - k(p)) * l3(g)]
    observed negative    negative(g)

k is the probability that an unknown label is a positive, v its weight.
"""

from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import softplus

# Types of the settings in params.yaml.
Weight = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]

# The papers' code adds 1e-5 (Cole, Zhou) or 1e-7 (Chen) to p in logarithms, and in nothing else:
# GR's powers of p have no epsilon. Terms of logits need none, so it is 0. A test sets the
# papers' value and reproduces their numbers to 12 digits.
EPSILON = 0.0


def minus_log_p(logits: Tensor) -> Tensor:
    """Return -log(sigmoid(g)), finite for every finite g."""
    if EPSILON:
        return -torch.log(torch.sigmoid(logits) + EPSILON)
    return softplus(-logits)


def minus_log_not_p(logits: Tensor) -> Tensor:
    """Return -log(1 - sigmoid(g)), finite for every finite g."""
    return minus_log_p(-logits)


def power_p(logits: Tensor, exponent: float) -> Tensor:
    """Return sigmoid(g) ** exponent, whose gradient is finite for every finite g."""
    return torch.exp(-exponent * softplus(-logits))


@dataclass(frozen=True)
class Task:
    """The information that a loss gets before training begins.

    Attributes:
        targets: (N, C), of the training images: 1 observed positive, 0 unknown,
            -1 observed negative; or other targets that the loss takes.
        epochs: the number of epochs, T.
        still_epochs: the number of epochs at the start in which schedules over epochs do not
            move.
        positives_per_image: mean number of positives of an image in the val labels; None if
            these are not complete.
        priors: class priors, C shares of the val images; None if the val labels are not complete.
        seed: seeds the random numbers that the loss draws.
    """

    targets: Tensor
    epochs: int
    still_epochs: int = 0
    positives_per_image: float | None = 1.0
    priors: tuple[float, ...] | None = ()
    seed: int = 0


class Loss(nn.Module):
    """The base class of losses: the interface to the training loop. It takes logits.

    A loss stores its state of an image in a row of a buffer or of a parameter, at the image's
    row number. So the checkpoint holds the state, and the loading of images does not deal with
    it. Each of several processes computes the loss of the whole batch: counts are over the
    whole batch, and all processes store the same state.

    Attributes:
        epoch: the epoch of the training, 1 in the first; the loop sets it.
        lr_multiplier: multiplies the learning rate for the loss's own parameters.
        per_image: whether it stores state of every image.
        second_view: changes of the augmentation (`train.augment`) for a second view of each
            image, whose logits `consistency` gets; None: there is one view.
    """

    epoch: int = 1
    lr_multiplier: float = 1.0
    per_image: bool = False
    second_view: dict[str, Any] | None = None

    def __init__(self, task: Task):
        super().__init__()

    def forward(self, logits: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of a batch, a float32 scalar: the mean over batch and classes.

        Args:
            logits: (B, C), no sigmoid before, of any floating type; computed in float32.
            targets: (B, C), the observed labels.
            rows: (B,) int64, the row numbers of the images among the training images.
        """
        raise NotImplementedError

    def penalty(self, network: nn.Module) -> Tensor | float:
        """Return the penalty on the network's parameters."""
        return 0.0

    def consistency(self, logits: Tensor, second: Tensor, targets: Tensor) -> Tensor | float:
        """Return the term of two views of the images, added to that of the usual view.

        Args:
            logits: (B, C), of the usual view.
            second: (B, C), of the second view.
            targets: (B, C), the observed labels.
        """
        return 0.0

    def wants_scores(self) -> bool:
        """Return whether the loop should call `learn` after this epoch."""
        return False

    def learn(self, probs: Tensor) -> None:
        """Update the state from the scores of all training images, (N, C) float32."""

    def carry_over(self, before: "Loss") -> None:
        """Take over state from the loss of an earlier phase of the same training.

        By default nothing is taken over: each phase has its own epochs, rounds and flips.
        """


class EntrywiseLoss(Loss):
    """A loss of the form above, entry by entry. The defaults are those of AN.

    v and k get p without its gradient, as in Chen et al. Put a weight whose gradient should
    flow into l1, l2 or l3.
    """

    def forward(self, logits: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """Return the mean of the terms."""
        return self.terms(logits.float(), targets).mean()

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the (B, C) terms."""
        known = torch.where(targets == 1, self.l1(logits), self.negative(logits))
        return torch.where(targets == 0, self.unknown(logits), known)

    def unknown(self, logits: Tensor) -> Tensor:
        """Return the (B, C) terms of unknown labels."""
        p = torch.sigmoid(logits).detach()
        v, k = self.v(p), self.k(p)
        return v * (k * self.l2(logits) + (1 - k) * self.l3(logits))

    def v(self, p: Tensor) -> Tensor | float:
        """Return the weight of an unknown label."""
        return 1.0

    def k(self, p: Tensor) -> Tensor | float:
        """Return the probability that an unknown label is a positive."""
        return 0.0

    def l1(self, logits: Tensor) -> Tensor:
        """Return the terms of observed positives."""
        return minus_log_p(logits)

    def l2(self, logits: Tensor) -> Tensor:
        """Return the terms that unknown labels would have as positives."""
        return minus_log_p(logits)

    def l3(self, logits: Tensor) -> Tensor:
        """Return the terms that unknown labels would have as negatives."""
        return minus_log_not_p(logits)

    def negative(self, logits: Tensor) -> Tensor:
        """Return the terms of observed negatives."""
        return minus_log_not_p(logits)
