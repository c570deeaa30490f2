"""Features on disk: rows of float16 in one file that only grows, and beside it a key for each row.

A chunk is written in two steps, features first and keys after them; a row counts when its key is there. A
process that is killed loses at most the chunk it was at, and what it left of that is cut off by the next one.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..files import append, lock, read_file

KEY = 16  # bytes


class Store:
    """The features, of one width, of any number of images: (n, width) float16, found by key. Several
    processes may
    write: each chunk is added under a lock.
    """

    def __init__(self, place: Path, width: int):
        self.place, self.width = Path(place), width
        self.place.mkdir(parents=True, exist_ok=True)
        self._row: dict[bytes, int] = {}
        self._read()

    def _paths(self) -> tuple[Path, Path]:
        return self.place / "features.f16", self.place / "keys"

    def _read(self) -> None:
        features, keys = self._paths()
        sizes = [p.stat().st_size if p.exists() else 0 for p in (features, keys)]
        self.count = min(sizes[0] // (2 * self.width), sizes[1] // KEY)
        content = read_file(keys) if self.count > len(self._row) else b""
        for row in range(len(self._row), self.count):
            self._row[content[row * KEY : (row + 1) * KEY]] = row

    def rows(self, keys: np.ndarray) -> np.ndarray:
        """int64 (N,): where the features of these keys (N, 16) lie, -1 = not there."""
        return np.array([self._row.get(key.tobytes(), -1) for key in keys], dtype=np.int64)

    def append(self, keys: np.ndarray, features: np.ndarray) -> None:
        """Add the rows of a chunk, (n, 16) and (n, width), each whole or not at all, also where the power
        fails; but for those that another process has added meanwhile.
        """
        with lock(self.place / "append.lock"):
            self._read()
            lacking = self.rows(keys) < 0
            if lacking.any():
                self._append(keys[lacking], features[lacking])

    def _append(self, keys: np.ndarray, features: np.ndarray) -> None:
        for path, content, row in zip(
            self._paths(), (features.astype(np.float16, copy=False), keys), (2 * self.width, KEY)
        ):
            append(path, np.ascontiguousarray(content).tobytes(), self.count * row, cut=True)
        for key in keys:
            self._row.setdefault(key.tobytes(), self.count)
            self.count += 1

    def refresh(self) -> None:
        """Take notice of what another process has added."""
        self._read()

    def features(self) -> np.ndarray:
        """(count, width) float16, a memory map."""
        if not self.count:
            return np.zeros((0, self.width), np.float16)
        return np.memmap(self._paths()[0], np.float16, "r", shape=(self.count, self.width))
