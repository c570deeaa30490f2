"""What a search says about the images themselves: who is the same, in which parts of a folder, and what else
is wrong (`faults`); and what that says about their labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .. import data
from ..data import copies, decode
from ..data.streams import Stream, pick
from . import faults
from .evidence import Evidence
from .ranking import at_least, conflicting, reasons


@dataclass(frozen=True)
class Inspection:
    """What is known about the images of N labels; images are positions."""

    same: list[np.ndarray]  # groups of one picture under several labels
    pairs: list[tuple[int, int]]  # near duplicates, i < j
    across: list[tuple[int, int]]  # (of val/ or test/, of train/): pictures that are in both, or nearly
    kinds: list[list[str]]  # (N,) what is wrong with each image

    def alike(self) -> list[list[int]]:
        """Groups of images that near duplicates and copies across splits link, largest first."""
        links = np.array(self.pairs + self.across, dtype=np.int64).reshape(-1, 2)
        n = len(self.kinds)
        _, group = connected_components(coo_array((np.ones(len(links)), links.T), (n, n)), directed=False)
        members: dict[int, list[int]] = {}
        for i in np.unique(links).tolist():
            members.setdefault(int(group[i]), []).append(i)
        return sorted(members.values(), key=len, reverse=True)


def inspect(source: data.Dataset, evidence: Evidence, images: np.ndarray, digests: np.ndarray) -> Inspection:
    """Look at the images that were searched; images (N,): their names, digests (N,): of their pixels."""
    same = the_same(source, images, digests, evidence.given)
    sizes = sizes_of(source, images, evidence.index)
    kinds: list[list[str]] = [[] for _ in images]
    pairs: list[tuple[int, int]] = []
    if not isinstance(source.x, Stream):
        x = np.asarray(source.x[evidence.index])
        kinds, pairs = faults.kinds(x, evidence.features, evidence.given, sizes)
    across = across_splits(source, evidence.index, digests, pairs)
    for i in sorted({i for pair in across for i in pair}):
        kinds[i].append(faults.ACROSS)
    return Inspection(same, pairs, across, kinds)


def the_same(
    source: data.Dataset, images: np.ndarray, digests: np.ndarray, given: np.ndarray
) -> list[np.ndarray]:
    """Groups of the same picture under several labels, among N images."""
    if (folder := source.folder) is None or source.paths is None:
        return conflicting(digests, given, None)
    inside, most = source.inside, source.max_pixels
    return conflicting(digests, given, lambda i: decode.whole_digest(folder / images[i], inside, most))


def sizes_of(source: data.Dataset, images: np.ndarray, index: np.ndarray) -> np.ndarray | None:
    """(N, 2) width and height of the files of N images, zeros where one cannot be read; None = not known.

    index (N,): positions in the data set.
    """
    if source.folder is None or source.paths is None or isinstance(source.x, Stream):
        return None
    if source.headers is not None:
        seen = source.headers[index]
    else:
        paths = [source.folder / image for image in images]
        seen = decode.headers(paths, source.inside, source.max_pixels)
    return np.stack([seen["width"], seen["height"]], 1)


def across_splits(
    source: data.Dataset, index: np.ndarray, digests: np.ndarray, pairs: list[tuple[int, int]]
) -> list[tuple[int, int]]:
    """(position in val/ or test/, position in train/) of pictures that are in both: equal, nearly equal in
    their pixels, or near duplicates (`pairs`). index (N,): positions in the data set; digests (N,).
    """
    if not source.parts:
        return []
    parts = np.array(source.parts)[index]
    x = source.x if len(index) == len(source.x) else pick(source.x, torch.from_numpy(index))
    found = dict(copies.leaks(parts, digests.tolist(), x))
    for pair in pairs:
        for held, other in (pair, pair[::-1]):
            if parts[held] != "train" and parts[other] == "train":
                found.setdefault(held, other)
    return sorted(found.items())


def raised(suspicion: np.ndarray, found: Inspection, given: np.ndarray) -> np.ndarray:
    """Suspicions (N,), at least as high as copies speak against a label.

    Of one picture each label is as probable as frequent. An image and its near duplicates are of one class:
    by Bayes, given that, with the suspicions as they are. So of two labels that heads are sure of, one is
    wrong and nobody knows which; and where heads already suspect one of them, the other is not suspected.
    """
    told = np.clip(suspicion, 1e-6, 1 - 1e-6)
    wrong, right = np.log(told), np.log1p(-told)
    suspicion = np.maximum(suspicion, at_least(found.same, given, len(given)))
    near: dict[int, list[int]] = {}
    for i, j in found.pairs:
        near.setdefault(i, [i]).append(j)
        near.setdefault(j, [j]).append(i)
    for i, group in near.items():
        labels = given[group]
        logs = [np.where(labels == c, right[group], wrong[group]).sum() for c in np.unique(labels)]
        own = np.where(labels == given[i], right[group], wrong[group]).sum()
        if len(logs) > 1:
            every = np.logaddexp.reduce([*logs, wrong[group].sum()])  # one of the labels, or none of them
            suspicion[i] = max(suspicion[i], -np.expm1(own - every))
    return suspicion


def why(evidence: Evidence, found: Inspection, images: np.ndarray) -> np.ndarray:
    """str (N,): what spoke against each label, and which images look like it."""
    given, classes = evidence.given, evidence.classes
    because = np.array(reasons(evidence.probs, given, classes, found.same), dtype=object)
    for i, (_, other) in evidence.few.items():
        because[i] = (
            f"too few images of {classes[given[i]]} for heads; images that look like it are {classes[other]}"
        )
    told = {frozenset(pair) for pair in found.pairs}
    for i, j in [*found.pairs, *(pair for pair in found.across if frozenset(pair) not in told)]:
        for a, b in ((i, j), (j, i)):
            label = f", labelled {classes[given[b]]}" if given[a] != given[b] else ""
            because[a] += f"; looks like {images[b]}{label}"
    return because
