"""lnl-kit: learning with noisy labels, five papers under one roof."""

__version__ = "0.1.0"

from .results import OpenedRun, finished_runs, open_run
from .run import RunError
from .settings import Settings
from .train import runs_root, train

__all__ = ["OpenedRun", "RunError", "Settings", "find_errors", "finished_runs", "open_run", "runs_root", "train"]


def __getattr__(name: str):
    if name == "find_errors":  # needs pandas, which training does not
        from .errors import find_errors
        return find_errors
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
