"""papermill's engine, but for how often it writes the notebook."""

from __future__ import annotations

from typing import Any

from papermill.engines import NBClientEngine, NotebookExecutionManager, papermill_engines

NAME = "lnl"


class WritesOnce(NBClientEngine):
    """Writes the notebook when its last cell has ended, also where that failed, and not round each cell: with
    figures in it that was a third of the time (30_leaderboard: 29 s, now 18, under a profiler), and what lies
    in a temporary folder is of no use before it is put in place.
    """

    @classmethod
    def execute_managed_notebook(
        cls, nb_man: NotebookExecutionManager, kernel_name: str, **more: Any
    ) -> None:
        """Run all cells."""
        path, nb_man.output_path = nb_man.output_path, None
        try:
            super().execute_managed_notebook(nb_man, kernel_name, **more)
        finally:
            nb_man.output_path = path
            nb_man.save()


papermill_engines.register(NAME, WritesOnce)
