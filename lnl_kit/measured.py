"""What was measured and is kept: see `lnl_kit.results.measured` and `lnl_kit.compare.sweep`."""

from .compare import sweep
from .results.measured import add, read, table

__all__ = ["add", "read", "sweep", "table"]
