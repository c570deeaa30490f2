"""Pictures that occur more than once: the same pixels, or nearly the same in training and test images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence

import numpy as np
import torch

from .streams import Stream

SIDE = 8  # pixels a side at which pictures are compared
NEAR = 2.0  # grey levels (of 255) by which the small pictures may differ, root mean square
FLAT = 4.0  # a small picture whose levels spread less shows nothing to compare
CHUNK = 1024
MOST = 4_000_000_000  # pairs that are compared; above, only equal pixels are looked for


def equal(digests: Sequence[Hashable]) -> list[list[int]]:
    """Positions of images with the same digest, in groups of two or more."""
    groups = defaultdict(list)
    for i, digest in enumerate(digests):
        groups[digest].append(i)
    return [group for group in groups.values() if len(group) > 1]


def under_several(groups: list[list[int]], what: Sequence) -> list[list[int]]:
    """Those groups in which `what` (labels, or parts) differs."""
    return [group for group in groups if len({what[i] for i in group}) > 1]


def small(x: torch.Tensor) -> torch.Tensor:
    """Images (N, C, H, W) uint8 as grey pictures (N, SIDE * SIDE) float32."""
    out = torch.empty(len(x), SIDE * SIDE)
    for i in range(0, len(x), CHUNK):
        grey = x[i : i + CHUNK].float().mean(1, keepdim=True)
        out[i : i + CHUNK] = torch.nn.functional.adaptive_avg_pool2d(grey, SIDE).flatten(1)
    return out


def near(x, test_x) -> list[tuple[int, int]]:
    """(test position, training position) of test images that a training image nearly equals, the nearest one.

    x (N, C, H, W), test_x (M, C, H, W) uint8. Equal pictures are among them. None for images that are decoded
    only when they are used, and above MOST pairs.
    """
    if isinstance(x, Stream) or isinstance(test_x, Stream) or len(x) * len(test_x) > MOST or not len(x):
        return []
    train, test = small(x), small(test_x)
    squares, found = (train * train).sum(1), []
    for at in range(0, len(test), CHUNK):
        part = test[at : at + CHUNK]
        distance = (part * part).sum(1, keepdim=True) + squares - 2 * part @ train.T
        least, which = distance.min(1)
        close = (least / SIDE**2 < NEAR**2) & (part.std(1) > FLAT)
        found += [(at + int(i), int(which[i])) for i in torch.nonzero(close).flatten()]
    return found


def leaks(parts: np.ndarray, digests: Sequence[Hashable], x) -> list[tuple[int, int]]:
    """(test or val position, training position) of pictures that are in both, equal or nearly so.

    parts (N,): train, val or test; digests (N,); x (N, C, H, W).
    """
    train, held = np.flatnonzero(parts == "train"), np.flatnonzero(parts != "train")
    if not len(train) or not len(held):
        return []
    first = {digests[i]: i for i in reversed(train.tolist())}
    pairs = {i: first[digests[i]] for i in held.tolist() if digests[i] and digests[i] in first}
    if not isinstance(x, Stream):
        for i, j in near(x[torch.from_numpy(train)], x[torch.from_numpy(held)]):
            pairs.setdefault(int(held[i]), int(train[j]))
    return sorted(pairs.items())
