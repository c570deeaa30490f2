"""Everything that lies below a folder: images, other files, folders, and what cannot be read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from .problems import Problem

EXTENSIONS = tuple(
    ".jpg .jpeg .jpe .jfif .png .webp .bmp .dib .gif .tif .tiff .ppm .pgm .pbm .pnm .avif .heic .heif".split()
)


class File(NamedTuple):
    """One image file of a folder, as found by the scan."""

    path: str  # relative to the folder, with "/"
    label: str  # its class: the name of the folder it lies in; "" where a label file is to say it
    test: bool  # whether it is a test image
    size: int  # bytes
    mtime: int  # nanoseconds
    inode: int = 0
    ctime: int = 0  # nanoseconds; when the file was last written, renamed or replaced
    part: str = "train"  # the part of the folder that it lies in: train, val or test


class Tree(NamedTuple):
    """Everything below a folder but what is hidden; paths are relative to it, with "/"."""

    images: list[File]
    others: list[str]  # files that are no images
    folders: list[str]
    circles: list[str]  # links to a folder that they lie in
    problems: list[Problem]  # folders that cannot be read


def status(path: str | Path, entry=None) -> tuple[int, int, int, int]:
    """(size, mtime, inode, ctime) of a file, zeros where there is none behind a link."""
    try:
        s = entry.stat() if entry else os.stat(path)
    except OSError:  # a link to nothing, or in a circle: reported with the unreadable images
        return 0, 0, 0, 0
    return s.st_size, s.st_mtime_ns, s.st_ino, s.st_ctime_ns


def walk(folder: Path) -> Tree:
    """Everything below `folder`, links followed; names that begin with a dot are hidden.

    Raises FileNotFoundError where there is no such folder, PermissionError where it cannot be read,
    ValueError for file names that are not UTF-8.
    """
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "does not exist"
        raise FileNotFoundError(
            f"no folder {folder}: it {what}; give folder:PATH where PATH holds train/<class>/*.jpg or "
            "<class>/*.jpg"
        )
    tree = Tree([], [], [], [], [])
    _walk(str(folder), "", frozenset(), tree)
    if tree.problems and tree.problems[0].path == ".":
        raise PermissionError(
            f"{folder} cannot be read ({tree.problems[0].detail}): give yourself the right to read it"
        )
    if strange := [f.path for f in tree.images if not _is_utf8(f.path)]:
        raise ValueError(
            f"{len(strange)} file names in {folder} are not UTF-8, such as {strange[0]!a}: rename these files"
        )
    return tree


def _walk(folder: str, inside: str, above: frozenset, tree: Tree) -> None:
    try:
        known = os.stat(folder)
        with os.scandir(folder) as opened:
            entries = sorted(opened, key=lambda e: e.name)
    except OSError as error:
        tree.problems.append(
            Problem("folders that cannot be read", inside or ".", error.strerror or str(error))
        )
        return
    above = above | {(known.st_dev, known.st_ino)}
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        path = f"{inside}/{entry.name}" if inside else entry.name
        if _is_folder(entry):
            target = os.stat(entry.path) if entry.is_symlink() else None
            if target and (target.st_dev, target.st_ino) in above:
                tree.circles.append(path)
                continue
            tree.folders.append(path)
            _walk(entry.path, path, above, tree)
        elif path.lower().endswith(EXTENSIONS):
            size, mtime, inode, ctime = status(entry.path, entry)
            tree.images.append(File(path, "", False, size, mtime, inode, ctime))
        else:
            tree.others.append(path)


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle
        return False


def _is_utf8(name: str) -> bool:
    try:
        return bool(name.encode())
    except UnicodeEncodeError:  # bytes that Python keeps as lone surrogates
        return False
