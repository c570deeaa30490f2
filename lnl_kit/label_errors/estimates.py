"""How many labels are wrong, and how probably each: a transition matrix from out-of-sample predictions.

A network that never saw an image's label believes p(t | x) of its true class t. The label g was given with
probability T[t, g]. By Bayes the label is wrong with probability 1 - p(g | x) T[g, g] / sum_t p(t | x) T[t,
g]. T maximises the likelihood of the labels, sum_i log sum_t p(t | x_i) T[t, g_i], and so does the
temperature that tempers the network's confidence (its labels were held out, so they say how far it can be
believed). This is the second expectation-maximisation of LNL-flywheel, on held-out predictions.

Where the network is weak two readings of the number of errors differ: the likelihood's, which takes mistakes
that the network shares with the labels for right ones, and that of the labels of the surest images alone,
which takes the network's own mistakes for wrong labels. Their mean is the estimate, and the interval holds
both. (Chosen by measurement, on the sets in `data/measured/find_errors.csv`.)
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from . import many_classes

TEMPERATURES = np.geomspace(0.4, 6, 14)
STEPS = 40  # of expectation-maximisation, for each temperature
SURE = 0.2  # share of the images predicted as a class, the surest, whose labels T starts from
DRAWS = 40  # bootstrap samples behind an interval
# The numbers of `wrong_share` were fitted to 47 sets whose truth is known; each kind of noise was left out
# once.
SURELY = 1.1  # weight of what the labels of the surest images speak of
FALL = 0.37  # weight of the fall of agreement from the surest tenth to the surer half
OPEN = 0.3  # half of an interval is this share of what lies between its two bounds, beside sampling
SLOPE = 0.8  # of the suspicion's log odds in those that rank: best of .3 to 1.3 for the log loss, same sets
# images with a right label that each class is thought to have beside its own, so that a handful decides
# nothing
PRIOR = 1.0


class Estimate(NamedTuple):
    """What labels (N,) and predictions (N, K) say about each other."""

    suspicion: np.ndarray  # (N,) probability that the given label is wrong
    posterior: np.ndarray  # (N, K) probability of each class, given image and label
    temperature: float
    # of the number of wrong labels: what sampling and the choice of images to start from leave open
    interval: tuple[float, float]


def estimate(
    probs: np.ndarray, given: np.ndarray, ranking: np.ndarray | None = None, seed: int = 0
) -> Estimate:
    """The suspicion of each label and what follows from all of them.

    probs (N, K): of networks that did not see the label; given (N,): class numbers. ranking (N, K): other
    probabilities that the images are ranked by, under the same transition matrix and temperature, to the same
    number of errors.
    """
    probs, n = np.asarray(probs, np.float64), len(given)
    start = surest(probs, given)
    candidates = []
    for temperature in many_classes.bar(TEMPERATURES, len(TEMPERATURES), probs.size, "estimating errors"):
        p = temper(probs, temperature)
        T = maximise(p, given, start)
        candidates.append((np.log(likelihood(p, T, given)).sum(), temperature, T))
    _, temperature, T = max(candidates, key=lambda f: f[0])
    p = temper(probs, temperature)
    posterior = expect(p, T, given)
    rng, rows = np.random.RandomState(seed), np.arange(n)
    counts = [n - right(p, start, given).sum()]  # as many errors as the labels of the surest images speak of
    kept = many_classes.keep(p, given) if p.shape[1] > many_classes.MANY else None
    for _ in many_classes.bar(range(DRAWS), DRAWS, probs.size, "estimating the interval"):
        weight = rng.multinomial(n, np.full(n, 1 / n)).astype(float)
        drawn = maximise(p, given, T, weight, STEPS // 4, kept)
        counts.append(n - weight @ right(p, drawn, given))
    low, high = np.percentile(counts[1:], (5, 95))
    share = (counts[0] / n + 1 - posterior[rows, given].mean()) / 2
    if ranking is not None:
        posterior = expect(temper(ranking, temperature), T, given)
    posterior = with_share(posterior, given, share)
    return Estimate(
        1 - posterior[rows, given],
        posterior,
        float(temperature),
        (float(min(low, counts[0])), float(max(high, counts[0]))),
    )


def disagreement(probs: np.ndarray, given: np.ndarray) -> Estimate:
    """The same from predictions (N, K) of networks that were trained on the labels: their own beliefs lean
    towards what they were told, so nothing is fitted; as many labels are taken to be wrong as differ from the
    predicted class.
    """
    n, rows = len(given), np.arange(len(given))
    share = (probs.argmax(1) != given).mean()
    posterior = with_share(np.asarray(probs, np.float64), given, share)
    around = 1.645 * np.sqrt(n * share * (1 - share))
    interval = float(max(0.0, n * share - around)), float(n * share + around)
    return Estimate(1 - posterior[rows, given], posterior, 1.0, interval)


def wrong_share(probs: np.ndarray, given: np.ndarray) -> tuple[float, tuple[float, float]]:
    """(share of wrong labels, interval of it) from out-of-sample probabilities (N, K), of whatever made them.

    If noise did not depend on the image, the labels of the surest images would tell the share: the transition
    matrix read from them (`surest`), applied to all. People err more on images that are hard, and so do
    networks: where predictions are less sure, they agree less with the labels, and nothing says whose fault
    that is. Over sets where it is known, a third of the fall of agreement from the surest tenth to the surer
    half is the labels' fault. Disagreement with the predicted class is the upper bound.
    """
    n, start = len(given), surest(probs, given)
    found = []
    for temperature in TEMPERATURES:
        p = temper(probs, temperature)
        T = maximise(p, given, start, steps=STEPS // 2)
        found.append((np.log(likelihood(p, T, given)).sum(), temperature))
    least = 1 - right(temper(probs, max(found)[1]), start, given).mean()
    wrong = (probs.argmax(1) != given)[np.argsort(-probs.max(1), kind="stable")]
    tenth, half = wrong[: max(1, n // 10)].mean(), wrong[: max(1, n // 2)].mean()
    share = float(np.clip(SURELY * least + FALL * (half - tenth), 0, wrong.mean()))
    around = OPEN * max(0.0, wrong.mean() - least) + 1.3 * 1.645 * np.sqrt(
        max(share * (1 - share), 0.002) / n
    )
    return share, (max(0.0, share - around), min(1.0, share + around))


def with_odds(probs: np.ndarray, posterior: np.ndarray, odds: np.ndarray, given: np.ndarray) -> Estimate:
    """The suspicion of labels ranked by log odds (N,), as many of them wrong as out-of-sample probabilities
    (N, K) tell.

    posterior (N, K): how probable the other classes are among themselves.
    """
    n, rows = len(given), np.arange(len(given))
    share, interval = wrong_share(probs, given)
    low, high = -60.0, 60.0
    for _ in range(80):
        middle = (low + high) / 2
        suspicion = 1 / (1 + np.exp(-np.clip(SLOPE * odds + middle, -500, 500)))
        low, high = (middle, high) if suspicion.mean() < share else (low, middle)
    others = np.maximum(posterior, 1e-12)
    others[rows, given] = 0
    others *= (suspicion / others.sum(1))[:, None]
    others[rows, given] = 1 - suspicion
    return Estimate(suspicion, others, 1.0, (interval[0] * n, interval[1] * n))


def with_share(posterior: np.ndarray, given: np.ndarray, share: float) -> np.ndarray:
    """The posterior (N, K), every given label's odds times one number, so that `share` are wrong."""
    rows = np.arange(len(given))
    own, low, high = posterior[rows, given], -30.0, 30.0
    for _ in range(60):
        middle = (low + high) / 2
        odds = own * np.exp(middle)
        low, high = (middle, high) if (1 - odds / (odds + 1 - own)).mean() > share else (low, middle)
    moved = posterior.copy()
    moved[rows, given] *= np.exp(middle)
    return moved / np.maximum(moved.sum(1, keepdims=True), 1e-300)


def temper(probs: np.ndarray, temperature: float) -> np.ndarray:
    """(N, K): p^(1 / temperature), normalised; above 1 it is less sure."""
    logs = np.log(np.maximum(probs, 1e-6)) / temperature
    p = np.exp(logs - logs.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def surest(probs: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(K, K): for each class the labels of those images that are predicted as it most surely."""
    k = probs.shape[1]
    predicted, sure, T = probs.argmax(1), probs.max(1), PRIOR * np.eye(k) + 1e-3
    for c in range(k):
        members = np.flatnonzero(predicted == c)
        members = members[np.argsort(-sure[members], kind="stable")][: max(1, round(SURE * len(members)))]
        T[c] += np.bincount(given[members], minlength=k)
    return T / T.sum(1, keepdims=True)


def likelihood(p: np.ndarray, T: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(N,): probability of each given label."""
    return np.maximum(np.einsum("nk,kn->n", p, T[:, given]), 1e-12)


def expect(p: np.ndarray, T: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(N, K): probability of each true class, given image and label."""
    joint = p * T[:, given].T
    return joint / np.maximum(joint.sum(1, keepdims=True), 1e-12)


def right(p: np.ndarray, T: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(N,): probability that the given label is the true class, what `expect` says of it."""
    return p[np.arange(len(given)), given] * T[given, given] / likelihood(p, T, given)


def maximise(
    p: np.ndarray,
    given: np.ndarray,
    T: np.ndarray,
    weight: np.ndarray | None = None,
    steps: int = STEPS,
    kept: many_classes.Kept | None = None,
) -> np.ndarray:
    """(K, K): T after so many steps of expectation-maximisation; weight (N,) counts images.

    kept: `many_classes.keep` of p and given, where there are many classes and it is at hand.
    """
    k = p.shape[1]
    if k > many_classes.MANY:
        weight = np.ones(len(given)) if weight is None else weight
        return many_classes.maximise(kept or many_classes.keep(p, given), given, T, weight, PRIOR, steps)
    label = np.zeros((len(given), k))
    label[np.arange(len(given)), given] = 1 if weight is None else weight
    for _ in range(steps):
        T = expect(p, T, given).T @ label + PRIOR * np.eye(k) + 1e-3
        T /= T.sum(1, keepdims=True)
    return T
