"""Analyses of NRD's Section 3.5: predictions for views that a memorising network was never trained on."""

from __future__ import annotations

import numpy as np

from ..run.opened import OpenedRun


def vicinal_ensemble(
    run: OpenedRun, view: str = "autoaugment", n_views: int = 16, seed: int = 0, epoch: int | None = None
) -> np.ndarray:
    """(N, K): the training images' predictions, averaged over n_views draws of an unseen policy, Eq. (22)."""
    return run.predict_views(run.train_images(), view, n_views, seed, epoch).mean(0)


def self_correction(probs: np.ndarray, given: np.ndarray, true: np.ndarray) -> dict[str, float]:
    """A row of Table 1: accuracy against the true labels on clean, mislabeled and all training images."""
    right, wrong = probs.argmax(1) == true, given != true
    return {
        "clean": right[~wrong].mean(),
        "mislabeled": right[wrong].mean() if wrong.any() else float("nan"),
        "overall": right.mean(),
    }


def most_corrected(
    single: np.ndarray, ensemble: np.ndarray, given: np.ndarray, true: np.ndarray, n: int
) -> np.ndarray:
    """Indices of n mislabeled images that the network memorised and the ensemble puts right most clearly.

    single, ensemble: (N, K). One image per true class first, so that the examples differ.
    """
    rows = np.arange(len(true))
    score = np.where((given != true) & (single.argmax(1) == given), ensemble[rows, true], -1.0)
    order = [i for i in np.argsort(-score, kind="stable") if score[i] >= 0]
    first = [i for place, i in enumerate(order) if true[i] not in true[order[:place]]]
    return np.array([*first, *(i for i in order if i not in first)][:n], dtype=np.int64)
