"""A file of decisions as a spreadsheet saves it, written again as the review writes it."""

from __future__ import annotations

import csv
import datetime
import io
from collections.abc import Sequence

from ..files import csv_line, unguarded

DATES = ("%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y", "%Y-%m-%d", "%Y/%m/%d", "%m/%d/%y", "%d.%m.%y", "%d-%m-%Y")
TIMES = ("%H:%M:%S", "%H:%M", "%I:%M:%S %p", "%I:%M %p")
ISO = "%Y-%m-%dT%H:%M:%SZ"


def plain(text: str, headings: Sequence[Sequence[str]], date: str = "when") -> str:
    """The text of a CSV file with one of these headings, without what spreadsheets change.

    They add a mark of the encoding, semicolons or tabs for commas, other line ends, empty columns and rows,
    and change the form of dates. A text that is as it should be, or that has another heading, is returned as
    it came; a cell that is no date stays as it is.
    """
    bare = text.removeprefix("\ufeff").removeprefix("\xef\xbb\xbf")
    heading = bare.split("\n", 1)[0].rstrip("\r")
    separator = max(",;\t", key=heading.count)
    names = [cell.strip().strip('"') for cell in heading.split(separator)]
    columns = next((list(c) for c in headings if [name for name in names if name] == list(c)), None)
    if columns is None:
        return text
    if text == bare and separator == "," and "\r\n" not in text and not _has_other_dates(text, columns, date):
        return text
    try:
        rows = list(csv.reader(io.StringIO(bare, newline=""), delimiter=separator))
    except csv.Error:
        return text
    at = columns.index(date)
    out = [csv_line(columns)]
    for row in rows[1:]:
        if any(cell.strip() for cell in row):
            row = [unguarded(cell) for cell in row[: len(columns)]] + [""] * (len(columns) - len(row))
            out.append(csv_line([*row[:at], as_iso(row[at]), *row[at + 1 :]]))
    return b"".join(out).decode("utf-8", "surrogateescape")


def _has_other_dates(text: str, columns: Sequence[str], date: str) -> bool:
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return False
    at = list(columns).index(date)
    whole = rows[1:] if text.endswith("\n") else rows[1:-1]  # the last row may be torn: that is for others
    return any(len(row) == len(columns) and as_iso(row[at]) != row[at] for row in whole)


def as_iso(text: str) -> str:
    """A date and time of any usual form as 2024-01-31T12:00:00Z; anything else as it came."""
    bare = " ".join(text.replace(",", " ").split())
    for form in (ISO, *(f"{day} {time}" for day in DATES for time in TIMES), *DATES):
        try:
            return datetime.datetime.strptime(bare, form).strftime(ISO)
        except ValueError:
            continue
    return text
