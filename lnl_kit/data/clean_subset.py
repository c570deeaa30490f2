"""The clean subset: images whose labels are known to be right. Synthetic noise leaves them alone."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import shortened
from ..toolbox.rng import seed_of
from . import label_tables
from .label_formats import LabelTable, read_table
from .label_paths import match


def draw(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool (N,): `share` of the images of each class in labels (N,), drawn by the seed, not by the noise."""
    if not 0 < share < 1:
        raise ValueError(f"clean share {share:g} is outside (0, 1)")
    clean = np.zeros(len(labels), dtype=bool)
    order = np.random.RandomState(seed_of("clean subset", seed) % 2**32).permutation(len(labels))
    for k in np.unique(labels):
        members = order[labels[order] == k]
        clean[members[: round(share * len(members))]] = True
    return clean


def read(
    file: str | Path, names: Sequence[str], classes: Sequence[str], elsewhere: Sequence[str] = ()
) -> tuple[np.ndarray, np.ndarray]:
    """(clean bool (N,), labels int64 (N,), -1 = as it stands) from a file that lists checked images.

    names: of the N training images, as in the column of paths (or `index`) of the file; its column `label`,
        where there is one, holds the right class of each. elsewhere: images of the set that are no training
        images (test images, or left out), which the file may name too: they are counted on standard error.
    Raises FileNotFoundError, and ValueError for images and classes that do not exist.
    """
    try:
        table = read_table(file)
    except FileNotFoundError:
        raise FileNotFoundError(f"no clean list {file}") from None
    by_index = names[0].isdecimal()  # images of folders have endings
    known = ("path", "index") if by_index else (*label_tables.PATH_COLUMNS, "index")
    column = next((c for c in known if c in table.header), None)
    if column is None:
        raise ValueError(
            f"{table.name} names no image: a column 'path' (or 'index') and a row for each is needed, its "
            f"columns are {shortened(table.header)}"
        )
    keys = [row[table.header.index(column)] for row in table.rows]
    if by_index or column == "index":
        at = {name: i for i, name in enumerate(names)}
        found = {key: at[k] for key in keys if (k := label_tables.whole(key.strip())) in at}
    else:
        found = match(keys, [*names, *elsewhere]).at
    if unknown := [key for key in keys if key not in found]:
        raise ValueError(
            f"{table.name} names {len(unknown)} image(s) that are not among the {len(names)} training "
            "images, "
            f"first {unknown[0]!r}: column '{column}' must read like {names[0]!r}"
        )
    beside = {key for key in keys if found[key] >= len(names)}
    if beside:
        print(
            f"{len(beside)} of the {len(set(keys))} images of {table.name} are no training images "
            "(test images, "
            "or left out): the others are the clean subset",
            file=sys.stderr,
        )
    return _marked(table, keys, found, len(names), classes)


def _marked(table: LabelTable, keys: list[str], found: dict[str, int], n: int, classes: Sequence[str]):
    clean, labels = np.zeros(n, dtype=bool), np.full(n, -1, np.int64)
    number = label_tables.class_numbers(classes)
    for key, row in zip(keys, table.rows):
        label = row[table.header.index("label")] if "label" in table.header else ""
        k = label_tables.class_of(label, number)
        if k is None and label.strip():
            raise ValueError(
                f"{table.name} calls {key!r} a {label.strip()!r}, which is no class: {', '.join(classes)}"
            )
        if found[key] < n:
            clean[found[key]] = True
            labels[found[key]] = -1 if k is None else k
    return clean, labels


def compensated(rate: float, share: float) -> float:
    """The noise rate outside a clean subset of this share, so that `rate` holds over all images."""
    if rate > 1 - share + 1e-9:
        raise ValueError(
            f"noise rate {rate:g} with {share:.3g} of the labels known to be right: at most {1 - share:.3g}, "
            "since only the other labels can be wrong"
        )
    return min(1.0, rate / (1 - share))


def require_every_class(labels: np.ndarray, clean: np.ndarray, classes: Sequence[str]) -> None:
    """Raise ValueError unless each of the `classes` has an image among the clean ones."""
    counts = np.bincount(labels[clean], minlength=len(classes))
    if counts.min() == 0:
        empty = [str(classes[k]) for k in np.flatnonzero(counts == 0).tolist()]
        raise ValueError(
            f"the clean subset ({clean.sum()} of {len(clean)} images) has no image of class "
            + ", ".join(empty[:5])
            + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
            + ": a larger --clean-share or a longer --clean-list is needed"
        )
