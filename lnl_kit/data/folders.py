"""Folders of images: listed, decoded once on all cores, and kept as a memory map."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

EXTENSIONS = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
TEST_SHARE = 0.2


class File(NamedTuple):
    """One image file of a folder, as found by the scan."""

    path: str  # relative to the folder, with "/"
    label: str  # its class: the name of the folder it lies in
    test: bool
    size: int  # bytes
    mtime: int  # nanoseconds


# ---------------------------------------------------------------- which images there are


def scan(folder: Path) -> tuple[list[File], list[str]]:
    """The images of `folder`, training images first, each part sorted by class, then by file name.

    Layout: `train/<class>/*` and `test/<class>/*`; without `test/`, 20 % are split off, stratified, seed 0;
    without `train/` too, the classes may lie in the folder itself: `<class>/*`. Returns (files, notes).
    A class is a folder with at least one image. Raises FileNotFoundError or ValueError where there are none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: give folder:PATH where PATH holds train/<class>/*.jpg")
    has_train = (folder / "train").is_dir()
    if not has_train and (folder / "test").is_dir():
        raise ValueError(f"{folder} has a test folder but no train folder: train/<class>/* goes beside it")
    ignored: list[str] = []
    train = list(_list(folder, "train" if has_train else "", False, ignored))
    test = list(_list(folder, "test", True, ignored)) if has_train else []
    where = f"{folder}/train" if has_train else str(folder)
    if strange := [f.path for f in train + test if not _is_utf8(f.path)]:
        raise ValueError(
            f"{len(strange)} file names in {folder} are not UTF-8, such as {strange[0]!a}: rename these files"
        )
    names = sorted({f.label for f in train})
    if len(names) < 2:
        raise ValueError(
            f"{where} holds images of {len(names)} classes, at least 2 are needed: "
            f"expected one folder a class with JPEG, PNG, WebP or BMP files in it"
        )
    notes = []
    if ignored:
        notes.append(
            f"{len(ignored)} files that are not JPEG, PNG, WebP or BMP are left out, such as {ignored[0]}"
        )
    if not test:
        number = {name: k for k, name in enumerate(names)}
        n_test = max(1, round(TEST_SHARE * len(train)))
        rows = stratified_split(np.array([number[f.label] for f in train]), n_test, seed=0)
        test = [train[i]._replace(test=True) for i in rows[1]]
        notes.append(
            f"no test folder: {n_test} of {len(train)} images (20 %, stratified, seed 0) are the test set"
        )
        train = [train[i] for i in rows[0]]
    return train + test, notes


def _list(folder: Path, part: str, test: bool, ignored: list[str]) -> Iterator[File]:
    base = folder / part
    if not base.is_dir():
        return
    with os.scandir(base) as entries:
        classes = sorted(e.name for e in entries if e.is_dir() and not e.name.startswith("."))
    for label in classes:
        prefix = f"{part}/{label}" if part else label
        with os.scandir(base / label) as entries:
            in_order = sorted(entries, key=lambda e: e.name)
        for entry in in_order:
            path = f"{prefix}/{entry.name}"
            if entry.name.startswith(".") or entry.is_dir():
                continue
            if not path.lower().endswith(EXTENSIONS):
                ignored.append(path)
                continue
            try:
                status = entry.stat()
                yield File(path, label, test, status.st_size, status.st_mtime_ns)
            except FileNotFoundError:  # a link to nothing: reported with the unreadable images
                yield File(path, label, test, 0, 0)


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:  # bytes that Python keeps as lone surrogates
        return False


def stratified_split(labels: np.ndarray, n_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions (train, test), each ascending; every class gives its share of the `n_test` test images.

    Shares are rounded by largest remainder. Draws: `numpy.random.RandomState(seed)`, a frozen stream.
    """
    labels = np.asarray(labels)
    classes, counts = np.unique(labels, return_counts=True)
    quota = counts * n_test / len(labels)
    take = np.floor(quota).astype(np.int64)
    by_remainder = np.argsort(take - quota, kind="stable")  # largest remainder first, ties by class
    take[by_remainder[: n_test - take.sum()]] += 1
    random = np.random.RandomState(seed)
    test = [np.flatnonzero(labels == c)[random.permutation(n)[:t]] for c, n, t in zip(classes, counts, take)]
    is_test = np.zeros(len(labels), bool)
    is_test[np.concatenate(test)] = True
    return np.flatnonzero(~is_test), np.flatnonzero(is_test)
