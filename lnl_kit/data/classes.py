"""Class names, and mean and standard deviation of the channels, of the known data sets."""

from __future__ import annotations

import numpy as np

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = tuple(
    [
        "apple",
        "aquarium_fish",
        "baby",
        "bear",
        "beaver",
        "bed",
        "bee",
        "beetle",
        "bicycle",
        "bottle",
        "bowl",
        "boy",
        "bridge",
        "bus",
        "butterfly",
        "camel",
        "can",
        "castle",
        "caterpillar",
        "cattle",
        "chair",
        "chimpanzee",
        "clock",
        "cloud",
        "cockroach",
        "couch",
        "crab",
        "crocodile",
        "cup",
        "dinosaur",
        "dolphin",
        "elephant",
        "flatfish",
        "forest",
        "fox",
        "girl",
        "hamster",
        "house",
        "kangaroo",
        "keyboard",
        "lamp",
        "lawn_mower",
        "leopard",
        "lion",
        "lizard",
        "lobster",
        "man",
        "maple_tree",
        "motorcycle",
        "mountain",
        "mouse",
        "mushroom",
        "oak_tree",
        "orange",
        "orchid",
        "otter",
        "palm_tree",
        "pear",
        "pickup_truck",
        "pine_tree",
        "plain",
        "plate",
        "poppy",
        "porcupine",
        "possum",
        "rabbit",
        "raccoon",
        "ray",
        "road",
        "rocket",
        "rose",
        "sea",
        "seal",
        "shark",
        "shrew",
        "skunk",
        "skyscraper",
        "snail",
        "snake",
        "spider",
        "squirrel",
        "streetcar",
        "sunflower",
        "sweet_pepper",
        "table",
        "tank",
        "telephone",
        "television",
        "tiger",
        "tractor",
        "train",
        "trout",
        "tulip",
        "turtle",
        "wardrobe",
        "whale",
        "willow_tree",
        "wolf",
        "woman",
        "worm",
    ]
)
CLASSES = {"digits": tuple("0123456789"), "cifar10": CIFAR10_CLASSES, "cifar100": CIFAR100_CLASSES}
# Per channel, of the training images in [0, 1]; webvision has ImageNet's, as in the papers' code.
MEAN_STD = {
    "digits": ((0.305811,), (0.319038,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "tiny_imagenet": ((0.4802, 0.4481, 0.3975), (0.2770, 0.2691, 0.2821)),
    "clothing1m": ((0.6959, 0.6537, 0.6371), (0.3113, 0.3192, 0.3214)),
    "webvision": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


def channel_stats(x: np.ndarray, at_most: int = 10_000) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images `x (N, C, H, W)` uint8 seen in [0, 1].

    From at most `at_most` evenly spaced images; summed in integers, so the same on every platform.
    """
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), at_most)).round().astype(np.int64))
    total = squares = np.zeros(x.shape[1], np.int64)
    count = 0
    for start in range(0, len(rows), 500):
        chunk = np.asarray(x[rows[start : start + 500]]).astype(np.int32)
        total = total + chunk.sum((0, 2, 3), dtype=np.int64)
        squares = squares + (chunk * chunk).sum((0, 2, 3), dtype=np.int64)
        count += chunk.shape[0] * chunk.shape[2] * chunk.shape[3]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))  # one grey level at least: no division by zero
    return tuple((mean / 255).round(6).tolist()), tuple((std / 255).round(6).tolist())
