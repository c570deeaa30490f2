"""Resolved: a training as asked for, checked, with a choice for everything that was left open."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from .settings import Settings


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What `Plan.resolve` returns, before any data is read. Fields that `train` has too mean the same."""

    name: str  # of the method
    function: Callable  # (data, settings, run)
    settings_class: type[Settings]
    settings: Settings
    dataset: str
    noise: str
    noise_was_named: bool  # False where the noise is the default
    rate: float
    preset: str
    not_given: list[str]  # settings that the paper of the preset leaves open
    seed: int
    labels: str | None
    path_column: str | None
    label_column: str | None
    true_column: str | None
    like: str | None
    model: str
    train_size: int | None  # at most so many images, None = all
    test_size: int | None
    image_size: int | None  # pixels a side, None = the data set's own
    features: str | None  # backbones whose features stand in the place of images; None = the images
    feature_views: int  # stored draws of each view
    noisy_val: float
    clean_share: float
    clean_list: str | None
    keep: tuple[str, ...]
    device: torch.device
    precision: str  # auto, bf16 or fp32: auto is decided when the size of the images is known
    compile: str
    skip_bad: bool
    split: bool | Sequence[str]
    recursive: bool
    max_pixels: int | None

    @property
    def reading(self) -> dict:
        """What `data.load` is asked for."""
        keys = (
            "image_size labels path_column label_column true_column like skip_bad split recursive max_pixels"
        )
        return {key: getattr(self, key) for key in keys.split()}

    @property
    def labels_slug(self) -> str:
        """Where the labels come from, as part of a path: "symmetric", "human-worst", "labels-given"."""
        if self.noise == "human":
            return f"human-{self.label_column}"
        if self.labels:
            return f"labels-{self.label_column or 'given'}"
        return f"matrix-{Path(self.noise[7:]).stem}" if self.noise.startswith("matrix:") else self.noise
