"""Images that stay in their files until they are used, for sets that memory does not hold."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..files.machine import free_memory
from . import decode, folders
from .parallel import cores

TASK = 16  # images that a thread decodes in one go
AHEAD = 512  # images that are decoded at a time on the way into memory


class Stream:
    """Image files in place of a tensor uint8 (N, 3, size, size): shape, dtype, len, numel, indexing.

    Indexing with a position, a slice or an index tensor decodes those images on all cores: the shorter side
    is scaled to `size` and the centre cut out. Raises ValueError, with one sentence, for a file that cannot
    be read.
    """

    dtype = torch.uint8

    def __init__(self, folder: Path, paths, size: int):
        self.folder, self.paths = Path(folder), np.asarray(paths, dtype=object)
        self.shape = torch.Size((len(self.paths), 3, size, size))

    def __len__(self) -> int:
        return len(self.paths)

    def numel(self) -> int:
        """Bytes of all images once decoded."""
        return self.shape.numel()

    def __getitem__(self, index) -> Tensor:
        where = torch.arange(len(self))[index.cpu() if isinstance(index, Tensor) else index]
        x = self.ask(where.reshape(-1))()
        return x if where.dim() else x[0]

    def pick(self, index) -> Stream:
        """The images at these positions (n,), not decoded yet."""
        return Stream(self.folder, self.paths[np.asarray(index)], self.shape[-1])

    def ask(self, index: Tensor | slice) -> Callable[[], Tensor]:
        """Start to decode the images at `index`; call the result for them, uint8 (n, 3, size, size)."""
        paths = [
            self.folder / p for p in self.paths[index.cpu().numpy() if isinstance(index, Tensor) else index]
        ]
        shape = (3, self.shape[2], self.shape[3])
        parts = [paths[i : i + TASK] for i in range(0, len(paths), TASK)]
        tasks = [
            _pool().submit(decode.decode_files, part, shape, False, False, self.folder) for part in parts
        ]
        return functools.partial(_wait, parts, tasks, shape)


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(cores())  # threads: Pillow decodes without holding Python's lock


def _wait(parts: list[list[Path]], tasks: list[Future], shape: tuple[int, int, int]) -> Tensor:
    images = [torch.empty((0, *shape), dtype=torch.uint8)]
    for part, task in zip(parts, tasks):
        found = task.result()
        for i, reason in found.errors.items():
            raise ValueError(
                f"{part[i]} cannot be read ({reason}): restore it, or delete it and leave it out "
                "with --skip-bad"
            )
        images.append(torch.from_numpy(found.x))
    return torch.cat(images)


def pick(images, index):
    """The images at these positions (n,); those of a Stream are not decoded yet."""
    return images.pick(index) if isinstance(images, Stream) else images[index]


def in_chunks(images: Tensor | Stream, parts: Iterable[Tensor | slice]) -> Iterator[Tensor]:
    """Yield the images of each part, uint8 (n, C, H, W); of a Stream, the next part is decoded meanwhile."""
    if isinstance(images, Stream):
        waiting = None
        for part in parts:
            coming = images.ask(part)
            if waiting:
                yield waiting()
            waiting = coming
        if waiting:
            yield waiting()
    else:
        for part in parts:
            yield images[part] if isinstance(part, slice) else images.index_select(0, part.to(images.device))


def resident(images: Tensor | Stream) -> Tensor | Stream:
    """A Stream decoded into a tensor if that takes at most half of the free memory; else as it is.

    With LNL_STREAM=1 in the environment a Stream stays one, whatever its size.
    """
    if (
        not isinstance(images, Stream)
        or os.environ.get("LNL_STREAM") == "1"
        or images.numel() > free_memory() / 2
    ):
        return images
    x = torch.empty(images.shape, dtype=torch.uint8)
    parts = [slice(i, i + AHEAD) for i in range(0, len(x), AHEAD)]
    bar = tqdm(
        desc="decoding images",
        total=len(x),
        unit=" images",
        disable=len(parts) < 8,
        leave=False,
        mininterval=1,
        file=sys.stderr,
    )
    with contextlib.closing(bar):
        for part, decoded in zip(parts, in_chunks(images, parts)):
            x[part] = decoded
            bar.update(len(decoded))
    return x


def file_digests(files: list[folders.File], size: int) -> np.ndarray:
    """One digest a file, uint8 (n, 16), over relative path, bytes' number and the size it is shown at.

    What the bytes are is not looked at: that would take as long as an epoch.
    """
    out = b"".join(
        hashlib.blake2b(f"{f.path}\0{f.size}\0{size}".encode(), digest_size=16).digest() for f in files
    )
    return np.frombuffer(out, np.uint8).reshape(-1, 16)
