"""What `quick`, `demo` and `paper` mean: data size, network and settings for a method."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from . import published

PAPER_OF = {"nrd": "nrd", "flywheel": "flywheel", "dividemix": "flywheel"}  # a method's own paper; a baseline's cells are those of NRD's Table 5
PAPER_NETWORKS = {"preactresnet34": "preact_resnet34", "preactresnet18": "preact_resnet18",
                  "resnet18": "resnet18", "resnet34": "resnet34", "resnet50": "resnet50",
                  "resnet50 imagenet_pretrained": "resnet50_imagenet", "inceptionresnetv2": "inception_resnet_v2"}
IMAGE_SIZE = {"tiny_imagenet": 64, "clothing1m": 224, "webvision": 224}  # pixels a side under `paper`
# Our readings where a paper gives no value; a cell's own values come before them.
READINGS = {"flywheel": {"architecture": "preactresnet18", "view": "crop", "cycle": 1, "renew_statistics": False}, "dividemix": {"view": "crop"}}
# Step sizes that differ under `demo`: NRD's divergence as printed has a gradient 13 times smaller than cross-entropy's
# at the start and underfits its given labels in 50 epochs of real images; GJS's scale makes up for it.
DEMO = {"nrd": {"scale_jsd": True}}


@dataclass
class Preset:
    """A resolved preset. `train_size`, `test_size`: at most so many images (None = all)."""

    name: str
    model: str = "small_cnn"
    train_size: int | None = None
    test_size: int | None = None
    image_size: int | None = None
    settings: dict = field(default_factory=dict)
    not_given: list[str] = field(default_factory=list)  # what the paper leaves open: our reading is used


def resolve(preset: str, method: str, settings_class: type, *, dataset: str, noise: str, rate: float) -> Preset:
    """The preset for a method on a data set (a built-in name, or that given by --like).

    Raises ValueError for an unknown preset and for a `paper` cell that its paper does not have.
    """
    if preset == "quick":
        size = {} if dataset == "digits" else {"train_size": 2000, "test_size": 1000, "image_size": 32}
        return Preset("quick", **size)
    if preset == "demo":
        size = {} if dataset == "digits" else {"image_size": 32}
        return Preset("demo", train_size=5000, test_size=5000, settings={"epochs": 50} | DEMO.get(method, {}), **size)
    kind, _, paper = preset.partition(":")
    if kind != "paper":
        raise ValueError(f"preset {preset!r} does not exist: quick, demo, paper, or paper:NAME for that paper's cell")
    cell, not_given = published.paper_settings(method, dataset, noise, rate, paper=paper or PAPER_OF.get(method, "nrd"))
    cell = READINGS.get(method, {}) | cell
    if method == "flywheel" and dataset in ("clothing1m", "webvision"):
        cell.setdefault("mixup", 0.5)  # UNICON's there
    architecture = cell.pop("architecture", "preactresnet34")
    model = PAPER_NETWORKS.get(f"{architecture} {cell.get('initialization')}") or PAPER_NETWORKS[architecture]
    if {"pi1", "pi2", "pi3"} <= set(cell):
        cell["pi"] = (cell.pop("pi1"), cell.pop("pi2"), cell.pop("pi3"))
    if "ema_beta" in cell:
        cell["decay"] = cell.pop("ema_beta")
    known = {f.name for f in fields(settings_class)}
    cell = {k: v for k, v in cell.items() if k in known}
    cell.setdefault("view", "randaugment" if dataset.startswith("cifar") else "imagenet")
    if dataset == "webvision" and "teacher_view" in known:
        cell["teacher_view"] = "imagenet_augmix"
    return Preset(preset, model=model, settings=cell, not_given=not_given,
                  image_size=IMAGE_SIZE.get(dataset))
