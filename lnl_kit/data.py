"""Data sets: `load("digits" | "cifar10" | … | "folder:PATH")` gives a `Dataset`: images and labels.

Pixels are the same on every platform, splits are fixed, and every data set carries a fingerprint of its
contents (images, labels, test set, class names; never where it lies), by which finished runs are found again.
For clothing1m and webvision names and sizes of the image files stand for their pixels.
"""

from __future__ import annotations

import codecs
import hashlib
import os
import pickle
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import built_in, folders, label_tables, large_sets
from .label_tables import Problem
from .streams import Stream, file_digests, pick

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_CLASSES = tuple(
    "apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly "
    "camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup "
    "dinosaur dolphin elephant flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower "
    "leopard lion lizard lobster man maple_tree motorcycle mountain mouse mushroom oak_tree orange orchid "
    "otter palm_tree pear pickup_truck pine_tree plain plate poppy porcupine possum rabbit raccoon ray "
    "road rocket rose sea seal shark shrew skunk skyscraper snail snake spider squirrel streetcar "
    "sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle "
    "wardrobe whale willow_tree wolf woman worm".split()
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
NAMES = (*CLASSES, *large_sets.LISTINGS, "folder:PATH")


class SecondTest(NamedTuple):
    """A second test set, whose metrics are called `<name>_accuracy` and `<name>_top5`."""

    name: str
    x: Tensor | Stream  # uint8 (M, C, H, W)
    y: Tensor  # int64 (M,)


@dataclass(frozen=True)
class Dataset:
    """Images as uint8, labels as int64 class numbers; training set and test set.

    The true labels are for noise, metrics and figures; a method never sees them.
    """

    name: str  # as asked for: "digits", "folder:/x/photos"
    slug: str  # safe in a path: "digits", "folder-photos"
    like: str  # built-in set whose normalisation, augmentation, noise pairs apply; "" = none, a folder
    classes: tuple[str, ...]  # K names
    x: Tensor | Stream  # uint8 (N, C, H, W), may be a memory map, or files not decoded yet
    true_labels: Tensor | None  # int64 (N,); None = unknown
    given_labels: Tensor | None  # int64 (N,) of a label file, a folder or the web; None = see true_labels
    test_x: Tensor | Stream  # uint8 (M, C, H, W)
    test_y: Tensor  # int64 (M,)
    paths: tuple[str, ...] | None  # (N,) relative to the folder; None for digits and CIFAR
    mean: tuple[float, ...]  # (C,) of images in [0, 1]
    std: tuple[float, ...]  # (C,)
    skipped: tuple[tuple[str, str], ...] = ()  # (path, reason) of what `skip_bad` left out
    fingerprint: str = ""  # hex over pixels (or file names and sizes), labels, test sets and class names
    notes: tuple[str, ...] = ()  # choices worth knowing: a split that was made, images that were resized
    second_test: SecondTest | None = None
    names: tuple[str, ...] = ()  # (N,) what label files call the training images: path, or position in the whole set
    left_out: tuple[str, ...] = ()  # training images that are not in it: dropped by the label file or by `skip_bad`


class _Raw(NamedTuple):
    """A data set before a label file is read and what is bad is left out."""

    classes: tuple[str, ...]
    x: np.ndarray | Stream  # uint8 (N, C, H, W)
    y: np.ndarray  # int64 (N,): the truth of a built-in set, the folder an image lies in
    test_x: np.ndarray | Stream
    test_y: np.ndarray
    digests: np.ndarray | None = None  # uint8 (N, 16); None = still to be computed
    test_digests: np.ndarray | None = None
    paths: list[str] | None = None
    test_paths: list[str] | None = None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    second: tuple | None = None  # (name, x, y, digests)


def load(name: str, *, root=None, image_size: int | None = None, labels=None, label_column: str | None = None,
         true_column: str | None = None, like: str | None = None, skip_bad: bool = False, split: bool = True) -> Dataset:
    """The data set `name`: one of `NAMES`; data/README.md says what to put where.

    root: where downloads and caches lie; None = `data_root()`.
    image_size: pixels a side. None = the set's own (digits 16, CIFAR 32, tiny_imagenet 64), 224 for clothing1m
        and webvision; for a folder the images' own if they share a square one of at most 256 pixels, else 32.
        Resizing scales the shorter side and cuts out the centre.
    labels: CSV of the training images' labels, with a column `path` (relative to the folder, `train/` may be
        left out) or, for digits and CIFAR, `index`. label_column: None = `given`, else `label`. true_column:
        None = the truth is unknown for a folder, clothing1m and webvision, else the set's own labels.
        A folder without `labels` has its classes as given labels and no true ones, likewise clothing1m and
        webvision, whose labels come from the web. Their images are a Stream, decoded when they are used.
        Test images keep their folder's class unless the CSV names them.
    like: for a folder with the classes of a built-in set, that set's name: its class order and normalisation.
    skip_bad: leave out unreadable images, unknown classes, images without a label and labels without an
        image, and list them in `Dataset.skipped`; else one ValueError counts them and names the first ten.
    split: False leaves all images of a folder without `test/` in the training set; the test set then repeats some of them.

    Raises ValueError or FileNotFoundError with one sentence that says what to do. Notes go to standard error.
    """
    if image_size is not None and not 4 <= image_size <= 1024:
        raise ValueError(f"image size {image_size} is outside 4 to 1024 pixels")
    if labels is None and true_column:
        raise ValueError(f"true column '{true_column}' of which file? Give labels=FILE.csv (--labels) too")
    root = data_root() if root is None else Path(root).expanduser()
    is_folder = name.startswith("folder:")
    if is_folder:
        if like and like not in CLASSES:
            raise ValueError(f"a folder cannot be like '{like}': choose one of {', '.join(CLASSES)}")
        path = Path(name.removeprefix("folder:")).expanduser()
        slug = "folder-" + folders.safe(Path(os.path.abspath(path)).name)
        raw = _folder(path, root / "cache", image_size, like, split)
    elif name in NAMES:
        if like not in (None, "", name):
            raise ValueError(f"{name} cannot be like '{like}': that is for folders of images")
        slug, like = name, name
        if name == "tiny_imagenet":
            raw = _decoded(large_sets.tiny_imagenet(root), root / "cache", image_size)
        elif name in large_sets.LISTINGS:
            raw = _streamed(large_sets.LISTINGS[name](root), image_size)
        else:
            raw = _Raw(CLASSES[name], *(built_in.digits() if name == "digits" else built_in.cifar(name, root)))
            if image_size is not None:
                x, test_x = (folders.resize(images, image_size) for images in (raw.x, raw.test_x))
                raw = raw._replace(x=x, test_x=test_x)
    else:
        raise ValueError(f"unknown data set '{name}': choose one of {', '.join(NAMES)}")

    names = [str(i) for i in range(len(raw.y))] if raw.paths is None else raw.paths
    given, true = (raw.y, None) if is_folder or name in large_sets.OWN_NOISE else (None, raw.y)
    test_y, problems = raw.test_y, list(raw.problems)
    keep, keep_test = raw.y >= 0, raw.test_y >= 0  # all but what cannot be read or belongs to no class
    if labels is not None:
        found = _labels_of(raw, names, labels, label_column, true_column)
        problems += found.problems
        given, true = found.given, (found.true if true_column else true)
        keep = keep & (given >= 0) & (True if true is None else true >= 0)
        test_y, keep_test = np.where(found.test >= 0, found.test, test_y), keep_test & ~found.bad_test
    if problems and not skip_bad:
        raise label_tables.report(problems, name)
    for part, mask in (("training", keep), ("test", keep_test)):
        if not mask.any():
            raise ValueError(f"{name}: no usable {part} image is left out of {len(mask)}")

    def kept(values, mask):  # the memory map itself where nothing is left out
        return values if values is None or mask.all() else pick(values, np.flatnonzero(mask))

    x, given, true = kept(raw.x, keep), kept(given, keep), kept(true, keep)
    test_x, test_y = kept(raw.test_x, keep_test), kept(test_y, keep_test)
    digests = folders.image_digests(x) if raw.digests is None else kept(raw.digests, keep)
    test_digests = (folders.image_digests(test_x) if raw.test_digests is None
                    else kept(raw.test_digests, keep_test))
    second, second_parts = None, ()
    if raw.second:
        title, *parts = raw.second
        second_x, second_y, second_digests = (kept(part, parts[1] >= 0) for part in parts)
        second, second_parts = SecondTest(title, second_x, _tensor(second_y)), (second_digests, second_y)
    if like and len(MEAN_STD[like][0]) == x.shape[1]:
        mean, std = MEAN_STD[like]
    else:
        mean, std = channel_stats(x)
    for note in raw.notes:
        print(f"{name}: {note}", file=sys.stderr)
    return Dataset(
        name, slug, like or "", raw.classes, _images(x), _tensor(true), _tensor(given), _images(test_x),
        _tensor(test_y),
        None if raw.paths is None else tuple(p for p, k in zip(raw.paths, keep) if k), mean, std,
        skipped=tuple((p.path, p.detail) for p in problems), notes=raw.notes, second_test=second,
        names=tuple(n for n, k in zip(names, keep) if k), left_out=tuple(n for n, k in zip(names, keep) if not k),
        fingerprint=fingerprint(raw.classes, digests, given, true, test_digests, test_y, *second_parts))


def _images(x: np.ndarray | Stream) -> Tensor | Stream:
    return x if isinstance(x, Stream) else torch.from_numpy(x)


def _tensor(labels: np.ndarray | None) -> Tensor | None:
    return None if labels is None else torch.from_numpy(labels.copy())


def _labels_of(raw: _Raw, names: list[str], table, label_column: str | None, true_column: str | None) -> label_tables.Labels:
    if raw.paths is None:
        key_column, keys, test_keys = "index", {name: i for i, name in enumerate(names)}, {}
    else:
        key_column = "path"
        keys, test_keys = label_tables.path_keys(raw.paths), label_tables.path_keys(raw.test_paths)
    return label_tables.read(table, raw.classes, keys=keys, test_keys=test_keys, names=names,
                             n_test=len(raw.test_y), key_column=key_column, label_column=label_column,
                             true_column=true_column)


def _folder(path: Path, cache: Path, image_size: int | None, like: str | None, split: bool) -> _Raw:
    """Every image of the folder; the class of one that cannot be used is -1."""
    files, notes = folders.scan(path)
    first_test = sum(not f.test for f in files)
    lent = not split and not any(f.path.startswith("test/") for f in files)  # what was split off is for training too
    n = len(files) if lent else first_test
    notes = notes[:-1] if lent else notes  # nothing is taken away
    names = sorted({f.label for f in files[:n]})
    if like:
        lacking, strange = sorted(set(CLASSES[like]) - set(names)), sorted(set(names) - set(CLASSES[like]))
        if lacking or strange:
            raise ValueError(f"{path} has not the classes of {like}: {len(lacking)} missing "
                             f"({', '.join(lacking[:5])}), {len(strange)} others ({', '.join(strange[:5])})")
        names = CLASSES[like]
    number = {name: k for k, name in enumerate(names)}
    pixels = folders.pixels(path, files, image_size, cache)
    y = np.array([number.get(f.label, -1) for f in files])
    problems = [Problem("images of unknown class", f.path, f"no training image of class '{f.label}'")
                for f in files if f.label not in number]
    problems += [Problem("unreadable images", files[i].path, why) for i, why in pixels.unreadable.items()]
    y[list(pixels.unreadable)] = -1
    train, test = slice(n), slice(first_test, None)
    paths = [f.path for f in files]
    return _Raw(tuple(names), pixels.x[train], y[train], pixels.x[test], y[test], pixels.digests[train],
                pixels.digests[test], paths[train], paths[test], tuple(problems),
                tuple(notes + [pixels.note] * bool(pixels.note)))


def _decoded(listing: large_sets.Listing, cache: Path, image_size: int | None) -> _Raw:
    """A listed set, decoded once and kept as a folder's images are."""
    (files, y), (test_files, test_y) = listing.parts.values()
    n, paths = len(y), [f.path for f in files + test_files]
    pixels = folders.pixels(listing.folder, files + test_files, image_size, cache)
    y = np.concatenate([y, test_y])
    y[list(pixels.unreadable)] = -1
    problems = [Problem("unreadable images", paths[i], why) for i, why in pixels.unreadable.items()]
    return _Raw(listing.classes, pixels.x[:n], y[:n], pixels.x[n:], y[n:], pixels.digests[:n], pixels.digests[n:],
                paths[:n], paths[n:], tuple(problems))


def _streamed(listing: large_sets.Listing, image_size: int | None) -> _Raw:
    """A listed set whose images are decoded when they are used."""
    size, problems, parts = image_size or large_sets.IMAGE_SIZE, [], {}
    for part, (files, y) in listing.parts.items():
        there = np.array([f.size > 0 for f in files])
        problems += [Problem("unreadable images", files[i].path, "missing or empty") for i in np.flatnonzero(~there)]
        paths = [f.path for f in files]
        parts[part] = Stream(listing.folder, paths, size), np.where(there, y, -1), file_digests(files, size), paths
    (x, y, digests, paths), (test_x, test_y, test_digests, test_paths) = parts.pop("train"), parts.pop("test")
    second = next(((name, *part[:3]) for name, part in parts.items()), None)
    return _Raw(listing.classes, x, y, test_x, test_y, digests, test_digests, paths, test_paths, tuple(problems),
                second=second)


def subset(dataset: Dataset, train_index, test_index=None) -> Dataset:
    """The data set with only the training (and test) images of these positions; it keeps its fingerprint."""
    train_index = torch.as_tensor(np.asarray(train_index), dtype=torch.int64)
    changes = {key: pick(values, train_index) for key in ("x", "true_labels", "given_labels")
               if (values := getattr(dataset, key)) is not None}
    for key in ("paths", "names"):
        if getattr(dataset, key):
            changes[key] = tuple(getattr(dataset, key)[i] for i in train_index.tolist())
    if test_index is not None:
        test_index = torch.as_tensor(np.asarray(test_index), dtype=torch.int64)
        changes |= {"test_x": pick(dataset.test_x, test_index), "test_y": dataset.test_y[test_index]}
    return replace(dataset, **changes)


def project_folder() -> Path:
    """The folder of the `pyproject.toml` found upwards from the current folder, else the current folder."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "pyproject.toml").is_file()), here)


def data_root() -> Path:
    """Where data sets and caches lie: `$LNL_DATA`, else `data/` in the project folder, else `./data`."""
    told = os.environ.get("LNL_DATA")
    return Path(told).expanduser() if told else project_folder() / "data"


def fingerprint(classes, x_digests, given, true, test_digests, test_y, *second) -> str:
    """Hex digest of what a data set holds; `x_digests (N, 16)`, `test_digests (M, 16)`: one an image.

    second: digests and labels of a second test set.
    """
    h = hashlib.blake2b(repr(tuple(classes)).encode(), digest_size=16)
    for part in (x_digests, given, true, test_digests, test_y, *second):
        if part is None:
            h.update(b"none")
        else:
            part = np.ascontiguousarray(part)
            h.update(f"{part.dtype.str}{part.shape}".encode())
            h.update(part.tobytes())
    return h.hexdigest()


def channel_stats(x: np.ndarray, at_most: int = 10_000) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel of images `x (N, C, H, W)` uint8 seen in [0, 1].

    From at most `at_most` evenly spaced images; summed in integers, so the same on every platform.
    """
    rows = np.unique(np.linspace(0, len(x) - 1, min(len(x), at_most)).round().astype(np.int64))
    total = squares = count = 0
    for start in range(0, len(rows), 500):
        chunk = np.asarray(x[rows[start:start + 500]]).astype(np.int32)
        total = total + chunk.sum((0, 2, 3), dtype=np.int64)
        squares = squares + (chunk * chunk).sum((0, 2, 3), dtype=np.int64)
        count += chunk.shape[0] * chunk.shape[2] * chunk.shape[3]
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 1.0))  # one grey level at least: no division by zero
    return tuple((mean / 255).round(6).tolist()), tuple((std / 255).round(6).tolist())


HUMAN_SOURCE = "https://github.com/UCSC-REAL/cifar-10-100n"
HUMAN_FILES = {"cifar10": "CIFAR-10_human.pt", "cifar100": "CIFAR-100_human.pt"}
HUMAN_COLUMNS = {
    "cifar10": {"aggre": "aggre_label", "worst": "worse_label", "random1": "random_label1",
                "random2": "random_label2", "random3": "random_label3"},
    "cifar100": {"noisy": "noisy_label", "noisy_fine": "noisy_label"},
}


def human_labels(dataset_name: str, column: str, root=None, true_labels=None) -> Tensor:
    """Labels people gave to CIFAR's training images, int64 (50000,): CIFAR-10N and CIFAR-100N.

    column: aggre, worst, random1, random2, random3 for cifar10; noisy_fine (or noisy) for cifar100.
    root: where `CIFAR-10_human.pt` or `CIFAR-100_human.pt` lies; None = `data_root()`.
    true_labels (N,): what the file's own clean labels must agree with; None = the data set is read for it.
    Source: Wei et al., Learning with Noisy Labels Revisited, ICLR 2022, http://www.noisylabels.com.
    Raises FileNotFoundError that says where to put the file; ValueError for another column or another file.
    """
    if dataset_name not in HUMAN_FILES:
        raise ValueError(f"there are human labels for {' and '.join(HUMAN_FILES)}, not for '{dataset_name}': "
                         f"for a folder give them as a CSV file (--labels)")
    columns = HUMAN_COLUMNS[dataset_name]
    if column not in columns:
        raise ValueError(f"no human labels '{column}' for {dataset_name}: choose one of {', '.join(columns)}")
    root = data_root() if root is None else Path(root).expanduser()
    path = root / HUMAN_FILES[dataset_name]
    if not path.is_file():
        raise FileNotFoundError(f"the human labels of {dataset_name} are not in {root}: put {path.name} "
                                f"(from {HUMAN_SOURCE}, folder data) there as {path}")
    try:
        with torch.serialization.safe_globals(_ARRAY_PARTS):  # arrays and nothing else: no code is run
            table = torch.load(path, map_location="cpu", weights_only=True)
        labels, clean = (np.asarray(table[key]).astype(np.int64) for key in (columns[column], "clean_label"))
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path} is not the label file of {dataset_name} ({reason}): fetch it again from "
                         f"{HUMAN_SOURCE}") from error
    truth = built_in.cifar_part(dataset_name, root, True)[1] if true_labels is None else np.asarray(true_labels)
    if clean.shape != truth.shape or labels.shape != truth.shape or (clean != truth).any():
        wrong = int((clean != truth).sum()) if clean.shape == truth.shape else len(clean)
        raise ValueError(f"the clean labels in {path} disagree with {dataset_name} on {wrong} of "
                         f"{len(truth)} images: it is another file, or its images are in another order")
    return torch.from_numpy(labels)


def clothing1m_double_labels(root=None) -> tuple[np.ndarray, np.ndarray]:
    """(given, true), int64 (n,) each: the images of Clothing1M that carry both a noisy and a clean label.

    They are the only ones of its training images whose truth is known, for the transition matrix.
    root: where `clothing1m` lies; None = `data_root()`. Raises FileNotFoundError that says what to put where.
    """
    return large_sets.clothing1m_double_labels(data_root() if root is None else Path(root).expanduser())


# What a pickled numpy array of whole numbers is made of, under the names old and new numpy give it.
_ARRAY_PARTS = [
    np.ndarray, np.dtype, codecs.encode, *{type(np.dtype(kind)) for kind in ("u1", "i1", "i2", "i4", "i8")},
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    (np._core.multiarray._reconstruct, "numpy._core.multiarray._reconstruct"),
]
