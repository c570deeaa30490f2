"""Where a data set's images come from: a folder, a decoded listing, a streamed listing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import decode, folders, large_sets
from .classes import CLASSES
from .label_tables import Problem
from .streams import Stream, file_digests


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
    folder: Path | None = None  # where `paths` and `test_paths` lie


def _folder(path: Path, cache: Path, image_size: int | None, like: str | None, split: bool) -> _Raw:
    """Every image of the folder; the class of one that cannot be used is -1."""
    files, notes = folders.scan(path)
    first_test = sum(not f.test for f in files)
    has_test = any(f.path.startswith("test/") for f in files)
    test_is_also_train = not split and not has_test
    n = len(files) if test_is_also_train else first_test
    if test_is_also_train:
        notes = notes[:-1]  # the last one says that images were split off
    names = sorted({f.label for f in files[:n]})
    if like:
        lacking, strange = sorted(set(CLASSES[like]) - set(names)), sorted(set(names) - set(CLASSES[like]))
        if lacking or strange:
            raise ValueError(
                f"{path} has not the classes of {like}: {len(lacking)} missing "
                f"({', '.join(lacking[:5])}), {len(strange)} others ({', '.join(strange[:5])})"
            )
        names = list(CLASSES[like])
    number = {name: k for k, name in enumerate(names)}
    pixels = decode.pixels(path, files, image_size, cache)
    y = np.array([number.get(f.label, -1) for f in files])
    problems = [
        Problem("images of unknown class", f.path, f"no training image of class '{f.label}'")
        for f in files
        if f.label not in number
    ]
    problems += [Problem("unreadable images", files[i].path, why) for i, why in pixels.unreadable.items()]
    y[list(pixels.unreadable)] = -1
    train, test = slice(n), slice(first_test, None)
    paths = [f.path for f in files]
    return _Raw(
        tuple(names),
        pixels.x[train],
        y[train],
        pixels.x[test],
        y[test],
        pixels.digests[train],
        pixels.digests[test],
        paths[train],
        paths[test],
        tuple(problems),
        tuple(notes + [pixels.note] * bool(pixels.note)),
        folder=path,
    )


def _decoded(listing: large_sets.Listing, cache: Path, image_size: int | None) -> _Raw:
    """A listed set, decoded once and kept as a folder's images are."""
    (files, y), (test_files, test_y) = listing.parts.values()
    n, paths = len(y), [f.path for f in files + test_files]
    pixels = decode.pixels(listing.folder, files + test_files, image_size, cache)
    y = np.concatenate([y, test_y])
    y[list(pixels.unreadable)] = -1
    problems = [Problem("unreadable images", paths[i], why) for i, why in pixels.unreadable.items()]
    return _Raw(
        listing.classes,
        pixels.x[:n],
        y[:n],
        pixels.x[n:],
        y[n:],
        pixels.digests[:n],
        pixels.digests[n:],
        paths[:n],
        paths[n:],
        tuple(problems),
        folder=listing.folder,
    )


def _streamed(listing: large_sets.Listing, image_size: int | None) -> _Raw:
    """A listed set whose images are decoded when they are used."""
    size, problems, parts = image_size or large_sets.IMAGE_SIZE, [], {}
    for part, (files, y) in listing.parts.items():
        readable = np.array([f.size > 0 for f in files])
        problems += [
            Problem("unreadable images", files[i].path, "missing or empty") for i in np.flatnonzero(~readable)
        ]
        paths = [f.path for f in files]
        parts[part] = (
            Stream(listing.folder, paths, size),
            np.where(readable, y, -1),
            file_digests(files, size),
            paths,
        )
    (x, y, digests, paths), (test_x, test_y, test_digests, test_paths) = parts.pop("train"), parts.pop("test")
    second = next(((name, *part[:3]) for name, part in parts.items()), None)
    return _Raw(
        listing.classes,
        x,
        y,
        test_x,
        test_y,
        digests,
        test_digests,
        paths,
        test_paths,
        tuple(problems),
        second=second,
        folder=listing.folder,
    )
