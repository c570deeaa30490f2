"""Detectors of wrong labels that need no training of their own: from what an ordinary training goes through
anyway, or from features. N images, E epochs, K classes; every score is (N,), larger = cleaner.

aum               area under the margin (Pleiss, Zhang, Elenberg, Weinberger 2020, Eq. 1 and 2): the mean over
                  the epochs, until the learning rate first falls, of the given label's logit above the
                  highest other one
mean_margin       the same over all epochs
data_maps         confidence of Dataset Cartography (Swayamdipta et al. 2020, Sec. 2.1): the mean over the
                  epochs of the given label's probability; mislabelled images are "hard to learn": it is low
data_variability  its standard deviation: low for what is hard to learn, high for the "ambiguous"
simifeat          similarity of the given label with the labels of the nearest neighbours (Zhu, Dong, Liu
                  2022, "Detecting Corrupted Labels Without Training a Model to Predict", Eq. 4)

Where this differs: margins are taken after each epoch, of images without augmentation; Pleiss et al. take
them while training, which costs no pass, and set their threshold by images of a made-up class. The
softmax's logarithms are the logits up to a constant, so margins of several networks are those of their mean
softmax. SimiFeat votes over 21 draws of half the images and thresholds each class by an estimated transition
matrix: here all images vote once, since it is the order that counts.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

SMALLEST = 1e-30  # probability; the largest margin is 69
NEIGHBOURS = 10  # of SimiFeat, its Sec. 5
ROWS = 1024  # images a block of the similarity matrix


def margins(probs: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(N,) float64: z_y - max over k != y of z_k, the logits z up to a constant, of softmaxes (N, K)."""
    logits = np.log(np.maximum(np.asarray(probs, np.float64), SMALLEST))
    rows = np.arange(len(given))
    own = logits[rows, given]
    logits[rows, given] = -np.inf
    return own - logits.max(1)


def before_the_drop(learning_rates) -> int:
    """How many epochs pass before the learning rate, one an epoch, has fallen to half of its highest until
    then; all of them where it does not, or where there is none.
    """
    highest = 0.0
    for epoch, rate in enumerate(learning_rates):
        highest = max(highest, rate or 0.0)
        if rate is not None and rate <= highest / 2:
            return epoch
    return len(learning_rates)


def _mean(values: np.ndarray) -> np.ndarray:
    return np.asarray(values, np.float64).mean(0)


# name -> (N,) from margins (E, N), probabilities of the given label (E, N), learning rates (E,)
DYNAMICS: dict[str, Callable[..., np.ndarray]] = {
    "aum": lambda margin, prob, rates: _mean(margin[: max(1, before_the_drop(rates))]),
    "mean_margin": lambda margin, prob, rates: _mean(margin),
    "data_maps": lambda margin, prob, rates: _mean(prob),
    "data_variability": lambda margin, prob, rates: np.asarray(prob, np.float64).std(0),
}


def simifeat(
    features: np.ndarray, given: np.ndarray, classes: int, neighbours: int = NEIGHBOURS
) -> np.ndarray:
    """(N,) cosine similarity of an image's one-hot label and the mean of its nearest others' labels.

    features (N, d), compared by cosine; given (N,). With votes v (K,): v_y / |v|.
    """
    z = np.asarray(features, np.float32)
    z = z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12)
    n, score = len(z), np.zeros(len(z))
    k = min(neighbours, n - 1)
    for start in range(0, n if k > 0 else 0, ROWS):
        near = z[start : start + ROWS] @ z.T
        rows = np.arange(len(near))
        near[rows, start + rows] = -np.inf  # not itself
        labels = given[np.argpartition(-near, k - 1, axis=1)[:, :k]]
        votes = np.bincount((rows[:, None] * classes + labels).ravel(), minlength=len(near) * classes)
        votes = votes.reshape(len(near), classes)
        own = votes[rows, given[start : start + ROWS]]
        score[start : start + ROWS] = own / np.linalg.norm(votes, axis=1)
    return score
