"""The one way in which image files that others made are opened: promised formats only, ordinary files inside
their folder, and no more pixels than memory bears; and what is said of those that cannot be read.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError, features

# By name: Pillow knows 43 formats, one of which starts Ghostscript. HEIF is there where pillow-heif is.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "DIB", "TIFF", "GIF", "PPM", "AVIF", "HEIF")
# 200 MB a thread once it has four channels; --max-pixels and $LNL_MAX_PIXELS allow more.
MAX_PIXELS = 50_000_000
BAND = 256  # rows that are laid on white at a time

_opening = threading.Lock()


def max_pixels() -> int:
    """The most pixels an image may have: $LNL_MAX_PIXELS, else MAX_PIXELS. Raises ValueError."""
    told = os.environ.get("LNL_MAX_PIXELS") or str(MAX_PIXELS)
    if not told.isdecimal() or int(told) < 1:
        raise ValueError(
            f"LNL_MAX_PIXELS {told!r} is not allowed: a whole number of pixels, such as 50000000"
        )
    return int(told)


@contextlib.contextmanager
def open_image(path: Path, inside: Path | None = None, most: int | None = None) -> Iterator[Image.Image]:
    """A Pillow image, not decoded yet, of one of the FORMATS; every image file of the kit is opened here.

    inside: the folder that the file must lie in, wherever links lead; None = it need not, nor does it with
        $LNL_FOLLOW_LINKS=1.
    most: pixels; None = `max_pixels()`.
    Raises OSError and ValueError that say what is wrong with "it"; what Pillow raises while it decodes comes
    on top.
    """
    with _open(path, inside) as file:
        try:
            image = _lazily(file)
        except UnidentifiedImageError:
            raise ValueError(_unknown(path)) from None
        with image:
            width, height = image.size
            if width * height > (limit := most or max_pixels()):
                raise ValueError(
                    f"it has {width} x {height} pixels, more than {limit / 1e6:g} million: make it smaller, "
                    f"or allow it with --max-pixels {width * height} or LNL_MAX_PIXELS"
                )
            yield image


def _lazily(file) -> Image.Image:
    """The image in a file, whatever its size: Pillow's own limit warns on standard error, and cannot be set
    for one call.
    """
    formats = _formats()
    with _opening:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats)
        finally:
            Image.MAX_IMAGE_PIXELS = before


def follows_links() -> bool:
    """Whether $LNL_FOLLOW_LINKS allows images to lie outside of their folder, in all data sets."""
    return os.environ.get("LNL_FOLLOW_LINKS") == "1"


def reading(follow_links: bool = False) -> str:
    """What decides, beside a file itself, whether it can be read: formats that are there, links followed."""
    return f"{' '.join(_formats())} {follow_links or follows_links()}"


@functools.cache
def _formats() -> tuple[str, ...]:
    Image.init()
    _heif()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@functools.cache
def _heif() -> bool:
    """Teach Pillow HEIC (and AVIF, where it does not know it) if the package pillow-heif is installed."""
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.register_heif_opener()
    if not features.check("avif") and hasattr(pillow_heif, "register_avif_opener"):
        pillow_heif.register_avif_opener()
    return True


def _unknown(path: Path) -> str:
    if path.suffix.lower() in (".heic", ".heif") and not _heif():
        return "HEIC is read with the package pillow-heif: pip install pillow-heif"
    return "it is no image of a known format"


def reason(error: Exception, path: Path) -> str:
    """What is said of an image file that cannot be read."""
    return getattr(error, "strerror", None) or str(error).replace(f"'{path}'", "it") or type(error).__name__


def _open(path: Path, inside: Path | None):
    """The file, open for reading; a pipe or device is refused, and so is what lies outside of its folder."""
    if inside is not None and not follows_links() and not _plainly_in(path, inside):
        real, base = Path(os.path.realpath(path)), Path(os.path.realpath(inside))
        if not real.is_relative_to(base):
            raise ValueError(
                "it lies outside of its folder, by a link or '..': copy it there, or allow it with "
                "--follow-links or LNL_FOLLOW_LINKS=1"
            )
        path = real
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    opened = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "it is no ordinary file")
    return os.fdopen(opened, "rb")


def _plainly_in(path: Path, inside: Path) -> bool:
    """Whether a file lies in a folder without any link on the way: many times faster than to ask for both
    real paths.
    """
    step, whole = str(inside), str(path)
    if not whole.startswith(f"{step}{os.sep}"):
        return False
    for part in whole[len(step) + 1 :].split(os.sep):
        step = f"{step}{os.sep}{part}"
        if part == ".." or os.path.islink(step):
            return False
    return True


def on_white(image: Image.Image, mode: str) -> Image.Image:
    """An image with its transparency laid on white, in `mode` ("L" or "RGB").

    Band by band: at full size four channels, three times over, would take twelve bytes a pixel.
    """
    out = Image.new(mode, image.size)
    for top in range(0, image.height, BAND):
        band = image.crop((0, top, image.width, min(top + BAND, image.height))).convert("RGBA")
        white = Image.new("RGBA", band.size, "white")
        out.paste(Image.alpha_composite(white, band).convert(mode), (0, top))
    return out
