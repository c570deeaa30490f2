"""What launchers cost and what they survive, on real schedulers of this machine. Tests marked slow call it;

    python tests/measure_launchers.py [--into data/measured/launchers.json]

measures all and keeps it. Every training is tiny: what is measured is what lies around it.
"""

import argparse
import contextlib
import importlib.metadata
import itertools
import json
import os
import platform
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("LNL_PRECISION", "fp32")

from lnl_kit import launchers
from lnl_kit.compare import compare, run_cell
from lnl_kit.files import read_json
from lnl_kit.results import measured

LAUNCHERS = ("local", "dask", "ray", "slurm:cluster=local")
GRID = {
    "methods": ["ce", "gce", "mae"],
    "noises": [("symmetric", 0.2), ("none", None)],
    "seeds": (0, 1),
    "epochs": 2,
    "train_size": 256,
}  # 12 cells
KILLS = 10
TIMES = ("seconds", "per_second", "commit", "curves", "saving")  # of columns: what two equal runs differ in


def rows_of(table: Path) -> dict[str, dict]:
    """{what was asked: the row without times}; each cell stands there once."""
    rows = measured.read(table)
    told = {
        row["asked"]: {k: v for k, v in row.items() if not any(part in k for part in TIMES)} for row in rows
    }
    assert len(told) == len(rows), "a cell stands there twice"
    return told


def losses(root: Path) -> dict[str, str]:
    """{run: its metrics but for times, to the last bit}."""
    found = {}
    for path in sorted(root.glob("*/*/*/*/metrics.csv")):
        head, *lines = [line.split(",") for line in path.read_text().splitlines()]
        kept = [n for n, name in enumerate(head) if not any(part in name for part in TIMES)]
        found[str(path.parent.relative_to(root))] = json.dumps([[line[n] for n in kept] for line in lines])
    return found


def grid(launcher: str, root: Path, **more) -> tuple[dict, dict, float]:
    """(rows, metrics, seconds) of the grid by a launcher, two cells at a time."""
    started = time.monotonic()
    table = root / "grid.csv"
    ask = GRID | more
    assert compare(**ask, launcher=launcher, jobs=2, out=str(root), csv=str(table)) == 0
    return rows_of(table), losses(root), time.monotonic() - started


def terms(root: Path) -> list[list[dict]]:
    """The terms of the leases of each run below a root, in order."""
    folders = sorted(root.glob("*/*/*/*/leases"))
    return [[read_json(path) for path in sorted(folder.glob("*.json"))] for folder in folders]


def at_work(root: Path) -> list[int]:
    """The processes that hold a run now."""
    found = []
    for folder in terms_now(root):
        if folder and not folder[-1]["ended"]:
            found.append(folder[-1]["pid"])
    return found


def terms_now(root: Path) -> list[list[dict]]:
    """As `terms`, while others write."""
    with contextlib.suppress(ValueError, OSError):
        return terms(root)
    return []


def overlaps(root: Path) -> int:
    """How often a run was taken while its holder still gave signs of life: 0."""
    return sum(
        later["taken"] < (before["ended"] or before["sign_of_life"])
        for folder in terms(root)
        for before, later in itertools.pairwise(folder)
    )


def kill_workers(root: Path, times: int, killed: list[int], over: threading.Event, seed: int = 0) -> None:
    """`kill -9` of processes that hold a run, at random moments, this process aside."""
    draw = random.Random(seed)
    while len(killed) < times and not over.is_set():
        time.sleep(draw.uniform(0.2, 2.0))
        found = [pid for pid in at_work(root) if pid != os.getpid() and pid not in killed]
        if found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid := draw.choice(found), signal.SIGKILL)
                killed.append(pid)


def killed_grid(launcher: str, root: Path, times: int = KILLS, **more) -> dict:
    """The grid while workers are killed: what it ends with, against an undisturbed one."""
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_workers, args=(root, times, killed, over))
    killer.start()
    try:
        rows, metrics, seconds = grid(launcher, root, **more)
    finally:
        over.set()
        killer.join()
    taken_over = sum(term["after"].startswith("dead") for folder in terms(root) for term in folder)
    return {
        "rows": rows,
        "metrics": metrics,
        "kills": len(killed),
        "taken_over": taken_over,
        "overlaps": overlaps(root),
        "seconds": round(seconds, 1),
    }


def timed_cell(cell: dict, number: int, threads: int) -> float:
    """Seconds that a cell takes by itself, in the worker."""
    started = time.monotonic()
    row, error = run_cell(cell, number, threads)
    assert row, error
    return time.monotonic() - started


def overhead(launcher: str, root: Path, cells: int = 50, workers: int = 2) -> dict:
    """Seconds a cell beyond the cells themselves: all that the workers' time was spent on, from the start of
    the scheduler to the last result, less what the cells took; and the same from the first result on.
    """
    cell = {"method": "ce", "dataset": "digits", "noise": "symmetric", "rate": 0.2, "epochs": 1}
    cell |= {"train_size": 256, "out": str(root), "preset": "quick"}
    arguments = [(cell | {"seed": n}, n, 1) for n in range(cells)]
    started, ends, own = time.monotonic(), [], []
    for ended in launchers.launch(
        launchers.asked_for(launcher), timed_cell, arguments, launchers.Resources(), jobs=workers, folder=root
    ):
        assert ended.error is None, ended.error
        ends.append(time.monotonic() - started)
        own.append(ended.result)
    busy = workers * (ends[-1] - ends[0]) - sum(own[1:])
    return {
        "cells": cells,
        "workers": workers,
        "seconds": round(time.monotonic() - started, 2),
        "seconds_of_a_cell": round(sum(own) / cells, 3),
        "overhead_a_cell_with_start": round((workers * ends[-1] - sum(own)) / workers / cells, 3),
        "overhead_a_cell": round(max(0.0, busy) / workers / (cells - 1), 3),
    }


def machine() -> dict:
    """Where this was measured."""
    names = ("torch", "joblib", "distributed", "ray", "submitit", "fsspec")
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    return {
        "cpu": f"{os.cpu_count()} cores {model}".strip(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: importlib.metadata.version(name) for name in names},
        "load": [round(load, 1) for load in os.getloadavg()],
        "commit": commit,
    }


def main() -> None:
    """Measure what is asked for, and add it to the file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--into", type=Path)
    parser.add_argument("--only", default="grid,kills,overhead")
    parser.add_argument("--launchers", default=",".join(LAUNCHERS))
    asked = parser.parse_args()
    found = json.loads(asked.into.read_text()) if asked.into and asked.into.exists() else {}
    chosen = asked.launchers.split(",")
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        if "grid" in asked.only:
            first = None
            for launcher in dict.fromkeys(["local", *chosen]):
                rows, metrics, seconds = grid(launcher, root / "grid" / launcher)
                first = first or (rows, metrics)
                told = {"cells": len(rows), "seconds": round(seconds, 1), "load": os.getloadavg()[0]}
                told["rows_equal_to_local"] = rows == first[0] and metrics == first[1]
                told["overlaps"] = overlaps(root / "grid" / launcher)
                found.setdefault("grid", {})[launcher] = told
                save(asked.into, found)
        if "kills" in asked.only:
            longer = {"epochs": 8, "train_size": 1000}
            rows, metrics, _ = grid("local", root / "kills" / "undisturbed", **longer)
            for launcher in chosen:
                told = killed_grid(launcher, root / "kills" / launcher, **longer)
                told["rows_equal_to_undisturbed"] = (
                    told.pop("rows") == rows and told.pop("metrics") == metrics
                )
                found.setdefault("kills", {})[launcher] = told | {"load": os.getloadavg()[0]}
                save(asked.into, found)
        if "overhead" in asked.only:
            for launcher in chosen:
                told = overhead(launcher, root / "overhead" / launcher)
                found.setdefault("overhead", {})[launcher] = told | {"load": os.getloadavg()[0]}
                save(asked.into, found)


def save(into: Path | None, found: dict) -> None:
    """Keep what is known so far."""
    text = json.dumps({"machine": machine()} | {k: v for k, v in found.items() if k != "machine"}, indent=1)
    if into:
        into.write_text(text + "\n")
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
