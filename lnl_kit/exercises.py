"""The notebooks' exercises: see `lnl_kit.notebook.exercises`."""

from .notebook.exercises import EXERCISES, check, verdict

__all__ = ["EXERCISES", "check", "verdict"]
