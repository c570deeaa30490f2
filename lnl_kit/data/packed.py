"""Images that come packed (Hugging Face data sets, WebDataset tars, Parquet): unpacked once, then a folder.

What is packed is copied as it is, image file by image file, to the cache, with a table of labels beside; from
there on everything holds that holds for a folder of images. A packed set is found again as long as its files
(path, size, times, inode) are the same.
"""

from __future__ import annotations

import atexit
import hashlib
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from glob import glob
from pathlib import Path
from typing import NamedTuple

from ..files import RunError, create, csv_bytes, json_bytes, lock, read_json, remove, safe, save_atomically
from .folders import PARTS
from .label_formats import LabelTable, read_table
from .tree import EXTENSIONS, status

VERSION = 1  # to be raised when the same set would be unpacked otherwise
IMAGE_BYTES = 2**28  # of one image, packed as a file
KEEP_FREE = 2**28  # bytes of the disk that unpacking leaves free
TEXT = 200  # characters of a cell: longer ones are no labels
OURS = ("path", "dropped")  # columns that mean something else in the table of labels
MAGIC = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp", b"RIFF": ".webp"}
MAGIC |= {b"II*\0": ".tif", b"MM\0*": ".tif"}


class Sample(NamedTuple):
    """One image of a packed set, before anything is looked at."""

    part: str  # train, val or test
    name: str  # what the set calls it, "" = nothing
    content: bytes | None  # the image file; None = there is none
    values: dict[str, str]  # the columns that may be labels, as text


class Packed(NamedTuple):
    """A packed set before it is read."""

    name: str  # as it was asked for
    state: str  # what its files are known by
    samples: Callable[[Path, list[str]], Iterable[Sample]]  # (a folder for its own use, notes to add to)


class Unpacked(NamedTuple):
    """An unpacked set."""

    folder: Path  # of the images
    table: LabelTable  # a row an image
    label: str | None  # the column of labels where none is named; None = by the usual headings
    notes: tuple[str, ...]


def unpacked(packed: Packed, cache: Path, keep: bool = True) -> Unpacked:
    """The set in the cache, unpacked now or before. keep=False: in a temporary folder, until the end.

    Raises OSError where the disk has no room, and what reading the set raises.
    """
    if not keep:
        cache = Path(tempfile.mkdtemp())
        atexit.register(remove, cache)
    owner = hashlib.blake2b(packed.name.encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    key = hashlib.blake2b(f"{VERSION} {packed.state}".encode("utf-8", "surrogateescape"), digest_size=16)
    place = cache / "sets" / f"{safe(packed.name.rpartition('/')[2])[-40:]}-{owner}"
    there = place / key.hexdigest()
    try:
        place.mkdir(parents=True, exist_ok=True)
        with lock(place / "lock"):
            if not (there / "info.json").exists():
                for old in place.iterdir():  # earlier states of the set, and what a killed process left
                    if old.name != "lock":
                        remove(old)
                _unpack(packed, place / "tmp")
                (place / "tmp").rename(there)
    except RunError as error:
        raise OSError(str(error)) from None
    info = read_json(there / "info.json")
    table = read_table(there / "labels.csv")._replace(name=packed.name)
    return Unpacked(there / "images", table, info["label"], tuple(info["notes"]))


def _unpack(packed: Packed, out: Path) -> None:
    (out / "work").mkdir(parents=True)
    notes: list[str] = []
    rows: list[dict[str, str]] = []
    folders: set[Path] = set()
    lost: Counter[str] = Counter()
    for n, sample in enumerate(packed.samples(out / "work", notes)):
        content = sample.content or b""
        if len(content) > IMAGE_BYTES:
            lost[f"of more than {IMAGE_BYTES / 1e6:.0f} MB"] += 1
            continue
        if n % 1000 == 0 or len(content) > KEEP_FREE // 16:
            _require_room(out, len(content))
        path = f"{sample.part}/{n // 1000:04d}/{_file_name(n, sample.name, content)}"
        if (folder := (out / "images" / path).parent) not in folders:
            folder.mkdir(parents=True)
            folders.add(folder)
        with create(out / "images" / path) as file:
            file.write(content)
        rows.append({"path": path, **{k: v for k, v in sample.values.items() if k.lower() not in OURS}})
    if not rows:
        raise ValueError(f"{packed.name} holds no images{_because(notes)}")
    notes += [f"{n} images {what} left out" for what, n in lost.items()]
    remove(out / "work")
    save_atomically(out / "labels.csv", csv_bytes(rows, ("path",)))
    label = "cls" if any("cls" in row for row in rows) else None
    save_atomically(out / "info.json", json_bytes({"label": label, "notes": notes}))


def _because(notes: list[str]) -> str:
    return f" ({'; '.join(notes)})" if notes else ""


def _require_room(out: Path, more: int) -> None:
    if (free := shutil.disk_usage(out).free) < KEEP_FREE + more:
        raise OSError(
            f"unpacking needs room in {out.parent}, where {free / 1e6:.0f} MB are free: make room, or set "
            "LNL_DATA to a folder on another disk"
        )


def _file_name(n: int, name: str, content: bytes) -> str:
    """A name that is safe, tells the image's own, and ends as what it is, as far as its first bytes tell."""
    stem, ending = os.path.splitext(name.rpartition("/")[2])
    ending = ending.lower()
    if ending not in EXTENSIONS:
        stem, ending = stem + ending, next((e for m, e in MAGIC.items() if content.startswith(m)), ".jpg")
    own = f"-{safe(stem)[-60:]}" if stem else ""
    return f"{n:07d}{own}{ending}"


def files_of(name: str, pattern: str, ending: str) -> list[Path]:
    """The files that a pattern means: `*`, `?`, `**`, and {000..012} as WebDataset writes it.

    Raises FileNotFoundError.
    """
    found: dict[str, None] = {}
    for one in expanded(os.path.expanduser(pattern)):
        place = os.path.join(one, f"*{ending}") if os.path.isdir(one) else one
        found |= dict.fromkeys(p for p in sorted(glob(place, recursive=True)) if os.path.isfile(p))
    if not found:
        raise FileNotFoundError(
            f"no file is called {name.partition(':')[2]}: give {name.partition(':')[0]}:PATTERN, such as "
            f"{name.partition(':')[0]}:shards/train-*{ending}"
        )
    return [Path(p).absolute() for p in found]


def expanded(pattern: str) -> Iterator[str]:
    """Every text that {000..012} in a pattern stands for."""
    if not (found := re.search(r"\{(\d+)\.\.(\d+)\}", pattern)):
        yield pattern
        return
    first, last = found.groups()
    for n in range(int(first), int(last) + 1):
        yield from expanded(f"{pattern[: found.start()]}{n:0{len(first)}d}{pattern[found.end() :]}")


def parts_of(paths: list[Path]) -> dict[Path, str]:
    """{file: train, val or test}, by a word of its name or of its folder's; train where there is none."""
    found = {}
    for path in paths:
        words = [*re.split("[^a-z]+", path.stem.lower()), path.parent.name.lower()]
        found[path] = next((PARTS[word] for word in words if word in PARTS), "train")
    return found


def state_of(paths: Iterable[Path]) -> str:
    """By what files are known to be the same."""
    return "\0".join(f"{path}\0{status(path)}" for path in paths)


def cell(value) -> str | None:
    """A value as a table of labels has it, None where it is none (numbers with fractions, long texts)."""
    if value is None:
        return ""
    if isinstance(value, (bool, int, str)):
        text = str(value)
        return text if len(text) <= TEXT else None
    return None
