"""Weights & Biases: a run of PROJECT. Without $WANDB_API_KEY or WANDB_MODE=online it is offline, in the
folder `wandb` of the runs' root, from where `wandb sync` sends it.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any


class Tracker:
    """A run, found again by its id."""

    def open(self, told, known: str | None) -> str:
        """The run's id."""
        import wandb

        told.root.mkdir(parents=True, exist_ok=True)
        self.id = known or hashlib.blake2b(os.urandom(16), digest_size=8).hexdigest()
        mode: Any = os.environ.get("WANDB_MODE") or (
            "online" if os.environ.get("WANDB_API_KEY") else "offline"
        )
        self.run = wandb.init(
            project=told.project,
            id=self.id,
            name=told.name,
            config=told.parameters,
            dir=str(told.root),
            resume="allow" if mode == "online" else None,
            reinit="create_new",
            mode=mode,
            settings=wandb.Settings(silent=True, console="off", save_code=False),
        )
        return self.id

    def log(self, metrics: dict[str, float], epoch: int) -> None:
        """All metrics of an epoch at once."""
        self.run.log(metrics, step=epoch)

    def end(self, summary: dict[str, float], figures: dict[str, Any], files: list[Path]) -> None:
        """The summary, figures, and the files of the run as an artefact."""
        import wandb

        self.run.summary.update({f"summary.{k}": v for k, v in summary.items()})
        self.run.log({f"figures/{name}": wandb.Plotly(figure) for name, figure in figures.items()})
        artefact = wandb.Artifact(f"run-{self.id}", type="run")
        for file in files:
            artefact.add_file(str(file))
        self.run.log_artifact(artefact)

    def close(self) -> None:
        """Wait until everything is written."""
        self.run.finish()
