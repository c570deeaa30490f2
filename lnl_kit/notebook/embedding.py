"""Maps of feature space: t-SNE by scikit-learn."""

from __future__ import annotations

import numpy as np


def tsne(features: np.ndarray, seed: int = 0, perplexity: float = 30.0) -> np.ndarray:
    """(n, 2): a t-SNE map of features (n, D), started from their principal components.

    perplexity: about how many neighbours count; lowered where there are fewer than 3 times as many images.
    """
    from sklearn.manifold import TSNE

    perplexity = min(perplexity, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(
        np.asarray(features, np.float64)
    )
