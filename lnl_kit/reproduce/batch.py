"""`lnl reproduce`: run notebooks headlessly, keep the executed copies, and write an index of all figures.

Beside each executed copy `<name>.ipynb` lies `<name>.json`, its record: what it was made from (digests of the
notebook, the package and the data tables, and the parameters), `status` ("finished" or "failed"), `seconds`,
and for a failed one `error` = {cell, line, message}. A finished notebook whose record still holds is skipped.
With several values for a parameter each combination is a copy of its own, named after them.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .. import __version__, figures, tracking
from ..files import (
    installed,
    lock,
    make_folder,
    project_folder,
    remove_leftovers,
    runs_root,
    safe,
    save_atomically,
    shipped,
)
from . import pages
from .execute import _parameters_of, _run, _still_holds, read_record
from .pages import duration
from .values import text_parameters, values_of


class Job(NamedTuple):
    """A notebook to run: with these parameters, its copy called name."""

    notebook: Path
    parameters: dict
    name: str


def reproduce(
    names: list[str] | None = None,
    parameters: dict | None = None,
    *,
    preset: str | None = None,
    out: str | Path | None = None,
    timeout: float | None = 3600,
    fresh: bool = False,
    jobs: int = 1,
    track: str | None = None,
) -> int:
    """Run notebooks and write `<root>/reproduce/index.html`; its path is printed on standard output.

    names: notebooks as `20`, `20_noise_robust_distillation` or with `.ipynb`; None = all of them.
    parameters: values for the notebooks' `parameters` cells; strings are read as on the command line (`0.5`,
        `true`, `none`; anything else stays a string). `0.2,0.5` are two values: every combination of values
        runs, each in a copy named after them. `preset="x"` is short for `{"preset": "x"}`.
    out: the root that stands in for runs/. timeout: seconds that one cell may take; None or 0 = no limit.
    fresh: also run notebooks that are finished and unchanged. jobs: parallel processes, among which the
        CPU's threads are divided. track: trackers of their trainings, as of `train`.

    Returns 0 when every notebook finished, 1 when one failed (the others still run), 130 after Ctrl-C. Raises
    ValueError or FileNotFoundError before anything runs for a notebook or a parameter that does not exist.
    """
    notebooks = find_notebooks(names)
    texts = text_parameters(notebooks) if parameters else set()
    values = {name: values_of(value, name in texts) for name, value in (parameters or {}).items()}
    if preset is not None:
        if values.get("preset", [preset]) != [preset]:
            raise ValueError(f"two presets were given, {preset} and {values['preset'][0]}: give one")
        values["preset"] = [preset]
    tracking.check(track)
    if jobs < 1:
        raise ValueError(f"jobs {jobs} is not allowed: at least 1")
    given = _parameters_of(notebooks, values, all_named=bool(names))
    grid = [job for notebook in notebooks for job in _jobs(notebook, given[notebook])]
    folder = runs_root(out).absolute() / "reproduce"
    make_folder(folder)
    with lock(folder), tracked(track):  # two at once would write the same copies
        remove_leftovers(folder)
        return _run_and_write(notebooks, grid, folder, timeout, fresh, jobs)


@contextlib.contextmanager
def tracked(track: str | None) -> Iterator[None]:
    """Within, the trainings of notebooks are tracked: kernels and processes have this environment."""
    before = os.environ.get("LNL_TRACK")
    try:
        if track is not None:
            os.environ["LNL_TRACK"] = track
        yield
    finally:
        if before is None:
            os.environ.pop("LNL_TRACK", None)
        else:
            os.environ["LNL_TRACK"] = before


def _run_and_write(
    notebooks: list[Path], grid: list[Job], folder: Path, timeout: float | None, fresh: bool, jobs: int
) -> int:
    """Run what has to be run, write pages and pictures, say how it went; returns the exit status."""
    done, interrupted = _carry_out(grid, folder, timeout, fresh, jobs)
    by_name = {notebook.stem: notebook for notebook in (*find_notebooks(), *notebooks)}
    entries = _write_pages(folder, [*by_name.values()])
    if not interrupted:
        _write_pngs(folder, entries)
    if len(grid) > len(notebooks):
        _say_table(grid, {record["notebook"]: record for record, _ in entries})
    failed = [record for record in done if record["status"] == "failed"]
    for record in failed:
        error = record["error"]
        reason = error["message"].splitlines()[0]
        _say(f"{record['notebook']}: cell [{error['cell']}] failed ({error['line']}): {reason}")
    if interrupted:
        _say("stopped: the same command skips what is finished and goes on")
    print(folder / "index.html")
    return 130 if interrupted else int(bool(failed))


def _carry_out(
    grid: list[Job], folder: Path, timeout: float | None, fresh: bool, processes: int
) -> tuple[list[dict], bool]:
    """(records, whether Ctrl-C ended it): run the jobs whose record does not hold, and print a line each."""
    done: list[dict] = []
    width = max(len(job.name) for job in grid)
    held = {job.name: None if fresh else _still_holds(*job, folder) for job in grid}
    try:
        for record in filter(None, held.values()):
            _say(f"{record['notebook']:<{width}}  {_line(record, True)}")
            done.append(record)
        for record in _run_all([job for job in grid if not held[job.name]], folder, timeout, processes):
            _say(f"{record['notebook']:<{width}}  {_line(record, False)}")
            done.append(record)
    except KeyboardInterrupt:
        return done, True
    return done, False


def notebooks_folder() -> Path:
    """notebooks/ beside the pyproject.toml found upwards from the current folder, else those of the kit; an
    installed kit takes its own, since that project is another one.
    """
    project, own = project_folder(), shipped("notebooks")
    if not installed() and (project / "pyproject.toml").exists() and (project / "notebooks").is_dir():
        return project / "notebooks"
    if own.is_dir():
        return own
    raise FileNotFoundError(
        f"there is no notebooks/ folder beside a pyproject.toml above {Path.cwd()}: run this inside a clone "
        "of lnl-kit, or install the kit from its wheel (pip install lnl-kit)"
    )


def find_notebooks(names: list[str] | None = None) -> list[Path]:
    """The notebooks called `names` (number, name, file name, or the path of any notebook), in the order
    given; None = all, sorted.
    """
    folder = notebooks_folder()
    existing = sorted(p for p in folder.glob("*.ipynb") if not p.name.startswith("."))
    if not existing:
        raise FileNotFoundError(f"there are no notebooks in {folder}")
    if not names:
        return existing
    notebooks = []
    for name in names:
        path, stem = Path(name).expanduser(), Path(name).name.removesuffix(".ipynb")
        own = [path.resolve()] if path.suffix == ".ipynb" and path.is_file() else []
        matches = own or [p for p in existing if p.stem == stem]
        matches = matches or [p for p in existing if p.stem.split("_")[0] == stem]
        if not matches:
            raise FileNotFoundError(
                f"there is no notebook {name} in {folder}; there are " + ", ".join(p.stem for p in existing)
            )
        notebooks += [p for p in matches if p not in notebooks]
    return notebooks


def _jobs(notebook: Path, values: dict[str, list]) -> list[Job]:
    """Every combination of the values; a copy is named after those parameters that have several.

    Raises ValueError where a value is given twice.
    """
    several = [name for name, some in values.items() if len(some) > 1]
    words = {name: _words(name, values[name]) for name in several}
    found = []
    for places in itertools.product(*(range(len(some)) for some in values.values())):
        at = dict(zip(values, places))
        parts = [notebook.stem, *(f"{name}-{words[name][at[name]]}" for name in several)]
        found.append(Job(notebook, {name: values[name][n] for name, n in at.items()}, "-".join(parts)))
    return found


def _words(name: str, some: list) -> list[str]:
    """How each of a parameter's values is called in the name of a copy; no two alike, also where a file
    system does not tell capital letters apart.
    """
    if len({repr(value) for value in some}) < len(some):
        raise ValueError(f"parameter {name} has a value twice: {', '.join(map(str, some))}")
    plain = [safe(str(value)) for value in some]
    folded = [word.lower() for word in plain]
    return [
        word
        if word == str(value) and folded.count(word.lower()) == 1
        else f"{word[:40]}-{hashlib.blake2b(repr(value).encode(), digest_size=4).hexdigest()}"
        for value, word in zip(some, plain)
    ]


def _run_all(jobs: list[Job], folder: Path, timeout: float | None, processes: int):
    """Yield the record of each job as it ends, several at a time where asked for."""
    if processes == 1 or len(jobs) < 2:
        for job in jobs:
            yield _run(*job, folder, timeout)
        return
    from joblib import Parallel, delayed

    threads = max(1, (os.cpu_count() or 1) // processes)
    yield from Parallel(n_jobs=processes, batch_size=1, return_as="generator_unordered")(
        delayed(_run)(*job, folder, timeout, threads) for job in jobs
    )


def _line(record: dict, skipped: bool) -> str:

    if skipped:
        return f"finished before ({duration(record['seconds'])}); --fresh runs it again"
    if record["status"] == "failed":
        return f"FAILED at cell [{record['error']['cell']}] after {duration(record['seconds'])}"
    return f"finished in {duration(record['seconds'])}"


def _write_pages(folder: Path, notebooks: list[Path]) -> list[tuple[dict, list[dict]]]:
    """Pages of those notebooks that were executed, and the index; returns (record, figures) of each."""
    from importlib.metadata import version

    entries = []
    for notebook in notebooks:
        copies = [notebook.stem, *(p.stem for p in sorted(folder.glob(f"{notebook.stem}-*.json")))]
        for name in copies:
            record, executed = read_record(folder / f"{name}.json"), folder / f"{name}.ipynb"
            if record and executed.exists():
                entries.append((record, pages.write_page(executed, record)))
    finished = sum(record["status"] == "finished" for record, _ in entries)
    total = sum(record["seconds"] for record, _ in entries)
    pages.write_index(
        folder,
        entries,
        [
            f"{finished} of {len(entries)} notebooks finished",
            f"{sum(len(f) for _, f in entries)} figures",
            pages.duration(total),
            datetime.date.today().isoformat(),
            f"lnl-kit {__version__}",
            f"torch {version('torch')}",
        ],
    )
    return entries


def _write_pngs(folder: Path, entries: list[tuple[dict, list[dict]]]) -> None:
    """Every figure as png/<notebook>-<nn>.png where Chrome or Chromium is found, else one line says so."""

    wanted, drawn = {}, {}
    for record, made in entries:
        executed = (folder / f"{record['notebook']}.ipynb").stat().st_mtime
        for figure in made:
            path = folder / "png" / f"{figure['id']}.png"
            wanted[path] = figure
            if "plotly" in figure and not (path.exists() and path.stat().st_mtime > executed):
                drawn[path] = {k: v for k, v in figure["plotly"].items() if k != "config"}
    for path in set((folder / "png").glob("*.png")) - set(wanted):  # of a figure that is no longer made
        path.unlink()
    for path, figure in wanted.items():
        if figure.get("kind") == "image/png":
            path.parent.mkdir(exist_ok=True)
            save_atomically(path, figure["bytes"])
    if not drawn:
        return
    try:
        done = figures.save_pngs(drawn)
        reason = "no Chrome or Chromium was found"
    except Exception as exception:  # an extra must not cost the pages
        done, reason = False, f"{type(exception).__name__}: {exception}".splitlines()[0]
    _say(f"{len(drawn)} PNGs in {folder / 'png'}" if done else f"PNGs were skipped: {reason}")


def _say_table(grid: list[Job], records: dict[str, dict]) -> None:
    """One line a combination: its parameters, how it ended, and its headline."""

    for job in grid:
        record = records.get(job.name)
        ended = "not run" if record is None else f"{record['status']} {duration(record['seconds'])}"
        words = " ".join(f"{name}={value}" for name, value in job.parameters.items())
        number, headline = job.notebook.stem.split("_")[0], (record or {}).get("headline", "")
        _say(f"{number}  {words:<40}  {ended:<22}  {headline}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
