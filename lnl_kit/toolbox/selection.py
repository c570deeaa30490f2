"""Telling right labels from wrong ones by the losses of a network: larger scores mean cleaner."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .wide import wide


def small_loss_probability(loss: Tensor, seed: int = 0) -> Tensor:
    """Probability (N,) that an image belongs to the component with the smaller mean, of a mixture of two
    Gaussians fitted to the losses (N,) (DivideMix, Sec. 3.1; the authors' settings). Losses are expected in
    [0, 1].

    A loss that is the same for every image tells nothing: all probabilities are then 1. Where a loss is not
    finite the network has diverged: all are then NaN, and the run says so when its epoch ends.
    """
    from sklearn.mixture import GaussianMixture

    values = loss.detach().cpu().numpy().astype(np.float64).reshape(-1, 1)
    if not np.isfinite(values).all():
        return torch.full_like(loss, float("nan"))
    if np.ptp(values) < 1e-9:
        return torch.ones_like(loss)
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed).fit(values)
    probs = mixture.predict_proba(values)[:, mixture.means_.argmin()]
    return torch.from_numpy(probs).to(loss)


class BetaMixture:
    """Two beta distributions fitted to losses (N,) (Arazo et al. 2019, Sec. 3.1): the one with the higher
    mean is that of wrong labels.

    Losses between their 5th and 95th percentile are scaled to (0, 1); expectation-maximisation with weighted
    moments, from the starting values of the authors' release.
    """

    def __init__(self, loss: np.ndarray, iterations: int = 10):
        self.low, self.high = np.percentile(loss, (5, 95))
        self.a, self.b, self.weight = np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([0.5, 0.5])
        inside = loss[(loss >= self.low) & (loss <= self.high)]
        x = self._scaled(inside)[:, None]
        for _ in range(iterations):
            share = self._shares(x)
            mean = (share * x).sum(0) / share.sum(0)
            variance = (share * (x - mean) ** 2).sum(0) / share.sum(0) + 1e-9
            self.a = np.maximum(mean * (mean * (1 - mean) / variance - 1), 1e-3)
            self.b = np.maximum(self.a * (1 - mean) / mean, 1e-3)
            self.weight = share.mean(0)

    def wrong(self, loss: Tensor) -> Tensor:
        """Probability (B,) that labels with these losses (B,) are wrong, computed where the losses are."""
        from scipy.special import betaln

        x = ((loss.detach().to(wide(loss.device)) - self.low) / (self.high - self.low + 1e-6)).clamp(
            1e-4, 1 - 1e-4
        )
        shares = torch.stack(
            [
                w * ((a - 1) * x.log() + (b - 1) * (-x).log1p() - betaln(a, b)).exp() + 1e-12
                for w, a, b in zip(self.weight, self.a, self.b)
            ]
        )  # (2, B)
        return (shares[int((self.a / (self.a + self.b)).argmax())] / shares.sum(0)).to(loss)

    def _scaled(self, loss: np.ndarray) -> np.ndarray:
        return np.clip((loss - self.low) / (self.high - self.low + 1e-6), 1e-4, 1 - 1e-4)

    def _shares(self, x: np.ndarray) -> np.ndarray:
        from scipy import stats

        share = self.weight * stats.beta.pdf(x, self.a, self.b) + 1e-12  # (N, 2)
        return share / share.sum(1, keepdims=True)
