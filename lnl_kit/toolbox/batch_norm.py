"""Batch normalisation whose mean and variance are those of the rows of all ranks.

torch's own (`nn.SyncBatchNorm`) works on GPUs only, and replaces layers. Here the layers stay as they are,
with their names and weights: within `OverRanks` each batch norm that is in training asks all ranks.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from .wide import wide


class OverRanks(TorchFunctionMode):
    """Within it `functional.batch_norm` in training takes the statistics of all ranks' rows.

    gather: a tensor (n,) -> those of all ranks (ranks, n). add: a tensor -> its sum over the ranks.
    """

    def __init__(self, gather: Callable[[Tensor], Tensor], add: Callable[[Tensor], Tensor]):
        super().__init__()
        self.gather, self.add = gather, add

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        return self.batch_norm(*args, **kwargs) if func is functional.batch_norm else func(*args, **kwargs)

    def batch_norm(
        self, x, running_mean, running_var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5
    ):
        """`functional.batch_norm`."""
        if not training:
            return functional.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
        running = running_mean, running_var
        return _Normalised.apply(x, weight, bias, running, momentum, eps, self.gather, self.add)


class _Normalised(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight, bias, running, momentum: float, eps: float, gather, add) -> Tensor:
        mean, var, number = _moments(x, gather)
        dtype = _at_least_float32(x)
        if running[0] is not None:
            unbiased = var * (number / (number - 1))
            for kept, new in zip(running, (mean, unbiased)):
                kept.mul_(1 - momentum).add_(new.to(kept.dtype), alpha=momentum)
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        ctx.number, ctx.eps, ctx.add = number, eps, add
        return functional.batch_norm(x, mean.to(dtype), var.to(dtype), weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        """With z the normalised x: weight / std times (gradient - its mean - z times the mean of both)."""
        x, weight, mean, inverse_std = ctx.saved_tensors
        dtype = _at_least_float32(x)
        statistics = mean.to(dtype), inverse_std.to(dtype)
        of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            gradient, x, weight, None, None, *statistics, True, ctx.eps, [False, True, True]
        )[1:]
        with_z, plain = ctx.add(torch.stack((of_weight, of_bias)).to(mean.dtype)) / ctx.number
        scale = inverse_std if weight is None else inverse_std * weight
        of_x = None
        if ctx.needs_input_grad[0]:
            shape = (1, -1) + (1,) * (x.dim() - 2)
            slope, shift = -scale * inverse_std * with_z, scale * (inverse_std * mean * with_z - plain)
            scale, slope, shift = (v.to(dtype).view(shape) for v in (scale, slope, shift))
            of_x = torch.addcmul(shift + x * slope, gradient, scale).to(x.dtype)
        parts = (None, None) if weight is None else (of_weight, of_bias)
        return of_x, *parts, None, None, None, None, None


def _at_least_float32(x: Tensor) -> torch.dtype:
    """What a batch norm of x computes in."""
    return torch.promote_types(x.dtype, torch.float32)


def _moments(x: Tensor, gather: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """(mean (C,), variance (C,), number of values a channel) over all ranks' x (B, C, ...)."""
    mean, var = torch.batch_norm_update_stats(x.to(_at_least_float32(x)), None, None, 0.0)
    n = x.numel() // x.shape[1]
    mine = torch.cat((mean, var, mean.new_full((1,), n))).to(wide(x.device))
    found = gather(mine)
    means, variances, numbers = found[:, : len(mean)], found[:, len(mean) : -1], found[:, -1:]
    total = numbers.sum()
    mean = (means * numbers).sum(0) / total
    return mean, ((variances + (means - mean) ** 2) * numbers).sum(0) / total, total
