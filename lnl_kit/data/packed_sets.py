"""`hf:`, `tar:` and `parquet:` sets as `dataset.load` reads them: unpacked, then a folder with a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from . import archives, folders, hugging_face, label_tables
from .label_formats import LabelTable
from .label_tables import LABEL_COLUMNS
from .packed import Packed, unpacked
from .raw import _by_table, _folder, _Raw

Columns = tuple[str | None, str | None, str | None]  # of a table: path, label, true label


class Asked(NamedTuple):
    """A packed set as it is asked for."""

    name: str
    image_column: str | None
    hf_split: str | None
    columns: Columns | None  # of its own labels; None where a table of the user's stands in for them


class Own(NamedTuple):
    """What a packed set says of its labels."""

    table: LabelTable
    columns: Columns


def packed(asked: Asked) -> Packed:
    """The set, not read yet."""
    if asked.name.startswith("tar:"):
        return archives.of_tars(asked.name, asked.image_column)
    if asked.name.startswith("parquet:"):
        return archives.of_parquet(asked.name, asked.image_column)
    return hugging_face.of_hub(asked.name, asked.hf_split, asked.image_column)


def read(
    asked: Asked,
    cache: Path,
    image_size: int | None,
    like: str | None,
    split: bool | Sequence[str],
    *,
    max_pixels: int | None,
    keep: bool,
) -> tuple[_Raw, Own]:
    """(every image of the set, its own labels); see `raw._folder`."""
    found = unpacked(packed(asked), cache, keep)
    tree = folders.walk(found.folder)
    _, label, true = asked.columns or (None, None, None)
    header = found.table.header
    if asked.columns is None and found.label is None:  # any will do: the user's table says the labels
        label = next((c for c in header if c in LABEL_COLUMNS), header[-1])
    columns: Columns = ("path", label or found.label, true)
    told = label_tables.classes_of(found.table, [f.path for f in tree.images], *columns)
    scan = _by_table(found.folder, tree, found.table, told, None, split is not True)
    scan = scan._replace(notes=[*found.notes, *scan.notes])
    raw = _folder(found.folder, cache, image_size, like, split, scan=scan, max_pixels=max_pixels, keep=keep)
    used = {*(raw.paths or ()), *(raw.test_paths or ())}  # without val/ beside test/
    table = found.table
    rows = [n for n, row in enumerate(table.rows) if row[header.index("path")] in used]
    own = table._replace(rows=[table.rows[n] for n in rows], lines=[table.lines[n] for n in rows])
    return raw, Own(own, columns)
