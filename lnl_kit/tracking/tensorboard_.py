"""TensorBoard: event files in the run's folder `tensorboard`; `tensorboard --logdir runs` shows all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from .common import drawn


class Tracker:
    """An event file for each call; of a run that goes on, epochs that come again replace those before."""

    def open(self, told, known: str | None) -> str:
        """The folder of the event files."""
        from torch.utils.tensorboard import SummaryWriter

        self.told = told
        self.writer = SummaryWriter(told.folder / "tensorboard")
        if known is None:
            text = json.dumps(told.parameters, indent=1)
            self.writer.add_text("settings", "    " + text.replace("\n", "\n    "))  # a block of code
        return "tensorboard"

    def log(self, metrics: dict[str, float], epoch: int) -> None:
        """A curve for each metric."""
        for name, value in metrics.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def end(self, summary: dict[str, float], figures: dict[str, Any], files: list[Path]) -> None:
        """The settings beside what they led to, and the figures where a browser can draw them."""
        final = {f"summary/{name}": value for name, value in summary.items()}
        self.writer.add_hparams(self.told.parameters, final, run_name=".")
        for name, pixels in drawn(figures).items():
            self.writer.add_image(f"figures/{name}", pixels, dataformats="HWC")
        self.writer.flush()

    def close(self) -> None:
        """Close the file."""
        self.writer.close()
