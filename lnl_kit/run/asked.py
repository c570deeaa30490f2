"""Arguments as people write them: paths, data frames and numbers of other libraries, made plain."""

from __future__ import annotations

import os
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

from ..data import resolve
from ..data.label_formats import as_file
from ..files import data_root

T = TypeVar("T")

WHOLE = ("train_size", "image_size", "max_pixels")
SHARES = ("rate", "noisy_val", "clean_share", "open_set", "imbalance")
TEXTS = (
    "noise preset like model features device precision compile path_column label_column true_column "
    "image_column hf_split"
).split()


def plain(plan: T) -> T:
    """A plan (a dataclass with the fields of `train.Plan`) with plain values.

    The data set becomes a built-in name or `folder:PATH`, a table in memory a file of that content, NumPy's
    numbers Python's. Raises ValueError with one sentence that says what is allowed.
    """
    changes: dict[str, Any] = {"dataset": resolve(plan.dataset)}  # type: ignore[attr-defined]
    changes["labels"] = as_file(plan.labels, data_root() / "cache" / "labels")  # type: ignore[attr-defined]
    for name in WHOLE:
        changes[name] = whole(name, getattr(plan, name))
    for name in TEXTS:
        text(name, getattr(plan, name))
    for name in SHARES:
        changes[name] = share(name, getattr(plan, name))
    changes["noisy_val"] = changes["noisy_val"] or 0.0
    changes["open_set"] = changes["open_set"] or 0.0
    if (clean := getattr(plan, "clean_list", None)) is not None:
        changes["clean_list"] = path("clean_list", clean)
    return replace(plan, **changes)  # type: ignore[type-var]


def whole(name: str, value: Any) -> int | None:
    """A whole number, also NumPy's or one written 10.0. Raises ValueError."""
    if value is None:
        return None
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    if is_number and (isinstance(value, Integral) or float(value).is_integer()):
        return int(value)
    raise ValueError(f"{name} {value!r} is not allowed: a whole number, such as 32")


def share(name: str, value: Any) -> float | None:
    """A number, also NumPy's. Raises ValueError."""
    if value is None:
        return None
    if isinstance(value, Real) and not isinstance(value, bool):
        return float(str(value))  # what is written: np.float32(0.2) is 0.2
    raise ValueError(f"{name} {value!r} is not allowed: a number in [0, 1], such as 0.2")


def text(name: str, value: Any) -> None:
    """Refuse what is no text. Raises ValueError."""
    if not isinstance(value, str) and (value is not None or name == "preset"):
        raise ValueError(f"{name} {value!r} is not allowed: a text")


def path(name: str, value: Any) -> str:
    """A path as text. Raises ValueError."""
    if isinstance(value, (str, os.PathLike)):
        return str(Path(value))
    raise ValueError(f"{name} of type {type(value).__name__} is not allowed: the path of a file")
