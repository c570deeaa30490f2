"""Images as backbones want them: straight from their files to each backbone's size, and a key for what each
shows.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from ..data.decode import image_digests, upright
from ..data.images import on_white, open_image, reason
from ..data.parallel import cores
from ..files import save_atomically

READ_AT_ONCE = (
    2**20
)  # bytes of a file that its key is computed from, at either end; larger files are not read whole


class FileError(ValueError):
    """An image file cannot be read; one sentence."""


class Files:
    """Image files: `keys` (N, 16) uint8 say what is in them, wherever they lie; `at(index, size)` decodes
    one.
    """

    def __init__(
        self,
        folder: Path,
        paths: Iterable[str],
        memo: Path,
        max_pixels: int | None = None,
        follow_links: bool = False,
    ):
        self.folder, self.paths, self.max_pixels = Path(folder), list(paths), max_pixels
        self.inside = None if follow_links else self.folder
        self.keys = keys_of_files([self.folder / p for p in self.paths], memo)

    def __len__(self) -> int:
        return len(self.paths)

    def at(self, index: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
        """Image `index` at each size: uint8 (3, size, size). Raises FileError."""
        path = self.folder / self.paths[index]
        try:
            with open_image(path, self.inside, self.max_pixels) as image:
                if (
                    image.format == "JPEG"
                ):  # decodes at a half, a quarter or an eighth where that is still large enough
                    image.draft("RGB", (2 * max(sizes), 2 * max(sizes)))
                return [fitted(picture, size) for picture in [colours(upright(image))] for size in sizes]
        except Exception as error:  # a damaged file makes Pillow raise all sorts
            raise FileError(
                f"{path} cannot be read ({reason(error, path)}): restore it, or delete it and leave it out "
                "with --skip-bad"
            ) from None


class Pixels:
    """Images in memory, uint8 (N, C, H, W), seen like files: `keys` and `at`."""

    def __init__(self, x: np.ndarray):
        self.x, self.keys = x, image_digests(x)

    def __len__(self) -> int:
        return len(self.x)

    def at(self, index: int, sizes: tuple[int, ...]) -> list[np.ndarray]:
        """Image `index` at each size: uint8 (3, size, size)."""
        x = self.x[index]
        picture = Image.fromarray(
            np.ascontiguousarray(x[0] if len(x) == 1 else x.transpose(1, 2, 0))
        ).convert("RGB")
        return [fitted(picture, size) for size in sizes]


def colours(image: Image.Image) -> Image.Image:
    """RGB; transparency is laid on white."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        return on_white(image, "RGB")
    return image.convert("RGB")


def fitted(image: Image.Image, size: int) -> np.ndarray:
    """The centre square of an RGB image at that size, uint8 (3, size, size); bicubic, as ImageNet's networks
    are trained.
    """
    if image.size != (size, size):
        image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def keys_of_files(paths: list[Path], memo: Path) -> np.ndarray:
    """uint8 (N, 16): a digest of what is in each file. So a file that is moved to another class keeps its
    features.

    memo: folder where the digests are kept for files of unchanged path, size, times and inode, which are not
        read again.
    """
    status = [stat_of(p) for p in paths]
    listing = "\0".join(f"{os.path.abspath(p)}\0{s}" for p, s in zip(paths, status))
    place = memo / f"{hashlib.blake2b(os.fsencode(listing), digest_size=16).hexdigest()}.keys"
    if place.is_file() and (known := np.fromfile(place, np.uint8)).size == 16 * len(paths):
        return known.reshape(-1, 16)
    with ThreadPoolExecutor(cores()) as pool:
        keys = np.frombuffer(b"".join(pool.map(key_of_file, paths)), np.uint8).reshape(-1, 16)
    memo.mkdir(parents=True, exist_ok=True)
    save_atomically(place, keys.tobytes())
    return keys


def stat_of(path: Path) -> str:
    """Size, times and inode of a file as text, which two swapped files do not share; nothing of one
    that is not there.
    """
    try:
        status = path.stat()
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ino} {status.st_ctime_ns}"
    except OSError:
        return ""


def key_of_file(path: Path) -> bytes:
    """16 bytes over a file's content; over its length and both ends where it is larger than 2 MiB."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            content = file.read(READ_AT_ONCE if size > 2 * READ_AT_ONCE else -1)
            if size > 2 * READ_AT_ONCE:
                file.seek(-READ_AT_ONCE, os.SEEK_END)
                content += file.read()
    except OSError as error:
        raise FileError(
            f"{path} cannot be read ({error.strerror}): restore it, or delete it and leave it out with "
            "--skip-bad"
        ) from None
    return hashlib.blake2b(content, digest_size=16, key=str(size).encode()).digest()
