"""Kept measurements: data/measured/*.csv, one row a run, the fields of summary.json and the commit."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path

from ..files import csv_bytes, lock, save_atomically

FOLDER = Path(__file__).resolve().parents[2] / "data" / "measured"
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


def table(name: str | Path) -> Path:
    """data/measured/<name>.csv, or the file itself where a path to a CSV file is given."""
    return Path(name) if str(name).endswith(".csv") else FOLDER / f"{name}.csv"


def read(name: str | Path) -> list[dict]:
    """The rows of data/measured/<name>.csv (see `table`), missing values None; no file, no rows."""
    path = table(name)
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        return [
            {k: v if k in ("commit", "device", "asked") else parse(v) for k, v in row.items()}
            for row in csv.DictReader(file)
        ]


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
    """Add a row to data/measured/<name>.csv (see `table`), in place of one about the same run."""
    row = row | {"commit": commit()}
    identity = (
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
    )
    path = table(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with lock(path.parent):  # another process may be adding its own
        rows = [r for r in read(name) if any(r.get(k) != row.get(k) for k in identity)]
        rows = [
            {k: json.dumps(v) if isinstance(v, dict | list) else v for k, v in r.items()}
            for r in [*rows, row]
        ]
        save_atomically(path, csv_bytes(rows, FIRST))


def asked(cell: dict) -> str:
    """The arguments of a cell as text; where its run lies and how its progress is shown do not count."""
    return json.dumps({k: v for k, v in cell.items() if k not in ("progress", "out")}, sort_keys=True)


def commit() -> str:
    """The commit of this checkout, short, with + where files changed since; empty outside a repository."""
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
