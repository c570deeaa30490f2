"""What stands in the kit's files (JSON, CSV, arrays) as bytes, and how files that others made are read: with
limits, and never as anything but data.
"""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import re
import stat
import tokenize
import zipfile
import zlib
from collections.abc import Sequence
from io import BufferedReader
from pathlib import Path

import numpy as np

TABLE_BYTES = 2**29  # the largest table of labels that is read: a million images with long names take 100 MB
NO_ARRAYS = (
    EOFError,
    ValueError,
    KeyError,
    NotImplementedError,
    MemoryError,
    SyntaxError,
    tokenize.TokenError,
)  # of zip and NumPy
ARRAY_BYTES = 2**33  # the largest .npz, unpacked
FORMULA = "=+-@＝＋－＠\t\r"  # what a cell begins with that a spreadsheet takes for a formula
NUMBER = re.compile(r"[+-]?(inf|nan|\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?)")  # "-1" is no formula


def json_bytes(value: dict | list) -> bytes:
    """Indented JSON."""
    return (json.dumps(value, indent=1, default=str) + "\n").encode()


def npz_bytes(arrays: dict, compressed: bool = False) -> bytes:
    """Arrays as a .npz."""
    buffer = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(buffer, **arrays)
    return buffer.getvalue()


def npy_bytes(array: np.ndarray) -> bytes:
    """An array as a .npy."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def csv_bytes(rows: list[dict], first: tuple[str, ...]) -> bytes:
    """Rows as CSV: the columns `first`, then any others in order of appearance; missing = empty."""
    columns = [*first, *dict.fromkeys(k for row in rows for k in row if k not in first)]
    return b"".join(csv_line(row) for row in [columns, *([row.get(k) for k in columns] for row in rows)])


def csv_line(row) -> bytes:
    """A row as it stands in a CSV file: cells with quotes, commas and line ends of every kind come back as
    they are, and no spreadsheet takes a text for a formula (see `guarded`).
    """
    text = io.StringIO()
    cells = [guarded(cell) if isinstance(cell, str) else cell for cell in row]
    csv.writer(text).writerow(
        cells
    )  # before Python 3.13 it quotes only the line ends that it writes itself: both
    return text.getvalue()[:-2].encode("utf-8", "surrogateescape") + b"\n"


def guarded(text: str) -> str:
    """A text that a spreadsheet would take for a formula, with an apostrophe before it; `unguarded` takes it
    away. A text that begins with apostrophes and then like a formula gets one more, so that both agree.
    """
    if not text or (text[0] != "'" and text[0] not in FORMULA):  # nearly all, in tables of a million cells
        return text
    bare = text.lstrip("'")
    formula = bare[:1] and bare[0] in FORMULA and not (bare == text and NUMBER.fullmatch(text))
    return f"'{text}" if formula else text


def unguarded(text: str) -> str:
    """The text that `guarded` made safe; any other as it is."""
    if text[:1] != "'":
        return text
    bare = text.lstrip("'")
    return text[1:] if bare != text and bare[:1] and bare[0] in FORMULA else text


def flag(text: str | None) -> bool | None:
    """Yes or no as people and spreadsheets write it (1, 1.0, true, t, yes, y, x; 0, 0.0, false, f, no, n,
    empty); None for any other text.
    """
    said = (text or "").strip().lower()
    if said in ("1", "1.0", "true", "t", "yes", "y", "x"):
        return True
    return False if said in ("", "0", "0.0", "false", "f", "no", "n") else None


class _Named(io.FileIO):
    """An opened file that says its name where it cannot be read: a disk or network drive that fails."""

    def __init__(self, number: int, path: Path | str):
        super().__init__(number, "rb")
        self.path = path

    def readinto(self, buffer) -> int:
        with self._told():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with self._told():
            return super().readall()

    @contextlib.contextmanager
    def _told(self):
        try:
            yield
        except OSError as error:
            raise OSError(f"{self.path} cannot be read ({error.strerror or error})") from None


def ordinary(path: Path | str) -> BufferedReader:
    """An ordinary file, opened to be read. Raises OSError (one sentence for a folder), and ValueError for
    what is neither: a pipe would wait for ever.
    """
    file = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return BufferedReader(_Named(file, path))
    os.close(file)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(f"{path} is a folder, where a file is read")
    raise ValueError(f"{path} is no ordinary file")


def read_file(path: Path | str, at_most: int = TABLE_BYTES) -> bytes:
    """The bytes of an ordinary file. Raises OSError, and ValueError for one with more than `at_most` bytes,
    and for what is no ordinary file (a pipe would wait for ever).
    """
    with ordinary(path) as opened:
        parts, size = [], os.fstat(opened.fileno()).st_size
        while size <= at_most and (
            part := opened.read(1 << 22)
        ):  # read(at_most) would ask for so much memory
            parts.append(part)
            size = max(size, sum(map(len, parts)))
        if size > at_most:
            raise ValueError(f"{path} has more than {at_most / 1e6:.0f} MB, which is no such file")
    return b"".join(parts)


def shortened(columns: Sequence[str], most: int = 20) -> str:
    """The columns of a table for a sentence: the first ones, and how many more there are."""
    shown = ", ".join(column[:60] for column in columns[:most]) or "none"
    return shown if len(columns) <= most else f"{shown} and {len(columns) - most:,} more"


def read_csv(path: Path, at_most: int = TABLE_BYTES, errors: str = "strict") -> list[list[str]]:
    """The rows of a CSV file in UTF-8, with its heading, as text; formulas that `guarded` made safe come back
    as they were. errors: as of `bytes.decode`. Raises OSError, UnicodeDecodeError, csv.Error,
    and ValueError for a file that is too large.
    """
    text = read_file(path, at_most).decode("utf-8-sig", errors)
    return [[unguarded(cell) for cell in row] for row in csv.reader(io.StringIO(text, newline="")) if row]


def read_table(
    path: Path, at_most: int = TABLE_BYTES, errors: str = "surrogateescape"
) -> list[dict[str, str]]:
    """The rows of a CSV file, one dictionary each, by default as the kit wrote it; raises as `read_csv`."""
    head, *rows = read_csv(path, at_most, errors) or [[]]
    return [dict(zip(head, [*row, *[""] * (len(head) - len(row))])) for row in rows]


def read_json(path: Path | str, at_most: int = 2**26):
    """What a JSON file holds. Raises OSError, and ValueError with one sentence for what is no JSON."""
    try:
        return json.loads(read_file(path, at_most))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is damaged, or no JSON: {error}") from None


def read_npz(path: Path, at_most: int = ARRAY_BYTES) -> dict[str, np.ndarray]:
    """The arrays of a .npz: numbers only, no pickles, and no more bytes than the file says and `at_most`.

    Raises OSError, and ValueError for a file that is damaged or something else.
    """
    try:
        with ordinary(path) as opened, zipfile.ZipFile(opened) as archive:
            members = archive.infolist()
            if sum(m.file_size for m in members) > at_most:
                raise ValueError(f"its arrays take more than {at_most / 1e9:.3g} GB")
            return {m.filename.removesuffix(".npy"): _npy(archive, m) for m in members}
    except (zipfile.BadZipFile, zlib.error, *NO_ARRAYS) as error:
        raise ValueError(f"{path} is damaged or no file of arrays: {error}") from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        raise ValueError(f"{path} is damaged or no file of arrays: it points outside itself") from None


def _npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in read:
            raise ValueError(f"{member.filename} is of version {version}")
        shape, _, dtype = read[version](file)
        if dtype.hasobject:
            raise ValueError(f"{member.filename} holds Python objects")
        if int(np.prod(shape, dtype=object)) * dtype.itemsize > member.file_size:
            raise ValueError(f"{member.filename} holds less than it says")
    with archive.open(member) as file:
        return np.lib.format.read_array(file, allow_pickle=False)
