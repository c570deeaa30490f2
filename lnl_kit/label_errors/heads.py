"""Label errors from frozen features: heads that never saw a label judge it, three times over.

1. Linear heads, each trained on all folds but one, say what the images of their own fold are. Strength of the
regularisation: the one under which the given labels are most probable.
2. A transition matrix T by expectation-maximisation turns this and the given label into a posterior
   (`estimates`).
3. The heads are trained again, on the posteriors in place of the labels, with other folds; and once more.

An image's suspicion is ranked by the log odds against its label, the mean of two readings over the last two
rounds: of the heads alone and of the posterior under T. How many are wrong is estimated from the first round,
which no posterior has touched. With fewer than 2,000 images it comes from the mean of the first and the last
round, as heads of few images are unsure of everything.

Where the features come from is chosen as the strength is: the eye under which the given labels are most
probable, among the backbone and the pixels themselves (`pixel_features`), which see more in what ImageNet
knows nothing of.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..features import heads
from ..toolbox.folds import folds_of
from ..toolbox.rng import generator
from .estimates import expect, maximise, surest, temper

# one round loses .007 of AUC on `worst` and .12 of precision on 200 photographs; a fourth gains on digits
ROUNDS = 3
FOLDS = 5
MANY_FOLDS = 10  # of small sets, where every image that is not trained on is missed
SMALL = 2000  # images
# heads that are regularised on wrong labels are too unsure; .4 to .6 rank alike, 1 loses .05 of AUC
TEMPERATURE = 0.5
STEPS = 15  # of expectation-maximisation
TRIED = 5000  # images by which the eye is chosen
WAVES = 1024  # random Fourier features of the pixels
PIXELS = 32  # a side, at most: what `pixel_features` sees
FEW = 3  # a class of fewer images than that is judged by neighbours
NEIGHBOURS = 10


class Judged(NamedTuple):
    """What heads say about labels (N,) of K classes."""

    held_out: np.ndarray  # (N, K) of the first round
    refined: np.ndarray  # (N, K) of the last round
    counted: np.ndarray  # (N, K): what the number of errors is estimated from
    posterior: np.ndarray  # (N, K): class by the last round's prediction and the given label
    odds: np.ndarray  # (N,) log odds against the label: what ranks
    strength: float  # of the regularisation, first round


def judge(z: Tensor, given: np.ndarray, classes: int, seed: int = 0, rounds: int = ROUNDS) -> Judged:
    """Judge labels by features z (N, d) on principal axes; the steps are those above."""
    y = torch.from_numpy(given)
    targets = torch.nn.functional.one_hot(y, classes).to(z)
    folds = MANY_FOLDS if len(given) < SMALL else FOLDS
    first: Any = None
    strength: Any = None
    odds = []
    for number in range(rounds):
        fold = folds_of(
            y,
            min(folds, len(given)),
            seed if number == 0 else int(generator(seed, "round", number).initial_seed()),
        )
        held_out, regularization = heads.held_out(z, targets, fold.to(z.device), y.to(z.device))
        probs = held_out.cpu().double().numpy()
        if first is None:
            first, strength = probs, regularization
        posterior = posterior_of(probs, given)
        targets = torch.from_numpy(posterior).to(z)
        odds.append(log_odds(probs, posterior, given))
    counted = (first + probs) / 2 if len(given) < SMALL else first
    ranking = np.mean(odds[-2:], axis=0)  # the last alone: -.014 AUC on 200 photographs
    return Judged(first, probs, counted, posterior, ranking, strength)


def posterior_of(probs: np.ndarray, given: np.ndarray, temperature: float = TEMPERATURE) -> np.ndarray:
    """(N, K): probability of each class given out-of-sample probabilities (N, K) and the label, under a T
    fitted to both.
    """
    p = temper(probs, temperature)
    return expect(p, maximise(p, given, surest(probs, given), steps=STEPS), given)


def log_odds(probs: np.ndarray, posterior: np.ndarray, given: np.ndarray) -> np.ndarray:
    """(N,): log odds against the given label, the mean of those of the prediction and of the posterior (N,
    K).
    """
    rows = np.arange(len(given))
    own = np.clip([probs[rows, given], posterior[rows, given]], 1e-6, 1 - 1e-6)
    return (np.log1p(-own) - np.log(own)).mean(0)


def pixel_features(x: np.ndarray, seed: int = 0) -> Tensor:
    """float32 (N, WAVES): random Fourier features (Rahimi and Recht 2007) of images uint8 (N, C, H, W), that
    is, a Gaussian kernel on pixels. Its width is the median distance of 500 images, halved.
    """
    draw = generator(seed, "pixel features")
    side = min(PIXELS, x.shape[-1])
    chunks = [small(torch.as_tensor(np.asarray(x[i : i + 1000])), side) for i in range(0, len(x), 1000)]
    mean = sum(c.sum(0) for c in chunks) / len(x)
    some = torch.cat(chunks)[torch.randperm(len(x), generator=draw)[:500]]
    apart = torch.pdist(some)
    width = apart[apart > 0].median() / 2 if (apart > 0).any() else torch.tensor(1.0)
    waves = torch.randn(some.shape[1], WAVES, generator=draw) / width
    phase = 2 * torch.pi * torch.rand(WAVES, generator=draw)
    return torch.cat([((c - mean) @ waves + phase).cos() for c in chunks])


def small(x: Tensor, side: int) -> Tensor:
    """float32 (n, C * side * side) in [0, 1] of images uint8 (n, C, H, W)."""
    x = x.float() / 255
    return (x if x.shape[-1] == side else torch.nn.functional.interpolate(x, side, mode="area")).flatten(1)


def likelihood_of(z: Tensor, given: np.ndarray, classes: int, seed: int = 0) -> float:
    """Mean log likelihood of given labels (N,) under heads that did not see them."""
    y = torch.from_numpy(given)
    probs, _ = heads.held_out(
        z, torch.nn.functional.one_hot(y, classes).to(z), folds_of(y, min(FOLDS, len(y)), seed), y
    )
    return float(probs.gather(1, y[:, None]).clamp_min(1e-6).log().mean())


def few_images(z: Tensor, given: np.ndarray, counts: np.ndarray) -> dict[int, tuple[float, int]]:
    """{position: (suspicion, rather this class)} for images of classes with fewer than FEW images.

    No head can be asked about a class that it was never shown. Neighbours can: the class that most of the
    NEIGHBOURS nearest
    images of larger classes have, times their share, times how ordinary the image would be there: the share
        of that class's own images that lie farther from their neighbours than this one does.
    """
    rare = np.flatnonzero(counts[given] < FEW)
    others = np.flatnonzero(counts[given] >= FEW)
    if not len(rare) or len(others) <= 1:
        return {}
    unit = torch.nn.functional.normalize(z, dim=1)
    labels, found = given[others], {}
    k = min(NEIGHBOURS, len(others) - 1)
    near, at = (unit[rare] @ unit[others].T).topk(k, 1)
    for i, close, where in zip(rare, near, at.numpy()):
        votes = np.bincount(labels[where], minlength=len(counts))
        c = int(votes.argmax())
        members = unit[others[labels == c]]
        own = (members @ members.T).fill_diagonal_(-1).topk(min(k, max(1, len(members) - 1)), 1)[0].mean(1)
        found[int(i)] = (float(votes[c] / k * (own <= close.mean()).float().mean()), c)
    return found
