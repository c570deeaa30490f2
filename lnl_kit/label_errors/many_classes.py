"""Expectation-maximisation where there are hundreds of classes: each image keeps its most probable ones."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

MANY = 128  # classes above which an image keeps KEPT of them
KEPT = 24
SLOW = 5_000_000  # probabilities (images times classes) above which a bar is shown


class Kept(NamedTuple):
    """The most probable classes of N images, their given labels among them."""

    top: np.ndarray  # (N, KEPT) their probabilities
    rest: np.ndarray  # (N,) that of all others together
    cells: np.ndarray  # (N * KEPT,) where T[t, g] of each stands, row by row


def keep(p: np.ndarray, given: np.ndarray) -> Kept:
    """What is kept of p (N, K) and given labels (N,)."""
    n, k = p.shape
    kept = np.argpartition(p, k - KEPT, axis=1)[:, k - KEPT :]  # (N, KEPT)
    has_given = (kept == given[:, None]).any(1)
    least = np.take_along_axis(p, kept, 1).argmin(1)
    kept[~has_given, least[~has_given]] = given[~has_given]
    top = p[np.arange(n)[:, None], kept]
    return Kept(top, np.maximum(1 - top.sum(1), 0), (kept * k + given[:, None]).reshape(-1))


def maximise(
    kept: Kept, given: np.ndarray, T: np.ndarray, weight: np.ndarray, prior: float, steps: int
) -> np.ndarray:
    """`estimates.maximise` in O(N * KEPT + K^2) a step instead of O(N * K^2).

    given (N,), T (K, K), weight (N,). The rest of an image's probability is spread evenly over all classes.
    """
    (n, _), k = kept.top.shape, len(T)
    for _ in range(steps):
        joint = kept.top * T.reshape(-1)[kept.cells].reshape(n, -1)
        tail = kept.rest * T.mean(0)[given]
        scale = weight / np.maximum(joint.sum(1) + tail, 1e-12)
        counts: np.ndarray = np.bincount(kept.cells, (joint * scale[:, None]).reshape(-1), k * k).reshape(
            k, k
        )
        counts += np.bincount(given, tail * scale, k) / k
        counts += 1e-3
        counts[np.arange(k), np.arange(k)] += prior
        T = counts / counts.sum(1, keepdims=True)
    return T


def bar(values: Iterable, total: int, size: int, what: str) -> Iterable:
    """The values, with a bar on standard error where it takes a while."""
    return tqdm(values, what, total, leave=False, disable=size < SLOW, mininterval=1, file=sys.stderr)
