"""`lnl collect`: one table of all runs under a root, from the folders themselves.

What was read is kept in an index (SQLite, `.lnl-index.sqlite` in the root): only folders that changed since
are read again. The index holds nothing that is not in the folders: one that is damaged, or of another
version, is made anew, and it may be deleted at any time.
"""

from __future__ import annotations

import csv
import functools
import io
import json
import os
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ..files import RunError, read_file, read_json, remove
from . import measured
from .rows import BESIDE, IDENTITY, Row, anything_waits, as_row, read_beside

INDEX = ".lnl-index.sqlite"
BESIDE_INDEX = ("", "-journal", "-wal", "-shm")  # SQLite's own files
VERSION = 1  # of what the index holds
DEPTH = 4  # root/<method>/<dataset>/<noise>-<rate>/seed<seed>-<hash>
SETTLED = 2.0  # seconds after which a folder's time tells whether it changed: file systems count in ticks
TABLES = """
CREATE TABLE runs (folder TEXT PRIMARY KEY, stamp TEXT, state TEXT, ended INTEGER);
CREATE TABLE heads (id INTEGER PRIMARY KEY, columns TEXT UNIQUE);
CREATE TABLE rows (folder TEXT, head INTEGER, line TEXT);
CREATE TABLE tables (path TEXT PRIMARY KEY, stamp TEXT, rows INTEGER);
CREATE INDEX rows_of ON rows (folder);
"""
PART, FEW = 250, 8  # folders that are read at a time; so many times as many are read by one process alone
METRICS_BYTES = 2**26
DAMAGED = (OSError, ValueError, KeyError, TypeError, AttributeError, csv.Error)


class Found(NamedTuple):
    """A folder that looks like a run's, and what tells whether it changed."""

    folder: str  # below the root, with "/"
    stamp: str
    ended: int  # nanoseconds: when summary.json was written; 0 = there is none


class Index:
    """What is known of the runs under a root; brought up to date when it is made."""

    def __init__(self, root: str | Path):
        """Raises FileNotFoundError where there is no such folder."""
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"{root} is no folder: name a root of runs, as --out does")
        self._db = self._opened()
        try:
            self.read = self._refresh()
        except sqlite3.DatabaseError as error:
            self._db.close()
            if "locked" in str(error):
                raise RunError(f"another process is at work on the index of {root}: try again") from None
            self._db = self._anew()
            self.read = self._refresh()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_) -> None:
        self.close()

    def _opened(self) -> sqlite3.Connection:
        """The index that is there, or a new one; in memory where the root cannot be written."""
        for path in (self.root / f"{INDEX}{part}" for part in BESIDE_INDEX):
            if path.is_symlink() or (path.exists() and not path.is_file()):
                raise RunError(f"{path} is a link or no ordinary file, and those are not followed: remove it")
        path = self.root / INDEX
        try:
            db = sqlite3.connect(path, timeout=60)
            db.execute("PRAGMA trusted_schema = OFF")
            if db.execute("PRAGMA user_version").fetchone()[0] == VERSION:
                return db
            db.close()
        except sqlite3.DatabaseError:
            pass
        return self._anew()

    def _anew(self) -> sqlite3.Connection:
        path = self.root / INDEX
        try:
            for part in BESIDE_INDEX:
                remove(path.with_name(f"{INDEX}{part}"))
            db = sqlite3.connect(path, timeout=60)
            db.executescript(f"BEGIN IMMEDIATE; {TABLES} PRAGMA user_version = {VERSION}; COMMIT")
        except (OSError, sqlite3.DatabaseError):
            print(f"{self.root} cannot be written: its index is made in memory, each time", file=sys.stderr)
            db = sqlite3.connect(":memory:")
            db.executescript(TABLES)
        return db

    def _refresh(self) -> int:
        """Read the folders that changed, forget those that are gone; returns how many were read."""
        db = self._db
        db.execute("BEGIN IMMEDIATE")
        known = dict(db.execute("SELECT folder, stamp FROM runs"))
        heads = {columns: n for n, columns in db.execute("SELECT id, columns FROM heads")}
        there = [*runs_below(self.root)]
        changed = [found for found in there if known.get(found.folder) != found.stamp]
        for folder in (gone := known.keys() - {found.folder for found in there}):
            self._forget(folder)
        self.gone = len(gone)
        for found, (state, rows) in zip(changed, read_all(self.root, changed), strict=True):
            settled = time.time_ns() - int(found.stamp.split()[0]) > SETTLED * 1e9
            if found.folder in known:
                self._forget(found.folder)
            row = (found.folder, found.stamp if settled else "", state, found.ended)
            db.execute("INSERT INTO runs VALUES (?, ?, ?, ?)", row)
            for columns, line in rows:
                if columns not in heads:
                    cursor = db.execute("INSERT INTO heads (columns) VALUES (?)", (columns,))
                    heads[columns] = cursor.lastrowid or 0
                db.execute("INSERT INTO rows VALUES (?, ?, ?)", (found.folder, heads[columns], line))
        if changed or gone:
            db.execute("DELETE FROM tables")
        db.commit()
        return len(changed)

    def up_to_date(self, table: Path) -> int | None:
        """How many rows a table has that was made from what the index holds and is as it was then; None where
        it must be made.
        """
        asked = "SELECT rows FROM tables WHERE path = ? AND stamp = ?"
        found = self._db.execute(asked, (str(table.absolute()), _stamp(table))).fetchone()
        return found and found[0]

    def made(self, table: Path, rows: int) -> None:
        """Remember a table."""
        about = (str(table.absolute()), _stamp(table), rows)
        self._db.execute("INSERT OR REPLACE INTO tables VALUES (?, ?, ?)", about)
        self._db.commit()

    def _forget(self, folder: str) -> None:
        self._db.execute("DELETE FROM rows WHERE folder = ?", (folder,))
        self._db.execute("DELETE FROM runs WHERE folder = ?", (folder,))

    def states(self) -> Counter[str]:
        """How many folders are `finished`, `unfinished`, and so on."""
        return Counter(dict(self._db.execute("SELECT state, COUNT(*) FROM runs GROUP BY state")))

    def folders(self, state: str) -> list[str]:
        """The folders in that state."""
        asked = "SELECT folder FROM runs WHERE state = ? ORDER BY folder"
        return [folder for (folder,) in self._db.execute(asked, (state,))]

    def rows(self, state: str = "finished") -> Iterator[tuple[str, Row]]:
        """(folder, row) of all runs in that state, in the order in which they ended."""
        heads = {n: tuple(json.loads(c)) for n, c in self._db.execute("SELECT id, columns FROM heads")}
        asked = (
            "SELECT rows.folder, head, line FROM rows JOIN runs USING (folder) WHERE state = ? "
            "ORDER BY ended, rows.folder, rows.rowid"
        )
        for folder, head, line in self._db.execute(asked, (state,)):
            yield folder, Row(heads[head], json.loads(line))


def _stamp(table: Path) -> str:
    """What tells whether a table, or a row that waits for it, is new."""
    try:
        told = os.stat(table)
    except OSError:
        return ""
    return f"{told.st_mtime_ns} {told.st_size} {anything_waits(table)}"


def runs_below(root: Path, depth: int = DEPTH) -> Iterator[Found]:
    """Every folder where a run may lie, in order; links are not followed."""
    stack = [("", str(root), depth)]
    while stack:
        name, path, left = stack.pop()
        if left == 0:
            told = os.stat(path).st_mtime_ns
            try:
                summary = os.lstat(f"{path}/summary.json")
                yield Found(name, f"{told} {summary.st_mtime_ns} {summary.st_size}", summary.st_mtime_ns)
            except OSError:
                yield Found(name, f"{told}", 0)
            continue
        try:
            with os.scandir(path) as entries:
                below = sorted(e.name for e in entries if e.is_dir(follow_symlinks=False))
        except OSError:  # gone meanwhile, or not ours to read
            continue
        stack += [(f"{name}/{n}" if name else n, f"{path}/{n}", left - 1) for n in reversed(below)]


Read = tuple[str, list[tuple[str, str]]]  # state of a folder, and of its rows columns and cells, as JSON


def read_all(root: Path, changed: Sequence[Found]) -> Iterator[Read]:
    """What lies in these folders, one after the other; many are read by as many processes as there are cores,
    since it is the processor that takes the time.
    """
    parts = [changed[n : n + PART] for n in range(0, len(changed), PART)]
    cores = min(len(parts), os.cpu_count() or 1)
    if len(parts) < FEW or cores < 2:
        for part in parts:
            yield from read_part(root, part)
        return
    from joblib import Parallel, delayed

    reading = Parallel(cores, batch_size=1, return_as="generator")
    for found in reading(delayed(read_part)(root, part) for part in parts):
        yield from found


def read_part(root: Path, part: Sequence[Found]) -> list[Read]:
    """What lies in some folders."""
    read = []
    for found in part:
        state, rows = read_run(f"{root}/{found.folder}", bool(found.ended))
        read.append((state, [(_columns(row.head), json.dumps(row.cells)) for row in rows]))
    return read


_columns = functools.lru_cache(64)(json.dumps)  # of few columns, for many rows


def read_run(folder: str, finished: bool) -> tuple[str, list[Row]]:
    """(state, rows) of a folder: `finished` or `unfinished` with its rows, `other` where no run lies there,
    or `damaged`.

    A finished run has the rows that were kept beside it (a row for each question that it answered); one
    without, such as a run of `lnl train`, and one that is unfinished, a row made from what lies there.
    """
    try:
        names = os.listdir(folder)
        if "settings.json" not in names:
            return "other", []
        beside = [n for n in sorted(names) if n.startswith(BESIDE) and n.endswith(".csv")]
        if finished and beside:
            return "finished", [row for name in beside for row in read_beside(f"{folder}/{name}")]
        return "finished" if finished else "unfinished", [made(folder, finished, "metrics.csv" in names)]
    except DAMAGED:
        return "damaged", []


def made(folder: str, finished: bool, with_metrics: bool) -> Row:
    """A row from summary.json (of an unfinished run, settings.json), the metrics, and the settings, which
    stand for what was asked.
    """
    told = read_json(f"{folder}/settings.json")
    about = {k: told[k] for k in ("method", "dataset", "noise", "rate", "seed", "preset", "model")}
    asked = about | {"dataset": told["dataset_path"], "labels": told.get("labels_file")} | told["settings"]
    row = {"asked": measured.asked({k: v for k, v in asked.items() if v is not None})} | about
    row |= {k: told["settings"].get(k) for k in ("epochs",)} | {"train_images": told["train_images"]}
    row |= read_json(f"{folder}/summary.json") if finished else {}
    curves = curves_of(f"{folder}/metrics.csv") if with_metrics else {}
    return as_row(row | {"curves": curves}, measured.FIRST)


def curves_of(path: str) -> dict[str, list]:
    """What `measured.curves` keeps of a run's metrics; the other columns are not looked at."""
    head, *table = csv.reader(io.StringIO(read_file(path, METRICS_BYTES).decode(), newline=""))
    columns = dict(zip(head, zip(*table)))
    found = {c: [round(float(v), 4) if v else None for v in columns.get(c, ())] for c in measured.CURVES}
    return {c: values for c, values in found.items() if any(v is not None for v in values)}


class Collected(NamedTuple):
    """What `collect` did."""

    rows: int  # of the table now
    runs: int  # finished, under the root
    read: int  # folders that were read, as they had changed
    replaced: int  # rows left out for a newer one about the same question
    unfinished: int
    damaged: Sequence[str]  # folders


def collect(root: str | Path, table: str | Path) -> Collected:
    """Bring a table up to date with the finished runs under a root.

    Columns and rows are those that `lnl compare --csv` adds. Rows of the table about other runs stay; of two
    runs that answer the same question the newer one has the row. Raises FileNotFoundError where there is no
    such root, ValueError for a file that is no table of measured runs.
    """
    if not str(table).endswith(".csv"):
        raise ValueError(f"--csv {table} is not allowed: a file name that ends in .csv")
    with Index(root) as index:
        states, damaged = index.states(), index.folders("damaged")
        rows, left_out = index.up_to_date(Path(table)), 0
        if rows is None:
            newest: dict[tuple, Row] = {}
            for _, row in index.rows():
                about = row.identity()
                left_out += newest.pop(about, None) is not None
                newest[about] = row
            rows = measured.gather(table, newest.values(), but=same_run)
            rows = len(measured.read(table)) if rows < 0 else rows
            index.made(Path(table), rows)
        return Collected(rows, states["finished"], index.read, left_out, states["unfinished"], damaged)


def same_run(there: Sequence[Row], more: Sequence[Row]) -> list[Row]:
    """The rows without those made from folders (which have no commit) whose runs have a row in the table
    already, for which they were asked in other words.
    """
    columns = (*(c for c in IDENTITY if c != "asked"), "seconds")
    own = {row.identity() for row in there}
    known = {row.identity(columns) for row in there}
    return [r for r in more if r.value("commit") or r.identity() in own or r.identity(columns) not in known]
