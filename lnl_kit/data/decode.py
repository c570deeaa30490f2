"""Image files decoded once on all cores, and kept as a memory map."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps

from ..files import RunError, create, json_bytes, lock, npy_bytes, read_json, remove, safe, save_atomically
from ..files.contents import NO_ARRAYS
from . import images
from .depth import FULL, finite, in_8_bits, is_deep, levels_of
from .file_state import on_network_drive, sample_of
from .folders import File
from .images import on_white, open_image, reason
from .parallel import CHUNK, in_parallel

GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")
LARGEST_OWN_SIZE = 256  # images of one square size up to this keep it; all others are shown at DEFAULT_SIZE
DEFAULT_SIZE = 32
CACHE_VERSION = 2  # to be raised when the same file would be decoded to other pixels
HEADER = np.dtype([("width", "<u4"), ("height", "<u4"), ("mode", "S8")])  # of a file; zeros: unreadable


class Pixels(NamedTuple):
    """The decoded images of a folder, from the cache or just made."""

    x: np.ndarray  # uint8 (n, C, H, W), a memory map
    digests: np.ndarray  # uint8 (n, 16), one digest an image
    unreadable: dict[int, str]  # position -> reason; these images are black in x
    note: str  # what was done to sizes, or ""
    headers: np.ndarray | None = None  # HEADER (n,); None = kept by a version that did not note them


class Decoded(NamedTuple):
    """What a list of image files holds."""

    x: np.ndarray  # uint8 (n, C, H, W), black where unreadable
    errors: dict[int, str]  # position -> why it cannot be read
    headers: np.ndarray  # HEADER (n,)
    digests: np.ndarray  # uint8 (n, 16), one an image


# ---------------------------------------------------------------- their pixels


def pixels(
    folder: Path,
    files: list[File],
    image_size: int | None,
    cache: Path,
    max_pixels: int | None = None,
    keep: bool = True,
    follow_links: bool = False,
) -> Pixels:
    """The decoded images of `files`; from the cache if every file is the same: path, size, times and inode,
    on network drives, where these say little, a sample of its bytes.

    Grey images give one channel if all are grey, else everything is RGB; transparency is laid on white; a
    camera's rotation mark is obeyed; of an animation the first picture is taken; images with more than 8 bits
    a pixel are scaled by the values that the whole set uses. `image_size` scales the shorter side and cuts
    the centre; None keeps the images' size if they share a square one of at most 256 pixels, else 32. Files
    of more than `max_pixels` count as unreadable, and without `follow_links` those that lie elsewhere. With
    keep=False nothing stays in the cache. Safe with two processes: one decodes, the other waits. Raises
    OSError where the cache cannot be written.
    """
    folder, max_pixels = Path(os.path.realpath(folder)), max_pixels or images.max_pixels()
    inside = None if follow_links else folder
    state = sample_of if on_network_drive(folder) else lambda folder, f: f"{f.inode} {f.ctime}"
    rows = [f"{f.path}\0{f.size} {f.mtime} {state(folder, f)}" for f in files]
    listing = "\0".join([f"{CACHE_VERSION} {image_size} {max_pixels} {images.reading(follow_links)}", *rows])
    key = hashlib.blake2b(os.fsencode(listing), digest_size=16).hexdigest()  # the folder as it is now
    owner = hashlib.blake2b(os.fsencode(folder) + repr(image_size).encode(), digest_size=6).hexdigest()
    place = cache / f"{safe(folder.name)}-{owner}"  # one folder of images at one size
    if found := _still(place / key, folder, files, inside, max_pixels):
        return found
    if not keep:
        with tempfile.TemporaryDirectory() as out:
            _decode_all(folder, files, image_size, Path(out), inside, max_pixels)
            decoded = _read(Path(out))
            assert decoded is not None  # just written
            return decoded._replace(x=np.load(Path(out) / "images.npy"))
    try:
        place.mkdir(parents=True, exist_ok=True)
        with lock(place / "lock"):
            if found := _still(place / key, folder, files, inside, max_pixels):  # another process was first
                return found
            for old in place.iterdir():  # earlier states of the folder, and what a killed process left
                if old.name != "lock":
                    remove(old)
            (place / "tmp").mkdir()
            _decode_all(folder, files, image_size, place / "tmp", inside, max_pixels)
            (place / "tmp").rename(place / key)
    except (OSError, RunError) as error:
        raise OSError(
            f"the decoded images cannot be kept in {place} ({getattr(error, 'strerror', None) or error}): "
            f"make room there or set LNL_DATA to a folder that can be written"
        ) from error
    if (written := _read(place / key)) is None:
        raise OSError(f"the decoded images in {place / key} cannot be read back: is the disk full?")
    return written


def _still(place: Path, folder: Path, files: list[File], inside: Path | None, most: int) -> Pixels | None:
    """What is kept, unless a file that could not be read can be by now: a fault may pass."""
    if (found := _read(place)) and found.unreadable:
        paths = [folder / files[i].path for i in found.unreadable]
        again = functools.partial(
            decode_files, shape=found.x.shape[1:], own=False, grey=False, inside=inside, most=most
        )
        if any(len(found.errors) < len(found.x) for found in in_parallel(again, paths)):
            return None
    return found


def _read(place: Path) -> Pixels | None:
    try:
        info = read_json(place / "info.json")
        x = np.load(place / "images.npy", mmap_mode="c")  # "c": torch wants memory it could write to
        digests = np.load(place / "digests.npy")
        headers = np.load(place / "headers.npy") if (place / "headers.npy").exists() else None
        unreadable = {int(i): reason for i, reason in info["unreadable"].items()}
        return Pixels(x, digests, unreadable, info["note"], headers)
    except (OSError, AttributeError, TypeError, *NO_ARRAYS):  # absent, or cut short by a power failure
        return None


def _decode_all(
    folder: Path, files: list[File], image_size: int | None, out: Path, inside: Path | None, most: int
) -> None:
    """Write images.npy, digests.npy, headers.npy and info.json of `files` to `out`."""
    paths = [folder / f.path for f in files]
    width, height, grey = next((h for p in paths if (h := _header(p, inside, most))), (0, 0, False))
    # What holds for the first image is taken to hold for all, which saves opening every file twice; where it
    # turns out not to hold, the answer is known (RGB, 32 pixels, the levels of the set) and decoding starts
    # again.
    own, levels = image_size is None and 0 < width == height <= LARGEST_OWN_SIZE, None
    while True:
        side = image_size or (width if own else DEFAULT_SIZE)
        shape = (1 if grey else 3, side, side)
        try:
            unreadable = _write_images(paths, shape, own, grey, levels, most, out, inside)
            break
        except _Differs as difference:
            remove(out / "images.npy")
            own, grey = own and difference.args != ("size",), grey and difference.args != ("colour",)
            if difference.args == ("depth",):
                levels = _levels(paths, inside, most)
    notes = []
    if not image_size and not own:
        notes.append(
            f"the images do not share a square size of at most {LARGEST_OWN_SIZE} pixels: "
            f"shown at {shape[1]}x{shape[2]} (--image-size sets another)"
        )
    if levels and levels != FULL:
        low, high = levels
        notes.append(f"images of more than 8 bits use the values {low:g} to {high:g}, shown as 0 to 255")
    info = {"unreadable": unreadable, "note": "; ".join(notes)}
    save_atomically(out / "info.json", json_bytes(info))


def _write_images(
    paths: list[Path],
    shape: tuple[int, int, int],
    own: bool,
    grey: bool,
    levels: tuple[float, float] | None,
    most: int | None,
    out: Path,
    inside: Path | None,
) -> dict[int, str]:
    """Decode `paths` to images.npy, digests.npy and headers.npy; returns why images could not be read, by
    position.
    """

    def decode(part: list[Path]):
        return decode_files(part, shape, own, grey, inside, levels, most)

    unreadable: dict[int, str] = {}
    digests, heads = [], []
    with create(out / "images.npy") as file:  # not through a map: there a full disk kills the process
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(paths), *shape)}
        np.lib.format.write_array_header_1_0(file, header)
        for i, part in enumerate(in_parallel(decode, paths)):
            file.write(part.x.tobytes())
            digests.append(part.digests)
            heads.append(part.headers)
            unreadable |= {i * CHUNK + k: reason for k, reason in part.errors.items()}
        file.flush()
        os.fsync(file.fileno())
    save_atomically(out / "digests.npy", npy_bytes(np.concatenate(digests)))
    save_atomically(out / "headers.npy", npy_bytes(np.concatenate(heads)))
    return unreadable


def _levels(paths: list[Path], inside: Path | None, most: int | None) -> tuple[float, float]:
    """The lowest and highest value of all images of more than 8 bits; FULL where they use 16."""

    def extremes(part: list[Path]) -> list[tuple[float, float]]:
        found = []
        for path in part:
            try:
                with open_image(path, inside, most) as image:
                    if is_deep(image) and len(x := finite(np.asarray(image))):
                        found.append((float(x.min()), float(x.max())))
            except Exception:  # reported when it is decoded
                continue
        return found

    return levels_of(pair for pairs in in_parallel(extremes, paths) for pair in pairs)


def headers(paths: list[Path], inside: Path | None = None, most: int | None = None) -> np.ndarray:
    """HEADER (n,): width, height and Pillow's mode of each image file, zeros where it cannot be read."""
    found = np.zeros(len(paths), HEADER)
    for i, path in enumerate(paths):
        with contextlib.suppress(Exception), open_image(path, inside, most) as image:  # reported when decoded
            found[i] = (*image.size, image.mode)
    return found


def _header(path: Path, inside: Path | None, most: int | None) -> tuple[int, int, bool] | None:
    """(width, height, is grey), None where the file cannot be read."""
    try:
        with open_image(path, inside, most) as image:
            return (*image.size, image.mode in GREY_MODES)
    except Exception:  # reported when it is decoded
        return None


class _Differs(Exception):
    """An image is not like the first one; its argument is "size", "colour" or "depth"."""


def decode_files(
    paths: list[Path],
    shape: tuple[int, int, int],
    own: bool,
    grey: bool,
    inside: Path | None = None,
    levels: tuple[float, float] | None = FULL,
    most: int | None = None,
) -> Decoded:
    """Images uint8 (len(paths), *shape), and what else was seen on the way.

    inside: the folder that they must lie in; most: pixels of one of them (see `images.open_image`).
    levels: the values that become 0 and 255 in images of more than 8 bits; None = not known yet.
    Raises _Differs where `own` size is asked of an image of another size, `grey` of one in colour, or the
    levels of one with more than 8 bits.
    """
    x, heads, errors = np.zeros((len(paths), *shape), np.uint8), np.zeros(len(paths), HEADER), {}
    for i, path in enumerate(paths):
        try:
            with open_image(path, inside, most) as image:
                heads[i] = (*image.size, image.mode)
                if levels is None and is_deep(image):
                    raise _Differs("depth")
                if grey and image.mode not in GREY_MODES:
                    raise _Differs("colour")
                if own and image.size != shape[1:]:
                    raise _Differs("size")
                x[i] = _decode(image, shape, levels or FULL)
        except _Differs:
            raise
        except Exception as error:  # a damaged file makes Pillow raise all sorts
            errors[i] = reason(error, path)
    return Decoded(x, errors, heads, image_digests(x))


def _decode(
    image: Image.Image, shape: tuple[int, int, int], levels: tuple[float, float] = FULL
) -> np.ndarray:
    """One Pillow image of any mode as uint8 `shape` (C, H, H)."""
    image = upright(image, levels)
    mode = "L" if shape[0] == 1 else "RGB"
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = on_white(image, mode)
    image = _fit(image.convert(mode), shape[1])
    x = np.asarray(image)
    return x[None] if shape[0] == 1 else x.transpose(2, 0, 1)


def upright(image: Image.Image, levels: tuple[float, float] | None = None) -> Image.Image:
    """A Pillow image as it is meant to be seen: turned as the camera's mark says, with 8 bits a channel.

    levels: the values that become 0 and 255 where a pixel has more bits; None = those of this image.
    """
    if image.info.get("exif"):
        image = ImageOps.exif_transpose(image)
    if is_deep(image):
        x = np.asarray(image)
        if levels is None:
            values = finite(x)
            levels = (float(values.min()), float(values.max())) if len(values) else FULL
        image = Image.fromarray(in_8_bits(x, levels))
    return image


def whole_digest(path: Path, inside: Path | None = None, most: int | None = None) -> str:
    """A digest of all that an image file shows, at its full size; "" where it cannot be read."""
    try:
        with open_image(path, inside, most) as image:
            shown = upright(image, FULL).convert("RGBA")
            content = np.asarray(image).tobytes() if is_deep(image) else shown.tobytes()
            return hashlib.blake2b(content, digest_size=16, key=repr(shown.size).encode()).hexdigest()
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
