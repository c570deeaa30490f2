"""lnl-kit: learning with noisy labels, five papers under one roof."""

__version__ = "0.1.0"

from .results import OpenedRun, finished_runs, open_run
from .run import RunError
from .settings import Settings
from .train import runs_root, train

__all__ = ["OpenedRun", "RunError", "Settings", "finished_runs", "open_run", "runs_root", "train"]
