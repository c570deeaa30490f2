"""Stages of a run whose results are computed once and, where nothing else differs, shared between runs."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..files import lock, make_folder, read_json, remove_leftovers, save_atomically
from ..toolbox import ranks
from ..toolbox.rng import seed_of
from .identity import source_of
from .state import to_cpu, to_device, torch_bytes

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


def computed_once(folder: Path, compute: Callable[[], Any], device: torch.device) -> tuple[Any, float]:
    """(result, seconds that it took when it was computed), loaded where it has been computed before."""
    done, clock = folder / "result.pt", folder / "seconds.json"

    def is_done() -> bool:
        remove_leftovers(folder)
        return done.exists()

    def kept() -> tuple[Any, float]:
        seconds = 0.0
        with contextlib.suppress(OSError, ValueError, TypeError):  # an older version kept none
            seconds = float(read_json(clock))
        return torch.load(done, map_location="cpu", weights_only=True), seconds

    with contextlib.ExitStack() as held:
        if ranks.first():
            make_folder(folder)
            held.enter_context(lock(folder))
        if not ranks.told(is_done):
            started = time.perf_counter()
            result = torch_bytes(to_cpu(compute()))
            if ranks.first():
                save_atomically(clock, json.dumps(time.perf_counter() - started).encode())
                save_atomically(done, result, durable=True)
        result, seconds = ranks.told(kept)
        return to_device(result, device), seconds
