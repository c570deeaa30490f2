"""The notebooks' widgets: see `lnl_kit.notebook`."""

from .notebook.explore import beside_image, explore, live
from .notebook.explorers import decagon_by_epoch, histogram_by_epoch, inspect_images, pick_run, review
from .notebook.training import NoiseLab, Training, train, train_rates

__all__ = [
    "NoiseLab",
    "Training",
    "beside_image",
    "decagon_by_epoch",
    "explore",
    "histogram_by_epoch",
    "inspect_images",
    "live",
    "pick_run",
    "review",
    "train",
    "train_rates",
]
