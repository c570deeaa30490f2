"""Batched augmentations with random parameters for every image, on any device.

    params = aug.draw(n, generator, channels=3, size=(32, 32))   # CPU tensors, first dimension n
    y = aug.apply(x, params)                                     # uint8 (n, C, H, W) -> uint8 (n, C, H', W')
    y = aug(x, generator)                                        # both
    augment.take(params, start, stop)                            # the same draw for some of the images

`view(name)` gives the augmentations that the papers name.
"""

from __future__ import annotations

from collections.abc import Sequence

from .base import (
    Augmentation,
    Compose,
    CropFlip,
    Cutout,
    HorizontalFlip,
    OnTop,
    RandomCrop,
    RandomErasing,
    RandomResizedCrop,
    take,
)
from .kernels import OPERATIONS, operation
from .policies import AugMix, AutoAugment, ColorJitter, RandAugment

__all__ = [
    "OPERATIONS",
    "VIEWS",
    "AugMix",
    "Augmentation",
    "AutoAugment",
    "ColorJitter",
    "Compose",
    "CropFlip",
    "Cutout",
    "HorizontalFlip",
    "OnTop",
    "RandAugment",
    "RandomCrop",
    "RandomErasing",
    "RandomResizedCrop",
    "operation",
    "take",
    "view",
]  # fmt: skip

VIEWS = {
    "none": "the image as it is",
    "crop": "random crop, flip",
    "small_crop": "random crop with half the padding, flip",
    "randaugment": "RandAugment (1 operation, magnitude 3), crop, flip, Cutout 5",
    "cutout": "Cutout 16 alone",
    "cutout16": "RandAugment (1 operation, magnitude 3), crop, flip, Cutout 16",
    "augmix": "AugMix, crop, flip",
    "flip": "flip alone",
    "autoaugment": "AutoAugment (CIFAR-10 policy), random erasing",
    "autoaugment_crop": "crop, flip, AutoAugment (CIFAR-10 policy)",
    "strong": "RandAugment (2 operations, magnitude 10), crop, flip, Cutout 16",
    "imagenet": "random resized crop, flip, colour jitter (0.4, 0.4, 0.4, hue 0.2)",
    "imagenet_augmix": "AugMix, random resized crop, flip",
}


def view(
    name: str, like: str = "cifar10", size: int = 32, channels: int = 3, mean: Sequence[float] | None = None
) -> Augmentation | None:
    """The augmentation called `name` (the keys of VIEWS) for square images of `size` pixels; None for "none".

    like: the built-in data set whose habits apply; "digits" has no flip (a mirrored 2 is no digit).
    Crop padding (4 pixels) and Cutout lengths are for 32 pixels and scale with size. channels: 1 or 3;
    operations on colour leave grey images alone.
    mean: of each channel, of images in [0, 1]; Cutout and random erasing fill with it, since the papers erase
    after normalising, where 0 is the mean; without it they fill with black. Raises ValueError for an unknown
    name.
    """
    if name not in VIEWS:
        raise ValueError(f"view {name!r} is unknown; the views are {', '.join(VIEWS)}")
    if channels not in (1, 3):
        raise ValueError(f"views are for images of 1 or 3 channels, not {channels}")
    p = 0.0 if like == "digits" else 0.5
    fill = (0,) if mean is None else tuple(round(255 * float(m)) for m in mean)
    if len(fill) not in (1, channels):
        raise ValueError(f"mean has {len(fill)} values for {channels} channels; give one for each channel")

    def pixels(at_32: int) -> int:
        return max(1, int(at_32 * size / 32 + 0.5))

    crop = CropFlip(pixels(4), p)
    if name == "none":
        return None
    if name == "crop":
        return crop
    if name == "flip":
        return HorizontalFlip(p)
    if name == "small_crop":
        return CropFlip(pixels(2), p)
    if name == "cutout":
        return Cutout(pixels(16), fill)
    if name in ("randaugment", "cutout16"):
        return Compose((RandAugment(1, 3), crop, Cutout(pixels(5 if name == "randaugment" else 16), fill)))
    if name == "strong":
        return Compose((RandAugment(2, 10), crop, Cutout(pixels(16), fill)))
    if name == "augmix":
        return Compose((AugMix(), crop))
    if name == "autoaugment":
        return Compose((AutoAugment(), RandomErasing(fill=fill)))
    if name == "autoaugment_crop":
        return Compose((crop, AutoAugment()))
    if name == "imagenet":
        return Compose((RandomResizedCrop(size), HorizontalFlip(p), ColorJitter(0.4, 0.4, 0.4, 0.2)))
    return Compose((AugMix(), RandomResizedCrop(size), HorizontalFlip(p)))
