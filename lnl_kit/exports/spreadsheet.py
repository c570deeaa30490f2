"""Findings as one CSV file, for spreadsheets and scripts; `--labels` reads it too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..files import csv_bytes

if TYPE_CHECKING:
    from .findings import Row, Told

COLUMNS = "path given before dropped action suggested suspicion because kind split digest".split()


def files(rows: list[Row], told: Told, count: dict[str, int]) -> Iterator[tuple[str, bytes]]:
    """labels.csv: a row an image; as of `lnl apply`: given as decided, before as searched, dropped 1 or 0."""
    table = [
        row._asdict() | {"given": row.label or row.given, "before": row.given, "dropped": int(not row.label)}
        for row in rows
    ]
    yield "labels.csv", csv_bytes([{k: row[k] for k in COLUMNS} for row in table], tuple(COLUMNS))
