"""Stages of a run whose results are computed once and, where nothing else differs, shared between runs."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..files import Hold, make_folder, read_json, remove, remove_leftovers, save_atomically
from ..toolbox import ranks
from ..toolbox.rng import seed_of
from .identity import source_of
from .state import Damaged, to_cpu, to_device, torch_bytes, torch_read

if TYPE_CHECKING:
    from .loop import Run


def place_of(run: Run, name: str, fn: Callable, depends: dict | None) -> tuple[Path, int]:
    """(folder, seed) of a stage: the run's own, or one that is the same for all runs that agree on it."""
    if depends is None:
        return run.folder / "stages" / name, seed_of(run.seed, "stage", name)
    told = json.dumps(depends, sort_keys=True, default=str)
    shape, classes = tuple(run.data.x.shape), run.data.classes
    key = seed_of(name, run.model, run.precision, run.images, source_of(fn), shape, classes, told)
    # the same draws whatever else is written in that file
    return run.root / "stages" / f"{name}-{key:016x}", seed_of(name, run.images, told)


def computed_once(
    folder: Path, compute: Callable[[Hold], Any], device: torch.device, above: Hold
) -> tuple[Any, float]:
    """(result, seconds that it took when it was computed), loaded where it has been computed before. above:
    how the run's own folder is held.
    """
    done, clock = folder / "result.pt", folder / "seconds.json"
    found: list[Any] = []  # the result that lies there

    def is_done() -> bool:
        remove_leftovers(folder)
        try:
            if not found and done.exists():
                found.append(torch_read(done))
        except Damaged:
            print(f"{done} is damaged: this stage starts anew", file=sys.stderr)
            remove(done)
        return bool(found)

    def kept() -> tuple[Any, float]:
        seconds = 0.0
        with contextlib.suppress(OSError, ValueError, TypeError):  # an older version kept none
            seconds = float(read_json(clock))
        return found.pop() if found else torch_read(done), seconds

    with contextlib.ExitStack() as stack:
        held = Hold()
        if ranks.first():
            make_folder(folder)
            held = stack.enter_context(above.within(folder, is_done))
        if not ranks.told(is_done):
            started = time.perf_counter()
            result = torch_bytes(to_cpu(compute(held)))
            if ranks.first():
                with held.commit():
                    save_atomically(clock, json.dumps(time.perf_counter() - started).encode())
                    save_atomically(done, result, durable=True)
        result, seconds = ranks.told(kept)
        return to_device(result, device), seconds
