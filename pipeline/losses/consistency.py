"""PLC: a second, strongly augmented view of each image takes the labels of the first view."""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from pipeline.losses.base import (
    EntrywiseLoss,
    Loss,
    Share,
    Task,
    Weight,
    minus_log_not_p,
    minus_log_p,
)


class PLC(EntrywiseLoss):
    """Pseudo-labelling consistency: AN, and the labels of one view for another view.

    With p the score of the usual view without its gradient, q = 1 for an observed positive and
    q = p for other entries. An entry with q >= tau gets the label 1, one with q < 1 - tau the
    label 0; the others are ignored. The term is the mean cross-entropy of the second view with
    these labels, over the entries that have one:

        mean BCE(g, observed) + lambda * sum(m BCE(g', q >= tau)) / sum(m),

    with m = 1 where q >= tau or q < 1 - tau. With tau 1 only observed positives and entries of
    score 0 have a label. An observed negative has the label 0.

    Settings:
        tau: threshold of the labels, 0.5 to 1; .6 in the authors' code.
        lambda_: weight of the second view; 1 in the authors' code.
        cutout: side of the covered square in the second view, as a share; .5 in the authors' code.
        rand_augment: RandAugment operations on the second view.
        rand_magnitude: their magnitude.

    Source: Xie et al. 2022, Label-Aware Global Consistency for Multi-Label Learning with Single
    Positive Labels, its first stage.
    """

    def __init__(
        self,
        task: Task,
        tau: Annotated[float, Field(ge=0.5, le=1)],
        lambda_: Weight,
        cutout: Share,
        rand_augment: Annotated[int, Field(ge=0)],
        rand_magnitude: Annotated[int, Field(ge=0, le=30)],
    ):
        super().__init__(task)
        self.tau, self.lambda_ = tau, lambda_
        self.second_view: dict[str, Any] = {
            "cutout": cutout, "rand_augment": rand_augment, "rand_magnitude": rand_magnitude
        }  # fmt: skip

    def consistency(self, logits: Tensor, second: Tensor, targets: Tensor) -> Tensor:
        """Return lambda times the mean cross-entropy of the second view, over labelled entries."""
        p = torch.sigmoid(logits.detach().float())
        q = torch.where(targets == 1, 1.0, torch.where(targets == -1, 0.0, p))
        positive = q >= self.tau
        labelled = positive | (q < 1 - self.tau) | (targets == -1)
        second = second.float()
        terms = torch.where(positive, minus_log_p(second), minus_log_not_p(second))
        mean = (terms * labelled).sum() / labelled.sum().clamp(min=1)
        return self.lambda_ * mean


LOSSES: dict[str, type[Loss]] = {"plc": PLC}
