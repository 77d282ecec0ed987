"""The losses of students: full supervision, and VLPL, which tells how sure a label is."""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.artifacts.tables import PseudoLabels
from pipeline.core.arrays import Targets
from pipeline.core.errors import InputError
from pipeline.losses.base import Loss, Share, Task, Weight, minus_log_not_p, minus_log_p
from pipeline.losses.entropy import EM

# VLPL's target of a positive that the rule added. An observed positive is 1, an unknown label 0,
# an observed negative -1: so the larger target of two is the surer positive, as MixUp's union
# takes it.
ADDED = 0.5


class StudentLoss(Loss):
    """The base class of the losses of students."""

    @classmethod
    def targets_of(cls, pseudo: PseudoLabels, observed: Targets) -> npt.NDArray[np.float32]:
        """Return the targets that the loss takes, (N, C) or (N, C, 2).

        Args:
            pseudo: the labels.
            observed: (N, C), the observed labels of the same images.

        Raises:
            InputError: the loss does not take such labels.
        """
        raise NotImplementedError


class FullSupervision(StudentLoss):
    """Binary cross-entropy with every label given, mean over batch and classes.

    Source: Arroyo 2023, the student of the Tiny Paper.
    """

    @classmethod
    def targets_of(cls, pseudo: PseudoLabels, observed: Targets) -> npt.NDArray[np.float32]:
        """Return the targets, with weights if the labels have any."""
        return pseudo.student_targets()

    def forward(self, logits: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of a batch, a float32 scalar.

        Args:
            logits: (B, C), no sigmoid before, of any floating type.
            targets: (B, C) in 0..1, the probability that the image shows the class; or
                (B, C, 2), with the weight of each entry, >= 0, as the second value. The sum of
                the weighted terms is divided by B * C, not by the sum of the weights. Otherwise
                the few entries of a mostly ignored batch would count more than others.
            rows: (B,), unused.
        """
        logits, targets = logits.float(), targets.float()
        weights = None
        if targets.dim() == 3:
            targets, weights = targets.unbind(-1)
        terms = targets * minus_log_p(logits) + (1 - targets) * minus_log_not_p(logits)
        return (terms if weights is None else weights * terms).mean()


class VLPL(EM, StudentLoss):
    """EM on the observed labels, with a weighted, smoothed term for each positive of the rule.

    A positive that the rule added has the term
    weight * [-(1 - epsilon) log p - epsilon log(1 - p)]. A label that the rule did not make
    positive stays unknown, with EM's term -alpha * H(p): the rule adds no negative.

    Settings:
        alpha: the weight of the entropy.
        weight: the weight of an added positive.
        epsilon: the share of a negative in it.

    Source: Xing et al. 2023, Vision-Language Pseudo-Labels for Single-Positive Multi-Label
    Learning, and the authors' code.
    """

    def __init__(self, task: Task, alpha: Weight, weight: Weight, epsilon: Share):
        super().__init__(task, alpha)
        self.weight, self.epsilon = weight, epsilon

    @classmethod
    def targets_of(cls, pseudo: PseudoLabels, observed: Targets) -> npt.NDArray[np.float32]:
        """Return 1 for an observed positive, ADDED, 0 for an unknown label, -1 for a negative.

        Raises:
            InputError: the labels have soft targets or weights, for which there is no term.
        """
        if pseudo.targets is not None or pseudo.weights is not None:
            raise InputError(
                "train_student.loss = 'vlpl': takes labels without targets and weights; should be "
                "bce, or pseudo_label.rule tau or top_k with pseudo_label.weights none"
            )
        positives = np.where(pseudo.observed, 1, ADDED)
        unlabelled = np.minimum(observed, 0)
        return np.where(pseudo.labels, positives, unlabelled).astype(np.float32)

    def terms(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the (B, C) terms."""
        positive, negative = minus_log_p(logits), minus_log_not_p(logits)
        added = self.weight * ((1 - self.epsilon) * positive + self.epsilon * negative)
        return torch.where(targets == ADDED, added, super().terms(logits, targets))


LOSSES: dict[str, type[StudentLoss]] = {"bce": FullSupervision, "vlpl": VLPL}
