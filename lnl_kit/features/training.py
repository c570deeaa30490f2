"""Features in the place of images, so that every method trains on them as it stands.

A training set of features has the shape of one of images: (N, d, 1 + V, 1). The d channels are principal axes
of the training images' features, the first row is the image itself and the V other rows are stored draws of
its views. A method that asks for a view gets one of that view's rows at random; where none are stored it gets
the image itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..data.dataset import Dataset
from ..toolbox import augment
from .extract import PLAIN
from .heads import Axes, principal_axes
from .of_dataset import features_of

DIMENSIONS = 512  # principal axes that networks train on


class StoredView:
    """One of the rows first ... last - 1 of features (B, d, rows, 1), for each image by the generator."""

    def __init__(self, first: int, last: int):
        self.first, self.last = first, last

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        row = torch.randint(self.first, self.last, (len(x), 1, 1, 1), generator=generator).to(x.device)
        return x.gather(2, row.expand(-1, x.shape[1], 1, 1))


class FeatureData(NoisyData):
    """`NoisyData` of features x, float32 (N, d, 1 + V, 1). stored: {view: (first row, last row + 1)}."""

    stored: Mapping[str, tuple[int, int]] = MappingProxyType({})

    def normalise(self, x: Tensor) -> Tensor:
        """float32 (B, d, 1, 1): the first row, as it is."""
        return x[:, :, :1].to(self.device, torch.float32, non_blocking=True)

    def view(self, name):
        """A stored view, or None where there is none of that name. Raises ValueError for an augmentation of
        pixels.
        """
        if name is None or isinstance(name, StoredView):
            return name
        if not isinstance(name, str):
            raise ValueError(
                f"{type(name).__name__} changes pixels, and these are features: train on the images "
                "themselves"
            )
        augment.view(name)
        return StoredView(*self.stored[name]) if name in self.stored else None


def features_for(
    source: Dataset,
    names: str,
    index: np.ndarray,
    views: Sequence[str] = (),
    draws: int = 0,
    *,
    axes: Axes | None = None,
    test: bool = False,
    device="cpu",
    progress: bool = True,
) -> tuple[Tensor, Axes, dict[str, tuple[int, int]]]:
    """(x (n, d, 1 + V, 1), axes, stored rows by view) of the images at `index`; axes None = those of these
    images.
    """
    plain = features_of(source, names, index, test=test, device=device, progress=progress)
    axes = axes or principal_axes(plain, DIMENSIONS)
    rows, stored = [axes(plain)], {}
    for view in dict.fromkeys(v for v in views if v != PLAIN):
        if draws:
            stored[view] = (len(rows), len(rows) + draws)
        for draw in range(draws):
            rows.append(
                axes(
                    features_of(
                        source,
                        names,
                        index,
                        test=test,
                        view=view,
                        draw=draw,
                        device=device,
                        progress=progress,
                    )
                )
            )
    return torch.stack(rows, 2)[..., None], axes, stored
