"""The loss of students, which take their labels as complete."""

from torch import Tensor

from pipeline.losses.form import Loss, minus_log_not_p, minus_log_p


class FullSupervision(Loss):
    """Binary cross-entropy with every label given, mean over batch and classes."""

    def forward(self, logits: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of a batch, a float32 scalar.

        Args:
            logits: (B, C), no sigmoid before, of any floating type.
            targets: (B, C) in 0..1, the probability that the class is there; or (B, C, 2), that
                and how much it counts. The mean is over all B * C entries all the same, not
                divided by the sum of weights: a label of weight 0 is one that says nothing.
            rows: (B,), not looked at.
        """
        logits, targets = logits.float(), targets.float()
        weights: Tensor | None = None
        if targets.ndim == 3:
            targets, weights = targets.unbind(dim=2)
        terms = targets * minus_log_p(logits) + (1 - targets) * minus_log_not_p(logits)
        return terms.mean() if weights is None else (weights * terms).mean()
