"""What may be asked of a data set; anything else is refused in one sentence, before it is read."""

from __future__ import annotations

from numbers import Integral

from . import naming
from .classes import CLASSES


def check(name: str, image_size, labels, true_column, like, max_pixels, follow_links) -> None:
    """Refuse in one sentence what contradicts itself."""
    for what, value, low, high in (("image size", image_size, 4, 1024), ("max_pixels", max_pixels, 1, 2**40)):
        if value is not None and (not isinstance(value, Integral) or isinstance(value, bool)):
            raise ValueError(f"{what} {value!r} is not allowed: a whole number of pixels")
        if value is not None and not low <= int(value) <= high:
            raise ValueError(f"{what} {value} is outside {low} to {high} pixels")
    if labels is None and true_column and not name.startswith(naming.PACKED):
        raise ValueError(f"true column '{true_column}' of which file? Give labels=FILE.csv (--labels) too")
    if name.startswith(naming.OWN):
        if like and like not in CLASSES:
            raise ValueError(f"a folder cannot be like '{like}': choose one of {', '.join(CLASSES)}")
    elif max_pixels or follow_links:
        raise ValueError(f"max_pixels, follow_links and {name}: that is for folders of images; leave it out")
    elif like not in (None, "", name):
        raise ValueError(f"{name} cannot be like '{like}': that is for folders of images")


def check_packed(name: str, image_column: str | None, hf_split: str | None) -> None:
    """Refuse in one sentence what only packed sets have. Raises ValueError."""
    if hf_split and not name.startswith("hf:"):
        raise ValueError(f"split {hf_split} of {name}: --split is for data sets hf:...; leave it out")
    if image_column and not name.startswith(naming.PACKED):
        raise ValueError(
            f"image column {image_column} of {name}: --image-column is for {', '.join(naming.PACKED)} sets; "
            "leave it out"
        )
