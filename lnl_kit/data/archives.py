"""WebDataset tars and Parquet files with images inside, as `packed` reads them."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..files import read_file, shortened
from .label_formats import PARQUET_ROWS, class_names
from .packed import IMAGE_BYTES, Packed, Sample, cell, files_of, parts_of, state_of
from .tree import EXTENSIONS

LABEL_BYTES = 2**20  # of a file of labels within a tar
NAMES = ("classnames.txt", "classes.txt")  # beside the tars or above: one class a line, for numbers in .cls
ROWS = 64  # of a Parquet file, at a time


def of_tars(name: str, image_column: str | None) -> Packed:
    """`tar:PATTERN`: samples of files with one stem: an image, and .cls, .txt or .json with its labels.

    image_column: the ending of the image where a sample has several.
    """
    paths = files_of(name, name.partition(":")[2], ".tar")
    beside = [
        p for path in paths[:1] for folder in (path.parent, path.parent.parent) for p in _names_in(folder)
    ]
    state = f"{image_column} {state_of([*paths, *beside])}"
    names = read_file(beside[0]).decode("utf-8-sig").splitlines() if beside else []

    def samples(work: Path, notes: list[str]) -> Iterator[Sample]:
        parts, without = parts_of(paths), 0
        for path in paths:
            for key, members in _grouped(path, notes):
                image = _image_of(members, image_column)
                if image is None:
                    without += 1
                    continue
                values = _labels(members, [name.strip() for name in names])
                yield Sample(parts[path], f"{key}.{image}", members[image], values)
        if without:
            notes.append(f"{without} samples without an image left out")

    return Packed(f"{name} {image_column or ''}".strip(), state, samples)


def _names_in(folder: Path) -> list[Path]:
    return [folder / name for name in NAMES if (folder / name).is_file()]


def _grouped(path: Path, notes: list[str]) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(what its files are called up to the first dot, {ending: content}) of each sample of a tar.

    Only ordinary files are read, into memory: nothing is written where a tar says.
    """
    key, others, large = "", 0, 0
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|*") as tar:
            for member in tar:
                folder, slash, base = member.name.rpartition("/")
                stem, dot, ending = base.partition(".")
                if not member.isfile() or not dot or not stem:
                    others += not member.isdir()
                    continue
                if folder + slash + stem != key:
                    if found:
                        yield key, found
                    key, found = folder + slash + stem, {}
                ending = ending.lower()
                if member.size > (IMAGE_BYTES if f".{ending}" in EXTENSIONS else LABEL_BYTES):
                    large += 1
                    continue
                file: Any = tar.extractfile(member)
                found[ending] = file.read()
            if found:
                yield key, found
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ValueError(f"{path} cannot be read as a tar ({error}): fetch it again") from None
    if others:
        notes.append(f"{others} entries of {path.name} that are no ordinary files with an ending ignored")
    if large:
        notes.append(f"{large} files of {path.name} that are too large left out")


def _image_of(members: dict[str, bytes], wanted: str | None) -> str | None:
    """The ending of a sample's image."""
    if wanted:
        return wanted.lower() if wanted.lower() in members else None
    return next((e for e in members if f".{e.rpartition('.')[2]}" in EXTENSIONS), None)


def _labels(members: dict[str, bytes], names: list[str]) -> dict[str, str]:
    """What a sample's other files say: a column for .cls and .txt, and one for each key of a .json."""
    found: dict[str, str] = {}
    for ending in ("cls", "txt"):
        if (
            ending in members
            and (text := cell(members[ending].decode("utf-8", "replace").strip())) is not None
        ):
            number = int(text) if ending == "cls" and text.isdecimal() else len(names)
            found[ending] = names[number] if number < len(names) else text
    if "json" in members:
        try:
            told = json.loads(members["json"])
        except (ValueError, RecursionError):
            told = None
        for key, value in told.items() if isinstance(told, dict) else ():
            if (text := cell(value)) is not None:
                found[str(key)] = text
    return found


def of_parquet(name: str, image_column: str | None) -> Packed:
    """`parquet:PATTERN`: files with a column of image files (bytes, or Hugging Face's image)."""
    paths = files_of(name, name.partition(":")[2], ".parquet")

    def samples(work: Path, notes: list[str]) -> Iterator[Sample]:
        parts = parts_of(paths)
        for path in paths:
            for own, content, values in _rows(path, image_column):
                yield Sample(parts[path], own, content, values)

    return Packed(f"{name} {image_column or ''}".strip(), f"{image_column} {state_of(paths)}", samples)


def _rows(path: Path, image_column: str | None) -> Iterator[tuple[str, bytes | None, dict[str, str]]]:
    """(what an image is called, its bytes, the other columns) of each row."""
    try:
        from pyarrow import parquet
    except ImportError:
        raise ValueError(f"{path} is read with the package pyarrow: pip install 'lnl-kit[parquet]'") from None
    try:
        file = parquet.ParquetFile(path)
    except Exception as error:  # a damaged file makes pyarrow raise all sorts
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None
    if file.metadata.num_rows > PARQUET_ROWS:
        raise ValueError(f"{path} has {file.metadata.num_rows} rows: more than such a set takes")
    image = _image_column(path, file.schema_arrow, image_column)
    classes = class_names(file.schema_arrow.metadata or {})
    try:
        for batch in file.iter_batches(ROWS):
            for row in batch.to_pylist():
                held = row.pop(image)
                held = held if isinstance(held, dict) else {"bytes": held}
                content, own = held.get("bytes"), held.get("path")
                values = {k: named(v, classes.get(k)) for k, v in row.items()}
                kept = {k: v for k, v in values.items() if v is not None}
                yield own if isinstance(own, str) else "", content, kept
    except OSError as error:  # pyarrow's, of a damaged file
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from None


def named(value, classes: list[str] | None) -> str | None:
    """A cell; a class number as the name of its class, -1 as none."""
    if classes is not None and isinstance(value, int):
        return classes[value] if 0 <= value < len(classes) else ""
    return cell(value)


def _image_column(path: Path, schema: Any, wanted: str | None) -> str:
    """The column that holds image files. Raises ValueError."""
    import pyarrow as pa

    def holds(kind: Any) -> bool:
        if pa.types.is_struct(kind):
            return any(f.name == "bytes" and holds(f.type) for f in kind)
        return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)

    there = [f.name for f in schema if holds(f.type)]
    if wanted is not None and wanted not in there:
        raise ValueError(
            f"{path} has no column {wanted!r} of images: {', '.join(there) or 'no column'} holds bytes"
        )
    if not there:
        raise ValueError(
            f"{path} has no column with bytes of images: its columns are {shortened(schema.names)}"
        )
    return wanted or there[0]
