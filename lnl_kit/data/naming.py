"""Which data set a name means: a built-in one, or a folder of images however its path is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from ..files import safe
from . import large_sets
from .classes import CLASSES

PACKED = ("hf:", "tar:", "parquet:")  # sets that are unpacked once: see `packed`
OWN = ("folder:", *PACKED)  # the user's own images, whose labels may be wrong
NAMES = (*CLASSES, *large_sets.LISTINGS, "folder:PATH", "hf:PATH", "tar:PATTERN", "parquet:PATTERN")


def resolve(dataset, *, folder_first: bool = False) -> str:
    """`dataset` as `data.load` calls it: a built-in name, `folder:PATH`, or one of PACKED.

    dataset: a name, `folder:PATH`, `hf:...`, `tar:...`, `parquet:...`, a path as text (of a folder that is
        there, or with a `/` in it), or a
        `pathlib.Path`. A built-in name beside a folder of that name is the built-in set, and a line says so;
        with folder_first, where a path is what people give, it is refused. Raises ValueError with one
        sentence.
    """
    if isinstance(dataset, os.PathLike):
        return f"folder:{os.fspath(dataset)}"
    if not isinstance(dataset, str):
        raise ValueError(
            f"a data set of type {type(dataset).__name__} is not allowed: give a name "
            f"({', '.join(NAMES)}) or a "
            "path, as text or pathlib.Path"
        )
    if dataset.startswith(OWN):
        return dataset
    if dataset in NAMES:
        if os.path.isdir(dataset) and any(os.scandir(dataset)):
            told = (
                f"{dataset} is a built-in data set, and a folder here has the same name: "
                f"folder:{dataset} (or "
                f"./{dataset}) means the folder"
            )
            if folder_first:
                raise ValueError(f"{told}; for the built-in one run this where no such folder lies")
            print(told, file=sys.stderr)
        return dataset
    path = Path(dataset).expanduser()
    if dataset.strip() and (path.exists() or os.sep in dataset or folder_first):
        return f"folder:{dataset}"
    raise ValueError(
        f"unknown data set '{dataset}': choose one of {', '.join(NAMES)}; no folder here has that name"
    )


def absolute(dataset: str) -> str:
    """The name with an absolute path, so that it means the same from anywhere; other names as they are."""
    kind, _, path = dataset.partition(":")
    if f"{kind}:" not in OWN or (kind == "hf" and not Path(path).expanduser().exists()):  # of the hub
        return dataset
    return f"{kind}:{Path(path).expanduser().absolute()}"


def slug(dataset: str) -> str:
    """The name as part of a path: `digits`, `folder-photos`, `hf-cifar10`."""
    kind, colon, path = dataset.partition(":")
    if kind == "folder":
        path = os.path.abspath(Path(path).expanduser())
    return f"{kind}-{safe(Path(path).name)}" if colon else dataset
