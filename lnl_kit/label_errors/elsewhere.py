"""What of a search can be done side by side, by a launcher: backbones that look, networks that are trained.

Each leaves its result where the search itself finds it then: in the cache of features, or in its run's
folder.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np

from .. import launchers
from ..features.of_dataset import features_of
from ..run.device import find_device
from ..train import train
from .cross_validation import CrossValidation, cross_validation
from .findings import load


def beside(
    task, arguments: list[tuple], launcher: str | None, jobs: int | None, preset: str, device: str, root: Path
) -> None:
    """Carry out `task(*arguments[n])` for each n where a launcher was named and there are several. Raises
    what one of them raised.
    """
    if (launcher is None and not jobs) or len(arguments) < 2:
        return
    how, needs = launchers.asked_for(launcher), launchers.resources_of(preset, device)
    with contextlib.closing(
        launchers.launch(how, task, arguments, needs, jobs=jobs or 0, folder=root)
    ) as ended:
        for end in ended:
            if end.error is not None:
                raise end.error


def look(asked: dict, skip_bad: bool, name: str, index: np.ndarray, size: int | None, device: str) -> None:
    """Keep what a backbone sees in the images at `index` (n,) of a search's data."""
    source = load(**asked, skip_bad=skip_bad)
    features_of(source, name, index, size=size, device=str(find_device(device)), progress=False)


def train_one(name: str, ask: dict, stoppable: bool = True):
    """The run of a method, or of cross-validation. stoppable: as a task of a launcher."""
    own: dict[str, Any] = {"settings_class": CrossValidation} if name == "cross_validation" else {}
    method = cross_validation if own else name
    if not stoppable:
        return train(method, **ask, **own)
    quiet = {"progress": False, "on_interrupt": "raise", "on_epoch": launchers.stop_if_asked}
    train(method, **ask | own | quiet)
    return None
