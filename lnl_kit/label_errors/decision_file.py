"""decisions.csv: what people decided about suspicious labels, in a file that only grows.

A decision belongs to a picture and a label: each row keeps a digest of the pixels and the label that the
image had. Where the findings beside the file say something else of an image today (it was renamed, replaced,
given another label, or its labels were made wrong by another seed), the decision does not stand: the image
counts as undecided.
"""

from __future__ import annotations

import csv
import hashlib
import io
import re
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ..files import (
    RunError,
    append,
    csv_line,
    flag,
    lock,
    read_file,
    read_json,
    read_table,
    save_atomically,
    shortened,
    unguarded,
)
from .spreadsheet import plain

ACTIONS = ("keep", "accept", "class", "drop", "unsure")  # and "undo", which takes back the last one
COLUMNS = ("image", "action", "label", "when", "given", "digest")
BEFORE = COLUMNS[:4]  # the columns up to version 0.1
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
DIGEST = re.compile("[0-9a-f]{16}")
BYTES = 2**28  # the largest file of decisions that is read
NOT_KNOWN = (
    "they were made by an earlier version, and whether image and label are still the same is not known"
)
APPLIED = "the labels that were searched had it applied already"
OTHER_IMAGE = "the image is another one than when it was decided"
LEFT_OUT = "the labels that were searched leave the image out"
OTHER_LABEL = "the image had another label when it was decided"


class Seen(NamedTuple):
    """An image as the findings have it."""

    given: str  # its label
    digest: str = ""  # of its pixels; "" where they are not known
    since: str = ""  # when decisions were last applied to the labels that were searched; "" = never
    dropped: bool = False  # whether these labels leave it out


class Decision(NamedTuple):
    """A row of decisions.csv."""

    image: str
    action: str
    label: str
    when: str
    given: str  # the label when it was decided; "" = not known
    digest: str  # of the pixels when it was decided; "" = not known

    def why_not(self, seen: Seen | None) -> str:
        """Why it does not stand for the image as it is `seen` now; "" where it does."""
        if seen is not None and seen.dropped and self.action != "drop":
            return LEFT_OUT  # by an earlier round or by hand: it was not looked at since
        if seen is None or not seen.given:
            return ""  # an image that is not there any more, or was left out: nothing can be done to it
        if not self.given:
            return NOT_KNOWN
        if self.digest and seen.digest and self.digest != seen.digest:
            return OTHER_IMAGE
        if self.given != seen.given:
            return OTHER_LABEL
        changed = self.action in ("accept", "class") or (self.action == "drop" and not seen.dropped)
        applied = changed and self.when <= seen.since
        return APPLIED if applied else ""  # and whoever took it back by hand since, meant it


class Decisions:
    """decisions.csv: one row a decision, appended and synced before `add` returns; the last about an image
    that stands counts.

    seen: {image: Seen}, the images as they are now; None = those of `labels_before.csv` beside the file, if
    it is there. A row that a killed process or a power cut left unfinished is removed when the next one is
    written. A file of an earlier version opens: its decisions stand where the findings have not been written
    since (by the clock). Raises ValueError for a file with anything else in it.
    """

    def __init__(self, path: str | Path, seen: dict[str, Seen] | None = None):
        self.path = Path(path)
        self.seen = seen_before(self.path.parent / "labels_before.csv") if seen is None else seen
        self._load()

    @property
    def made(self) -> dict[str, tuple[str, str]]:
        """{image: (action, label)}: what stands now, in the order in which it was decided."""
        return {d.image: (d.action, d.label) for d in self._history if not self._why_not(d)}

    @property
    def left_out(self) -> dict[str, list[str]]:
        """{why: images}: decisions that do not stand, of images about which no other decision does."""
        made = self.made
        found: dict[str, list[str]] = {}
        for image, why in {d.image: self._why_not(d) for d in self._history}.items():
            if why and image not in made:
                found.setdefault(why, []).append(image)
        return found

    def _why_not(self, decision: Decision) -> str:
        return "" if self.seen is None else decision.why_not(self.seen.get(decision.image))

    def add(self, image: str, action: str, label: str = "") -> None:
        """Write a decision about an image (its path or index); label: the class for "accept" and "class",
        else empty.

        Raises ValueError for an unknown action and OSError where the file cannot be written; then nothing was
        decided.
        """
        self.add_all([(image, action, label)])

    def add_all(self, decisions: Iterable[tuple[str, str, str]]) -> None:
        """Write several decisions (image, action, label) at once; else as `add`."""
        decisions = list(decisions)
        for _, action, _ in decisions:
            if action not in ACTIONS:
                raise ValueError(f"action {action!r} does not exist: {', '.join(ACTIONS)}")
        self._append(decisions)

    def undo(self) -> str | None:
        """Take back the last decision that stands; returns its image, None where there is none."""
        standing = [d.image for d in self._history if not self._why_not(d)]
        if not standing:
            return None
        self._append([(standing[-1], "undo", "")])
        return standing[-1]

    def _load(self) -> None:
        self._history: list[Decision] = []
        self._all: list[Decision] = []  # with what was taken back
        self._size, self._mend, rows = 0, False, []
        if self.path.is_symlink():
            raise ValueError(f"{self.path} is a link, which is not followed: put the file itself there")
        if self.path.exists():
            content = read_file(self.path, BYTES)
            self._size = len(content)
            rows = self._rows(content)
        for row in rows:
            self._apply(row)

    def _apply(self, row: Decision) -> None:
        if row.action != "undo":
            self._history.append(row)
            return
        last = max((n for n, d in enumerate(self._history) if d.image == row.image), default=None)
        if last is not None:
            del self._history[last]

    def _append(self, decisions: list[tuple[str, str, str]]) -> None:
        rows = []
        for image, action, label in decisions:
            seen = (self.seen or {}).get(image, Seen(""))
            rows.append(Decision(image, action, label, utc(), seen.given, seen.digest))
        if not rows:
            return
        try:
            with lock(self.path.parent):
                self._write(rows)
        except RunError as error:
            raise OSError(str(error)) from None
        self._all += rows
        for row in rows:
            self._apply(row)

    def _write(self, rows: list[Decision]) -> None:
        size = self.path.stat().st_size if self.path.exists() else 0
        if size != self._size:
            self._load()
            raise OSError(f"{self.path} was changed elsewhere and has been read anew; decide again")
        if self._mend:  # an unfinished row, or the columns of an earlier version
            self.rewrite()
        lines = b"".join(map(csv_line, rows))
        lines = lines if self._size else csv_line(COLUMNS) + lines
        append(self.path, lines, self._size)
        self._size += len(lines)

    @property
    def of_earlier_version(self) -> bool:
        """Whether the file has the columns of an earlier version; `rewrite` gives it those of this one."""
        return self._mend

    def rewrite(self) -> None:
        """Write the whole file anew, with the columns of this version; the caller holds the folder's lock."""
        content = csv_line(COLUMNS) + b"".join(map(csv_line, self._all))
        save_atomically(self.path, content, durable=True)
        self._size, self._mend = len(content), False

    def _rows(self, content: bytes) -> list[Decision]:
        """The rows of a file; an unfinished last one is left out."""
        saved = content.decode("utf-8", "surrogateescape")
        if not saved:
            return []
        text = plain(saved, (COLUMNS, BEFORE))  # a spreadsheet may have saved it
        try:
            rows = [[unguarded(c) for c in row] for row in csv.reader(io.StringIO(text, newline=""))]
        except csv.Error as problem:
            raise ValueError(f"{self.path} is not a file of decisions: {problem}") from None
        torn = not text.endswith("\n") or text.count('"') % 2  # in the second case within a quoted cell
        if torn and csv_line(COLUMNS).decode().startswith(text):  # not even the heading was finished
            self._mend = True
            return []
        width = {COLUMNS: len(COLUMNS), BEFORE: len(BEFORE)}.get(tuple(rows[0]))
        if width is None:
            raise ValueError(
                f"{self.path} is not a file of decisions: its columns are {shortened(rows[0])}, "
                f"not {', '.join(COLUMNS)}"
            )
        good = [
            len(row) == width and row[1] in (*ACTIONS, "undo") and bool(WHEN.fullmatch(row[3]))
            for row in rows[1:]
        ]
        if torn and good and not (good[-1] and (width == len(BEFORE) or len(rows[-1][-1]) == 16)):
            rows, good = rows[:-1], good[:-1]  # a digest has 16 digits: one that was cut is no whole row
        if not all(good):
            bad = rows[1 + good.index(False)]
            raise ValueError(
                f"{self.path} has a row that is no decision: {shortened(bad)!r}; mend or delete it"
            )
        self._mend = bool(torn) or width == len(BEFORE) or text != saved
        if width == len(BEFORE):
            rows = [rows[0], *self._completed(rows[1:])]
        self._all = [_known(Decision(*row)) for row in rows[1:]]
        return self._all

    def _completed(self, rows: list[list[str]]) -> list[list[str]]:
        """Rows of an earlier version with label and digest from the errors.csv beside them, where it was
        written before the decision; else both stay unknown.
        """
        errors = self.path.parent / "errors.csv"
        if not errors.is_file():
            return [[*row, "", ""] for row in rows]
        written = errors.stat().st_mtime
        table = {
            row["path"] or row["index"]: (row["given"], row.get("digest", "")) for row in read_table(errors)
        }
        return [
            [*row, *(table.get(row[0], ("", "")) if written <= _seconds(row[3]) + 1 else ("", ""))]
            for row in rows
        ]


def _known(row: Decision) -> Decision:
    """The row, without a digest that a spreadsheet made a number of."""
    return row if DIGEST.fullmatch(row.digest) else row._replace(digest="")


def _seconds(when: str) -> float:
    try:
        return datetime.fromisoformat(when).timestamp()
    except ValueError:  # the 31st of February
        return 0.0


def seen_before(path: Path) -> dict[str, Seen] | None:
    """{image: Seen} of a `labels_before.csv`; None where there is none."""
    if not path.is_file():
        return None
    return {
        row.get("path") or row.get("index", ""): Seen(
            row.get("given", ""),
            row.get("digest", ""),
            row.get("since", ""),
            bool(flag(row.get("dropped"))),
        )
        for row in read_table(path)
    }


def applied(folder: Path) -> dict[str, str]:
    """{digest of a table that `apply` wrote from the findings in this folder: when}, in that order."""
    try:
        found = read_json(folder / "applied.json")
    except (OSError, ValueError):
        return {}
    return {str(k): str(v) for k, v in found.items()} if isinstance(found, dict) else {}


def digest_of(content: bytes) -> str:
    """What `applied` knows a table by."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def utc() -> str:
    """This moment, as it stands in decisions.csv."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
