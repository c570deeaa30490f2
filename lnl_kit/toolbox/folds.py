"""Folds for cross-validation, stratified by label."""

from __future__ import annotations

import torch
from torch import Tensor

from .rng import generator


def folds_of(y: Tensor, folds: int, seed: int) -> Tensor:
    """int64 (N,): the fold of each image, every class spread evenly over the folds."""
    order = torch.randperm(len(y), generator=generator(seed, "folds"))
    fold, start = torch.zeros_like(y), 0
    for k in y.unique():
        members = order[y[order] == k]
        fold[members] = (torch.arange(len(members)) + start) % folds
        start += len(members)  # the next class goes on where this one ended, so that folds are of one size
    return fold
