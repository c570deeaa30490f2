"""Polynomial-margin diminishing noise (PMD): wrong labels where classes are hard to tell apart.

Zhang, Zheng, Wu, Goswami, Chen 2021, "Learning with Feature-Dependent Label Noise: A Progressive Approach",
Sec. 4: with eta(x) the classes' probabilities, an image of class y gets the label s, the most probable other
class, with probability tau(d), d = eta_y - eta_s:

pmd_1   1/2 - d^2 / 2
pmd_2   1 - d^3
pmd_3   1 - (d^3 + d^2 + d) / 3

each times a constant, at most 1 in all, such that the expected share of wrong labels is the rate.

Where this differs: eta comes from the paper's network trained on clean labels; here from linear discriminants
of the pixels, fitted to the true labels, with the temperature under which these are most probable. And the
paper starts from the most probable class, which it takes for the truth; here from the true one, and d is at
least 0.
"""

from __future__ import annotations

import numpy as np

KINDS = ("pmd_1", "pmd_2", "pmd_3")
SIDE = 16  # pixels a side that the discriminants see, at most: means of blocks
SHRINKAGE = 0.1  # share of the mean variance in the covariance
TEMPERATURES = 2.0 ** np.arange(-3, 9)


def flip_shape(kind: str, d: np.ndarray) -> np.ndarray:
    """tau (N,) before the constant, of margins d (N,) in [0, 1]."""
    if kind == "pmd_1":
        return 0.5 - d**2 / 2
    return 1 - d**3 if kind == "pmd_2" else 1 - (d**3 + d**2 + d) / 3


def scaled(tau: np.ndarray, rate: float) -> np.ndarray:
    """min(1, c tau) (N,), c such that the mean is the rate. Raises ValueError where no c is large enough."""
    if (reach := float((tau > 0).mean())) < rate:
        raise ValueError(f"noise rate {rate:g}: only {reach:.3g} of the images have a class that is near")
    low, high = 0.0, 1.0
    while np.minimum(1, high * tau).mean() < rate and high < 1e12:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if np.minimum(1, middle * tau).mean() < rate else (low, middle)
    return np.minimum(1, high * tau)


def probabilities(images: np.ndarray, true: np.ndarray, classes: int) -> np.ndarray:
    """eta (N, K): linear discriminants (Fisher) of pixels; images uint8 (N, C, H, W)."""
    x = seen(images)
    means = np.stack([x[true == k].mean(0) if (true == k).any() else x.mean(0) for k in range(classes)])
    rest = x - means[true]
    covariance = rest.T @ rest / len(x)
    spread = np.trace(covariance) / len(covariance)
    covariance = (1 - SHRINKAGE) * covariance + (SHRINKAGE * spread + 1e-9) * np.eye(len(covariance))
    weights = np.linalg.solve(covariance, means.T)  # (D, K)
    prior = np.log(np.maximum(np.bincount(true, minlength=classes) / len(true), 1e-12))
    scores = x @ weights - 0.5 * (means.T * weights).sum(0) + prior
    return max((softmax(scores / t) for t in TEMPERATURES), key=lambda p: _likelihood(p, true))


def seen(images: np.ndarray) -> np.ndarray:
    """float64 (N, C * side * side) in [0, 1]: blocks of pixels, of which a last, partial one is left out."""
    images = np.asarray(images)
    n, c, height, width = images.shape
    step = max(1, min(height, width) // SIDE)
    high, wide = height // step, width // step
    x = np.empty((n, c * high * wide))
    for part in np.array_split(np.arange(n), n // 1000 + 1):  # float64 needs room
        cut = images[part][:, :, : high * step, : wide * step].reshape(len(part), c, high, step, wide, step)
        x[part] = cut.mean((3, 5), dtype=np.float64).reshape(len(part), -1) / 255
    return x


def softmax(scores: np.ndarray) -> np.ndarray:
    """(N, K) of scores (N, K)."""
    p = np.exp(scores - scores.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def _likelihood(p: np.ndarray, true: np.ndarray) -> float:
    return float(np.log(np.maximum(p[np.arange(len(true)), true], 1e-12)).mean())


def flips(kind: str, eta: np.ndarray, true: np.ndarray, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """(the most probable other class (N,), the probability of that label (N,)), of eta (N, K)."""
    rows = np.arange(len(true))
    others = eta.copy()
    others[rows, true] = -1
    other = others.argmax(1)
    d = np.maximum(0, eta[rows, true] - eta[rows, other])
    return other.astype(np.int64), scaled(flip_shape(kind, d), rate)


def drawn(
    kind: str, images: np.ndarray, true: np.ndarray, classes: int, rate: float, rng: np.random.RandomState
) -> np.ndarray:
    """Given labels int64 (N,)."""
    other, probability = flips(kind, probabilities(images, true, classes), true, rate)
    return np.where(rng.random_sample(len(true)) < probability, other, true)
