"""Pickled arrays of whole numbers, read without numpy's own unpickling.

The public label files of CIFAR-10N and CIFAR-100N are pickles. torch.load(weights_only=True) runs nothing
that is not on its list; but with numpy's functions on that list a file can describe an array of objects over
bytes of its own, which crashes the process or worse. So stand-ins under numpy's names take what such a pickle
says, accept integers of a fixed width, and check that shape and bytes agree.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

MOST = 50_000_000  # numbers in an array: CIFAR has 50,000
WIDTHS = ("b1", "u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")


class Kind:
    """Stands for numpy.dtype: the kind and byte order of whole numbers, and nothing else."""

    def __init__(self, name, align=False, copy=True):
        if name not in WIDTHS:
            raise ValueError(f"an array of {str(name)[:20]!r} is no array of whole numbers")
        self.name, self.order = name, "|"

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "|", "="):
            raise ValueError("the numbers of an array are described in an unknown way")
        self.order = state[1]

    def plain(self) -> np.dtype:
        """The dtype meant."""
        return np.dtype(self.order + self.name if self.order != "|" else self.name)


class Numbers:
    """Stands for numpy.ndarray; `array` is what was read. Calling it, as an attack would, is refused."""

    array: np.ndarray

    def __init__(self, *arguments):
        raise ValueError("it builds an array in a way that no label file needs")

    def __setstate__(self, state):
        if not isinstance(state, tuple) or len(state) != 5:
            raise ValueError("an array is described in an unknown way")
        _, shape, kind, fortran, content = state
        sane = isinstance(shape, tuple) and all(type(n) is int and 0 <= n <= MOST for n in shape)
        if not sane or math.prod(shape) > MOST or len(shape) > 2:
            raise ValueError("an array has too many numbers or dimensions")
        if type(kind) is not Kind or type(content) is not bytes:
            raise ValueError("an array is not of whole numbers")
        if len(content) != math.prod(shape) * kind.plain().itemsize:
            raise ValueError("an array has not as many bytes as it says")
        flat = np.frombuffer(content, kind.plain())
        self.array = flat.reshape(shape, order="F" if fortran else "C").astype(np.int64)


def _reconstruct(kind, shape, code) -> Numbers:
    """Stands for numpy's function of that name: an empty array, which `Numbers.__setstate__` fills."""
    if kind is not Numbers:
        raise ValueError("it builds something that is no array")
    return object.__new__(Numbers)


def _scalar(kind, content) -> int:
    """Stands for numpy's function of that name."""
    filled = object.__new__(Numbers)
    filled.__setstate__((1, (1,), kind, False, content))
    return int(filled.array[0])


_STAND_INS: list[Any] = [
    (Numbers, "numpy.ndarray"),
    (Kind, "numpy.dtype"),
    *((_reconstruct, f"numpy.{core}.multiarray._reconstruct") for core in ("core", "_core")),
    *((_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
]


def load_label_file(path: Path, columns: list[str]) -> list[np.ndarray]:
    """The columns of a file of labels that torch.save wrote: int64 arrays. No code of the file is run.

    Raises ValueError, KeyError and what torch.load raises for a file that is something else.
    """
    if path.stat().st_size > 16 * MOST:
        raise ValueError(f"it has {path.stat().st_size / 1e6:.0f} MB")
    with torch.serialization.safe_globals(_STAND_INS):
        table = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(table, dict):
        raise ValueError("it holds no columns")
    return [_plain(table[name]) for name in columns]


def _plain(values) -> np.ndarray:
    values = getattr(values, "array", None) if isinstance(values, Numbers) else values
    if isinstance(values, list):
        if not all(type(v) is int for v in values):
            raise ValueError("a column is not of whole numbers")
        values = np.array(values, np.int64)
    if isinstance(values, torch.Tensor):
        values = values.numpy()
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iub":
        raise ValueError("a column is not of whole numbers")
    return values.astype(np.int64)
