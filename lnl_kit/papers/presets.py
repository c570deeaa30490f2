"""What the presets mean: data size, network and settings for a method."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from ..features import kinds
from ..run.settings import Settings
from .cells import cells, paper_settings

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
# What papers print beside settings: facts of the data, what views and code are, and searches for a value.
NO_SETTINGS = frozenset(
    """alpha_end alpha_start architecture augmentation augmentation_invariant_regularizer
    augmentation_order baseline_noise_factor center_crop class_balanced_sampling classes
    clean_images color_jitter color_jitter_brightness color_jitter_contrast color_jitter_hue
    color_jitter_saturation cutout_length ema_beta entropy_regularization_used_in epsilon_init
    estep_weak_views figure1_clean_ratios figure1_pseudo_label figure2_clean_ratio figure2_eta
    filter_lr_gamma filter_lr_milestones gamma_init hardware image_size images_per_class
    inference_network inference_networks initialization label_correction_given_weight
    label_correction_prediction_weight loss lr_milestones_epochs_main_text m_sweep mixup_used_in
    mu_init mu_new_weight n_runs noise_rate_estimate normalize optimizer other_settings
    own_noise_factor penalty_kind pi1 pi2 pi2_search_grid pi3 pi_constraint randaugment_m
    randaugment_n random_crop_padding random_crop_size random_horizontal_flip random_resized_crop
    strong_augmentation student_epochs student_learning_rate student_lr_gamma student_lr_milestones
    table_II_eta_values table_VI_clean_ratio table_VI_eta table_VI_lambda teacher_augmentation
    teacher_images_per_class teacher_lr_gamma teacher_lr_milestones teacher_sampling_words
    teacher_views_per_step train_augmentation train_images tuning_noise_rate val_images
    vicinal_augmentation weak_augmentation weight_L_bootstrap weight_decay_main_text""".split()
)
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
        return Preset("quick", settings={**settings_class.quick, **on_photographs}, **size)
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
        settings = {**MEMORISE, **settings_class.demo, **on_photographs, **settings_class.memorise}
        image_size = None if dataset == "digits" else 32
        return Preset(
            preset, model="mlp_head", image_size=image_size, features=kinds.DEFAULT, settings=settings
        )
    kind, _, paper = preset.partition(":")
    if kind != "paper":
        raise ValueError(
            f"preset {preset!r} does not exist: quick, demo, photographs, memorise, paper, or paper:NAME for "
            "that paper's cell"
        )
    return of_paper(preset, paper or settings_class.paper, method, settings_class, dataset, noise, rate)


def nearest_symmetric(method: str, dataset: str, paper: str | None) -> tuple[str, float]:
    """The (noise, rate) of the symmetric cell that is nearest to CIFAR-10N's 40 % wrong labels.

    Raises ValueError where there is none.
    """
    found = [
        (abs(rate - 0.4), noise, rate)
        for name, noise, rate in cells(method, paper)
        if name == dataset and noise in ("symmetric", "symmetric_exclusive")
    ]
    if not found:
        raise ValueError(
            f"{paper or 'the paper'} has no settings for {method} on {dataset} with symmetric noise, which "
            "human labels would take: choose another preset"
        )
    return min(found)[1:]


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

    paper None: the one with the baselines' settings. Human labels, of which no paper here has a cell, take
    the symmetric cell nearest to 40 %. Raises ValueError for a cell that does not exist.
    """
    not_given = []
    if noise == "human":
        noise, rate = nearest_symmetric(method, dataset, paper)
        not_given = [f"human labels: the settings of {noise} {rate:g}"]

    def look(other: str, printed_by: str) -> dict:
        return paper_settings(other, dataset, noise, rate, printed_by)[0]

    cell, lacking = paper_settings(method, dataset, noise, rate, paper)
    not_given += lacking
    cell = {**settings_class.photographs, **settings_class.readings(dataset, noise, rate, look), **cell}
    cell = settings_class.read_cell(cell, dataset)
    architecture = cell.get("architecture", "preactresnet34")
    model = PAPER_NETWORKS.get(f"{architecture} {cell.get('initialization')}") or PAPER_NETWORKS[architecture]
    known = {f.name for f in fields(settings_class)}
    not_given += [f"{k} {v}: not built" for k, v in sorted(cell.items()) if k not in known | NO_SETTINGS]
    settings = {k: v for k, v in cell.items() if k in known}
    settings.setdefault("view", "randaugment" if dataset.startswith("cifar") else "imagenet")
    size = IMAGE_SIZE.get(dataset)
    return Preset(preset, model=model, settings=settings, not_given=not_given, image_size=size)
