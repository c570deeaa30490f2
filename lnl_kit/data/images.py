"""The one way in which image files that others made are opened: promised formats only, ordinary files inside
their folder, and no more pixels than memory bears.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

# By name: Pillow knows 43 formats, one of which starts Ghostscript. HEIF is there where pillow-heif is.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", "AVIF", "HEIF")
MAX_PIXELS = 50_000_000  # 200 MB a thread once it has four channels; $LNL_MAX_PIXELS sets another limit
BAND = 256  # rows that are laid on white at a time

warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)  # said below, in one sentence


def max_pixels() -> int:
    """The most pixels an image may have: $LNL_MAX_PIXELS, else MAX_PIXELS. Raises ValueError."""
    told = os.environ.get("LNL_MAX_PIXELS") or str(MAX_PIXELS)
    if not told.isdecimal() or int(told) < 1:
        raise ValueError(
            f"LNL_MAX_PIXELS {told!r} is not allowed: a whole number of pixels, such as 50000000"
        )
    return int(told)


@contextlib.contextmanager
def open_image(path: Path, inside: Path | None = None) -> Iterator[Image.Image]:
    """A Pillow image, not decoded yet, of one of the FORMATS.

    inside: the folder that the file must lie in, wherever links lead ($LNL_FOLLOW_LINKS=1: it need not).
    Raises OSError and ValueError that say what is wrong with "it"; what Pillow raises while it decodes comes
    on top.
    """
    with _open(path, inside) as file:
        try:
            image = Image.open(file, formats=_formats())
        except UnidentifiedImageError:
            raise ValueError("it is no image of a known format") from None
        except Image.DecompressionBombError:
            raise ValueError("it has too many pixels") from None
        with image:
            width, height = image.size
            if width * height > (limit := max_pixels()):
                raise ValueError(
                    f"it has {width} x {height} pixels, more than {limit / 1e6:g} million: make it smaller "
                    "or set LNL_MAX_PIXELS"
                )
            yield image


def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _open(path: Path, inside: Path | None):
    """The file, open for reading; a pipe or device is refused, and so is what lies outside of its folder."""
    if inside is not None and os.environ.get("LNL_FOLLOW_LINKS") != "1":
        real, base = Path(os.path.realpath(path)), Path(os.path.realpath(inside))
        if not real.is_relative_to(base):
            raise ValueError(
                "it lies outside of its folder, by a link or '..': copy it there, or set LNL_FOLLOW_LINKS=1"
            )
        path = real
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    opened = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise OSError(errno.EINVAL, "it is no ordinary file")
    return os.fdopen(opened, "rb")


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
