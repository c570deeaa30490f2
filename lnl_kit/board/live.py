"""The page of a root of runs, written again whenever a run there has changed."""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path

from ..files import save_atomically
from ..results.collect import Index
from .page import page

SHARE = 5  # a root so large that looking at it takes long is looked at for one part in so many of the time


def board(
    root: str | Path,
    to: str | Path | None = None,
    every: float = 10.0,
    once: bool = False,
    browser: bool = True,
) -> int:
    """Write the page of a root of runs and, unless `once`, keep it up to date until Ctrl-C; returns 0.

    to: the file, by default `board.html` in the root. Raises ValueError for a time that is none and
    FileNotFoundError where there is no such root.
    """
    if not every > 0:
        raise ValueError(f"--every {every:g} is not allowed: more than 0 seconds")
    path = Path(to or Path(root) / "board.html").absolute()
    write(root, path, 0 if once else every)
    print(path, flush=True)
    if browser:
        webbrowser.open(path.as_uri())
    if once:
        return 0
    try:
        while True:
            started = time.perf_counter()
            took = write(root, path, every, only_changes=True)
            time.sleep(max(every, SHARE * took) - min(every, time.perf_counter() - started))
    except KeyboardInterrupt:
        write(root, path, 0)  # a page that is left open does not go on asking
    return 0


def write(root: str | Path, path: Path, every: float, only_changes: bool = False) -> float:
    """Write the page, which asks for itself again after so many seconds (0: never); returns what that took.
    only_changes: leave it where no run has changed.
    """
    started = time.perf_counter()
    with Index(root) as index:
        if not (only_changes and not index.read and not index.gone):
            save_atomically(path, page(index, every).encode("utf-8", "replace"))
    return time.perf_counter() - started
