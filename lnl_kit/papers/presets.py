"""What `quick`, `demo` and `paper` mean: data size, network and settings for a method."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from ..methods import PAPER_OF
from . import cells

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
# Our readings where a paper gives no value; a cell's own values come before them.
READINGS = {
    "flywheel": {"architecture": "preactresnet18", "view": "crop", "cycle": 1, "renew_statistics": False},
    "dividemix": {"view": "crop"},
    "robust_features": {
        "view": "crop",
        "information": 3.0,
        "magnitude": 10,
        "schedule_alpha": "linear",
        "classify": "augmented",
    },
    "pu_distill": {"view": "crop", "iterations": 10, "entropy": 0.8, "teacher_weight": 0.9, "threshold": 0.5},
}  # the released code's
# PUDistill's released code: (lambda, eta) by the noise level in percent; Table V's own are not given.
PU_LEVELS = {
    "symmetric": {
        30: (0.4, 0.8),
        40: (0.5, 0.9),
        50: (0.5, 0.6),
        60: (0.5, 0.5),
        70: (0.9, 0.6),
        80: (0.9, 0.5),
        90: (0.9, 0.5),
    },
    "asymmetric": {
        30: (0.4, 0.8),
        40: (0.4, 0.6),
        50: (0.5, 0.5),
        60: (0.7, 0.5),
        70: (0.8, 0.5),
        80: (0.9, 0.5),
        90: (0.9, 0.5),
    },
}
# Values chosen on photographs where they differ from those chosen on digits, each by `--noisy-val`.
PHOTOGRAPHS = {"label_confidence": {"alpha": 0.9}}
# Step sizes that differ under `demo`: NRD's divergence as printed has a gradient 13 times smaller than
# cross-entropy's at the start and underfits its given labels in 50 epochs of real images; GJS's scale makes
# up for it.
DEMO = {"nrd": {"scale_jsd": True}}


def readings(method: str, dataset: str, noise: str, rate: float) -> dict:
    """What stands in a `paper` cell where the paper gives no value."""
    values = dict(READINGS.get(method, {}))
    if method == "flywheel" and dataset in ("clothing1m", "webvision"):
        values["mixup"] = 0.5  # UNICON's there
    if (
        method == "robust_features" and dataset == "clothing1m"
    ):  # common practice there; the paper does not say
        values |= {"initialization": "imagenet_pretrained", "view": "imagenet"}
    if method == "pu_distill" and round(100 * rate) in PU_LEVELS.get(noise, {}):
        values["teacher_weight"], values["threshold"] = PU_LEVELS[noise][round(100 * rate)]
    if method == "pu_distill" and dataset == "clothing1m":
        values["view"] = "imagenet"
    if method == "label_confidence":  # "as in [4]": the GJS paper, whose values NRD's tables quote
        shared = (
            "momentum",
            "batch_size",
            "epochs",
            "gamma",
            "milestones",
            "learning_rate",
            "weight_decay",
            "q",
        )
        like = "nrd" if dataset == "webvision" else "gce"
        given = (
            {}
            if dataset == "clothing1m"
            else cells.paper_settings(like, dataset, noise, rate, paper="nrd")[0]
        )
        values |= {k: given[k] for k in shared if k in given} | {"nesterov": True}
        if dataset == "clothing1m":  # ELR+'s, whose recipe it follows
            values |= {
                "epochs": 15,
                "batch_size": 64,
                "learning_rate": 0.002,
                "weight_decay": 1e-3,
                "milestones": (7 / 15,),
                "nesterov": False,
                "batches_per_epoch": 2000,
            }
    return values


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


def resolve(
    preset: str, method: str, settings_class: type, *, dataset: str, noise: str, rate: float
) -> Preset:
    """The preset for a method on a data set (a built-in name, or that given by --like).

    Raises ValueError for an unknown preset and for a `paper` cell that its paper does not have.
    """
    own = {} if dataset == "digits" else PHOTOGRAPHS.get(method, {})
    if preset == "quick":
        size = {} if dataset == "digits" else {"train_size": 2000, "test_size": 1000, "image_size": 32}
        return Preset("quick", settings=own, **size)
    if preset == "demo":
        size = {} if dataset == "digits" else {"image_size": 32}
        return Preset(
            "demo",
            train_size=5000,
            test_size=5000,
            settings={"epochs": 50} | DEMO.get(method, {}) | own,
            **size,
        )
    kind, _, paper = preset.partition(":")
    if kind != "paper":
        raise ValueError(
            f"preset {preset!r} does not exist: quick, demo, paper, or paper:NAME for that paper's cell"
        )
    cell, not_given = cells.paper_settings(
        method, dataset, noise, rate, paper=paper or PAPER_OF.get(method, "nrd")
    )
    cell = own | readings(method, dataset, noise, rate) | cell
    architecture = cell.pop("architecture", "preactresnet34")
    if (
        method == "label_confidence"
    ):  # "ResNet-34" is the three-stage network of the GJS paper; two on Clothing1M
        architecture = {"resnet34": "preactresnet34_cifar"}.get(architecture, architecture)
        architecture = "resnet50 imagenet_pretrained" if dataset == "clothing1m" else architecture
    model = PAPER_NETWORKS.get(f"{architecture} {cell.get('initialization')}") or PAPER_NETWORKS[architecture]
    if {"pi1", "pi2", "pi3"} <= set(cell):
        cell["pi"] = (cell.pop("pi1"), cell.pop("pi2"), cell.pop("pi3"))
    if method == "pu_distill":
        cell |= of_stages(cell)
    if "ema_beta" in cell:
        cell["decay"] = cell.pop("ema_beta")
    known = {f.name for f in fields(settings_class)}
    cell = {k: v for k, v in cell.items() if k in known}
    cell.setdefault("view", "randaugment" if dataset.startswith("cifar") else "imagenet")
    if dataset == "webvision" and "teacher_view" in known:
        cell["teacher_view"] = "imagenet_augmix"
    return Preset(preset, model=model, settings=cell, not_given=not_given, image_size=IMAGE_SIZE.get(dataset))


def of_stages(cell: dict) -> dict:
    """PUDistill's settings of filters, teachers and student; milestones are given in epochs, batch and MixUp
    once for all.
    """
    found = {
        "filter_batch_size": cell["batch_size"],
        "teacher_mixup": float(cell["mixup"]),
        "mixup": float(cell["mixup"]),
        "teacher_entropy": cell["entropy"],
        "gamma": cell["filter_lr_gamma"],
    }
    for stage, prefix in (("filter", "filter_"), ("teacher", "teacher_"), ("student", "")):
        epochs, drops = cell[f"{stage}_epochs"], cell[f"{stage}_lr_milestones"]
        found |= {
            f"{prefix}epochs": epochs,
            f"{prefix}learning_rate": cell[f"{stage}_learning_rate"],
            f"{prefix}milestones": tuple(
                e / epochs for e in (drops if isinstance(drops, tuple) else (drops,))
            ),
        }
    return found
