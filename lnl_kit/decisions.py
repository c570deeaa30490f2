"""What people decided about suspicious labels: a file that only grows, and the corrected labels made from it."""

from __future__ import annotations

import csv
import io
import os
import re
import time
from pathlib import Path

from .run import csv_bytes, save_atomically

ACTIONS = ("keep", "accept", "class", "drop", "unsure")  # and "undo", which takes back the last one
COLUMNS = ("image", "action", "label", "when")
WHEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


class Decisions:
    """decisions.csv: one row a decision, appended and synced before `add` returns; the last about an image counts.

    `made`: {image: (action, label)} of the decisions that stand, in the order they were made. A row that a killed process or a
    power cut left unfinished is removed when the file is opened.
    """

    def __init__(self, path: str | Path):
        self.path, self._history = Path(path), []
        for image, action, label, _ in self._read():
            self._apply(image, action, label)

    @property
    def made(self) -> dict[str, tuple[str, str]]:
        """{image: (action, label)}: what stands now."""
        return {image: (action, label) for image, action, label in self._history}

    def add(self, image: str, action: str, label: str = "") -> None:
        """Write a decision about an image (its path or index); label: the class for "accept" and "class", else empty.

        Raises ValueError for an unknown action and OSError where the file cannot be written; then nothing was decided."""
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

    def _apply(self, image: str, action: str, label: str) -> None:
        if action == "undo":
            self._history = self._history[:-1]
        else:
            self._history.append((image, action, label))

    def _append(self, image: str, action: str, label: str) -> None:
        heading = b"" if self.path.exists() else csv_line(COLUMNS)
        with open(self.path, "ab", buffering=0) as file:
            before = file.tell()
            try:
                file.write(heading + csv_line([image, action, label, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())]))
                os.fsync(file.fileno())
            except OSError:
                file.truncate(before)
                raise
        self._apply(image, action, label)

    def _read(self) -> list[list[str]]:
        if not self.path.exists():
            return []
        text = self.path.read_bytes().decode("utf-8", "surrogateescape")
        rows = list(csv.reader(io.StringIO(text, newline="")))
        if rows and rows[0] != list(COLUMNS) and text.endswith("\n"):
            raise ValueError(f"{self.path} is not a file of decisions: its columns are {', '.join(rows[0])}, not {', '.join(COLUMNS)}")
        whole = [row for row in rows[1:] if len(row) == len(COLUMNS) and WHEN.fullmatch(row[3])]
        if len(whole) < len(rows) - 1 or not text.endswith("\n"):  # the last row was never finished
            save_atomically(self.path, b"".join(csv_line(row) for row in [COLUMNS, *whole]), durable=True)
        return whole


def csv_line(row) -> bytes:
    """A row as it stands in a CSV file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue().encode("utf-8", "surrogateescape")


def apply(decisions: str | Path, out: str | Path, errors: str | Path | None = None) -> dict[str, int]:
    """Write the labels as decided, for `--labels`; images and folders are not touched.

    decisions: a `decisions.csv`. out: columns index, path, given (the corrected label), dropped (1 = leave the image out) and before.
    errors: the `errors.csv` that was reviewed, by default the one beside the decisions. Images without a decision, and those
    that people were unsure about, keep their label. Returns how many labels were changed, kept, dropped, unsure, undecided.
    Raises FileNotFoundError or ValueError with one sentence.
    """
    decisions = Path(decisions)
    if not decisions.is_file():
        raise FileNotFoundError(f"no file {decisions}: the review of a folder of findings writes decisions.csv there")
    table = read_errors(errors or decisions.parent / "errors.csv")
    made, keys = Decisions(decisions).made, {row["path"] or row["index"] for row in table}
    if strange := [image for image in made if image not in keys]:
        raise ValueError(f"{decisions} decides about {len(strange)} images that its errors.csv does not list, such as {strange[0]}: "
                         "give the errors.csv that was reviewed")
    count, rows = dict.fromkeys(("changed", "kept", "dropped", "unsure", "undecided"), 0), []
    for row in sorted(table, key=lambda r: int(r["index"])):
        action, label = made.get(row["path"] or row["index"], ("undecided", ""))
        given = label if action in ("accept", "class") else row["given"]
        what = {"keep": "kept", "drop": "dropped"}.get(action, action)
        count["changed" if given != row["given"] else what if what in count else "kept"] += 1
        rows.append({"index": row["index"], "path": row["path"], "given": given, "dropped": int(action == "drop"), "before": row["given"]})
    Path(out).parent.mkdir(parents=True, exist_ok=True)
    save_atomically(Path(out), csv_bytes(rows, ("index", "path", "given", "dropped", "before")))
    return count


def read_errors(path: str | Path) -> list[dict[str, str]]:
    """The rows of an `errors.csv`, most suspicious first, as text. Raises FileNotFoundError or ValueError with one sentence."""
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}: `lnl find-errors` writes it")
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    lacking = [c for c in ("index", "path", "given", "suggested", "suspicion") if not rows or c not in rows[0]]
    if lacking:
        raise ValueError(f"{path} is not a table of findings: it has no {', '.join(lacking)}")
    return rows
