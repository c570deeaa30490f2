"""Many networks of one architecture trained at once, as one network with N times the channels.

Convolutions become grouped ones, batch norms wider ones, and linear layers batched products, so that no
member sees another. N small steps become one large one, which is what a CPU's and a GPU's kernels are made
for.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .models import Pointwise


class Stacked(nn.Module):
    """N networks of `models.make`, each with its own weights and its own batch.

    Their weights are copied. Trained on the sum of the members' losses, each member takes the steps that it
    would take alone. Raises ValueError for layers with weights other than convolutions, batch norms and
    linear layers.
    """

    def __init__(self, networks: Sequence[nn.Module]):
        super().__init__()
        self.count = len(networks)
        self.network = copy.deepcopy(networks[0])
        for name, first in list(networks[0].named_modules()):
            layers = [n.get_submodule(name) for n in networks]
            if isinstance(first, nn.Conv2d):
                made: nn.Module = _conv(layers)
            elif isinstance(first, nn.BatchNorm2d):
                made = nn.BatchNorm2d(first.num_features * self.count, first.eps, first.momentum)
            elif isinstance(first, nn.Linear):
                made = StackedLinear(
                    first.in_features, first.out_features, self.count, first.bias is not None
                )
            elif list(first.parameters(recurse=False)):
                raise ValueError(
                    f"{type(first).__name__} cannot be stacked, only convolutions, batch norms and linear "
                    "layers can"
                )
            else:
                continue
            for key, value in made.state_dict().items():
                value.copy_(
                    torch.cat([v.state_dict()[key] for v in layers])
                    if value.dim()
                    else first.state_dict()[key]
                )
            parent, _, layer = name.rpartition(".")
            setattr(self.network.get_submodule(parent), layer, made)
        like = next(networks[0].parameters())
        self.to(like.device, like.dtype).to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (N, B, K) for each member's own batch, x (N, B, C, H, W), or for a common one, x (B, C, H,
        W).
        """
        x = x.transpose(0, 1).flatten(1, 2) if x.dim() == 5 else x.repeat(1, self.count, 1, 1)
        logits = self.network(x.contiguous(memory_format=torch.channels_last))  # (B, N * K)
        return logits.unflatten(1, (self.count, -1)).transpose(0, 1)

    def member(self, n: int, like: nn.Module) -> nn.Module:
        """A copy of the n-th member, in a copy of `like`, a network of its architecture."""
        alone = copy.deepcopy(like)
        wide = self.network.state_dict()
        alone.load_state_dict(
            {
                key: wide[key].unflatten(0, (self.count, -1))[n] if value.dim() else wide[key]
                for key, value in alone.state_dict().items()
            }
        )
        return alone


class StackedLinear(nn.Module):
    """N linear layers: (B, N * D) -> (B, N * K). Weight (N * K, D): theirs, one after the other."""

    def __init__(self, inputs: int, outputs: int, count: int, bias: bool = True):
        super().__init__()
        self.count = count
        self.weight = nn.Parameter(torch.empty(count * outputs, inputs))
        self.bias = nn.Parameter(torch.empty(count * outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return _products(x, self.weight, self.bias, self.count)


class StackedPointwise(nn.Conv2d):
    """N `models.Pointwise`: a 1x1 convolution with N groups, as the batch of matrix products that it is."""

    def forward(self, x: Tensor) -> Tensor:
        return _products(x[:, :, 0, 0], self.weight[:, :, 0, 0], self.bias, self.groups)[:, :, None, None]


def _products(x: Tensor, weight: Tensor, bias: Tensor | None, count: int) -> Tensor:
    """(B, N * K): each of N parts of x (B, N * D) by its own part of weight (N * K, D), and bias (N * K)."""
    x = x.unflatten(1, (count, -1)).transpose(0, 1)  # (N, B, D)
    out = x @ weight.unflatten(0, (count, -1)).transpose(1, 2)  # (N, B, K)
    out = out.transpose(0, 1).flatten(1)
    return out if bias is None else out + bias


def _conv(layers: list[Any]) -> nn.Conv2d:
    """An empty grouped convolution that holds those of all members."""
    one, n = layers[0], len(layers)
    return (StackedPointwise if isinstance(one, Pointwise) else nn.Conv2d)(
        n * one.in_channels,
        n * one.out_channels,
        one.kernel_size,
        one.stride,
        one.padding,
        one.dilation,
        n * one.groups,
        one.bias is not None,
        one.padding_mode,
    )
