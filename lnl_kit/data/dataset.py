"""Data sets: `load("digits" | "cifar10" | … | "folder:PATH")` gives a `Dataset`: images and labels.

Pixels are the same on every platform, splits are fixed, and every data set carries a fingerprint of its
contents (images, labels, test set, class names; never where it lies), by which finished runs are found again.
For clothing1m and webvision names and sizes of the image files stand for their pixels.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .. import files
from ..files import data_root
from . import built_in, decode, label_tables, large_sets
from .classes import CLASSES, MEAN_STD, channel_stats
from .raw import _decoded, _folder, _Raw, _streamed
from .streams import Stream, pick

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
    names: tuple[str, ...] = ()  # (N,) as label files call the images: path, or position in the whole set
    folder: Path | None = None  # where `paths` and `test_paths` lie; None where pixels are all there is
    test_paths: tuple[str, ...] | None = None  # (M,)
    left_out: tuple[str, ...] = ()  # training images left out by the label file or by `skip_bad`


def load(
    name: str,
    *,
    root=None,
    image_size: int | None = None,
    labels=None,
    label_column: str | None = None,
    true_column: str | None = None,
    like: str | None = None,
    skip_bad: bool = False,
    split: bool = True,
) -> Dataset:
    """The data set `name`: one of `NAMES`; data/README.md says what to put where.

    root: where downloads and caches lie; None = `data_root()`.
    image_size: pixels a side. None = the set's own (digits 16, CIFAR 32, tiny_imagenet 64), 224 for
        clothing1m and webvision; for a folder the images' own if they share a square one of at most 256
        pixels, else 32. Resizing scales the shorter side and cuts out the centre.
    labels: CSV of the training images' labels, with a column `path` (relative to the folder, `train/` may be
        left out) or, for digits and CIFAR, `index`. label_column: None = `given`, else `label`. true_column:
        None = the truth is unknown for a folder, clothing1m and webvision, else the set's own labels.
        A folder without `labels` has its classes as given labels and no true ones, likewise clothing1m and
        webvision, whose labels come from the web. Their images are a Stream, decoded when they are used.
        Test images keep their folder's class unless the CSV names them.
    like: for a folder with the classes of a built-in set, that set's name: its class order and normalisation.
    skip_bad: leave out unreadable images, unknown classes, images without a label and labels without an
        image, and list them in `Dataset.skipped`; else one ValueError counts them and names the first ten.
    split: False leaves all images of a folder without `test/` in the training set; the test set then repeats
        some of them.

    Raises ValueError or FileNotFoundError with one sentence that says what to do. Notes go to standard error.
    """
    if image_size is not None and not 4 <= image_size <= 1024:
        raise ValueError(f"image size {image_size} is outside 4 to 1024 pixels")
    if labels is None and true_column:
        raise ValueError(f"true column '{true_column}' of which file? Give labels=FILE.csv (--labels) too")
    root = data_root() if root is None else Path(root).expanduser()
    slug, like, raw = _read(name, root, image_size, like, split)
    names = [str(i) for i in range(len(raw.y))] if raw.paths is None else raw.paths
    table = None if labels is None else _labels_of(raw, names, labels, label_column, true_column)
    for note in raw.notes:
        print(f"{name}: {note}", file=sys.stderr)
    return _assembled(name, slug, like or "", raw, names, table, bool(true_column), skip_bad)


def _read(
    name: str, root: Path, image_size: int | None, like: str | None, split: bool
) -> tuple[str, str | None, _Raw]:
    """(name in paths, the set it is like, its images and labels as they come)."""
    if name.startswith("folder:"):
        if like and like not in CLASSES:
            raise ValueError(f"a folder cannot be like '{like}': choose one of {', '.join(CLASSES)}")
        path = Path(name.removeprefix("folder:")).expanduser()
        slug = "folder-" + files.safe(Path(os.path.abspath(path)).name)
        return slug, like, _folder(path, root / "cache", image_size, like, split)
    if name not in NAMES:
        raise ValueError(f"unknown data set '{name}': choose one of {', '.join(NAMES)}")
    if like not in (None, "", name):
        raise ValueError(f"{name} cannot be like '{like}': that is for folders of images")
    if name == "tiny_imagenet":
        return name, name, _decoded(large_sets.tiny_imagenet(root), root / "cache", image_size)
    if name in large_sets.LISTINGS:
        return name, name, _streamed(large_sets.LISTINGS[name](root), image_size)
    raw = _Raw(CLASSES[name], *(built_in.digits() if name == "digits" else built_in.cifar(name, root)))
    if image_size is not None:
        x, test_x = (decode.resize(np.asarray(images), image_size) for images in (raw.x, raw.test_x))
        raw = raw._replace(x=x, test_x=test_x)
    return name, name, raw


def _assembled(
    name: str,
    slug: str,
    like: str,
    raw: _Raw,
    names: list[str],
    table: label_tables.Labels | None,
    has_truth: bool,
    skip_bad: bool,
) -> Dataset:
    """The data set without what cannot be used. Raises ValueError where it must not be left out."""
    unknown = name.startswith("folder:") or name in large_sets.OWN_NOISE
    given, true = (raw.y, None) if unknown else (None, raw.y)
    test_y, problems = raw.test_y, list(raw.problems)
    keep, keep_test = raw.y >= 0, raw.test_y >= 0  # all but what cannot be read or belongs to no class
    if table is not None:
        problems += table.problems
        given, true = table.given, (table.true if has_truth else true)
        keep = keep & (given >= 0) & (True if true is None else true >= 0)
        test_y, keep_test = np.where(table.test >= 0, table.test, test_y), keep_test & ~table.bad_test
    if problems and not skip_bad:
        raise label_tables.report(problems, name)
    for part, mask in (("training", keep), ("test", keep_test)):
        if not mask.any():
            raise ValueError(f"{name}: no usable {part} image is left out of {len(mask)}")
    x, given, true = _kept(raw.x, keep), _kept(given, keep), _kept(true, keep)
    test_x, test_y = _kept(raw.test_x, keep_test), _kept(test_y, keep_test)
    digests = decode.image_digests(x) if raw.digests is None else _kept(raw.digests, keep)
    test_digests = (
        decode.image_digests(test_x) if raw.test_digests is None else _kept(raw.test_digests, keep_test)
    )
    second, second_parts = _second(raw)
    if like and len(MEAN_STD[like][0]) == x.shape[1]:
        mean, std = MEAN_STD[like]
    else:
        mean, std = channel_stats(x)
    return Dataset(
        name,
        slug,
        like or "",
        raw.classes,
        _images(x),
        None if true is None else _tensor(true),
        None if given is None else _tensor(given),
        _images(test_x),
        _tensor(test_y),
        None if raw.paths is None else tuple(p for p, k in zip(raw.paths, keep) if k),
        mean,
        std,
        skipped=tuple((p.path, p.detail) for p in problems),
        notes=raw.notes,
        second_test=second,
        folder=raw.folder,
        test_paths=None
        if raw.test_paths is None
        else tuple(p for p, k in zip(raw.test_paths, keep_test) if k),
        names=tuple(n for n, k in zip(names, keep) if k),
        left_out=tuple(n for n, k in zip(names, keep) if not k),
        fingerprint=fingerprint(raw.classes, digests, given, true, test_digests, test_y, *second_parts),
    )


def _kept(values, mask):
    """The values where mask, bool (N,), holds; the memory map itself where nothing is left out."""
    return values if values is None or mask.all() else pick(values, np.flatnonzero(mask))


def _second(raw: _Raw) -> tuple[SecondTest | None, list[np.ndarray]]:
    """A second test set, and what it adds to the fingerprint: digests and labels."""
    if not raw.second:
        return None, []
    title, *parts = raw.second
    x, y, digests = (_kept(part, parts[1] >= 0) for part in parts)
    return SecondTest(title, x, _tensor(y)), [digests, y]


def _images(x: np.ndarray | Stream) -> Tensor | Stream:
    return x if isinstance(x, Stream) else torch.from_numpy(x)


def _tensor(labels: np.ndarray) -> Tensor:
    return torch.from_numpy(labels.copy())


def _labels_of(
    raw: _Raw, names: list[str], table, label_column: str | None, true_column: str | None
) -> label_tables.Labels:
    if raw.paths is None:
        key_column, keys, test_keys = "index", {name: i for i, name in enumerate(names)}, {}
    else:
        key_column = "path"
        keys, test_keys = label_tables.path_keys(raw.paths), label_tables.path_keys(raw.test_paths or ())
    return label_tables.read(
        table,
        raw.classes,
        keys=keys,
        test_keys=test_keys,
        names=names,
        n_test=len(raw.test_y),
        key_column=key_column,
        label_column=label_column,
        true_column=true_column,
    )


def subset(dataset: Dataset, train_index, test_index=None) -> Dataset:
    """The data set with only the training (and test) images of these positions; it keeps its fingerprint."""
    train_index = torch.as_tensor(np.asarray(train_index), dtype=torch.int64)
    changes = {
        key: pick(values, train_index)
        for key in ("x", "true_labels", "given_labels")
        if (values := getattr(dataset, key)) is not None
    }
    for key in ("paths", "names"):
        if getattr(dataset, key):
            changes[key] = tuple(getattr(dataset, key)[i] for i in train_index.tolist())
    if test_index is not None:
        test_index = torch.as_tensor(np.asarray(test_index), dtype=torch.int64)
        changes |= {"test_x": pick(dataset.test_x, test_index), "test_y": dataset.test_y[test_index]}
    return replace(dataset, **changes)


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
