"""Kept measurements: data/measured/*.csv, one row a run, the fields of summary.json and the commit."""

from __future__ import annotations

import atexit
import contextlib
import csv
import functools
import io
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .. import __version__
from ..files import (
    Busy,
    RunError,
    data_root,
    installed,
    lock,
    remove_leftovers,
    save_atomically,
    shipped,
)
from . import rows as files
from .rows import IDENTITY, Row, as_row, parse

FOLDER = shipped("data/measured")  # the rows that come with the kit
FIRST = (
    *IDENTITY[:-1],  # all but what was asked, which is long
    "actual_rate",
    "test_accuracy_last",
    "test_accuracy_best",
    "test_accuracy_mean_last10",
    "device",
    "commit",
)

HEAD = 2**20  # characters of a heading
SMALL = 0.05  # seconds of a processor: a table that takes no longer is gathered with each row that is added
PAUSE = 10  # a larger one again after so many times what it takes
CURVES = (
    "test_accuracy",
    "test_ece",
    "train_accuracy_clean",
    "train_accuracy_wrong",
    "memorized",
    "selection_auc",
)  # by epoch, what a row keeps of how a run went


def curves(metrics: list[dict]) -> dict[str, list]:
    """{metric of CURVES: its value at each epoch, None where it was not measured}, of a run's metrics."""
    found = {k: [row.get(k) for row in metrics] for k in CURVES}
    return {
        k: [None if v is None else round(v, 4) for v in values]
        for k, values in found.items()
        if any(v is not None for v in values)
    }


def kept() -> Path:
    """Where rows are added: in a clone among those that come with it, beside an installed kit in the user's
    data folder.
    """
    return data_root() / "measured" if installed() else FOLDER


def table(name: str | Path, folder: Path | None = None) -> Path:
    """data/measured/<name>.csv, or the file itself where a path to a CSV file is given.

    folder: None = the table that has all rows: the one in `kept()`, else the one that came with the kit.
    """
    if str(name).endswith(".csv"):
        return Path(name)
    own = kept() / f"{name}.csv"
    return (folder or (kept() if own.exists() else FOLDER)) / f"{name}.csv"


def read(name: str | Path) -> list[dict]:
    """The rows of data/measured/<name>.csv (see `table`), and those that wait to be gathered into it; numbers
    as numbers, missing as None. No file: no rows.
    """
    return [
        {k: v if k in ("commit", "device", "asked") else parse(v) for k, v in zip(row.head, row.cells)}
        for row in _now(name)
    ]


def _now(name: str | Path) -> list[Row]:
    for _ in range(100):
        with contextlib.suppress(FileNotFoundError):  # gathered while they are read: they stand in the table
            waiting = files.waiting(table(name, kept()))
            return _joined(_of_table(table(name)), waiting)
    raise RunError(f"the rows beside {table(name, kept())} are gathered faster than they can be read")


def _joined(there: Iterable[Row], more: Iterable[Row]) -> list[Row]:
    """The rows of a table with others at its end, each in the place of those about the same run."""
    added: dict[tuple, Row] = {}
    for row in more:
        added.pop(about := row.identity(), None)
        added[about] = row
    return [row for row in there if not added or row.identity() not in added] + [*added.values()]


def _of_table(path: Path) -> list[Row]:
    """The rows as they stand. A file that is there and has not the columns of measured runs is refused."""
    if not path.exists():
        return []
    _require_own(path)
    return [*files.read_rows(path)]


def _head(path: Path) -> tuple[str, ...]:
    """The columns of a table; none where there is no file."""
    if not path.is_file():
        return ()
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            line = file.readline(HEAD)
            head = tuple(next(csv.reader([line]), ()))
            return head if line.endswith(("\n", "\r")) else head[:-1]  # its last one was cut off
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of measured runs: {error}") from None


def _require_own(path: Path) -> None:
    """Raise ValueError for a file that is there and has not the columns of measured runs."""
    head = _head(path)
    if not path.exists():
        return
    if lacking := [column for column in IDENTITY if column not in head and column != "asked"]:
        raise ValueError(
            f"{path} is not a table of measured runs, and is left as it is: it has no column "
            f"{', '.join(lacking)}; name another file"
        )
    ours = path.parent.resolve() in (FOLDER.resolve(), kept().resolve())
    if not ours and "asked" not in head:
        raise ValueError(
            f"{path} was not written by `lnl compare`, and is left as it is: it has no column asked; name "
            "another file"
        )


def add(name: str | Path, row: dict) -> None:
    """Add a row to data/measured/<name>.csv (see `kept`), in place of one about the same run; other cells
    stay as they stand.

    Any number of processes may add at once, on several machines too: the row is on the disk as a file of its
    own when this returns, `read` sees it, and it is gathered into the table now, or soon where others add or
    the table is so large that gathering each row by itself would take long.
    """
    path = table(name, kept())
    _require_own(table(name))
    files.put(path, as_row(row | {"commit": commit()}, FIRST))
    _gather_at_exit(name)
    takes = _took.get(path, 0.0)
    with contextlib.suppress(OSError):
        if takes > SMALL and time.time() - os.stat(path).st_mtime < PAUSE * takes:
            return
    gather(name, wait=False)


def keep(folder: Path, row: dict, name: str | Path | None = None) -> None:
    """Keep the row of a finished run beside it, where `lnl collect` finds it, and add it to a table where one
    is named (see `add`).
    """
    with lock(folder):
        files.keep_beside(folder, as_row(row | {"commit": commit()}, FIRST))
    if name:
        add(name, row)


_took: dict[Path, float] = {}  # seconds of a processor that gathering a table took the last time


@functools.cache
def _gather_at_exit(name: str | Path) -> None:
    def last() -> None:
        with (
            contextlib.suppress(RunError, ValueError, OSError),  # they wait for the next who gathers
            contextlib.redirect_stderr(io.StringIO()),  # for whom it waits is of no interest any more
        ):
            gather(name)

    atexit.register(last)


def gather(
    name: str | Path,
    more: Iterable[Row] = (),
    wait: bool = True,
    but: Callable[[list[Row], list[Row]], list[Row]] | None = None,
) -> int:
    """Gather the rows that wait, and more, into data/measured/<name>.csv, each in the place of one about the
    same run. but: called with the rows that are there and more, returns which of these are added. wait: False
    leaves them where another process is at it. Returns how many rows it has now, -1 where there was nothing
    to gather.
    """
    path, more, started = table(name, kept()), [*more], time.process_time()
    if not more and not files.anything_waits(path):
        return -1
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock(path.parent, wait))
        except Busy:
            return -1
        if not more and not files.anything_waits(path):  # the one it has waited for has done it
            return -1
        remove_leftovers(path.parent)
        taken, rows = files.take(path)
        there = _of_table(table(name))
        first = there[0].head if there else _head(table(name)) or FIRST
        more = but(there, more) if but else more
        all_rows = _joined(there, [*rows, *more])
        columns = (*first, *dict.fromkeys(c for row in all_rows for c in row.head if c not in first))
        save_atomically(path, files.lines(all_rows, columns), durable=True)
        files.remove_taken(taken)
    _took[path] = time.process_time() - started
    return len(all_rows)


def asked(cell: dict) -> str:
    """The arguments of a cell as text; where its run lies and how its progress is shown do not count."""
    return json.dumps(
        {k: v for k, v in cell.items() if k not in ("progress", "out", "track", "store")}, sort_keys=True
    )


@functools.cache
def commit() -> str:
    """The commit of this clone when it was first asked for, short, with + where files had changed since;
    empty outside a repository. An installed kit has no commit: its version.
    """
    if installed():
        return __version__
    try:
        run = subprocess.run(
            ["git", "describe", "--always", "--dirty=+", "--exclude=*"],
            cwd=FOLDER.parents[1],
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()
