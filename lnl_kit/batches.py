"""What a method sees of the data: images and given labels on the device, in batches that carry their indices."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from . import augment
from .rng import generator

CHUNK = 2048  # images augmented at a time: several batches share the cost of one draw


class NoisyData:
    """A training set whose labels may be wrong. It holds no true labels: methods cannot see them.

    x: uint8 (N, C, H, W); y: int64 (N,) given labels; clean: bool (N,), labels known to be right;
    classes: K names. Random numbers are a function of (seed, epoch, position) alone.
    """

    def __init__(self, x: Tensor, y: Tensor, classes: tuple[str, ...], *, mean, std, like: str = "",
                 clean: Tensor | None = None, batch_size: int = 128, seed: int = 0, device="cpu"):
        self.device = torch.device(device)
        self.classes, self.like, self.batch_size, self.seed = classes, like, batch_size, seed
        self.y = y.to(self.device)
        self.clean = torch.zeros_like(self.y, dtype=torch.bool) if clean is None else clean.to(self.device)
        resident = self.device.type == "cpu" or x.numel() < 0.5 * torch.cuda.mem_get_info(self.device)[0]
        self.x = x.to(self.device) if resident else x  # too large for the device: gathered chunk by chunk
        self.mean, self.std = mean, std
        self._scale = torch.tensor([1 / (255 * s) for s in std], device=self.device).view(-1, 1, 1)
        self._shift = torch.tensor([-m / s for m, s in zip(mean, std)], device=self.device).view(-1, 1, 1)

    def __len__(self) -> int:
        return len(self.y)

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.classes)

    def normalise(self, x: Tensor) -> Tensor:
        """uint8 (B, C, H, W) -> float32, (x / 255 - mean) / std per channel, in channels_last memory."""
        x = x.to(self.device, non_blocking=True)
        x = x.contiguous(memory_format=torch.channels_last)
        return x.to(torch.float32).mul_(self._scale).add_(self._shift)

    def view(self, name):
        """The augmentation of that name for this data set (an augmentation is passed through; None = none)."""
        if not isinstance(name, str):
            return name
        return augment.view(name, like=self.like, size=self.x.shape[-1], channels=self.x.shape[1], mean=self.mean)

    def _gather(self, idx: Tensor) -> Tensor:
        return self.x.index_select(0, idx.to(self.x.device)).to(self.device, non_blocking=True)

    def _seen(self, x: Tensor, view, *keys) -> Tensor:
        return self.normalise(x if view is None else view(x, generator(self.seed, "view", *keys)))

    def steps(self, batch_size: int | None = None) -> int:
        """Batches in an epoch."""
        return max(1, len(self) // (batch_size or self.batch_size))

    def batches(self, epoch: int, views=("crop",), batch_size: int | None = None,
                order: Tensor | None = None) -> Iterator[tuple]:
        """Yield (x, y, idx) in the random order of this epoch, or of the indices `order` (n,) where given.

        views: names or augmentations; x is a tuple with one normalised (B, C, H, W) tensor per view
        (a single tensor where `views` is one name). The last, partial batch is dropped.
        """
        single = not isinstance(views, tuple | list)
        policies = [self.view(v) for v in ((views,) if single else views)]
        if order is None:
            order = torch.randperm(len(self), generator=generator(self.seed, "order", epoch)).to(self.device)
        size = min(batch_size or self.batch_size, len(order))
        chunk, end = size * max(1, CHUNK // size), len(order) // size * size
        for start in range(0, end, chunk):
            idx = order[start:min(start + chunk, end)]
            x = self._gather(idx)
            seen = [self._seen(x, p, number, epoch, start) for number, p in enumerate(policies)]
            y = self.y[idx]
            for i in range(0, len(idx), size):
                batch = tuple(s[i:i + size] for s in seen)
                yield (batch[0] if single else batch), y[i:i + size], idx[i:i + size]

    def in_order(self, view=None, *, epoch: int = 0, batch_size: int = 512) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, idx) once over the whole set, in order, for E-steps; nothing is dropped."""
        policy = self.view(view)
        for start in range(0, len(self), CHUNK):
            idx = torch.arange(start, min(start + CHUNK, len(self)), device=self.device)
            x = self._seen(self._gather(idx), policy, "in order", epoch, start)
            yield from zip(x.split(batch_size), idx.split(batch_size))
