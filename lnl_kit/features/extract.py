"""`extract`: the features of every image, computed once, kept on disk and found again by what the images
show.

What a row depends on: the file (or pixels), the backbone and its weights, size and normalisation, and the
view. An image that is renamed, moved to another class or used in another data set keeps its row. Images are
decoded straight from their files to the backbone's size, on all cores, each core passing its own small
batches through the network; several backbones share the decoding. A process that is killed loses at most one
chunk, and going on gives the same bits.
"""

from __future__ import annotations

import contextlib
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from ..data.parallel import cores
from ..files import lock, save_atomically
from ..toolbox import augment
from ..toolbox.rng import generator
from .backbones import Backbone, backbone, compiled
from .pictures import Files, Pixels
from .store import Store

CHUNK = 512  # images that are kept at a time
# images that a core looks at in one go: what they need stays in its cache (161 images/s, 82 with 128)
BATCH = 16
BATCH_GPU = 256
PLAIN = "none"  # the view that is the image itself


@dataclass(frozen=True, eq=False)
class Features:
    """The features of N images, by one backbone or several side by side, under one view."""

    parts: tuple[
        tuple[np.ndarray, np.ndarray], ...
    ]  # (n, width) float16, a memory map, and rows (N,) in it, for each backbone

    def __len__(self) -> int:
        return len(self.parts[0][1])

    @property
    def shape(self) -> tuple[int, int]:
        """(N, D)."""
        return len(self), self.width

    @property
    def width(self) -> int:
        """D, the number of features of an image."""
        return sum(values.shape[1] for values, _ in self.parts)

    def __getitem__(self, index) -> np.ndarray:
        """float16 (n, D) of the images at a slice or at positions (n,)."""
        return np.concatenate([values[rows[index]] for values, rows in self.parts], axis=1)

    def array(self) -> np.ndarray:
        """float16 (N, D) of all images, in memory."""
        return self[slice(None)]


def extract(
    images: Files | Pixels,
    names: str | Sequence[str],
    cache: Path,
    *,
    view: str = PLAIN,
    draw: int = 0,
    size: int | None = None,
    device: str | torch.device = "cpu",
    progress: bool = True,
) -> Features:
    """The features of `images`, in their order.

    names: a backbone or several (see `kinds.KINDS`), or separated by commas; their features stand side by
        side. view, draw: a name of `augment.VIEWS` and which of its random draws. size: pixels a side, None =
        the backbone's. cache: folder; one subfolder a backbone, size and view. Raises ValueError,
        FileNotFoundError or ModuleNotFoundError with one sentence.
    """
    device = torch.device(device)
    names = names.split(",") if isinstance(names, str) else list(names)
    eyes = [backbone(name.strip(), size) for name in names]
    key = PLAIN if view == PLAIN else f"{view}-{draw}"
    with contextlib.ExitStack() as stack:
        stores = []
        for eye in eyes:
            place = cache / f"{safe_name(eye.name)}-{eye.size}-{eye.key}" / key
            claim = (
                place
                / "claims"
                / hashlib.blake2b(np.unique(images.keys, axis=0).tobytes(), digest_size=8).hexdigest()
            )
            claim.mkdir(parents=True, exist_ok=True)
            stores.append(opened(place, eye))
            if len(
                missing(stores[-1], images.keys)
            ):  # who asks for the same images waits, for others goes on
                stack.enter_context(lock(claim))
                stores[-1].refresh()
        wanted = [missing(store, images.keys) for store in stores]
        todo = [(eye, store, lacking) for eye, store, lacking in zip(eyes, stores, wanted) if len(lacking)]
        if todo:
            fill(images, todo, view, draw, device, progress)
        return Features(tuple((store.features(), store.rows(images.keys)) for store in stores))


def safe_name(name: str) -> str:
    """A backbone's name as part of a path."""
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[-60:]


def opened(place: Path, eye: Backbone) -> Store:
    """The store of a backbone; its width is kept beside it, so that the network need not be made to find what
    is there.
    """
    told = place / "width"
    if not told.exists():
        with torch.inference_mode():
            found = eye.network()(torch.zeros(1, 3, eye.size, eye.size))
        if found.ndim != 2:
            raise ValueError(
                f"{eye.name} gives {tuple(found.shape)} for one image: one row of features is needed"
            )
        save_atomically(told, str(found.shape[1]).encode(), durable=True)
    return Store(place, int(told.read_text()))


def missing(store: Store, keys: np.ndarray) -> np.ndarray:
    """int64 (n,): positions of the images that the store has not got, each image once."""
    lacking = np.flatnonzero(store.rows(keys) < 0)
    _, first = np.unique(keys[lacking], axis=0, return_index=True)
    return lacking[np.sort(first)]


def fill(
    images,
    todo: list[tuple[Backbone, Store, np.ndarray]],
    view: str,
    draw: int,
    device: torch.device,
    progress: bool,
) -> None:
    """Compute what the stores lack, chunk by chunk; each image is decoded once for all backbones."""
    lacking = np.unique(np.concatenate([positions for _, _, positions in todo]))
    sizes = tuple(dict.fromkeys(eye.size for eye, _, _ in todo))
    looks = {eye.name: look(eye, device) for eye, _, _ in todo}
    policies = {
        size: None if view == PLAIN else augment.view(view, like="cifar10", size=size, channels=3)
        for size in sizes
    }
    batch = BATCH if device.type == "cpu" else BATCH_GPU

    def work(part: np.ndarray) -> dict[str, np.ndarray]:
        torch.set_num_threads(1)  # each worker is a core of its own
        return {
            name: values for name, values in features_of(images, part, sizes, policies, todo, looks, draw)
        }

    before = torch.get_num_threads()
    bar = tqdm(
        desc="looking at images",
        total=len(lacking),
        unit=" images",
        disable=not progress or len(lacking) < CHUNK,
        leave=False,
        mininterval=1,
        file=sys.stderr,
    )
    pool = ThreadPoolExecutor(
        min(cores(), before) if device.type == "cpu" else 2
    )  # fewer where OMP_NUM_THREADS says so
    try:
        for chunk in np.split(lacking, range(CHUNK, len(lacking), CHUNK)):
            found = list(pool.map(work, np.split(chunk, range(batch, len(chunk), batch))))
            for eye, store, positions in todo:
                inside = np.isin(chunk, positions, assume_unique=True)
                rows = np.concatenate([part[eye.name] for part in found])
                store.append(images.keys[chunk[inside]], rows[inside])
            bar.update(len(chunk))
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(before)
        bar.close()


def features_of(
    images, part: np.ndarray, sizes, policies, todo, looks, draw: int
) -> Iterator[tuple[str, np.ndarray]]:
    """(name, float16 (n, D)) of the images at `part` for each backbone."""
    decoded = [images.at(i, sizes) for i in part]
    for number, size in enumerate(sizes):
        x = torch.from_numpy(np.stack([pictures[number] for pictures in decoded]))
        if (
            policies[size] is not None
        ):  # the same draw whatever else is computed: it depends on the first image and the rest's order
            x = policies[size](x, generator("features", draw, images.keys[part[0]].tobytes().hex()))
        for eye, _, _ in todo:
            if eye.size == size:
                yield eye.name, looks[eye.name](x)


def look(eye: Backbone, device: torch.device) -> Callable[[Tensor], np.ndarray]:
    """A function uint8 (n, 3, size, size) -> float16 (n, D) on the device."""
    raw: Any = eye.network()
    net = (
        compiled(raw, eye.size, BATCH)
        if device.type == "cpu"
        else raw.to(device, memory_format=torch.channels_last)
    )
    scale = torch.tensor([1 / (255 * s) for s in eye.std], device=device).view(-1, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip(eye.mean, eye.std)], device=device).view(-1, 1, 1)
    fast = device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 8  # bf16 from Ampere on

    def of(x: Tensor) -> np.ndarray:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=fast):
            x = x.to(device).float().mul_(scale).add_(shift).contiguous(memory_format=torch.channels_last)
            return net(x).float().half().cpu().numpy()

    with torch.inference_mode():  # the first two calls prepare the network
        for _ in range(2):
            of(torch.zeros(BATCH, 3, eye.size, eye.size, dtype=torch.uint8))
    return of
