"""The clean subset: images whose labels are known to be right. Synthetic noise leaves them alone."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import read_table
from ..toolbox.rng import seed_of
from . import label_tables


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


def read(table: str | Path, names: Sequence[str], classes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """(clean bool (N,), labels int64 (N,), -1 = as it stands) from a CSV file that lists checked images.

    names: of the N training images, as in the column `path` (or `index`) of the file; its column `label`,
        where there is one, holds the right class of each.
    Raises FileNotFoundError, and ValueError for images and classes that do not exist.
    """
    try:
        rows = read_table(Path(table), errors="strict")
    except (FileNotFoundError, IsADirectoryError):
        raise FileNotFoundError(f"no clean list {table}") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} is not a CSV file in UTF-8: {error}") from None
    column = next((c for c in ("path", "index") if rows and c in rows[0]), None)
    if column is None:
        raise ValueError(f"{table} names no image: a column 'path' (or 'index') and a row for each is needed")
    at = label_tables.path_keys(names) if column == "path" else {name: i for i, name in enumerate(names)}
    number = label_tables.class_numbers(classes)
    keys = [row[column] or "" for row in rows]
    keys = [key if key in at else key.strip().removeprefix("./") for key in keys]
    unknown = [key for key in keys if key not in at]
    if unknown:
        raise ValueError(
            f"{table} names {len(unknown)} image(s) that are not among the {len(names)} training images, "
            f"first {unknown[0]!r}: column '{column}' must read like {names[0]!r}"
        )
    clean, labels = np.zeros(len(names), dtype=bool), np.full(len(names), -1, np.int64)
    for key, row in zip(keys, rows):
        clean[at[key]] = True
        label = row.get("label") or ""
        label = label if label in number else label.strip()
        if label and label not in number:
            raise ValueError(f"{table} calls {key!r} a {label!r}, which is no class: {', '.join(classes)}")
        if label:
            labels[at[key]] = number[label]
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
