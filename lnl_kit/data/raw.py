"""Where a data set's images come from: a folder, a decoded listing, a streamed listing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import decode, folders, label_tables, large_sets
from .classes import CLASSES
from .label_formats import LabelTable
from .problems import Problem
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
    parts: tuple[str, ...] | None = None  # (N,) of a folder: train, val or test
    own: np.ndarray | None = None  # int64 (N,): classes by the folders, also of what cannot be read
    lent: bool = False  # whether the test images are among the training images
    split_off: bool = False  # whether the test images were taken from the training images
    folder: Path | None = None  # where `paths` and `test_paths` lie
    headers: np.ndarray | None = None  # decode.HEADER (N,)


def _scan(path: Path, table: LabelTable | None, columns: tuple, recursive: bool, lend: bool) -> folders.Scan:
    """The images of a folder; where it has no class folders that `table` speaks of, the table says all."""
    tree = folders.walk(path)
    if table is None:
        return folders.arrange(path, tree, recursive=recursive, lend=lend)
    tree = tree._replace(others=[p for p in tree.others if Path(p).name != table.name])
    try:
        scan, why = folders.arrange(path, tree, recursive=recursive, lend=lend), None
        known = label_tables.class_numbers(sorted({f.label for f in scan.files if f.label}))
    except ValueError as error:
        scan, why, known = None, error, {}
    found = label_tables.classes_of(table, [f.path for f in tree.images], *columns)
    if scan is not None and (not found[1] or known.keys() & set(found[1])):
        return scan
    return _by_table(path, tree, table, found, why, lend)


def _by_table(
    path: Path, tree, table: LabelTable, found: tuple, why: ValueError | None, lend: bool
) -> folders.Scan:
    """The images that a table names, in the classes that it tells; why: what is wrong with the folder."""
    labels, names = found
    if len(names) < 2 or not labels:
        raise why or ValueError(
            f"{table.name} speaks of the classes {', '.join(names) or 'none'}, and no row of it names "
            "an image "
            f"in {path}"
        )
    if not any(labels.values()):
        raise ValueError(f"no row of {table.name} gives an image in {path} a class")
    scan = folders.with_labels(tree, labels, (f"classes taken from {table.name}",), lend=lend)
    return scan._replace(classes=names)


def _folder(
    path: Path,
    cache: Path,
    image_size: int | None,
    like: str | None,
    split: bool | Sequence[str],
    *,
    table: LabelTable | None = None,
    columns: tuple = (None, None, None),
    recursive: bool = True,
    max_pixels: int | None = None,
    keep: bool = True,
    follow_links: bool = False,
    scan: folders.Scan | None = None,
) -> _Raw:
    """Every image of the folder; the class of one that cannot be used is -1. scan: what is there."""
    scan = scan or _scan(path, table, columns, recursive, split is not True)
    files, notes = scan.files, scan.notes
    wanted = ("train",) if isinstance(split, bool) else tuple(split)
    # Test images are lent to the training set where these parts are searched, or where they were split off.
    lent = (
        scan.split_off
        if split is False
        else split is not True and any(f.part in wanted for f in files if f.test)
    )
    train = np.flatnonzero([not f.test or lent for f in files] & np.array([f.part in wanted for f in files]))
    test = np.flatnonzero([f.test for f in files])
    notes = [note for note in notes if not (lent and note.startswith("no test folder"))]  # nothing is taken
    if unused := [f for f in files if f.part not in wanted and not f.test]:
        notes.append(f"{len(unused)} images of {unused[0].path.split('/')[0]}/ not used in training")
    names = _class_names({files[i].label for i in train} - {""}, scan.classes, path, like)
    number = {name: k for k, name in enumerate(names)}
    pixels = decode.pixels(path, files, image_size, cache, max_pixels, keep, follow_links)
    own = np.array([number.get(f.label, -1) for f in files])
    used = sorted({*train.tolist(), *test.tolist()})
    problems = _problems(scan, used, number, pixels.unreadable)
    y = own.copy()
    y[list(pixels.unreadable)] = -1
    gone = [n for k, n in enumerate(names) if (own[train] == k).any() and not (y[train] == k).any()]
    notes += [f"no image of class '{name}' can be read" for name in gone]
    paths = [f.path for f in files]
    return _Raw(
        tuple(names),
        _rows(pixels.x, train),
        y[train],
        _rows(pixels.x, test),
        y[test],
        pixels.digests[train],
        pixels.digests[test],
        [paths[i] for i in train],
        [paths[i] for i in test],
        tuple(problems),
        tuple(notes + [pixels.note] * bool(pixels.note)),
        parts=tuple(files[i].part for i in train),
        own=own[train],
        lent=lent,
        split_off=scan.split_off,
        folder=path,
        headers=None if pixels.headers is None else pixels.headers[train],
    )


def _problems(scan: folders.Scan, used: Sequence[int], number, unreadable: dict[int, str]) -> list[Problem]:
    """What is wrong with those images of a folder that are used, and with the folder."""
    files = [(i, scan.files[i]) for i in used]
    strange = [f for _, f in files if f.label and f.label not in number]
    return [
        *(
            Problem("images of unknown class", f.path, f"no training image of class '{f.label}'")
            for f in strange
        ),
        *scan.problems,
        *(Problem("unreadable images", f.path, unreadable[i]) for i, f in files if i in unreadable),
    ]


def _class_names(found: set[str], told: Sequence[str], path: Path, like: str | None) -> tuple[str, ...]:
    """Class names in their order: that of the table that told them, else sorted; or those of `like`."""
    if not like:
        return tuple(name for name in told or sorted(found) if name in found)
    lacking, strange = sorted(set(CLASSES[like]) - found), sorted(found - set(CLASSES[like]))
    if lacking or strange:
        raise ValueError(
            f"{path} has not the classes of {like}: {len(lacking)} missing "
            f"({', '.join(lacking[:5])}), {len(strange)} others ({', '.join(strange[:5])})"
        )
    return CLASSES[like]


def _rows(x: np.ndarray, index: np.ndarray) -> np.ndarray:
    """Images at ascending positions: a view of the memory map where these follow one another, else a copy."""
    if len(index) and index[-1] - index[0] + 1 == len(index):
        return x[index[0] : index[-1] + 1]
    return x[index]


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
