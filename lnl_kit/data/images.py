"""The one way in which image files that others made are opened, and what is said of those that cannot be."""

from __future__ import annotations

import functools
import threading
from pathlib import Path

from PIL import Image, UnidentifiedImageError, features

MAX_PIXELS = 178_956_970  # of one image file; more is refused, as Pillow does (half a gigabyte in memory)


def reason(error: Exception, path: Path) -> str:
    if isinstance(error, UnidentifiedImageError):
        if path.suffix.lower() in (".heic", ".heif") and not _heif():
            return "HEIC is read with the package pillow-heif: pip install pillow-heif"
        return "it is not an image, or a damaged one"
    return getattr(error, "strerror", None) or str(error).replace(f"'{path}'", "it") or type(error).__name__


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


_opening = threading.Lock()


def open_image(path: Path, max_pixels: int | None = None) -> Image.Image:
    """A Pillow image, not decoded yet; every image file of the kit is opened here.

    Raises ValueError where it has more than `max_pixels` pixels, and whatever Pillow raises.
    """
    if path.suffix.lower() in (".heic", ".heif", ".avif"):
        _heif()
    with _opening:  # Pillow's own limit warns on standard error, and cannot be set for one call
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before
    if (n := image.width * image.height) > (limit := max_pixels or MAX_PIXELS):
        image.close()
        raise ValueError(f"{n:,} pixels are more than {limit:,}: --max-pixels {n} allows them")
    return image
