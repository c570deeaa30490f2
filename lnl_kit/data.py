"""Data sets: `load("digits" | "cifar10" | "cifar100" | "folder:PATH")` gives a `Dataset`: images and labels.

Pixels are the same on every platform, splits are fixed, and every data set carries a fingerprint of its
contents (images, labels, test set, class names; never a path), by which finished runs are found again.
"""

from __future__ import annotations

import codecs
import contextlib
import hashlib
import os
import pickle
import socket
import sys
import tarfile
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import folders, label_tables
from .label_tables import Problem

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
# Per channel, of the training images in [0, 1].
MEAN_STD = {
    "digits": ((0.305811,), (0.319038,)),
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
}
NAMES = (*CLASSES, "folder:PATH")
PATIENCE = 10  # seconds of silence after which a download has failed


@dataclass(frozen=True)
class Dataset:
    """Images as uint8, labels as int64 class numbers; training set and test set.

    The true labels are for noise, metrics and figures; a method never sees them.
    """

    name: str  # as asked for: "digits", "folder:/x/photos"
    slug: str  # safe in a path: "digits", "folder-photos"
    like: str  # built-in set whose normalisation, augmentation, noise pairs apply; "" = none, a folder
    classes: tuple[str, ...]  # K names
    x: Tensor  # uint8 (N, C, H, W), may be a memory map
    true_labels: Tensor | None  # int64 (N,); None = unknown
    given_labels: Tensor | None  # int64 (N,) of a label file, else a folder's classes; None = see true_labels
    test_x: Tensor  # uint8 (M, C, H, W)
    test_y: Tensor  # int64 (M,)
    paths: tuple[str, ...] | None  # (N,) relative to the folder; None for built-in sets
    mean: tuple[float, ...]  # (C,) of images in [0, 1]
    std: tuple[float, ...]  # (C,)
    skipped: tuple[tuple[str, str], ...] = ()  # (path, reason) of what `skip_bad` left out
    fingerprint: str = ""  # hex over pixels, labels, test set and class names
    notes: tuple[str, ...] = ()  # choices worth knowing: a split that was made, images that were resized


class _Raw(NamedTuple):
    """A data set before a label file is read and what is bad is left out."""

    classes: tuple[str, ...]
    x: np.ndarray  # uint8 (N, C, H, W)
    y: np.ndarray  # int64 (N,): the truth of a built-in set, the folder an image lies in
    test_x: np.ndarray
    test_y: np.ndarray
    digests: np.ndarray | None = None  # uint8 (N, 16); None = still to be computed
    test_digests: np.ndarray | None = None
    paths: list[str] | None = None
    test_paths: list[str] | None = None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def load(name: str, *, root=None, image_size: int | None = None, labels=None, label_column: str | None = None,
         true_column: str | None = None, like: str | None = None, skip_bad: bool = False) -> Dataset:
    """The data set `name`: "digits", "cifar10", "cifar100" or "folder:PATH".

    root: where downloads and caches lie; None = `data_root()`.
    image_size: pixels a side. None = the set's own (digits 16, CIFAR 32); for a folder the images' own if
        they share a square one of at most 256 pixels, else 32. Resizing scales the shorter side and cuts out
        the centre.
    labels: CSV of the training images' labels, with a column `path` (relative to the folder, `train/` may be
        left out) or, for built-in sets, `index`. label_column: None = `given`, else `label`. true_column:
        None = the truth is unknown for a folder, and the set's own labels for a built-in set.
        A folder without `labels` has its classes as given labels and no true ones.
        Test images keep their folder's class unless the CSV names them.
    like: for a folder with the classes of a built-in set, that set's name: its class order and normalisation.
    skip_bad: leave out unreadable images, unknown classes, images without a label and labels without an
        image, and list them in `Dataset.skipped`; else one ValueError counts them and names the first ten.

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
        raw = _folder(path, root / "cache", image_size, like)
    elif name in CLASSES:
        if like not in (None, "", name):
            raise ValueError(f"{name} cannot be like '{like}': that is for folders of images")
        slug, like = name, name
        raw = _digits() if name == "digits" else _cifar(name, root)
        if image_size is not None:
            x, test_x = (folders.resize(images, image_size) for images in (raw.x, raw.test_x))
            raw = raw._replace(x=x, test_x=test_x)
    else:
        raise ValueError(f"unknown data set '{name}': choose one of {', '.join(NAMES)}")

    given, true = (raw.y, None) if is_folder else (None, raw.y)
    test_y, problems = raw.test_y, list(raw.problems)
    keep, keep_test = raw.y >= 0, raw.test_y >= 0  # all but what cannot be read or belongs to no class
    if labels is not None:
        found = _labels_of(raw, labels, label_column, true_column)
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
        return values if values is None or mask.all() else values[mask]

    x, given, true = kept(raw.x, keep), kept(given, keep), kept(true, keep)
    test_x, test_y = kept(raw.test_x, keep_test), kept(test_y, keep_test)
    digests = folders.image_digests(x) if raw.digests is None else kept(raw.digests, keep)
    test_digests = (folders.image_digests(test_x) if raw.test_digests is None
                    else kept(raw.test_digests, keep_test))
    if like and len(MEAN_STD[like][0]) == x.shape[1]:
        mean, std = MEAN_STD[like]
    else:
        mean, std = channel_stats(x)
    for note in raw.notes:
        print(f"{name}: {note}", file=sys.stderr)
    return Dataset(
        name, slug, like or "", raw.classes, torch.from_numpy(x), _tensor(true), _tensor(given),
        torch.from_numpy(test_x), _tensor(test_y),
        None if raw.paths is None else tuple(p for p, k in zip(raw.paths, keep) if k), mean, std,
        skipped=tuple((p.path, p.detail) for p in problems), notes=raw.notes,
        fingerprint=fingerprint(raw.classes, digests, given, true, test_digests, test_y))


def _tensor(labels: np.ndarray | None) -> Tensor | None:
    return None if labels is None else torch.from_numpy(labels.copy())


def _labels_of(raw: _Raw, table, label_column: str | None, true_column: str | None) -> label_tables.Labels:
    if raw.paths is None:
        names = [str(i) for i in range(len(raw.y))]
        key_column, keys, test_keys = "index", {name: i for i, name in enumerate(names)}, {}
    else:
        names, key_column = raw.paths, "path"
        keys, test_keys = label_tables.path_keys(raw.paths), label_tables.path_keys(raw.test_paths)
    return label_tables.read(table, raw.classes, keys=keys, test_keys=test_keys, names=names,
                             n_test=len(raw.test_y), key_column=key_column, label_column=label_column,
                             true_column=true_column)


def _folder(path: Path, cache: Path, image_size: int | None, like: str | None) -> _Raw:
    """Every image of the folder; the class of one that cannot be used is -1."""
    files, notes = folders.scan(path)
    names = sorted({f.label for f in files if not f.test})
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
    n = sum(not f.test for f in files)
    paths = [f.path for f in files]
    return _Raw(tuple(names), pixels.x[:n], y[:n], pixels.x[n:], y[n:], pixels.digests[:n],
                pixels.digests[n:], paths[:n], paths[n:], tuple(problems),
                tuple(notes + [pixels.note] * bool(pixels.note)))


def subset(dataset: Dataset, train_index, test_index=None) -> Dataset:
    """The data set with only the training (and test) images of these positions; it keeps its fingerprint."""
    def pick(values, index):
        return None if values is None else values[index]

    train_index = torch.as_tensor(np.asarray(train_index), dtype=torch.int64)
    changes = {key: pick(getattr(dataset, key), train_index) for key in ("x", "true_labels", "given_labels")}
    if dataset.paths is not None:
        changes["paths"] = tuple(dataset.paths[i] for i in train_index.tolist())
    if test_index is not None:
        test_index = torch.as_tensor(np.asarray(test_index), dtype=torch.int64)
        changes |= {"test_x": dataset.test_x[test_index], "test_y": dataset.test_y[test_index]}
    return replace(dataset, **changes)


def project_folder() -> Path:
    """The folder of the `pyproject.toml` found upwards from the current folder, else the current folder."""
    here = Path.cwd()
    return next((p for p in (here, *here.parents) if (p / "pyproject.toml").is_file()), here)


def data_root() -> Path:
    """Where data sets and caches lie: `$LNL_DATA`, else `data/` in the project folder, else `./data`."""
    told = os.environ.get("LNL_DATA")
    return Path(told).expanduser() if told else project_folder() / "data"


def fingerprint(classes, x_digests, given, true, test_digests, test_y) -> str:
    """Hex digest of what a data set holds; `x_digests (N, 16)`, `test_digests (M, 16)`: one an image."""
    h = hashlib.blake2b(repr(tuple(classes)).encode(), digest_size=16)
    for part in (x_digests, given, true, test_digests, test_y):
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


def _digits() -> _Raw:
    """1,797 handwritten digits (scikit-learn's copy of the UCI set), 8x8, shown at 16x16; 360 for test."""
    from sklearn.datasets import load_digits  # slow to import, so only when needed

    bunch = load_digits()
    pixels, y = bunch.images.astype(np.int64), bunch.target.astype(np.int64)  # (1797, 8, 8) in 0..16
    for axis in (1, 2):  # bilinear to twice the size: 3/4 of the nearest pixel and 1/4 of the next
        pixels = _double(pixels, axis)
    x = ((pixels * 255 + 128) // 256).astype(np.uint8)[:, None]  # 0..256 to 0..255, rounded in integers
    train, test = folders.stratified_split(y, 360, seed=0)
    return _Raw(CLASSES["digits"], x[train], y[train], x[test], y[test])


def _double(pixels: np.ndarray, axis: int) -> np.ndarray:
    """4 x the bilinear interpolation of `pixels` to twice the size along `axis`; the edge is repeated."""
    pixels = np.moveaxis(pixels, axis, -1)
    before = np.concatenate([pixels[..., :1], pixels[..., :-1]], -1)
    after = np.concatenate([pixels[..., 1:], pixels[..., -1:]], -1)
    out = np.stack([3 * pixels + before, 3 * pixels + after], -1).reshape(*pixels.shape[:-1], -1)
    return np.moveaxis(out, -1, axis)


def _cifar(name: str, root: Path) -> _Raw:
    (x, y), (test_x, test_y) = _cifar_part(name, root, True), _cifar_part(name, root, False)
    return _Raw(CLASSES[name], _planes(x), y, _planes(test_x), test_y)


def _planes(x: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2))  # (N, H, W, C) to (N, C, H, W)


def _cifar_part(name: str, root: Path, train: bool) -> tuple[np.ndarray, np.ndarray]:
    """Images (N, 32, 32, 3) and labels (N,) as torchvision downloads (to `root`), checks and reads them.

    Raises FileNotFoundError with one sentence that says which file to put where.
    """
    from torchvision import datasets  # slow to import, so only when needed

    kind = datasets.CIFAR10 if name == "cifar10" else datasets.CIFAR100
    try:
        part = kind(root, train=train)
    except RuntimeError:  # torchvision's word for "not there, or not with the right checksum"
        try:
            root.mkdir(parents=True, exist_ok=True)
            with folders.locked(root / f"{name}.lock"), _patience(PATIENCE):
                part = kind(root, train=train, download=True)
        except (OSError, RuntimeError, HTTPException, tarfile.TarError, EOFError) as error:
            archive = root / kind.filename
            there = "what is there is not that file, and " if archive.is_file() else ""
            raise FileNotFoundError(
                f"{name} is not in {root}: put {kind.filename} (from {kind.url}, MD5 {kind.tgz_md5}) there "
                f"as {archive} ({there}the download failed: {error})") from error
    return part.data, np.asarray(part.targets, np.int64)


@contextlib.contextmanager
def _patience(seconds: float):
    """Network calls that are silent for so long fail (torchvision sets no limit)."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


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
    truth = _cifar_part(dataset_name, root, True)[1] if true_labels is None else np.asarray(true_labels)
    if clean.shape != truth.shape or labels.shape != truth.shape or (clean != truth).any():
        wrong = int((clean != truth).sum()) if clean.shape == truth.shape else len(clean)
        raise ValueError(f"the clean labels in {path} disagree with {dataset_name} on {wrong} of "
                         f"{len(truth)} images: it is another file, or its images are in another order")
    return torch.from_numpy(labels)


# What a pickled numpy array of whole numbers is made of, under the names old and new numpy give it.
_ARRAY_PARTS = [
    np.ndarray, np.dtype, codecs.encode, *{type(np.dtype(kind)) for kind in ("u1", "i1", "i2", "i4", "i8")},
    (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
    (np._core.multiarray._reconstruct, "numpy._core.multiarray._reconstruct"),
]
