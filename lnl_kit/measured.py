"""What was measured and is kept: data/measured/*.csv, one row a run (the fields of summary.json, plus commit)."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

from .run import csv_bytes, lock, save_atomically
from .train import train

FOLDER = Path(__file__).resolve().parents[1] / "data" / "measured"
FIRST = ("method", "dataset", "noise", "rate", "seed", "preset", "model", "epochs", "train_images", "actual_rate",
         "test_accuracy_last", "test_accuracy_best", "test_accuracy_mean_last10", "device", "commit")


def table(name: str | Path) -> Path:
    """data/measured/<name>.csv, or the file itself where a path to a CSV file is given."""
    return Path(name) if str(name).endswith(".csv") else FOLDER / f"{name}.csv"


def read(name: str | Path) -> list[dict]:
    """The rows of data/measured/<name>.csv (see `table`); numbers as numbers, missing as None. No file: no rows."""
    path = table(name)
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [{k: v if k in ("commit", "device", "asked") else parse(v) for k, v in row.items()}
                for row in csv.DictReader(file)]


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
    """Add a row to data/measured/<name>.csv (see `table`), in place of one about the same run. The file is rewritten whole."""
    row = row | {"commit": commit()}
    identity = ("method", "dataset", "noise", "rate", "seed", "preset", "model", "epochs", "train_images", "asked")
    path = table(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.parent):  # another process may be adding its own
        rows = [r for r in read(name) if any(r.get(k) != row.get(k) for k in identity)]
        rows = [{k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in r.items()} for r in [*rows, row]]
        save_atomically(path, csv_bytes(rows, FIRST))


def commit() -> str:
    """The commit of this checkout, short, with + where files were changed since; empty outside a repository."""
    try:
        run = subprocess.run(["git", "describe", "--always", "--dirty=+", "--exclude=*"], cwd=FOLDER.parents[1],
                             capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return run.stdout.strip()


def sweep(name: str, cells: Iterable[dict], full: bool, extra: Callable | None = None) -> list[dict]:
    """Rows of data/measured/<name>.csv for a notebook's cells; with `full` they are computed and kept there.

    cells: one dictionary per run, `cell` its label in the file, the rest the arguments of `train`.
    extra: called with a finished run, returns more columns for its row.
    A cell already in the file is not repeated; delete its row to measure it again.
    """
    cells = list(cells)
    if full:
        for cell in cells:
            if not any(same(row, cell) for row in read(name)):
                run = train(**{k: v for k, v in cell.items() if k != "cell"})
                add(name, {"cell": cell.get("cell"), "asked": asked(cell)} | run.summary | (extra(run) if extra else {}))
    rows = read(name)
    return [row for cell in cells for row in rows if same(row, cell)]


def same(row: dict, cell: dict) -> bool:
    """Whether a measured row answers exactly what this cell asks."""
    return row.get("asked") == asked(cell)


def asked(cell: dict) -> str:
    """The arguments of a cell as text; how its progress is shown does not count."""
    return json.dumps({k: v for k, v in cell.items() if k != "progress"}, sort_keys=True)
