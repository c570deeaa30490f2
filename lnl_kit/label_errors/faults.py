"""What else is wrong with images: near duplicates, images that belong to no class, dark, bright, blurred or
odd-sized ones.

Near duplicates are near in the features of a pretrained network and alike to a perceptual hash (the signs of
64 differences of neighbouring pixels at 9 x 8). Each kind names what an image's row of errors.csv carries in
its column `kind`.
"""

from __future__ import annotations

import numpy as np
import torch

# every kind, in the order of its tab; the first three link images, which are shown beside each other
OTHER_LABEL, ACROSS, NEAR = "near duplicate, other label", "copy across splits", "near duplicate"
LINKED = (OTHER_LABEL, ACROSS, NEAR)
KINDS = (*LINKED, "outlier", "dark", "bright", "blurred", "odd size")
# Near duplicates have a cosine of features on principal axes above, and hashes that differ in at most so many
# of 64 bits. Of CIFAR-10's test beside its training images all such pairs have one class, and 45 of 48 looked
# at are one picture; of those below, down to .75 with 5 to 8 bits, most are only similar.
ALIKE = ((0.8, 8), (0.7, 4))
OTHERS = 20  # an image has fewer near duplicates than that
FAR = 4.0  # median absolute deviations by which an outlier's nearest neighbours are farther than usual
NEIGHBOURS = 5
DARK, BRIGHT = 0.06, 0.94  # mean brightness, of 1
BLURRED = 0.12  # of the median sharpness of all images
ODD = 2.0  # ratio of the longer to the shorter side, or of an image's size to the median, that is odd
BLOCK = 1024  # images a block of the distance matrix
SHARP = 100  # images that the median sharpness needs


def kinds(
    x: np.ndarray,
    features: np.ndarray | None,
    given: np.ndarray,
    sizes: np.ndarray | None,
) -> tuple[list[list[str]], list[tuple]]:
    """(for each of N images the names of what is wrong with it, near duplicates as (i, j) with i < j).

    x: uint8 (N, C, H, W); features float32 (N, d) or None; given (N,); sizes (N, 2): width and
    height of the files, zeros where one cannot be read; None = not known.
    """
    found: list[list[str]] = [[] for _ in range(len(x))]
    pairs = [] if features is None else near_duplicates(x, features)
    for i, j in pairs:
        kind = NEAR if given[i] == given[j] else OTHER_LABEL
        for k in (i, j):
            if kind not in found[k]:
                found[k].append(kind)
    if features is not None:
        for i in outliers(features):
            found[i].append("outlier")
    brightness, sharpness = looks(x)
    usual = np.median(sharpness)
    for i in range(len(x)):
        found[i] += ["dark"] * bool(brightness[i] < DARK) + ["bright"] * bool(brightness[i] > BRIGHT)
        found[i] += ["blurred"] * bool(
            len(x) >= SHARP and sharpness[i] < BLURRED * usual and brightness[i] >= DARK
        )
    for i in odd_sizes(sizes):
        found[i].append("odd size")
    return found, pairs


def near_duplicates(x: np.ndarray, features: np.ndarray) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of images that are near in features and alike to the perceptual hash (ALIKE)."""
    unit = torch.nn.functional.normalize(torch.as_tensor(features), dim=1)
    hashes = torch.from_numpy(hashes_of(x))
    likeness, difference = usual(unit, hashes)
    rules = [(max(cosine, likeness), min(bits, difference - 1)) for cosine, bits in ALIKE]
    pairs = []
    for start in range(0, len(unit), BLOCK):
        near = unit[start : start + BLOCK] @ unit[start:].T
        i, j = (near.triu_(1) > min(cosine for cosine, _ in rules)).nonzero(as_tuple=True)
        apart = (hashes[start + i] != hashes[start + j]).sum(1)
        alike = torch.stack([(near[i, j] > cosine) & (apart <= bits) for cosine, bits in rules]).any(0)
        pairs += list(zip((start + i[alike]).tolist(), (start + j[alike]).tolist()))
    return pairs


def usual(unit: torch.Tensor, hashes: torch.Tensor) -> tuple[float, float]:
    """(cosine, bits) to their OTHERS-th nearest image that 1 of 100 images surpass, in likeness: what is
    alike and no duplicate in these images, whether they are photographs or digits of 8 x 8 pixels.
    """
    some = torch.linspace(0, len(unit) - 1, min(BLOCK, len(unit))).long()
    k = min(OTHERS + 1, len(unit))
    near, at = (unit[some] @ unit.T).topk(k, 1)
    apart = (hashes[some] != hashes[at[:, -1]]).sum(1).float()
    return float(near[:, -1].quantile(0.99)), float(apart.quantile(0.01))


def hashes_of(x: np.ndarray) -> np.ndarray:
    """bool (N, 64): whether brightness rises from each of 8 x 8 places to the place on its right, at 9 x 8
    pixels.
    """
    found = []
    for i in range(0, len(x), BLOCK):
        grey = torch.as_tensor(np.asarray(x[i : i + BLOCK])).float().mean(1, keepdim=True)
        small = torch.nn.functional.interpolate(
            grey, (8, 9), mode="bilinear", antialias=True, align_corners=False
        )[:, 0]
        found.append((small[:, :, 1:] > small[:, :, :-1]).flatten(1))
    return torch.cat(found).numpy()


def outliers(features: np.ndarray) -> np.ndarray:
    """Positions of images whose NEIGHBOURS nearest images are far, beside how far they usually are."""
    if len(features) <= 10 * NEIGHBOURS:
        return np.array([], dtype=int)
    z = torch.as_tensor(features)
    away = torch.cat(
        [
            torch.cdist(z[i : i + BLOCK], z).topk(NEIGHBOURS + 1, largest=False)[0][:, 1:].mean(1)
            for i in range(0, len(z), BLOCK)
        ]
    )
    log = away.log().clamp_min(-20).numpy()
    usual = np.median(log)
    return np.flatnonzero(log > usual + FAR * 1.4826 * max(np.median(np.abs(log - usual)), 1e-3))


def looks(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(brightness, sharpness), (N,) each: the mean in [0, 1], and the standard deviation of the Laplacian."""
    bright, sharp = [], []
    for i in range(0, len(x), BLOCK):
        grey = torch.as_tensor(np.asarray(x[i : i + BLOCK])).float().mean(1) / 255
        bright.append(grey.mean((1, 2)))
        around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
        sharp.append((around - 4 * grey[:, 1:-1, 1:-1]).std((1, 2)))
    return torch.cat(bright).numpy(), torch.cat(sharp).numpy()


def odd_sizes(found: np.ndarray | None) -> list[int]:
    """Positions of images much longer than wide beside what is usual, or much smaller or larger than the
    median. found (N, 2): width and height, zeros where they are not known.
    """
    if found is None:
        return []
    sizes = np.maximum(np.asarray(found, float), 1)
    shape, area = sizes[:, 0] / sizes[:, 1], sizes.prod(1)
    apart = [np.abs(np.log(v / np.median(v))) for v in (shape, np.sqrt(area))]
    return np.flatnonzero(np.maximum(*apart) > np.log(ODD)).tolist()
