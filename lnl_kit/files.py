"""Files: written whole or not at all, locked, named safely; and where the kit's files lie."""

from __future__ import annotations

import contextlib
import csv
import errno
import fcntl
import io
import json
import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np


class RunError(RuntimeError):
    """A run cannot go on; the message is one sentence, and what was saved stays valid."""


def save_atomically(path: Path, content: bytes | memoryview, durable: bool = False) -> None:
    """Write a file so that a killed process leaves either the old or the new content, whole; with `durable`
    a power cut does as well."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        raise RunError(
            f"cannot write {path}: {why}; what was saved before is untouched, "
            "make room and run the same command again"
        ) from None


def csv_bytes(rows: list[dict], first: tuple[str, ...]) -> bytes:
    """Rows as CSV: the columns `first`, then any others in order of appearance; missing = empty."""
    columns = [*first, *dict.fromkeys(k for row in rows for k in row if k not in first)]
    return b"".join(csv_line(row) for row in [columns, *([row.get(k) for k in columns] for row in rows)])


def csv_line(row) -> bytes:
    """A row of a CSV file; quotes, commas and line ends of every kind come back as they are."""
    text = io.StringIO()
    csv.writer(text).writerow(
        row
    )  # before Python 3.13 it quotes only the line ends that it writes itself: both
    return text.getvalue()[:-2].encode("utf-8", "surrogateescape") + b"\n"


def npz_bytes(arrays: dict) -> bytes:
    """Arrays as an uncompressed .npz."""
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@contextlib.contextmanager
def lock(folder: Path):
    """Hold a folder against other processes by a kernel lock: a killed process leaves none behind."""
    import fcntl

    with open(folder / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process is at work in {folder}: waiting for it", file=sys.stderr)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def runs_root(out: str | Path | None = None) -> Path:
    """The root of the run folders: `out`, else $LNL_RUNS, else runs/ beside the pyproject.toml found upwards
    from the current folder, else ./runs."""
    if out or os.environ.get("LNL_RUNS"):
        return Path(out or os.environ["LNL_RUNS"]).absolute()
    return project_folder() / "runs"


def json_bytes(value: dict) -> bytes:
    """Indented JSON."""
    return (json.dumps(value, indent=1, default=str) + "\n").encode()


def make_folder(folder: Path) -> None:
    """Create a run folder, or say in one sentence why it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".probe.{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot write in {folder}: {error.strerror}; choose another root with --out"
        ) from None


def clear(folder: Path) -> None:
    """Forget a run: the summary first, so that an interruption never leaves a run that looks finished."""
    for path in sorted(folder.iterdir(), key=lambda p: p.name != "summary.json"):
        if path.name != ".lock":
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def project_folder() -> Path:
    """The folder of the `pyproject.toml` found upwards from the current folder, else the current folder."""
    start = Path.cwd()
    return next(
        (p for p in (start, *start.parents) if (p / "pyproject.toml").is_file()),
        start,
    )


def data_root() -> Path:
    """Where data sets and caches lie: `$LNL_DATA`, else `data/` in the project folder, else `./data`."""
    told = os.environ.get("LNL_DATA")
    return Path(told).expanduser() if told else project_folder() / "data"


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the kernel's lock on `path` (made if absent); a killed process leaves none behind."""
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def safe(text: str) -> str:
    """`text` with only letters, digits, dots, dashes and underscores, for use in a path."""
    kept = (c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)
    return "".join(kept).strip(".") or "folder"


PATIENCE = 10  # seconds of silence after which a download has failed


@contextlib.contextmanager
def patience(seconds: float):
    """Network calls that are silent for so long fail (torchvision sets no limit)."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
