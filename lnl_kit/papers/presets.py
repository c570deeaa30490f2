"""What the presets mean: data size, network and settings for a method."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ..features import backbones
from ..run.settings import Settings
from .cells import paper_settings

PAPER_NETWORKS = {
    "preactresnet34": "preact_resnet34",
    "preactresnet18": "preact_resnet18",
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "preactresnet34_cifar": "preact_resnet34_cifar",
    "resnet50 imagenet_pretrained": "resnet50_imagenet",
    "resnet18 imagenet_pretrained": "resnet18_imagenet",
    "inceptionresnetv2": "inception_resnet_v2",
}
IMAGE_SIZE = {"tiny_imagenet": 64, "clothing1m": 224, "webvision": 224}  # pixels a side under `paper`
# `photographs`: all images at 32x32 and 20 epochs, the same recipe for every method but for the step size of
# its own paper (the settings' default) and what it needs on real images (its `demo` and `photographs`).
RECIPE = {"epochs": 20, "batch_size": 256, "weight_decay": 5e-4, "schedule": "cosine", "view": "crop"}
# `memorise`: a hidden layer on what a pretrained network sees of all images, so long that cross-entropy
# repeats nearly every wrong label, as the papers' networks do after 200 epochs; a minute or two on a CPU.
MEMORISE = {"epochs": 40, "batch_size": 256, "weight_decay": 0.0, "schedule": "cosine"}


@dataclass
class Preset:
    """A resolved preset. `train_size`, `test_size`: at most so many images (None = all)."""

    name: str
    model: str = "small_cnn"
    train_size: int | None = None
    test_size: int | None = None
    image_size: int | None = None
    features: str | None = None  # the pretrained network whose features stand in the place of images
    settings: dict = field(default_factory=dict)
    not_given: list[str] = field(default_factory=list)  # what the paper leaves open: our reading is used


def resolve(
    preset: str, method: str, settings_class: type[Settings], *, dataset: str, noise: str, rate: float
) -> Preset:
    """The preset for a method on a data set (a built-in name, or that given by --like).

    Raises ValueError for an unknown preset and for a `paper` cell that its paper does not have.
    """
    on_photographs = {} if dataset == "digits" else dict(settings_class.photographs)
    if preset == "quick":
        size: dict[str, Any] = (
            {} if dataset == "digits" else {"train_size": 2000, "test_size": 1000, "image_size": 32}
        )
        return Preset("quick", settings=on_photographs, **size)
    if preset == "demo":
        size = {} if dataset == "digits" else {"image_size": 32}
        settings = {"epochs": 50, **settings_class.demo, **on_photographs}
        return Preset("demo", train_size=5000, test_size=5000, settings=settings, **size)
    if preset == "photographs":
        if dataset == "digits":
            raise ValueError(
                "preset photographs is for images of 32x32 pixels and more, not for digits: quick or demo"
            )
        settings = {**RECIPE, **settings_class.demo, **on_photographs}
        return Preset("photographs", model="airbench", image_size=32, settings=settings)
    if preset == "memorise":
        settings = {**MEMORISE, **settings_class.demo, **on_photographs}
        image_size = None if dataset == "digits" else 32
        return Preset(
            preset, model="mlp_head", image_size=image_size, features=backbones.DEFAULT, settings=settings
        )
    kind, _, paper = preset.partition(":")
    if kind != "paper":
        raise ValueError(
            f"preset {preset!r} does not exist: quick, demo, photographs, memorise, paper, or paper:NAME for "
            "that paper's cell"
        )
    return of_paper(preset, paper or settings_class.paper, method, settings_class, dataset, noise, rate)


def of_paper(
    preset: str,
    paper: str | None,
    method: str,
    settings_class: type[Settings],
    dataset: str,
    noise: str,
    rate: float,
) -> Preset:
    """A cell of a paper's table: its network, its settings, and what it leaves open.

    paper None: the one with the baselines' settings. Raises ValueError for a cell that does not exist.
    """

    def look(other: str, printed_by: str) -> dict:
        return paper_settings(other, dataset, noise, rate, printed_by)[0]

    cell, not_given = paper_settings(method, dataset, noise, rate, paper)
    cell = {**settings_class.photographs, **settings_class.readings(dataset, noise, rate, look), **cell}
    cell = settings_class.read_cell(cell, dataset)
    architecture = cell.get("architecture", "preactresnet34")
    model = PAPER_NETWORKS.get(f"{architecture} {cell.get('initialization')}") or PAPER_NETWORKS[architecture]
    known = {f.name for f in fields(settings_class)}
    settings = {k: v for k, v in cell.items() if k in known}
    settings.setdefault("view", "randaugment" if dataset.startswith("cifar") else "imagenet")
    size = IMAGE_SIZE.get(dataset)
    return Preset(preset, model=model, settings=settings, not_given=not_given, image_size=size)
