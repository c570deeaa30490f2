"""Rows of tables of measured runs. A row is a file of its own before it stands in a table: beside its run for
good, and beside the table until it is gathered. So any number of processes add at once, on any number of
machines, and none waits for a lock or writes over what another one wrote.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import glob
import hashlib
import io
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..files import TABLE_BYTES, RunError, csv_line, read_file, remove, save_atomically, unguarded

IDENTITY = (
    "method",
    "dataset",
    "noise",
    "rate",
    "seed",
    "preset",
    "model",
    "epochs",
    "train_images",
    "asked",
)  # two rows that agree on these are about the same run
ROW_BYTES = 2**24  # the largest file of one row
BESIDE = "row-"  # what the name of a row's file in the folder of its run begins with


class Row(NamedTuple):
    """A row as it stands in a file: its columns, shared with the rows beside it, and its cells as text."""

    head: tuple[str, ...]
    cells: Sequence[str]

    def identity(self, columns: Sequence[str] = IDENTITY) -> tuple:
        """Which run it is about: equal for two rows about the same one, 0.5 or 0.50."""
        places = _places(self.head, tuple(columns))
        cells = [self.cells[place] if place >= 0 else "" for place in places]
        return tuple(cell if column == "asked" else _plain(cell) for column, cell in zip(columns, cells))

    def value(self, column: str) -> str:
        """A cell, empty where there is none."""
        return self.cells[self.head.index(column)] if column in self.head else ""

    def line(self, columns: tuple[str, ...]) -> bytes:
        """The row in a CSV file with these columns."""
        if self.head == columns:
            return csv_line(self.cells)
        found = dict(zip(self.head, self.cells))
        return csv_line([found.get(column, "") for column in columns])


@functools.lru_cache(64)
def _places(head: tuple[str, ...], columns: tuple[str, ...]) -> list[int]:
    return [head.index(column) if column in head else -1 for column in columns]


@functools.lru_cache(10_000)
def _plain(text: str):
    value = parse(text)
    return text if isinstance(value, list | dict) else value


def parse(text: str):
    """A cell as a number, list or dictionary, None where empty, else the text."""
    if text == "":
        return None
    if text in ("nan", "inf", "-inf"):
        return float(text)
    try:
        return json.loads(text)  # numbers, and the lists and dictionaries that `as_row` wrote
    except ValueError:
        return text


def as_row(values: dict, first: tuple[str, ...]) -> Row:
    """A row of values: the columns `first`, then the others."""
    head = (*first, *(column for column in values if column not in first))
    cells = [_text(values.get(column)) for column in head]
    return Row(head, cells)


def _text(value) -> str:
    if value is None:
        return ""
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def lines(rows: Iterable[Row], columns: tuple[str, ...]) -> Iterator[bytes]:
    """A CSV file of the rows."""
    yield csv_line(columns)
    for row in rows:
        yield row.line(columns)


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a CSV file, one after the other, without a last one that was cut off: its run has it whole.
    Raises ValueError where it is none, OSError.
    """
    if (size := os.stat(path).st_size) > TABLE_BYTES:
        raise ValueError(f"{path} has {size / 1e6:.0f} MB, and at most {TABLE_BYTES / 1e6:.0f} are read")
    if not path.is_file():
        raise ValueError(f"{path} is no ordinary file")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            yield from _rows_in(file)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of measured runs: {error}") from None


def _rows_in(file: Iterable[str]) -> Iterator[Row]:
    head: tuple[str, ...] | None = None
    last = ""

    def read() -> Iterator[str]:
        nonlocal last
        for line in file:
            last = line
            yield line

    for cells in csv.reader(read()):
        if head is None:
            head = tuple(cells)
        elif cells and (len(cells) >= len(head) or last.endswith(("\n", "\r"))):
            plain = [unguarded(cell) if cell[:1] == "'" else cell for cell in cells]
            yield Row(head, plain + [""] * (len(head) - len(plain)))


# ---- beside a run


def keep_beside(folder: Path, row: Row) -> None:
    """Write a row into the folder of its run, in place of one that answers the same question."""
    save_atomically(folder / f"{BESIDE}{_digest(row)}.csv", b"".join(lines([row], row.head)))


def _digest(row: Row) -> str:
    return hashlib.blake2b(repr(row.identity(("asked",))).encode(), digest_size=6).hexdigest()


def read_beside(path: str) -> list[Row]:
    """The row in such a file, as quickly as a hundred thousand of them ask for. Raises as `read_rows`."""
    return [*_rows_in(io.StringIO(read_file(path, ROW_BYTES).decode("utf-8"), newline=""))]


# ---- beside a table


def put(table: Path, row: Row) -> None:
    """Write a row as a file in the folder of those that wait for a table (`grid.rows` of `grid.csv`).

    The folder may be taken away for gathering at any moment: then the file is written again into a new one.
    """
    folder = _waiting(table)
    name, content = f"{time.time_ns():020d}-{secrets.token_hex(4)}.csv", b"".join(lines([row], row.head))
    for _ in range(100):
        if folder.is_symlink():
            raise RunError(f"{folder} is a link, which is not followed: remove it")
        with contextlib.suppress(FileNotFoundError, FileExistsError):  # taken away, or made by another one
            folder.mkdir(parents=True, exist_ok=True)
            this = folder.stat().st_ino
            try:
                save_atomically(folder / name, content, durable=True)
                if (folder / name).exists():
                    return  # else it went into a folder just taken, perhaps too late: twice does no harm
            except RunError:
                if folder.stat().st_ino == this:
                    raise
    raise RunError(f"cannot write in {folder}: it is no folder, or taken away again and again")


def _waiting(table: Path) -> Path:
    return table.with_suffix(".rows")


def _folders(table: Path) -> list[Path]:
    """The folders with rows that wait: the one that is written to, and those taken for gathering."""
    own = _waiting(table)
    found = [own, *sorted(table.parent.glob(f"{glob.escape(own.name)}-*"))]
    return [p for p in found if p.is_dir() and not p.is_symlink()]


def anything_waits(table: Path) -> bool:
    """Whether there is a row, or what a killed process left of gathering some."""
    return bool(_folders(table))


def waiting(table: Path) -> list[Row]:
    """The rows that wait, in the order in which they were written. Raises FileNotFoundError where they were
    taken away meanwhile: look again.
    """
    files = [p for folder in _folders(table) for p in folder.iterdir() if p.suffix == ".csv"]
    return [row for file in sorted(files, key=lambda p: p.name) for row in read_rows(file)]


def take(table: Path) -> tuple[list[Path], list[Row]]:
    """Take the rows that wait: (folders that nobody writes to any more, their rows). The caller holds the
    lock of the table, and removes the folders once the rows stand in it.
    """
    own = _waiting(table)
    with contextlib.suppress(FileNotFoundError):
        if not own.is_symlink():
            own.rename(own.with_name(f"{own.name}-{secrets.token_hex(4)}"))
    folders = [p for p in _folders(table) if p != own]
    files = [p for folder in folders for p in folder.iterdir() if p.suffix == ".csv"]
    return folders, [row for file in sorted(files, key=lambda p: p.name) for row in read_rows(file)]


def remove_taken(folders: Iterable[Path]) -> None:
    """Remove folders whose rows stand in the table."""
    for folder in folders:
        remove(folder)
