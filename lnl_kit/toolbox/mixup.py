"""MixUp: Beyond Empirical Risk Minimization (Zhang, Cisse, Dauphin, Lopez-Paz; ICLR 2018)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Mix(NamedTuple):
    """Pairs of a batch: row i with row `partner[i]`, the first with weight `share`."""

    share: Tensor  # 0-d, in [0, 1]
    partner: Tensor  # int64 (B,)

    def __call__(self, values: Tensor) -> Tensor:
        """The same mixture of images (B, C, H, W), targets (B, K), or anything with B rows."""
        return self.share * values + (1 - self.share) * values[self.partner]


def draw(batch: int, alpha: float, device, own_half: bool = False) -> Mix:
    """A share from Beta(alpha, alpha) and a permutation; `own_half`: a share of at least 1/2 (MixMatch)."""
    share = torch.distributions.Beta(alpha, alpha).sample()
    if own_half:
        share = torch.maximum(share, 1 - share)
    return Mix(
        share, torch.randperm(batch).to(device, non_blocking=True)
    )  # does not wait for what the GPU is at
