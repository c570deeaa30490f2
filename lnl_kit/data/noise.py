"""Noise models: given labels drawn from the true ones, the same on every platform for one seed.

`rate` is the fraction asked for; `actual_rate` is the fraction of labels made wrong. All draws come from
numpy.random.RandomState, whose stream is frozen. By name:

none                 the true labels
symmetric            exactly rate·N images are redrawn over all K classes, their own included
symmetric_exclusive  exactly rate·N images move to one of the other K − 1 classes
asymmetric           on true labels, by data set (`like`): cifar10 truck→automobile, bird→airplane, cat↔dog,
                     deer→horse; digits 7→1, 2→7, 5↔6, 3→8; exactly `rate` of each of these classes' images.
                     cifar100: exactly rate·N images move to the next class of their superclass, cyclically
asymmetric_inplace   cifar10's pairs applied class by class to the labels as they stand by then, as some
                     released code does: cats that became dogs may come back, so fewer cats end up wrong
pair_flip            exactly rate·N images move from class i to i + 1, the last class to the first
instance             image i is flipped with its own probability, normal(rate, 0.1) truncated to [0, 1], to a
                     wrong class drawn from the softmax of the image times a random projection of its class
pmd_1, pmd_2, pmd_3  image i moves to the class that is most like it, the sooner the more alike both are
                     (`feature_noise`)
matrix:FILE.csv      each label is drawn from the row of its true class; K rows that sum to 1, and no rate
human                is not drawn but read from label files (lnl_kit.data.human_labels)
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files import read_csv
from . import feature_noise

MATRIX_BYTES = 2**26  # a thousand classes take 20 MB

NAMES = (
    "none",
    "symmetric",
    "symmetric_exclusive",
    "asymmetric",
    "asymmetric_inplace",
    "pair_flip",
    "instance",
    *feature_noise.KINDS,
    "human",
    "matrix:FILE.csv",
)

NEED_IMAGES = ("instance", *feature_noise.KINDS)

# true class -> class it is mistaken for
PAIRS = {
    "cifar10": {9: 1, 2: 0, 3: 5, 5: 3, 4: 7},  # truck, bird, cat, dog, deer
    "digits": {7: 1, 2: 7, 5: 6, 6: 5, 3: 8},
}
CIFAR100_SUPERCLASSES = (  # the 100 classes, which the data set numbers alphabetically, five by five
    "beaver dolphin otter seal whale",
    "aquarium_fish flatfish ray shark trout",
    "orchid poppy rose sunflower tulip",
    "bottle bowl can cup plate",
    "apple mushroom orange pear sweet_pepper",
    "clock keyboard lamp telephone television",
    "bed chair couch table wardrobe",
    "bee beetle butterfly caterpillar cockroach",
    "bear leopard lion tiger wolf",
    "bridge castle house road skyscraper",
    "cloud forest mountain plain sea",
    "camel cattle chimpanzee elephant kangaroo",
    "fox porcupine possum raccoon skunk",
    "crab lobster snail spider worm",
    "baby boy girl man woman",
    "crocodile dinosaur lizard snake turtle",
    "hamster mouse rabbit shrew squirrel",
    "maple_tree oak_tree palm_tree pine_tree willow_tree",
    "bicycle bus motorcycle pickup_truck train",
    "lawn_mower rocket streetcar tank tractor",
)
CLASS_COUNT = {"cifar10": 10, "digits": 10, "cifar100": 100}


def check(noise: str, rate: float | None, like: str = "") -> None:
    """Raise ValueError, in one sentence, for a noise or rate that cannot be drawn for data like `like`."""
    kind = noise.split(":", 1)[0]
    if (noise not in NAMES[:-1] and kind not in ("matrix", "human")) or noise == "matrix":
        raise ValueError(f"unknown noise {noise!r}; choose one of {', '.join(NAMES)}")
    if kind in ("none", "human", "matrix"):
        if rate:
            raise ValueError(f"noise {noise!r} takes no rate, but {rate} was given; leave the rate out")
        if kind == "matrix":
            _read_matrix(noise)
        return
    if rate is None:
        raise ValueError(f"noise {noise!r} needs a rate in [0, 1]")
    if not 0 <= rate <= 1:  # also refuses NaN
        raise ValueError(f"noise rate {rate} is outside [0, 1]")
    other = f"data like {like!r}" if like else "other data"
    if kind == "asymmetric" and like not in CLASS_COUNT:
        raise ValueError(
            f"asymmetric noise is defined for {', '.join(CLASS_COUNT)}, not for {other}; "
            "if your classes are one of these sets', say --like cifar10, or choose pair_flip"
        )
    if kind == "asymmetric_inplace" and like != "cifar10":
        raise ValueError(
            f"asymmetric_inplace noise is defined for cifar10 alone, not for {other}; "
            "if your classes are cifar10's, say so (--like cifar10)"
        )


def noisy_labels(
    true_labels: np.ndarray,
    noise: str,
    rate: float | None,
    seed: int,
    *,
    num_classes: int,
    like: str = "",
    images: np.ndarray | None = None,
) -> np.ndarray:
    """Given labels int64 (N,) drawn from true labels (N,) by the noise model `noise` (see the module).

    rate: a fraction, None for noises without one; rate 0 is no noise. like: the built-in data set whose class
    pairs apply. images: uint8 (N, C, H, W), for NEED_IMAGES. Only these arguments decide the draw.
    Raises ValueError for what `check` refuses, labels outside 0..K−1, and a class count that does not fit.
    """
    check(noise, rate, like)
    true = np.asarray(true_labels).astype(np.int64)
    kind = noise.split(":", 1)[0]
    if true.ndim != 1 or (true.size and not 0 <= true.min() <= true.max() < num_classes):
        raise ValueError(f"true labels must be one integer per image in 0..{num_classes - 1}")
    _check_class_count(noise, num_classes, like)
    if kind == "human":
        raise ValueError("human noise is read from label files, not drawn")
    if not rate and kind != "matrix":
        return true.copy()

    rate = rate or 0.0  # None: a matrix
    rng = np.random.RandomState(_seed32(seed))
    given = true.copy()
    if kind == "symmetric":
        chosen = _choose(rng, np.arange(len(true)), rate)
        given[chosen] = rng.randint(num_classes, size=len(chosen), dtype=np.int64)
    elif kind == "symmetric_exclusive":
        chosen = _choose(rng, np.arange(len(true)), rate)
        shift = rng.randint(1, num_classes, size=len(chosen), dtype=np.int64)
        given[chosen] = (true[chosen] + shift) % num_classes
    elif kind in ("asymmetric", "pair_flip"):
        target = _targets(noise, num_classes, like)
        if (target != np.arange(num_classes)).all():  # every class moves: one count for the whole set
            chosen = _choose(rng, np.arange(len(true)), rate)
        else:
            chosen = np.concatenate(
                [_choose(rng, np.flatnonzero(true == c), rate) for c in range(num_classes) if target[c] != c]
            )
        given[chosen] = target[true[chosen]]
    elif kind == "asymmetric_inplace":
        for source in range(num_classes):
            if source in PAIRS[like]:
                given[_choose(rng, np.flatnonzero(given == source), rate)] = PAIRS[like][source]
    elif kind == "matrix":
        given = _draw_rows(rng, _read_matrix(noise)[true])
    elif kind in NEED_IMAGES:
        if images is None or len(images) != len(true):
            raise ValueError(f"{kind} noise needs the images, one for each label")
        if kind == "instance":
            given = _instance(rng, true, rate, num_classes, images)
        else:
            given = feature_noise.drawn(kind, images, true, num_classes, rate, rng)
    return given


def transition_matrix(noise: str, rate: float | None, num_classes: int, like: str = "") -> np.ndarray:
    """The expected transition matrix (K, K), row = true class: T[i, j] = P(given = j | true = i).

    Raises ValueError for what `check` refuses, and for human noise and noise that depends on images,
    which have no matrix of their own (metrics.empirical_transition measures one).
    """
    check(noise, rate, like)
    _check_class_count(noise, num_classes, like)
    kind, identity = noise.split(":", 1)[0], np.eye(num_classes)
    if kind in ("human", *NEED_IMAGES):
        raise ValueError(f"{kind} noise has no transition matrix that is known before the labels are seen")
    if kind == "matrix":
        return _read_matrix(noise)
    if kind == "none" or rate is None:
        return identity
    if kind == "symmetric":
        return (1 - rate) * identity + rate / num_classes
    if kind == "symmetric_exclusive":
        return (1 - rate) * identity + rate / (num_classes - 1) * (1 - identity)
    if kind == "asymmetric_inplace":
        matrix = identity
        for source in sorted(PAIRS[like]):  # each step moves `rate` of whatever is labelled `source` by then
            step = np.eye(num_classes)
            step[source, source] -= rate
            step[source, PAIRS[like][source]] += rate
            matrix = matrix @ step
        return matrix
    moved = identity[_targets(noise, num_classes, like)]
    return np.where((moved == identity).all(1, keepdims=True), identity, (1 - rate) * identity + rate * moved)


def actual_rate(given: np.ndarray, true: np.ndarray) -> float:
    """The fraction of given labels (N,) that differ from the true ones (N,)."""
    return float(np.mean(np.asarray(given) != np.asarray(true)))


def _choose(rng: np.random.RandomState, candidates: np.ndarray, rate: float) -> np.ndarray:
    """Exactly `rate` of the candidates, to the nearest whole image, at random."""
    return rng.permutation(candidates)[: round(rate * len(candidates))]


def _targets(noise: str, num_classes: int, like: str) -> np.ndarray:
    """The class (K,) that each class is mistaken for, itself where it is left alone."""
    target = np.arange(num_classes)
    if noise == "pair_flip":
        return (target + 1) % num_classes
    if like == "cifar100":
        number = {name: i for i, name in enumerate(sorted(" ".join(CIFAR100_SUPERCLASSES).split()))}
        for superclass in CIFAR100_SUPERCLASSES:
            members = [number[name] for name in superclass.split()]
            target[members] = np.roll(members, -1)
        return target
    for source, mistaken in PAIRS[like].items():
        target[source] = mistaken
    return target


def _instance(
    rng: np.random.RandomState, true: np.ndarray, rate: float, num_classes: int, images: np.ndarray
) -> np.ndarray:
    """Instance-dependent noise (Xia et al. 2020, "Part-dependent label noise", Algorithm 2; also in CORES²).

    q_i ~ normal(rate, 0.1) truncated to [0, 1]; P_i = q_i softmax(x_i W_y) over the wrong classes and 1 − q_i
    on y; x_i: the flattened image in [0, 1]; W_y: (pixels, K) standard normal, one for each true class y.
    """
    flip = rng.normal(rate, 0.1, len(true))
    outside = np.flatnonzero((flip < 0) | (flip > 1))
    while len(outside):  # truncation by redrawing
        flip[outside] = rng.normal(rate, 0.1, len(outside))
        outside = outside[(flip[outside] < 0) | (flip[outside] > 1)]

    pixels = int(np.prod(images.shape[1:]))
    probs = np.zeros((len(true), num_classes))
    for y in range(num_classes):
        projection = rng.standard_normal((pixels, num_classes))
        members = np.flatnonzero(true == y)
        for part in np.array_split(members, len(members) // 1000 + 1):  # float64 needs room
            scores = np.asarray(images[part], np.float64).reshape(len(part), pixels) / 255 @ projection
            scores[:, y] = -np.inf
            weights = np.exp(scores - scores.max(1, keepdims=True))
            probs[part] = flip[part, None] * weights / weights.sum(1, keepdims=True)
    probs[np.arange(len(true)), true] = 1 - flip
    return _draw_rows(rng, probs)


def _draw_rows(rng: np.random.RandomState, probs: np.ndarray) -> np.ndarray:
    """One class from each row of probabilities (N, K) -> int64 (N,)."""
    cumulative = probs.cumsum(1)
    # u < 1, scaled by the row's sum (which rounding may leave off 1), never passes the last class
    u = rng.random_sample(len(probs)) * cumulative[:, -1]
    return (u[:, None] >= cumulative).sum(1).astype(np.int64)


def _read_matrix(noise: str) -> np.ndarray:
    """The (K, K) matrix in FILE of "matrix:FILE.csv": K rows of K probabilities that sum to 1, no header."""
    path = Path(noise.split(":", 1)[1])
    if not path.is_file():
        raise FileNotFoundError(f"there is no transition matrix file {path}")
    try:
        matrix = np.array([[float(cell) for cell in row] for row in read_csv(path, MATRIX_BYTES)], np.float64)
    except ValueError as error:
        raise ValueError(f"{path} is no table of numbers with rows of equal length") from error
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{path} must have as many columns as rows, K of each; its shape is {matrix.shape}")
    sums = matrix.sum(1)
    if not (matrix >= 0).all() or not (np.abs(sums - 1) <= 1e-6).all():
        bad = int(np.argmin((matrix >= 0).all(1) & (np.abs(sums - 1) <= 1e-6)))
        raise ValueError(
            f"{path}: each row must be probabilities that sum to 1; row {bad + 1} is not "
            f"(sum {sums[bad]:.6g})"
        )
    return matrix / sums[:, None]


def _check_class_count(noise: str, num_classes: int, like: str) -> None:
    needed = None
    if noise.startswith("asymmetric"):
        needed, reason = CLASS_COUNT[like], f"{noise} noise like {like}"
    elif noise.startswith("matrix:"):
        needed, reason = len(_read_matrix(noise)), f"the matrix of {noise}"
    if needed is not None and needed != num_classes:
        raise ValueError(f"{reason} is for {needed} classes, but the data have {num_classes}")
    if num_classes < 2:
        raise ValueError(f"label noise needs at least 2 classes, not {num_classes}")


def _seed32(seed: int) -> int:
    if not 0 <= seed < 2**32:
        raise ValueError(f"the seed {seed} is outside 0..4294967295")
    return int(seed)
