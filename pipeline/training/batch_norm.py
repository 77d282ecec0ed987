"""Batch norm over the whole batch when several processes have a share of it each.

torch's SyncBatchNorm supports GPUs only; this works on every device.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import batch_norm

BatchNorm = nn.modules.batchnorm._BatchNorm


def over_processes(module: nn.Module) -> None:
    """Make every batch norm in a module use the images of all processes in training.

    Parameters and buffers stay the same objects and keep their names.
    """
    for name, child in module.named_children():
        if isinstance(child, BatchNorm):
            setattr(module, name, _OverProcesses(child))
        over_processes(child)


class _OverProcesses(BatchNorm):
    """A batch norm whose statistics in training are over the images of all processes."""

    def __init__(self, original: BatchNorm):
        super().__init__(
            original.num_features,
            original.eps,
            original.momentum,
            original.affine,
            original.track_running_stats,
        )
        self._parameters, self._buffers = original._parameters, original._buffers
        # timm's batch norms continue with dropout and an activation.
        self._modules = original._modules
        self.train(original.training)

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input, (B, C, ...); B may be 0 in some of the processes."""
        if not self.training:
            return self._continued(super().forward(input))
        normalised, mean, var, count = _Normalise.apply(input, self.weight, self.bias, self.eps)
        if self.track_running_stats:
            self._update_running_stats(mean, var * (count / (count - 1)))
        return self._continued(normalised)

    def _continued(self, normalised: Tensor) -> Tensor:
        for part in self.children():
            normalised = part(normalised)
        return normalised

    @torch.no_grad()
    def _update_running_stats(self, mean: Tensor, var: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        # As in torch: without momentum, the mean over all batches so far.
        step = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, step)
        self.running_var.lerp_(var, step)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any number of dimensions, as torch's batch norms do together."""


class _Normalise(torch.autograd.Function):
    """Normalisation by the mean and variance over all processes, and its gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        dims = _reduced_dims(x)
        size = x.numel() // x.shape[1]
        sums = x.sum(dims, dtype=torch.float32)
        both = _all_reduce(torch.cat([sums, sums.new_tensor([size])]))
        total, count = both[:-1], both[-1:]
        if count.item() <= 1:
            # The message of torch, which `train` recognises and explains.
            raise ValueError("Expected more than 1 value per channel when training")
        average = total / count
        # A second pass: the mean of squares minus the square of the mean would lose precision.
        var = _all_reduce((x.float() - _per_channel(average, x)).square().sum(dims)) / count
        inverse = torch.rsqrt(var + eps)
        ctx.save_for_backward(x, weight, average, inverse, count)
        ctx.mark_non_differentiable(average, var, count)
        return batch_norm(x, average, var, weight, bias, eps=eps), average, var, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        dy, dims = dy.float(), _reduced_dims(x)
        normalised = (x.float() - _per_channel(mean, x)) * _per_channel(inverse, x)
        d_bias, d_weight = dy.sum(dims), (dy * normalised).sum(dims)
        both = _all_reduce(torch.stack([d_bias, d_weight])) / count
        scale = inverse if weight is None else inverse * weight
        dx = dy - _per_channel(both[0], x) - normalised * _per_channel(both[1], x)
        return (dx * _per_channel(scale, x)).to(x.dtype), d_weight, d_bias, None


def _all_reduce(tensor: Tensor) -> Tensor:
    """Return the sum of the tensors of all processes."""
    dist.all_reduce(tensor)
    return tensor


def _reduced_dims(x: Tensor) -> list[int]:
    return [dimension for dimension in range(x.dim()) if dimension != 1]


def _per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Return values (C,) in a shape that broadcasts against (B, C, ...)."""
    return values.view(1, -1, *(1,) * (x.dim() - 2))
