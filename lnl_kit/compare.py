"""`lnl compare`: a grid of methods, noises and seeds, on equal terms, in one table."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import torch

from . import launchers, tracking
from .data import resolve, taken
from .files import make_folder, runs_root
from .forecast import Estimate, duration, forecast
from .results import measured
from .results.controls import named, title
from .results.measured import asked, gather, keep, read
from .results.significance import in_words
from .run.prepared import prepare
from .train import Plan, carry_out, train


def sweep(
    name: str,
    cells: Iterable[dict],
    full: bool,
    extra: Callable | None = None,
    *,
    launcher: str | None = None,
    jobs: int = 0,
) -> list[dict]:
    """Rows of data/measured/<name>.csv for a notebook's cells; with `full` they are computed and kept there.

    cells: one dictionary per run, `cell` its label in the file, the rest the arguments of `train`.
    extra: called with a finished run, returns more columns for its row.
    launcher, jobs: where they are trained (see `compare`); None = one after the other in this process, as
        cells are whose method is a function of one's own.
    A cell already in the file is not repeated; delete its row to measure it again.
    """
    cells = list(cells)
    if full:
        if launcher:
            rows = read(name)
            train_first(
                [c for c in cells if not any(same(row, c) for row in rows)], launcher=launcher, jobs=jobs
            )
        for cell in cells:
            if not any(same(row, cell) for row in read(name)):
                run = train(**{k: v for k, v in cell.items() if k != "cell"})
                row = {"cell": cell.get("cell"), "asked": asked(cell)} | (run.summary or {})
                keep(run.folder, row | (extra(run) if extra else {}), name)
        gather(name)
    rows = read(name)
    return [row for cell in cells for row in rows if same(row, cell)]


def train_first(cells: list[dict], *, launcher: str, jobs: int = 0) -> None:
    """Train cells by a launcher, so that whoever trains them after that finds them finished; what went wrong
    with one comes up there.
    """
    cells = [
        {k: v for k, v in cell.items() if k != "cell"} for cell in cells if isinstance(cell["method"], str)
    ]
    for _ in ended_cells(cells, launcher, jobs):
        pass


def same(row: dict, cell: dict) -> bool:
    """Whether a measured row answers exactly what this cell asks."""
    return row.get("asked") == asked(cell)


@taken.once()
def compare(
    methods: Sequence[str],
    noises: Sequence[tuple[str, float | None]],
    seeds: Sequence[int] = (0,),
    *,
    jobs: int | None = None,
    launcher: str | None = None,
    csv: str | None = None,
    dry_run: bool = False,
    **ask,
) -> int:
    """Train every cell of the grid and print a table; returns 0, or 1 where cells failed, which it names.

    noises: (noise, rate); `none` as given by --labels or by the data set. ask: arguments of `train` for every
    cell. Finished runs are loaded, interrupted ones go on. csv: a row, with curves by epoch, is added as each
    cell ends; cells that it has are skipped. dry_run: only say what each cell would take, and train none.
    launcher: where cells are trained, `local` (so many processes as `jobs` says, default 1),
    `dask[:ADDRESS]`, `ray[:ADDRESS]` or `slurm[:OPTION=VALUE,...]` (see `lnl_kit.launchers`), where jobs is
    how many at a time, default as many as there is room for. Raises ValueError for what no cell could be
    trained with.
    """
    ask = {k: v for k, v in ask.items() if v is not None}
    if jobs is not None and jobs < 1:
        raise ValueError(f"jobs {jobs} is not allowed: at least 1")
    launchers.asked_for(launcher)
    if csv and not csv.endswith(".csv"):
        raise ValueError(f"--csv {csv} is not allowed: a file name that ends in .csv")
    tracking.check(tracking.asked_for(ask.get("track")))
    runs = {method: named(method) for method in methods}
    if "dataset" in ask:
        ask["dataset"] = resolve(ask["dataset"])
    if csv and not dry_run:
        make_folder(Path(csv).absolute().parent)  # not after hours of training
    cells = [
        dict(ask, **run, noise=kind, rate=rate, seed=seed)
        for seed, (kind, rate), run in itertools.product(seeds, noises, runs.values())
    ]
    for noise in noises:
        refuse_impossible([cell for cell in cells if (cell["noise"], cell["rate"]) == noise])
    already_measured = {row.get("asked") for row in measured.read(csv)} if csv else set()
    to_train = [c for c in cells if asked(c) not in already_measured]
    measured_in = f", {len(cells) - len(to_train)} of them in {csv}" if csv else ""
    print(f"{len(cells)} cells{measured_in}", file=sys.stderr)
    if dry_run:
        return foretell(to_train, jobs or 1)
    done = dict(ended_cells(to_train, launcher, jobs or 0, csv))
    rows = [row for _, (row, _) in sorted(done.items()) if row]
    rows += rows_in(csv, [c for c in cells if c not in to_train])
    print_table(rows, [*runs])
    for said in in_words(rows):
        print(said)
    failed = [(cell, done[n][1]) for n, cell in enumerate(to_train) if done[n][1]]
    for cell, error in failed:
        print(f"failed: {name_of(cell)}: {error}", file=sys.stderr)
    return 1 if failed else 0


def rows_in(csv: str | None, cells: list[dict]) -> list[dict]:
    """The rows that a table has of these cells; what waits to be gathered into it is gathered before."""
    if not csv:
        return []
    measured.gather(csv)
    wanted = {asked(cell) for cell in cells}
    return [row for row in measured.read(csv) if row.get("asked") in wanted]


def foretell(cells: list[dict], jobs: int) -> int:
    """Print how far each cell is and how long it would take; returns 0, or 1 where cells could not be
    trained. One cell of each method and size is probed: noise and seed do not change what it costs.
    """
    known: dict[str, Estimate] = {}
    total, failed, untold = 0.0, 0, 0
    for cell in cells:
        plan = Plan.of(**cell)
        try:
            prepared = prepare(plan.resolve())
        except (ValueError, OSError) as error:
            print(f"{name_of(cell)}: cannot be trained: {error}")
            failed += 1
            continue
        same_cost = asked({k: v for k, v in cell.items() if k not in ("noise", "rate", "seed")})
        told = forecast(prepared, cell.get("out"), known.get(f"{same_cost} {len(prepared.index)}"))
        known[f"{same_cost} {len(prepared.index)}"] = told.estimate
        total, untold = total + 60 * (told.minutes or 0.0), untold + (told.minutes is None)
        print(f"{name_of(cell)}: {told.how_far()}, {told.time()}, {told.folder}")
    beside = f" ({jobs} side by side: about {duration(total / jobs)})" if jobs > 1 else ""
    lacking = f"; of {untold} the time is not known" if untold else ""
    print(f"{len(cells) - failed} cells: about {duration(total)}{beside}{lacking}")
    return int(bool(failed))


def refuse_impossible(cells: list[dict]) -> None:
    """Raise ValueError with what is wrong with the first of these cells where none can be trained."""
    wrong = []
    for cell in cells:
        try:
            Plan.of(**cell).resolve()
        except ValueError as error:
            wrong.append(error)
    if wrong and len(wrong) == len(cells):
        raise wrong[0]


def name_of(cell: dict) -> str:
    """A cell in a few words."""
    rate = "" if cell.get("rate") is None else f" {cell['rate']:g}"
    told = title(cell | {"asked": asked(cell)})
    return f"{told} {cell.get('noise') or 'default noise'}{rate} seed {cell.get('seed', 0)}"


def ended_cells(
    cells: list[dict], launcher: str | None, jobs: int, csv: str | None = None
) -> Iterator[tuple[int, tuple[dict | None, str | None]]]:
    """(number, (row, None)) of each cell as it ends, or (number, (None, what went wrong)); says so with
    the time left, and adds rows to the table `csv`. The cell that asks for most decides the resources.
    """
    how = launchers.asked_for(launcher)
    root = runs_root(next((c["out"] for c in cells if c.get("out")), None))
    wanted = [launchers.resources_of(c.get("preset", "quick"), c.get("device", "auto")) for c in cells]
    needs = max(wanted, key=dataclasses.astuple, default=launchers.Resources())
    threads = needs.cpus
    if how.name == "local":
        threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else 0
    # on another machine, the current folder and $LNL_RUNS are others
    arguments = [(cell | {"out": str(root)}, n, threads) for n, cell in enumerate(cells)]
    started = time.monotonic()
    ended = launchers.launch(how, run_cell, arguments, needs, jobs=jobs, folder=root)
    with contextlib.closing(ended):
        for ends, (number, result, error) in enumerate(ended, 1):
            row, wrong = result or (None, "stopped")
            if error is not None:
                row, wrong = None, f"{type(error).__name__}: {error}"
            if row and csv:
                measured.add(csv, row)
            say_ended(name_of(cells[number]), row, wrong, ends, len(cells), time.monotonic() - started)
            yield number, (row, wrong)


def say_ended(name: str, row: dict | None, wrong: str | None, ends: int, of: int, seconds: float) -> None:
    """A line on standard error: how a cell ended, how many have, and how long the others may take."""
    left = f", about {duration(seconds / ends * (of - ends))} left" if ends < of else ""
    how = f"failed, {wrong}"
    if row:
        how = (
            f"last {row['test_accuracy_last']:.3f}, best {row['test_accuracy_best']:.3f}, "
            f"{row['seconds']:.0f} s"
        )
    print(f"{name}: {how}; {ends} of {of}{left}", file=sys.stderr, flush=True)


def run_cell(cell: dict, number: int, threads: int) -> tuple[dict | None, str | None]:
    """(row, None) of a trained cell, or (None, what went wrong)."""
    if threads:
        torch.set_num_threads(threads)
    gpus, plan = torch.cuda.device_count(), Plan.of(**cell)
    if gpus > 1 and plan.device == "auto":
        plan = dataclasses.replace(plan, device=f"cuda:{number % gpus}")
    how = {k: cell[k] for k in ("out", "fresh", "track", "store") if k in cell}
    try:
        run = carry_out(plan, **how, progress=False, on_interrupt="raise", on_epoch=launchers.stop_if_asked)
    except Exception as error:  # another cell may still succeed; this one is named at the end
        return None, f"{type(error).__name__}: {error}"
    row = {"asked": asked(cell), **(run.summary or {}), "curves": measured.curves(run.metrics)}
    keep(run.folder, row)
    return row, None


def print_table(rows: list[dict], methods: Sequence[str]) -> None:
    """Last accuracy (best in brackets), mean over seeds and spread; a line a method, a column a noise."""
    noises = list(dict.fromkeys((r["noise"], r["rate"]) for r in rows))
    print("  ".join([f"{'last (best)':<18}", *(f"{n} {r:g}".ljust(22) for n, r in noises)]))
    for method in methods:
        line = []
        for noise, rate in noises:
            of_cell = [r for r in rows if (title(r), r["noise"], r["rate"]) == (method, noise, rate)]
            last, best = ([r[f"test_accuracy_{k}"] for r in of_cell] for k in ("last", "best"))
            spread = f" ± {statistics.stdev(last):.3f}" if len(last) > 1 else ""
            line.append(
                (
                    f"{statistics.mean(last):.3f}{spread} ({statistics.mean(best):.3f})" if of_cell else ""
                ).ljust(22)
            )
        print("  ".join([f"{method:<18}", *line]))
