"""Resolved: a training as asked for, checked, with a choice for everything that was left open."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ..data.naming import OWN, PACKED
from ..features import kinds
from ..toolbox import augment, models
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
    annotators: str  # what is made of several label columns
    true_column: str | None
    like: str | None
    model: str
    train_size: int | None  # at most so many images, None = all
    test_size: int | None
    image_size: int | None  # pixels a side, None = the data set's own
    features: str | None  # backbones whose features stand in the place of images; None = the images
    feature_views: int  # stored draws of each view
    open_set: float  # share of the training images that show no class
    imbalance: float | None  # the smallest class over the largest; None = as the classes are
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
    follow_links: bool
    image_column: str | None  # of a packed set
    hf_split: str | None  # of a set of Hugging Face

    @property
    def reading(self) -> dict:
        """What `data.load` is asked for."""
        keys = (
            "image_size labels path_column label_column annotators true_column like skip_bad split "
            "recursive max_pixels follow_links image_column hf_split"
        )
        return {key: getattr(self, key) for key in keys.split()}

    @property
    def labels_slug(self) -> str:
        """Where the labels come from, as part of a path: "symmetric", "human-worst", "labels-given"."""
        column = self.label_column or "given"
        if "," in column:
            column = f"{column.replace(',', '+')}-{self.annotators}"
        if self.noise == "human":
            return f"human-{column}"
        if self.labels:
            return f"labels-{column}"
        return f"matrix-{Path(self.noise[7:]).stem}" if self.noise.startswith("matrix:") else self.noise


def check_features(
    features: str | None, views: int, model: str, name: str, settings_class: type[Settings]
) -> None:
    """Refuse in one sentence an unknown network, what features cannot train, and heads without them."""
    models.check(model)
    if features:
        for backbone in features.split(","):
            kinds.check(backbone.strip())
        if model not in models.HEADS:
            raise ValueError(
                f"the network {model} sees images, not features: choose one of {', '.join(models.HEADS)}"
            )
        if settings_class.needs_pixels:
            raise ValueError(
                f"{name} {settings_class.needs_pixels}, which features do not hold: train it on the images "
                "themselves"
            )
    elif settings_class.needs_features:
        raise ValueError(
            f"{name} is fitted to features of a pretrained network: name one, such as "
            f"features={kinds.DEFAULT} (--features)"
        )
    elif model in models.HEADS:
        raise ValueError(f"the network {model} needs features, such as features={kinds.DEFAULT}")
    if views < 0:
        raise ValueError(f"feature_views {views} is not allowed: 0 or more stored draws of each view")


def check_views(settings: Settings) -> None:
    """Raise ValueError for augmentations that do not exist."""
    for key in ("view", "teacher_view"):
        if hasattr(settings, key):
            augment.view(getattr(settings, key))


def require_labels(label_column: str | None, labels, noise: str, dataset: str) -> None:
    """Raise ValueError where a column is named and no table that it could be of."""
    if label_column and not labels and noise != "human" and not dataset.startswith(PACKED):
        raise ValueError(
            f"label column {label_column!r} of which file? Give labels=FILE.csv (--labels) too, or "
            "noise human"
        )


def say_default_noise(plan: Resolved) -> None:
    """Labels of one's own are made wrong by default: say so, since its owner may not expect it."""
    if plan.dataset.startswith(OWN) and not plan.noise_was_named and not plan.labels:
        print(
            f"{plan.dataset}: its labels are made wrong by {plan.noise} noise, {plan.rate:g}, as no noise "
            "was named; noise none (--noise none) takes them as they are",
            file=sys.stderr,
        )
