"""What people decided about suspicious labels: a file that only grows, and the corrected labels it makes."""

from __future__ import annotations

import csv
import errno
import io
import os
import re
import time
from pathlib import Path

from ..files import csv_bytes, csv_line, save_atomically
from .spreadsheet import plain

ACTIONS = ("keep", "accept", "class", "drop", "unsure")  # and "undo", which takes back the last one
COLUMNS = ("image", "action", "label", "when")
OF_FINDINGS = ("errors.csv", "labels_before.csv", "summary.json", "report.html")  # what lies beside it
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Decisions:
    """decisions.csv: one row a decision, synced before `add` returns; an image's last one counts.

    `made`: {image: (action, label)} of the decisions that stand, in the order they were made. A row that a
    killed process or a power cut left unfinished is removed when the file is opened. Raises ValueError for a
    file with anything else in it.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self._load()

    @property
    def made(self) -> dict[str, tuple[str, str]]:
        """{image: (action, label)}: what stands now."""
        return {image: (action, label) for image, action, label in self._history}

    def add(self, image: str, action: str, label: str = "") -> None:
        """Write a decision about an image (path or index); label: the class for "accept" and "class".

        Raises ValueError for an unknown action and OSError where the file cannot be written; then nothing was
        decided.
        """
        if action not in ACTIONS:
            raise ValueError(f"action {action!r} does not exist: {', '.join(ACTIONS)}")
        self._append(image, action, label)

    def undo(self) -> str | None:
        """Take back the last decision that stands; returns its image, None where there is none."""
        if not self._history:
            return None
        image = self._history[-1][0]
        self._append(image, "undo", "")
        return image

    def _load(self) -> None:
        self._history: list[tuple[str, str, str]] = []
        for image, action, label, _ in self._read():
            self._apply(image, action, label)
        self._size = self.path.stat().st_size if self.path.exists() else 0

    def _apply(self, image: str, action: str, label: str) -> None:
        if action == "undo":
            self._history = self._history[:-1]
        else:
            self._history.append((image, action, label))

    def _append(self, image: str, action: str, label: str) -> None:
        row = csv_line([image, action, label, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())])
        with open(self.path, "ab", buffering=0) as file:
            before = file.tell()
            if before != self._size:
                self._load()
                raise OSError(f"{self.path} was changed elsewhere and has been read anew; decide again")
            line = row if before else csv_line(COLUMNS) + row
            try:
                if file.write(line) < len(line):  # the disk took only a part
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        self._size = before + len(line)
        self._apply(image, action, label)

    def _read(self) -> list[list[str]]:
        """The rows; an unfinished last one is removed from the file."""
        text = self.path.read_bytes().decode("utf-8", "surrogateescape") if self.path.exists() else ""
        if not text:
            return []
        written = plain(text, COLUMNS)
        if written != text:  # what follows is appended in this form
            text = written
            save_atomically(self.path, text.encode("utf-8", "surrogateescape"), durable=True)
        try:
            rows = list(csv.reader(io.StringIO(text, newline="")))
        except csv.Error as problem:
            raise ValueError(f"{self.path} is not a file of decisions: {problem}") from None
        torn = not text.endswith("\n") or text.count('"') % 2  # in the second case within a quoted cell
        if torn and csv_line(COLUMNS).decode().startswith(text):  # not even the heading was finished
            rows = [list(COLUMNS)]
        if rows[:1] != [list(COLUMNS)]:
            raise ValueError(
                f"{self.path} is not a file of decisions: its columns are {', '.join(rows[0])}, "
                f"not {', '.join(COLUMNS)}"
            )
        good = [
            len(row) == len(COLUMNS) and row[1] in (*ACTIONS, "undo") and bool(WHEN.fullmatch(row[3]))
            for row in rows[1:]
        ]
        if torn and good and not good[-1]:
            rows, good = rows[:-1], good[:-1]
        if not all(good):
            bad = rows[1 + good.index(False)]
            raise ValueError(
                f"{self.path} has a row that is no decision: {', '.join(bad)!r}; mend or delete it"
            )
        if torn:
            save_atomically(self.path, b"".join(csv_line(row) for row in rows), durable=True)
        return rows[1:]


def apply(decisions: str | Path, out: str | Path) -> dict[str, int]:
    """Write the labels as decided, for `--labels`; images and folders are not touched.

    decisions: a `decisions.csv`, with `labels_before.csv` beside it. out: columns index, path, given (the
    corrected label), dropped (1 = leave the image out) and before; a row for every training image, also for
    those that were not searched or were dropped before. Images without a decision, and those that people were
    unsure about, keep their label. Returns how many labels were changed, kept, dropped, unsure, undecided,
    and how many decisions were about images that are not there (any more).
    Raises FileNotFoundError or ValueError with one sentence.
    """
    decisions, out = Path(decisions), Path(out)
    if not decisions.is_file():
        raise FileNotFoundError(
            f"no file {decisions}: the review of a folder of findings writes decisions.csv there"
        )
    before = decisions.parent / "labels_before.csv"
    if out.resolve() in {
        file.resolve() for file in (decisions, *(decisions.parent / name for name in OF_FINDINGS))
    }:
        raise ValueError(f"{out} belongs to the findings: write the corrected labels to another file")
    table, made = read_labels(before), Decisions(decisions).made
    keys = {row["path"] or row["index"] for row in table}
    strange = [image for image in made if image not in keys]
    if made and len(strange) == len(made):
        raise ValueError(
            f"{decisions} decides about images that {before} does not list, such as {strange[0]}: "
            "they are not of one search"
        )
    count, rows = dict.fromkeys(("changed", "kept", "dropped", "unsure", "undecided"), 0), []
    for row in table:
        action, label = made.get(row["path"] or row["index"], ("undecided", ""))
        given = label if action in ("accept", "class") else row["given"]
        what = {"keep": "kept", "drop": "dropped"}.get(action, action)
        out_before = row["dropped"] == "1" and action == "undecided"
        if not out_before:
            count["changed" if given != row["given"] else what if what in count else "kept"] += 1
        rows.append(
            {
                "index": row["index"],
                "path": row["path"],
                "given": given,
                "dropped": int(out_before or action == "drop"),
                "before": row["given"],
            }
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    save_atomically(out, csv_bytes(rows, ("index", "path", "given", "dropped", "before")))
    return count | ({"about images that are not there any more": len(strange)} if strange else {})


def read_labels(path: Path) -> list[dict[str, str]]:
    """The rows of a `labels_before.csv`, as text. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: `lnl find-errors` writes it beside errors.csv")
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    if lacking := [c for c in ("index", "path", "given", "dropped") if not rows or c not in rows[0]]:
        raise ValueError(f"{path} is not a table of labels: it has no {', '.join(lacking)}")
    return rows
