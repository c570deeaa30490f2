"""Telling right labels from wrong ones by the losses of a network: larger scores mean cleaner."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def small_loss_probability(loss: Tensor, seed: int = 0) -> Tensor:
    """Probability (N,) that an image belongs to the component with the smaller mean, of a mixture of two Gaussians
    fitted to the losses (N,) (DivideMix, Sec. 3.1; the authors' settings). Losses are expected in [0, 1].

    A loss that is the same for every image tells nothing: all probabilities are then 1.
    """
    from sklearn.mixture import GaussianMixture

    values = loss.detach().cpu().numpy().astype(np.float64).reshape(-1, 1)
    if np.ptp(values) < 1e-9:
        return torch.ones_like(loss)
    mixture = GaussianMixture(2, max_iter=10, tol=1e-2, reg_covar=5e-4, random_state=seed).fit(values)
    probs = mixture.predict_proba(values)[:, mixture.means_.argmin()]
    return torch.from_numpy(probs).to(loss)
