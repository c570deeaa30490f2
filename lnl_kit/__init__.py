"""lnl-kit: learning with noisy labels, five papers under one roof."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .files.lazy import lazily

if TYPE_CHECKING:
    from .commands.config import read_config
    from .files import RunError, runs_root
    from .forecast import Forecast, dry_run
    from .label_errors.by_probs import rank_labels
    from .label_errors.find import find_errors
    from .run.opened import OpenedRun, finished_runs, open_run
    from .run.settings import Settings
    from .train import train

__version__ = "0.1.0"
__all__ = [
    "Forecast",
    "OpenedRun",
    "RunError",
    "Settings",
    "dry_run",
    "find_errors",
    "finished_runs",
    "open_run",
    "rank_labels",
    "read_config",
    "runs_root",
    "train",
]

# Reading a table of decisions, or the help of a command, needs no torch.
lazily(
    __name__,
    {
        "Forecast": "forecast",
        "OpenedRun": "run.opened",
        "RunError": "files",
        "Settings": "run.settings",
        "dry_run": "forecast",
        "find_errors": "label_errors.find",
        "finished_runs": "run.opened",
        "open_run": "run.opened",
        "rank_labels": "label_errors.by_probs",
        "read_config": "commands.config",
        "runs_root": "files",
        "train": "train",
    },
)
