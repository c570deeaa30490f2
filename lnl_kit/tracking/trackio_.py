"""Trackio: a run of PROJECT in $TRACKIO_DIR, else in the folder `trackio` of the runs' root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .common import drawn


class Tracker:
    """A run, found again by its name."""

    def open(self, told, known: str | None) -> str:
        """The run's name."""
        os.environ.setdefault("TRACKIO_DIR", str(told.root / "trackio"))  # read when it is imported
        import trackio

        self.name = known or told.name
        self.run = trackio.init(
            project=told.project,
            name=self.name,
            config=told.parameters,
            resume="allow",
            embed=False,
            auto_log_gpu=False,
            auto_log_cpu=False,
        )
        return self.name

    def log(self, metrics: dict[str, float], epoch: int) -> None:
        """All metrics of an epoch at once."""
        self.run.log(metrics, step=epoch)

    def end(self, summary: dict[str, float], figures: dict[str, Any], files: list[Path]) -> None:
        """The summary, figures, and the files of the run as an artefact."""
        import trackio

        final: dict[str, Any] = {f"summary.{k}": v for k, v in summary.items()}
        final |= {f"figures/{name}": trackio.Image(pixels) for name, pixels in drawn(figures).items()}
        self.run.log(final)
        artefact = trackio.Artifact(self.name.replace("/", "-"), type="run")
        for file in files:
            artefact.add_file(str(file))
        self.run.log_artifact(artefact)

    def close(self) -> None:
        """Wait until everything is written."""
        import trackio

        trackio.finish()  # not `run.finish`, which would be called again when Python ends
