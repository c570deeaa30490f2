"""Images of more than 8 bits a pixel (16 bits, numbers with a point): which levels become 0 and 255."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image

FULL = (0, 65535)  # levels of images with 16 bits a pixel: the upper 8 bits are kept


def finite(x: np.ndarray) -> np.ndarray:
    """The values of an image that are numbers, in one row."""
    return x[np.isfinite(x)] if x.dtype.kind == "f" else x.reshape(-1)


def is_deep(image: Image.Image) -> bool:
    """Whether a pixel has more than 8 bits, which Pillow's own conversion would cut off at 255."""
    return image.mode.startswith(("I", "F"))


def levels_of(extremes: Iterable[tuple[float, float]]) -> tuple[float, float]:
    """The lowest and highest value of a set, from those of its images; FULL where they use all 16 bits."""
    extremes = list(extremes) or [FULL]
    low, high = min(low for low, _ in extremes), max(high for _, high in extremes)
    if low >= 0 and 2**15 <= high < 2**16:
        return FULL
    if low >= 0 and 1 < high < 2**8:  # 8 bits in a format for more
        return 0, 255
    return low, max(high, low + 1e-6)


def in_8_bits(x: np.ndarray, levels: tuple[float, float]) -> np.ndarray:
    """uint8 of values of more bits: their upper 8 bits at the FULL levels, else scaled between the levels."""
    if levels == FULL:
        return (np.clip(np.nan_to_num(x), 0, 65535).astype(np.int32) >> 8).astype(np.uint8)
    low, high = levels
    scaled = (np.nan_to_num(x.astype(np.float64), nan=low) - low) * (255 / max(high - low, 1e-6))
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
