"""Several labels an image: majority and Dawid-Skene, and a transition matrix for each annotator.

labels (N, A): what annotator a calls image n, -1 = did not see it. K classes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

RULES = ("majority", "dawid_skene")
STEPS, CHANGE = 100, 1e-6  # of expectation-maximisation at most; it ends where no probability changes by more


class Agreed(NamedTuple):
    """What several annotators say together."""

    given: np.ndarray  # (N,) the label
    probs: np.ndarray  # (N, K) how probable each class is
    matrices: np.ndarray  # (A, K, K) of each annotator, row = the class agreed upon

    def in_words(self, columns: str, source) -> dict:
        """What annotators.json holds: each annotator's matrix and how often it gives what they agree on."""
        names, share = [c.strip() for c in columns.split(",")], self.probs.mean(0)
        own = (share[None] * np.einsum("akk->ak", self.matrices)).sum(1)
        return {
            "rule": source.annotators,
            "classes": source.classes,
            "agrees": dict(zip(names, own.round(6).tolist())),
            "matrices": dict(zip(names, self.matrices.round(6).tolist())),
        }


def agree(labels: np.ndarray, classes: int, rule: str = "majority", seed: int = 0) -> Agreed:
    """One label an image from several. majority: the most frequent, ties drawn by the seed; its probabilities
    are the shares of the votes. dawid_skene: see `dawid_skene`. Raises ValueError in one sentence.
    """
    labels = np.asarray(labels)
    if rule not in RULES:
        raise ValueError(f"annotators {rule!r} does not exist: {', '.join(RULES)}")
    if labels.ndim != 2 or labels.min() < -1 or labels.max() >= classes:
        raise ValueError(f"labels of annotators are numbers of {classes} classes (or -1), a column each")
    if (lacking := int((labels >= 0).any(1).sum())) < len(labels):
        raise ValueError(f"{len(labels) - lacking} images have a label of no annotator: leave them out")
    if rule == "dawid_skene":
        return dawid_skene(labels, classes)
    votes = votes_of(labels, classes)
    tie = np.random.RandomState(seed).random_sample(votes.shape)
    given = (votes + tie * (votes == votes.max(1, keepdims=True))).argmax(1).astype(np.int64)
    probs = votes / votes.sum(1, keepdims=True)
    return Agreed(given, probs, matrices_of(labels, probs))


def votes_of(labels: np.ndarray, classes: int) -> np.ndarray:
    """(N, K): how many annotators name each class."""
    rows = np.repeat(np.arange(len(labels)), labels.shape[1])
    there = labels.ravel() >= 0
    flat = rows[there] * classes + labels.ravel()[there]
    return np.bincount(flat, minlength=len(labels) * classes).reshape(-1, classes).astype(np.float64)


def matrices_of(labels: np.ndarray, probs: np.ndarray, smoothing: float = 0.0) -> np.ndarray:
    """(A, K, K): pi[a, i, j] = sum_n p_ni [l_na = j] / sum over j of the same (Dawid and Skene, Eq. 2.3),
    each count raised by `smoothing`. A row of a class that an annotator was shown nothing of is even.
    """
    k = probs.shape[1]
    found = np.full((labels.shape[1], k, k), float(smoothing))
    for a, of_annotator in enumerate(labels.T):
        there = of_annotator >= 0
        for i in range(k):
            found[a, i] += np.bincount(of_annotator[there], probs[there, i], k)
    total = found.sum(2, keepdims=True)
    return np.where(total > 0, found / np.where(total > 0, total, 1), 1 / k)


def dawid_skene(labels: np.ndarray, classes: int, steps: int = STEPS, smoothing: float = 0.01) -> Agreed:
    """Dawid and Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm".

    From the votes' shares, in turn: class frequencies and a matrix an annotator (Eq. 2.3 and 2.4), and from
    these how probable each class is of an image, p_n(k) ~ f_k prod_a pi[a, k, l_na] (Eq. 2.5). smoothing: is
    added to each count of the matrices, so that what was never seen is not impossible.
    """
    votes = votes_of(labels, classes)
    probs = votes / votes.sum(1, keepdims=True)
    matrices = matrices_of(labels, probs, smoothing)
    for _ in range(steps):
        logs = np.log(np.maximum(probs.mean(0), 1e-12))[None].repeat(len(labels), 0)
        for matrix, of_annotator in zip(np.log(matrices), labels.T):
            there = of_annotator >= 0
            logs[there] += matrix[:, of_annotator[there]].T
        new = np.exp(logs - logs.max(1, keepdims=True))
        new /= new.sum(1, keepdims=True)
        change, probs = np.abs(new - probs).max(), new
        matrices = matrices_of(labels, probs, smoothing)
        if change < CHANGE:
            break
    return Agreed(probs.argmax(1).astype(np.int64), probs, matrices)
