"""Kept measurements: data/measured/*.csv, one row a run, the fields of summary.json and the commit."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

from .. import __version__
from ..files import (
    csv_bytes,
    data_root,
    installed,
    lock,
    read_csv,
    remove_leftovers,
    save_atomically,
    shipped,
)

FOLDER = shipped("data/measured")  # the rows that come with the kit
FIRST = (
    "method",
    "dataset",
    "noise",
    "rate",
    "seed",
    "preset",
    "model",
    "epochs",
    "train_images",
    "actual_rate",
    "test_accuracy_last",
    "test_accuracy_best",
    "test_accuracy_mean_last10",
    "device",
    "commit",
)

IDENTITY = (
    "method",
    "dataset",
    "noise",
    "rate",
    "seed",
    "preset",
    "model",
    "epochs",
    "train_images",
    "asked",
)  # two rows that agree on these are about the same run

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
    """The rows of data/measured/<name>.csv (see `table`); numbers as numbers, missing as None. No file: no
    rows.
    """
    return [
        {k: v if k in ("commit", "device", "asked") else parse(v) for k, v in row.items()}
        for row in _as_text(table(name))
    ]


def _as_text(path: Path) -> list[dict[str, str]]:
    """The rows as they stand. A file that is there and has not the columns of measured runs is refused."""
    if not path.exists():
        return []
    try:
        head, *rows = read_csv(path) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a table of measured runs: {error}") from None
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
    return [dict(zip(head, [*row, *[""] * (len(head) - len(row))])) for row in rows]


def parse(text: str):
    """A cell as a number, list or dictionary, None where empty, else the text."""
    if text == "":
        return None
    if text in ("nan", "inf", "-inf"):
        return float(text)
    try:
        return json.loads(text)  # numbers, and the lists and dictionaries that `add` wrote
    except ValueError:
        return text


def add(name: str | Path, row: dict) -> None:
    """Add a row to data/measured/<name>.csv (see `kept`), in place of one about the same run; other cells
    stay as they stand.
    """
    row = row | {"commit": commit()}
    path = table(name, kept())
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.parent):  # another process may be adding its own
        remove_leftovers(path.parent)
        there = _as_text(table(name))
        others = [
            text
            for text, known in zip(there, read(name))
            if any(known.get(k) != row.get(k) for k in IDENTITY)
        ]
        row = {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in row.items()}
        first = tuple(there[0]) if there else FIRST
        save_atomically(path, csv_bytes([*others, row], first), durable=True)


def asked(cell: dict) -> str:
    """The arguments of a cell as text; where its run lies and how its progress is shown do not count."""
    return json.dumps(
        {k: v for k, v in cell.items() if k not in ("progress", "out", "track", "store")}, sort_keys=True
    )


def commit() -> str:
    """The commit of this clone, short, with + where files changed since; empty outside a repository. An
    installed kit has no commit: its version.
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
