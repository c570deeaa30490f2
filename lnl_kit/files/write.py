"""The one way in which the kit writes: whole or not at all, through no link, under a lock.

A test looks for any other way to write a file in the package.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock

TEMPORARY = re.compile(r"\.lnl-[0-9a-f]{16}\.tmp")  # what `save_atomically` writes to before it renames
NO_LINK = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


class RunError(RuntimeError):
    """A run cannot go on; the message is one sentence, and what was saved stays valid."""


class Busy(RunError):
    """Another process holds the lock."""


def save_atomically(path: Path, content: bytes | memoryview | Iterable[bytes], durable: bool = False) -> None:
    """Write a file so that a killed process leaves either the old or the new content, whole; with `durable`
    a power cut does as well. content: the bytes, or parts of them one after the other.

    A file that exists keeps its mode; a link is refused. Raises RunError with one sentence.
    """
    path = Path(path)
    temporary = path.with_name(f".lnl-{secrets.token_hex(8)}.tmp")
    try:
        mode = _mode_of(path)
        with create(temporary) as file:
            file.writelines([content] if isinstance(content, bytes | bytearray | memoryview) else content)
            if mode is not None and hasattr(os, "fchmod"):
                os.fchmod(file.fileno(), mode)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        why = "the disk is full" if error.errno == errno.ENOSPC else error.strerror or error
        raise RunError(
            f"cannot write {path}: {why}; what was saved before is untouched, "
            "make room and run the same command again"
        ) from None


def _mode_of(path: Path) -> int | None:
    """The permissions of a file, None where there is none yet; OSError for a link and anything else."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.ELOOP, "it is a link or no ordinary file, and those are not followed")
    return stat.S_IMODE(status.st_mode)


def create(path: Path):
    """A new file, open for binary writing; FileExistsError where there is one, or a link, of that name."""
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | NO_LINK, 0o666), "wb")


def append(path: Path, content: bytes, size: int, cut: bool = False) -> None:
    """Add to the end of a file of `size` bytes and sync it; where that fails, the file is as it was.

    cut: what lies beyond `size`, left by a killed process, is cut off first.
    The caller holds a lock. Raises BlockingIOError where the file has another size, OSError for a link.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | NO_LINK
    file = os.open(path, flags, 0o666)
    try:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError(errno.ELOOP, f"{path} is no ordinary file")
        if cut and os.fstat(file).st_size > size:
            os.ftruncate(file, size)
        if os.fstat(file).st_size != size:
            raise BlockingIOError(f"{path} was changed elsewhere")
        try:
            if os.write(file, content) < len(content):  # the disk took only a part
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(file)
        except OSError:
            os.ftruncate(file, size)
            raise
    finally:
        os.close(file)
    if size == 0:
        _sync_folder(path.parent)  # its entry is new


def sync(folder: Path) -> None:
    """Bring the files of a folder to the disk, so that a file written next may promise them."""
    for path in folder.iterdir():
        if path.is_file() and not path.is_symlink():
            way = os.O_RDWR if os.name == "nt" else os.O_RDONLY  # Windows syncs only what may be written
            file = os.open(path, way | NO_LINK)
            try:
                os.fsync(file)
            finally:
                os.close(file)
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # there a folder cannot be opened
        return
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that a killed process left in a folder; the caller holds its lock."""
    for path in folder.iterdir() if folder.is_dir() and not folder.is_symlink() else ():
        if TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[None]:
    """Hold a folder (by its file `.lock`), or a file that serves as a lock, against other processes and
    threads. A killed process leaves no lock behind. Raises RunError where the file system cannot lock, and
    Busy where another one holds it and this one is not to wait.
    """
    path = Path(path)
    name = path / ".lock" if path.is_dir() else path
    held = filelock.FileLock(name)
    try:
        try:
            held.acquire(timeout=0)
        except filelock.Timeout:
            if not wait:
                raise Busy(f"another process is at work in {path}") from None
            where = path if path.is_dir() else path.parent
            print(f"another process is at work in {where}: waiting for it", file=sys.stderr)
            held.acquire()
    except (OSError, NotImplementedError) as error:
        why = getattr(error, "strerror", None) or error
        raise RunError(f"cannot lock {name}: {why}; choose a folder on another file system") from None
    try:
        yield
    finally:
        held.release()


def make_folder(folder: Path, root: Path | None = None) -> None:
    """Create a run folder, or say in one sentence why it cannot be written.

    Between `root` (the folder itself where None) and it no link is followed: what is cleared or cleaned up
    there is the kit's own.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        inside = folder.relative_to(root).parts if root else folder.parts[-1:]
        for n in range(len(inside)):
            if (place := Path(*folder.parts[: len(folder.parts) - n])).is_symlink():
                raise RunError(f"{place} is a link, which is not followed: choose another root with --out")
        probe = folder / f".lnl-{secrets.token_hex(8)}.tmp"
        with create(probe) as file:
            file.write(b"x")
        probe.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"cannot write in {folder}: {error.strerror}; choose another root with --out"
        ) from None


def clear(folder: Path) -> None:
    """Forget a run: the summary first, so that an interruption never leaves a run that looks finished. Who
    holds the folder, and held it before, stays.
    """
    for path in sorted(folder.iterdir(), key=lambda p: p.name != "summary.json"):
        if path.name not in (".lock", "leases"):
            remove(path)


def remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it; of a link only the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
