"""Image files decoded once on all cores, and kept as a memory map."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps
from tqdm import tqdm

from ..files import RunError, create, json_bytes, lock, npy_bytes, read_json, remove, safe, save_atomically
from .folders import File
from .images import on_white, open_image

GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N")
LARGEST_OWN_SIZE = 256  # images of one square size up to this keep it; all others are shown at DEFAULT_SIZE
DEFAULT_SIZE = 32
CHUNK = 256  # images a task
CACHE_VERSION = 1  # to be raised when the same file would be decoded to other pixels


class Pixels(NamedTuple):
    """The decoded images of a folder, from the cache or just made."""

    x: np.ndarray  # uint8 (n, C, H, W), a memory map
    digests: np.ndarray  # uint8 (n, 16), one digest an image
    unreadable: dict[int, str]  # position -> reason; these images are black in x
    note: str  # what was done to sizes, or ""


# ---------------------------------------------------------------- their pixels


def pixels(folder: Path, files: list[File], image_size: int | None, cache: Path) -> Pixels:
    """The decoded images of `files`; from the cache if path, size and modification time of every file agree.

    Grey images give one channel if all are grey, else everything is RGB; transparency is laid on white; a
    camera's rotation mark is obeyed. `image_size` scales the shorter side and cuts the centre; None keeps the
    images' size if they share a square one of at most 256 pixels, else 32.
    Safe with two processes: one decodes, the other waits. Raises OSError where the cache cannot be written.
    """
    folder = Path(os.path.realpath(folder))
    listing = "\0".join([f"{CACHE_VERSION} {image_size}", *(f"{f.path}\0{f.size} {f.mtime}" for f in files)])
    key = hashlib.blake2b(os.fsencode(listing), digest_size=16).hexdigest()  # the folder as it is now
    owner = hashlib.blake2b(os.fsencode(folder) + repr(image_size).encode(), digest_size=6).hexdigest()
    place = cache / f"{safe(folder.name)}-{owner}"  # one folder of images at one size
    if kept := _read(place / key):
        return kept
    try:
        place.mkdir(parents=True, exist_ok=True)
        with lock(place / "lock"):
            if kept := _read(place / key):  # another process was first
                return kept
            for old in place.iterdir():  # earlier states of the folder, and what a killed process left
                if old.name != "lock":
                    remove(old)
            (place / "tmp").mkdir()
            _decode_all(folder, files, image_size, place / "tmp")
            (place / "tmp").rename(place / key)
    except (OSError, RunError) as error:
        raise OSError(
            f"the decoded images cannot be kept in {place} ({getattr(error, 'strerror', None) or error}): "
            f"make room there or set LNL_DATA to a folder that can be written"
        ) from error
    if (written := _read(place / key)) is None:
        raise OSError(f"the decoded images in {place / key} cannot be read back: is the disk full?")
    return written


def _read(place: Path) -> Pixels | None:
    try:
        info = read_json(place / "info.json")
        x = np.load(place / "images.npy", mmap_mode="c")  # "c": torch wants memory it could write to
        digests = np.load(place / "digests.npy")
    except (OSError, ValueError, EOFError):  # absent, or cut short by a power failure
        return None
    return Pixels(x, digests, {int(i): reason for i, reason in info["unreadable"].items()}, info["note"])


def _decode_all(folder: Path, files: list[File], image_size: int | None, out: Path) -> None:
    """Write images.npy, digests.npy and info.json of `files` to `out`."""
    paths = [folder / f.path for f in files]
    width, height, grey = next((h for p in paths if (h := _header(p, folder))), (0, 0, False))
    # What holds for the first image is taken to hold for all, which saves opening every file twice; where it
    # turns out not to hold, the answer is known (RGB, 32 pixels) and decoding starts again.
    keep_size = image_size is None and 0 < width == height <= LARGEST_OWN_SIZE
    while True:
        side = image_size or (width if keep_size else DEFAULT_SIZE)
        shape = (1 if grey else 3, side, side)
        try:
            unreadable = _write_images(paths, shape, keep_size, grey, out, folder)
            break
        except _Differs as difference:
            remove(out / "images.npy")
            keep_size = keep_size and difference.args != ("size",)
            grey = grey and difference.args != ("colour",)
    note = (
        ""
        if image_size or keep_size
        else (
            f"the images do not share a square size of at most {LARGEST_OWN_SIZE} pixels: "
            f"shown at {shape[1]}x{shape[2]} (--image-size sets another)"
        )
    )
    save_atomically(out / "info.json", json_bytes({"unreadable": unreadable, "note": note}))


def _write_images(
    paths: list[Path], shape: tuple[int, int, int], keep_size: bool, grey: bool, out: Path, folder: Path
) -> dict[int, str]:
    """Decode `paths` to images.npy and digests.npy; returns why images could not be read, by position."""

    def decode(part: list[Path]):
        return decode_files(part, shape, keep_size, grey, folder)

    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    unreadable: dict[int, str] = {}
    digests = []
    with create(out / "images.npy") as file:  # not through a map: there a full disk kills the process
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for i, (x, errors) in enumerate(_in_parallel(decode, chunks)):
            file.write(x.tobytes())
            digests.append(image_digests(x))
            unreadable |= {i * CHUNK + k: reason for k, reason in errors.items()}
        file.flush()
        os.fsync(file.fileno())
    save_atomically(out / "digests.npy", npy_bytes(np.concatenate(digests)))
    return unreadable


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_parallel(fn, chunks: list) -> Iterator:
    """`fn` of each chunk, in order, on all cores. Threads: Pillow decodes without holding Python's lock."""
    pool = ThreadPoolExecutor(cores())
    bar = tqdm(
        desc="decoding images",
        total=sum(map(len, chunks)),
        unit=" images",
        disable=len(chunks) < 8,
        leave=False,
        mininterval=1,
        file=sys.stderr,
    )
    try:
        for chunk, result in zip(chunks, pool.map(fn, chunks)):
            bar.update(len(chunk))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C, do not decode the rest first
        bar.close()


def _header(path: Path, folder: Path) -> tuple[int, int, bool] | None:
    """(width, height, is grey), None where the file cannot be read."""
    try:
        with open_image(path, folder) as image:
            return (*image.size, image.mode in GREY_MODES)
    except Exception:  # reported when it is decoded
        return None


class _Differs(Exception):
    """An image is not like the first one; its argument is "size" or "colour"."""


def decode_files(
    paths: list[Path],
    shape: tuple[int, int, int],
    keep_size: bool,
    grey: bool,
    inside: Path | None = None,
) -> tuple[np.ndarray, dict[int, str]]:
    """Images uint8 (len(paths), *shape), black where unreadable, and the reasons by position.

    inside: the folder that they must lie in. Raises _Differs where `own` size is asked of an image of
    another size, or `grey` of one in colour.
    """
    x = np.zeros((len(paths), *shape), np.uint8)
    errors = {}
    for i, path in enumerate(paths):
        try:
            with open_image(path, inside) as image:
                if grey and image.mode not in GREY_MODES:
                    raise _Differs("colour")
                if keep_size and image.size != shape[1:]:
                    raise _Differs("size")
                x[i] = _decode(image, shape)
        except _Differs:
            raise
        except Exception as error:  # a damaged file makes Pillow raise all sorts
            errors[i] = _reason(error, path)
    return x, errors


def _reason(error: Exception, path: Path) -> str:
    return getattr(error, "strerror", None) or str(error).replace(f"'{path}'", "it") or type(error).__name__


def _decode(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """One Pillow image of any mode as uint8 `shape` (C, H, H)."""
    image = upright(image)
    mode = "L" if shape[0] == 1 else "RGB"
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = on_white(image, mode)
    image = _fit(image.convert(mode), shape[1])
    x = np.asarray(image)
    return x[None] if shape[0] == 1 else x.transpose(2, 0, 1)


def upright(image: Image.Image) -> Image.Image:
    """A Pillow image as it is meant to be seen: turned as the camera's mark says, with 8 bits a channel."""
    if image.info.get("exif"):
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits a pixel; Pillow's own conversion cuts off at 255
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    return image


def whole_digest(path: Path) -> str:
    """A digest of all that an image file shows, at its full size; "" where it cannot be read."""
    try:
        with open_image(path) as file:
            image = upright(file).convert("RGBA")
            return hashlib.blake2b(image.tobytes(), digest_size=16, key=repr(image.size).encode()).hexdigest()
    except Exception:  # as in `decode_files`
        return ""


def _fit(image: Image.Image, size: int) -> Image.Image:
    """The centre square of an image, at `size` x `size`."""
    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)


def resize(x: np.ndarray, size: int) -> np.ndarray:
    """Images uint8 (N, C, H, W) at `size` x `size` (bilinear, centre square), one or three channels."""
    if x.shape[2:] == (size, size):
        return x
    out = np.empty((*x.shape[:2], size, size), np.uint8)
    for i, image in enumerate(x):
        for c, channel in enumerate(image):
            out[i, c] = np.asarray(_fit(Image.fromarray(np.ascontiguousarray(channel)), size))
    return out


def image_digests(x: np.ndarray) -> np.ndarray:
    """One digest an image, uint8 (N, 16), over the shape and pixels of images `x (N, C, H, W)` uint8."""
    shape = repr(x.shape[1:]).encode()
    out = b"".join(hashlib.blake2b(image.tobytes(), digest_size=16, key=shape).digest() for image in x)
    return np.frombuffer(out, np.uint8).reshape(-1, 16)
