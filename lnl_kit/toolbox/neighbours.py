"""Votes of nearest neighbours by cosine similarity."""

from __future__ import annotations

import torch
from torch import Tensor

ROWS = 1024  # images a block of the similarity matrix


@torch.no_grad()
def nearest(z: Tensor, k: int) -> Tensor:
    """int64 (N, k): of each image the k most similar others by features (N, d), or all others."""
    unit = torch.nn.functional.normalize(z.float(), dim=1)
    k = min(k, len(z) - 1)
    found = torch.empty(len(z), k, dtype=torch.int64, device=z.device)
    for start in range(0, len(z), ROWS):
        near = unit[start : start + ROWS] @ unit.T
        rows = torch.arange(len(near), device=z.device)
        near[rows, start + rows] = -2  # not itself
        found[start : start + ROWS] = near.topk(k, 1)[1]
    return found


def votes(z: Tensor, labels: Tensor, classes: int, k: int) -> Tensor:
    """(N, K): the shares of each class among the labels (N,) of an image's k nearest others."""
    near = nearest(z, k)
    found = torch.zeros(len(z), classes, device=z.device)
    found.scatter_add_(1, labels[near], torch.ones_like(near, dtype=found.dtype))
    return found / near.shape[1]
