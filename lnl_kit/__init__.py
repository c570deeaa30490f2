"""lnl-kit: learning with noisy labels, five papers under one roof."""

from __future__ import annotations

import importlib
import sys
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .files import RunError, runs_root
    from .label_errors.by_probs import rank_labels
    from .label_errors.find import find_errors
    from .run.opened import OpenedRun, finished_runs, open_run
    from .run.settings import Settings
    from .train import train

__version__ = "0.1.0"
__all__ = [
    "OpenedRun",
    "RunError",
    "Settings",
    "find_errors",
    "finished_runs",
    "open_run",
    "rank_labels",
    "runs_root",
    "train",
]

_HOME = {
    "OpenedRun": "run.opened",
    "RunError": "files",
    "Settings": "run.settings",
    "find_errors": "label_errors.find",
    "finished_runs": "run.opened",
    "open_run": "run.opened",
    "rank_labels": "label_errors.by_probs",
    "runs_root": "files",
    "train": "train",
}


def __getattr__(name: str) -> Any:
    """Load what is asked for when it is asked for: reading a table of decisions needs no torch."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


class _Package(types.ModuleType):
    """`lnl_kit.train` is the function, although the module that it lies in has that name too."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "train" and isinstance(value, types.ModuleType):
            value = value.train
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
