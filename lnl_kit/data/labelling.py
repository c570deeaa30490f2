"""Which images and labels a run sees: noise, clean subset, subset by size, held-out share."""

from __future__ import annotations

import numpy as np
import torch

from .. import data
from ..toolbox.rng import seed_of
from . import clean_subset
from . import noise as noise_models
from .annotators import Agreed, agree
from .large_sets import OWN_NOISE
from .streams import Stream, pick, resident


def default_noise(noise, rate, labels, dataset):
    """Noise and rate as asked for, with their defaults; combinations that contradict are refused."""
    if dataset in OWN_NOISE and noise not in (None, "none"):
        raise ValueError(
            f"noise {noise} on {dataset}: its labels are wrong by themselves and the truth is unknown, so "
            "its noise is none"
        )
    if labels and noise not in (None, "none"):
        raise ValueError(
            f"noise {noise} beside --labels: labels from a file are taken as they come; drop one of them"
        )
    noise = noise or ("none" if labels or dataset in OWN_NOISE else "symmetric")
    without_rate = noise in ("none", "human") or noise.startswith("matrix:")
    if rate is None:
        rate = 0.0 if without_rate else 0.5
    return noise, float(rate)


def find_clean(source, share, clean_list, noise, seed):
    """(clean bool (N,), their right labels int64 (N,), -1 = as they stand); (None, None) without any."""
    if clean_list and share:
        raise ValueError(
            "--clean-share beside --clean-list: the list says which labels are right; drop one of them"
        )
    if clean_list:
        return clean_subset.read(
            clean_list, source.names, source.classes, (*source.test_names, *source.left_out)
        )
    if not share:
        return None, None
    simulated = noise not in ("none", "human")  # then a folder's classes count as true
    labels = source.true_labels if source.true_labels is not None or not simulated else source.given_labels
    if labels is None:
        raise ValueError(
            f"clean share {share:g}: nobody knows which labels of {source.name} are right; list images "
            "that you have checked with --clean-list FILE.csv, or set --clean-share 0"
        )
    return clean_subset.draw(labels.numpy(), share, seed), np.full(len(labels), -1)


def draw_labels(source, noise, rate, seed, label_column, clean=None, checked=None, share=0.0, untouched=None):
    """(given, true) as int64 arrays over the whole training set; true is None where it is unknown.

    The images in `clean`, bool (N,), have their right label: that in `checked` (N,), where that is -1 the
    true one, where it is unknown the given one. Synthetic noise acts on the others, at a higher rate, and not
    at all on those in `untouched`, bool (N,): outsiders, and images that a long tail leaves out.
    """
    given, true = with_noise(source, noise, rate, seed, label_column, clean, share, untouched)
    if clean is not None:
        given = np.where(clean, np.where(checked >= 0, checked, given if true is None else true), given)
    return given, true


def with_noise(source, noise, rate, seed, label_column, clean, share, untouched=None):
    """What `draw_labels` returns, synthetic noise outside `clean` alone."""
    true = None if source.true_labels is None else source.true_labels.numpy()
    if noise == "human":
        if not label_column:
            raise ValueError(
                "noise human needs --label-column: aggre, worst, random1, random2 or random3 for "
                "cifar10, noisy_fine for cifar100"
            )
        if (agreed := agreed_of(source, noise, label_column)) is not None:
            return agreed.given, true
        return data.human_labels(source.name, label_column, true_labels=source.true_labels).numpy(), true
    if noise == "none":
        return (true if source.given_labels is None else source.given_labels.numpy()), true
    if true is None:  # a folder's classes count as true: a simulation
        true = source.given_labels.numpy()
    free = np.ones(len(true), dtype=bool) if clean is None else ~clean
    if untouched is not None:
        free &= ~untouched
    if clean is not None and not noise.startswith("matrix:"):
        rate = clean_subset.compensated(rate, share or clean.mean())
    given = true.copy()
    given[free] = noise_models.noisy_labels(
        true[free],
        noise,
        rate,
        seed,
        num_classes=len(source.classes),
        like=source.like,
        images=source.x[torch.from_numpy(free)].numpy() if noise in noise_models.NEED_IMAGES else None,
    )
    return given, true


def agreed_of(source, noise, label_column) -> Agreed | None:
    """What several annotators say together, of human labels or of a table; None where there is one."""
    if noise != "human" or "," not in (label_column or ""):
        return source.agreed
    columns = (column.strip() for column in label_column.split(","))
    told = [data.human_labels(source.name, column, true_labels=source.true_labels) for column in columns]
    return agree(torch.stack(told, 1).numpy(), len(source.classes), source.annotators)


def expected_transition(noise, rate, source) -> np.ndarray | None:
    """(K, K), row = true class, of synthetic noise that has such a matrix, for methods that ask for it."""
    if noise in ("none", "human", *noise_models.NEED_IMAGES):
        return None
    return noise_models.transition_matrix(noise, rate, len(source.classes), like=source.like)


def choose(labels: np.ndarray, size: int | None, seed: int) -> np.ndarray:
    """Sorted indices of at most `size` images, even over the classes of `labels`, drawn by the seed."""
    if size is None or size >= len(labels):
        return np.arange(len(labels))
    order = np.random.RandomState(seed_of("subset", seed) % 2**32).permutation(
        len(labels)
    )  # not the noise's stream
    rank = np.empty(len(labels), dtype=np.int64)  # how many of its class come before it in the draw
    for k in np.unique(labels):
        members = order[labels[order] == k]
        rank[members] = np.arange(len(members))
    return np.sort(order[np.argsort(rank[order], kind="stable")][:size])


def at_random(n: int, size: int | None, seed: int) -> np.ndarray:
    """Sorted indices of at most `size` of n images, whatever their labels."""
    order = np.random.RandomState(seed_of("subset", seed) % 2**32).permutation(n)
    return np.sort(order[: n if size is None else size])


def choose_with(
    clean: np.ndarray, labels: np.ndarray, size: int | None, share: float, seed: int
) -> np.ndarray:
    """Like `choose`, with the clean images, bool (N,), at their share; all of them if from a list."""
    if size is None or size >= len(labels):
        return np.arange(len(labels))
    parts, kept = (
        (np.flatnonzero(clean), np.flatnonzero(~clean)),
        round(size * share) if share else clean.sum(),
    )
    return np.sort(
        np.concatenate(
            [part[choose(labels[part], n, seed)] for part, n in zip(parts, (kept, max(0, size - kept)))]
        )
    )


def hold_out(n: int, share: float, seed: int) -> np.ndarray:
    """bool (n,): the round(share * n) images held out for validation on given labels."""
    held = np.zeros(n, dtype=bool)
    held[np.random.RandomState(seed_of("noisy val", seed) % 2**32).permutation(n)[: round(share * n)]] = True
    return held


def rows(images: torch.Tensor | Stream, index: np.ndarray) -> torch.Tensor | Stream:
    """The images at these sorted indices, in memory if they fit; a whole set is not copied."""
    return resident(images if len(index) == len(images) else pick(images, torch.from_numpy(index)))
