"""Open-set noise: a share of the training images shows no class at all, and has a label of one nevertheless.

digits      letters and textures are drawn and added (`glyphs`): digits and their labels stay what they are
other sets  the last classes are held out, as CIFAR-80N does (Yao et al. 2021, "Jo-SRC"): as many as the share
            of the classes needs, and so many of their images that they are this share of all training images.
            The other classes keep all their images, and the test set has those alone

An outsider's label is drawn from all classes evenly; its true label is -1. Who they are only the evaluator
knows. Long-tailed counts (`long_tailed`), which choose images too, are below.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..toolbox.rng import seed_of
from . import glyphs
from .dataset import Dataset
from .large_sets import OWN_NOISE

DRAWN = "digits"  # the set whose outsiders are drawn


class Opened(NamedTuple):
    """A data set and which of its images there are to choose from."""

    source: Dataset  # of the classes that are left; true labels of outsiders are -1
    outside: np.ndarray  # bool (N,): training images of no class
    used: np.ndarray  # bool (N,): the training images that there are
    test_used: np.ndarray  # bool (M,): test images of the classes that are left


def check(share: float, imbalance: float | None, dataset: str, noise: str) -> None:
    """Raise ValueError, in one sentence, for a share of outsiders or a long tail that cannot be had."""
    if not 0 <= share < 1:
        raise ValueError(f"open_set {share:g} is outside [0, 1): the share of images of no class")
    if imbalance is not None and not 0 < imbalance <= 1:
        raise ValueError(f"imbalance {imbalance:g} is outside (0, 1]: the smallest class over the largest")
    if share and dataset in OWN_NOISE:
        raise ValueError(
            f"open_set {share:g} on {dataset}: its labels come from the web, outsiders with them"
        )
    if share and noise == "human":
        raise ValueError(
            "open_set beside noise human: people chose among all classes, and some are held out; take "
            "synthetic noise"
        )


def opened(source: Dataset, share: float, imbalance: float | None, seed: int) -> Opened:
    """The data set with outsiders at a share of all training images, and classes of long-tailed counts."""
    labels = source.given_labels if source.true_labels is None else source.true_labels
    assert labels is not None  # a data set has one of them
    known, k = labels.numpy(), len(source.classes)
    drawn = source.name == DRAWN
    left = k if drawn else k - math.ceil(share * k - 1e-9)
    if left < 2:
        raise ValueError(
            f"open_set {share:g} holds out {k - left} of {k} classes: at least two must be left, so at most "
            f"{(k - 2) / k:.2g}"
        )
    outside = known >= left
    used = ~outside if imbalance is None else long_tailed(np.where(outside, -1, known), imbalance, seed)
    wanted = round(share / (1 - share) * int(used.sum()))
    rng = np.random.RandomState(seed_of("open set", share, seed) % 2**32)
    if drawn and share:
        source = _with_drawn(source, glyphs.outsiders(wanted, rng), share, seed)
        outside, used = (np.append(mask, np.ones(wanted, dtype=bool)) for mask in (outside, used))
    else:
        used[rng.permutation(np.flatnonzero(outside))[:wanted]] = True
        source = _without(source, left) if share else source
    return Opened(source, outside, used, source.test_y.numpy() >= 0)


def _without(source: Dataset, left: int) -> Dataset:
    """The data set of its first classes; labels of the others are -1."""

    def closed(labels: Tensor | None) -> Tensor | None:
        return None if labels is None else torch.where(labels < left, labels, -1)

    return replace(
        source,
        classes=source.classes[:left],
        true_labels=closed(source.true_labels),
        given_labels=closed(source.given_labels),
        test_y=torch.where(source.test_y < left, source.test_y, -1),
        second_test=None,
    )


def _with_drawn(source: Dataset, images: np.ndarray, share: float, seed: int) -> Dataset:
    """The data set with these images (n, C, H, W) after its own, of true label -1."""
    n, more = len(source.names), torch.from_numpy(images)
    if source.x.shape[-1] != more.shape[-1]:
        more = torch.nn.functional.interpolate(more, source.x.shape[-1], mode="nearest")

    def longer(labels: Tensor | None) -> Tensor | None:
        return None if labels is None else torch.cat([labels, labels.new_full((len(more),), -1)])

    told = f"{source.fingerprint} open set {share:g} {seed} {len(more)}".encode()
    return replace(
        source,
        x=torch.cat([torch.as_tensor(source.x[:]), more]),
        true_labels=longer(source.true_labels),
        given_labels=longer(source.given_labels),
        names=(*source.names, *map(str, range(n, n + len(more)))),
        fingerprint=hashlib.blake2b(told, digest_size=16).hexdigest(),
    )


def labelled(given: np.ndarray, true: np.ndarray | None, outside: np.ndarray, classes: int, seed: int):
    """(given, true) with an outsider's label drawn from all classes, and its true one -1."""
    rng = np.random.RandomState(seed_of("open set labels", seed) % 2**32)
    drawn = rng.randint(classes, size=len(given), dtype=np.int64)
    return np.where(outside, drawn, given), None if true is None else np.where(outside, -1, true)


def long_tailed(true: np.ndarray, ratio: float, seed: int) -> np.ndarray:
    """bool (N,): images that are left where class k of K keeps n ratio^(k / (K - 1)) of its images, n being
    the largest class (Cao et al. 2019, "LDAM", exponential imbalance); at least one. true (N,), -1 = none of
    the classes, and not left.
    """
    counts = np.bincount(true[true >= 0])
    kept = np.zeros(len(true), dtype=bool)
    order = np.random.RandomState(seed_of("imbalance", seed) % 2**32).permutation(len(true))
    for k in range(len(counts)):
        most = max(1, round(counts.max() * ratio ** (k / max(1, len(counts) - 1))))
        kept[order[true[order] == k][:most]] = True
    return kept
