"""MixMatch helpers (Berthelot et al. 2019): averaged guesses, sharpening, cycling through indices."""

from __future__ import annotations

import torch
from torch import Tensor


def repeated(index: Tensor, n: int, draw: torch.Generator) -> Tensor:
    """n of these indices in random order, going round again where they are fewer."""
    rounds = [
        index[torch.randperm(len(index), generator=draw).to(index.device)] for _ in range(-(-n // len(index)))
    ]
    return torch.cat(rounds)[:n]


def mean_softmax(network, views: Tensor) -> Tensor:
    """The mean softmax (B, K) over the two views stacked in views (2 B, C, H, W)."""
    first, second = network(views).float().softmax(1).chunk(2)
    return (first + second) / 2


def sharpen(probs: Tensor, temperature: float) -> Tensor:
    """p^(1/T), normalised: (B, K)."""
    powered = probs ** (1 / temperature)
    return powered / powered.sum(1, keepdim=True)
