"""What a method sees of the data: images and given labels on the device, in batches with their indices."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from ..files.machine import free_memory
from ..toolbox import augment, ranks
from ..toolbox.rng import generator
from .streams import Stream, in_chunks

CHUNK = 2048  # images augmented at a time: several batches share the cost of one draw
CHUNK_BYTES = 64 * 2**20  # and at most so many bytes of them, a limit for images above 104 pixels a side


def at_once(images: Tensor | Stream) -> int:
    """How many of these images (N, C, H, W) are handled at a time, so that memory stays bounded."""
    return max(1, min(CHUNK, CHUNK_BYTES // images.shape[1:].numel()))


def free_on(device: torch.device) -> int:
    """Bytes that are free on an accelerator; of one that does not tell, what the machine has."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else free_memory()


class NoisyData:
    """A training set whose labels may be wrong. It holds no true labels: methods cannot see them.

    x: uint8 (N, C, H, W), a tensor or a Stream; y: int64 (N,) given labels; clean: bool (N,), labels known to
    be right; classes: K names; transition: (K, K), the matrix that made the labels, row = true class, None =
    unknown: for methods that ask to be told. Random numbers are a function of (seed, epoch, position) alone.
    """

    def __init__(
        self,
        x: Tensor | Stream,
        y: Tensor,
        classes: tuple[str, ...],
        *,
        mean,
        std,
        like: str = "",
        clean: Tensor | None = None,
        batch_size: int = 128,
        seed: int = 0,
        device="cpu",
        transition=None,
    ):
        self.device = torch.device(device)
        self.classes, self.like, self.batch_size, self.seed = classes, like, batch_size, seed
        self.y = y.to(self.device)
        self.clean = torch.zeros_like(self.y, dtype=torch.bool) if clean is None else clean.to(self.device)
        large = self.device.type != "cpu" and x.numel() >= 0.5 * free_on(
            self.device
        )  # for the device: gathered chunk by chunk
        self.x = x if isinstance(x, Stream) or large else x.to(self.device)
        self.mean, self.std, self.transition = mean, std, transition
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
        """This data set's augmentation of that name; None = none, and an augmentation is passed through."""
        if not isinstance(name, str):
            return name
        return augment.view(
            name, like=self.like, size=self.x.shape[-1], channels=self.x.shape[1], mean=self.mean
        )

    def _chunks(
        self, order: Tensor, size: int, see: Callable[[int, Tensor], list[Tensor]]
    ) -> Iterator[tuple[int, Tensor, list[Tensor]]]:
        """Yield (start, idx (n,), see(start, x)) for `size` images x (n, C, H, W) uint8 at a time of those in
        `order`. Of several ranks each reads and sees chunks of its own, and all get them.
        """
        parts = order.split(size) if len(order) else ()
        mine = range(len(parts))[ranks.rank() :: ranks.count()]
        images = in_chunks(self.x, [parts[i] for i in mine])
        own = (see(i * size, x.to(self.device, non_blocking=True)) for i, x in zip(mine, images))
        for i, seen in enumerate(ranks.in_turn(own, len(parts))):
            yield i * size, parts[i], seen

    def _view(self, x: Tensor, view, *keys) -> Tensor:
        return x if view is None else view(x, generator(self.seed, "view", *keys))

    def steps(self, batch_size: int | None = None) -> int:
        """Batches in an epoch."""
        return max(1, len(self) // (batch_size or self.batch_size))

    def batches(
        self, draw: int | tuple, views=("crop",), batch_size: int | None = None, order: Tensor | None = None
    ) -> Iterator[tuple]:
        """Yield (x, y, idx) in the random order of this draw, or in that of the indices `order` (n,).

        draw: what the random numbers are for: the epoch or, where a method passes over the images several
        times in an epoch, a tuple such as ("labelled", epoch, network). Another draw gives another order and
        other views.
        views: names or augmentations (`augment.OnTop` augments the view before it further); x is a tuple with
        one normalised (B, C, H, W) tensor per view (a single tensor where `views` is one name). The last,
        partial batch is dropped.
        """
        single = not isinstance(views, tuple | list)
        keys = draw if isinstance(draw, tuple) else (draw,)
        policies = [self.view(v) for v in ((views,) if single else views)]
        if order is None:
            order = torch.randperm(len(self), generator=generator(self.seed, "order", *keys))
        size = max(1, min(batch_size or self.batch_size, len(order)))
        order = order[: len(order) // size * size].to(self.device)

        def see(start: int, x: Tensor) -> list[Tensor]:
            seen: list[Tensor] = []
            for number, p in enumerate(policies):
                image = seen[-1] if isinstance(p, augment.OnTop) else x
                seen.append(self._view(image, p, number, *keys, start))
            return seen

        for _, idx, seen in self._chunks(order, size * max(1, at_once(self.x) // size), see):
            y = self.y[idx]
            seen = [self.normalise(s) for s in seen]
            for i in range(0, len(idx), size):
                batch = tuple(s[i : i + size] for s in seen)
                yield (batch[0] if single else batch), y[i : i + size], idx[i : i + size]

    def balanced_order(self, epoch: int, batches: int, batch_size: int | None = None) -> Tensor:
        """Indices (batches * batch_size,) for `batches`, every given label equally often (to within one).

        A new draw each epoch. An image comes again only when all others with its label have come as often.
        """
        draw = generator(self.seed, "balanced", epoch)
        size = batches * (batch_size or self.batch_size)
        order = torch.randperm(len(self), generator=draw)
        label, counts = self.y.cpu()[order].unique(return_inverse=True, return_counts=True)[1:]
        members = order[label.argsort(stable=True)].split(counts.tolist())  # one tensor a class, shuffled
        share = torch.full((len(members),), size // len(members))
        share[torch.randperm(len(members), generator=draw)[: size % len(members)]] += 1
        drawn = torch.cat([m[torch.arange(n) % len(m)] for m, n in zip(members, share.tolist())])
        return drawn[torch.randperm(size, generator=draw)]

    def in_order(
        self, view=None, *, epoch: int = 0, batch_size: int = 512, indices: Tensor | None = None
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (x, idx) once over the whole set, or the images `indices` (n,), in order, for E-steps."""
        policy = self.view(view)
        order = (torch.arange(len(self)) if indices is None else indices).to(self.device)

        def see(start: int, x: Tensor) -> list[Tensor]:
            return [self._view(x, policy, "in order", epoch, start)]

        for _, idx, (x,) in self._chunks(order, at_once(self.x), see):
            yield from zip(self.normalise(x).split(batch_size), idx.split(batch_size))
