"""Presets: quick and demo are the same for every method, paper is exactly one cell."""

import pytest

from lnl_kit.cli import main
from lnl_kit.methods import METHODS
from lnl_kit.papers import presets, published
from lnl_kit.papers.cells import cells
from lnl_kit.papers.presets import resolve
from lnl_kit.settings import Settings, make
from lnl_kit.toolbox import models
from lnl_kit.train import Plan


def cell(method, dataset="cifar10", noise="symmetric", rate=0.4, preset="paper"):
    plan = resolve(preset, method, METHODS[method][1], dataset=dataset, noise=noise, rate=rate)
    return plan, make(METHODS[method][1], **plan.settings)


def test_nrds_cell_is_its_row():
    plan, s = cell("nrd")
    assert plan.model == "preact_resnet34" and plan.train_size is None
    assert (s.learning_rate, s.weight_decay, s.pi, s.epochs, s.batch_size) == (
        0.1,
        5e-4,
        (0.2, 0.6, 0.2),
        400,
        128,
    )
    assert (s.milestones, s.gamma, s.momentum, s.view, s.teacher_view) == (
        (0.5, 0.75),
        0.1,
        0.9,
        "randaugment",
        "augmix",
    )
    assert s.decay == 0.99 and not s.scale_jsd and not s.nesterov
    assert "nesterov" in plan.not_given and "jsd_scaling" in plan.not_given


@pytest.mark.parametrize(
    "noise, rate, pi",
    [
        ("symmetric", 0.2, (0.2, 0.6, 0.2)),
        ("symmetric", 0.6, (0.25, 0.5, 0.25)),
        ("symmetric", 0.8, (0.25, 0.5, 0.25)),
        ("asymmetric", 0.2, (0.1, 0.8, 0.1)),
        ("asymmetric", 0.4, (0.15, 0.7, 0.15)),
        ("none", 0.0, (0.2, 0.6, 0.2)),
    ],
)
def test_nrds_weights_by_cell(noise, rate, pi):
    assert cell("nrd", noise=noise, rate=rate)[1].pi == pi


@pytest.mark.parametrize(
    "method, expected",
    [
        ("ce", {"learning_rate": 0.05, "weight_decay": 1e-3}),
        ("gce", {"q": 0.7, "learning_rate": 0.01}),
        ("gjs", {"pi1": 0.9, "learning_rate": 0.1}),
        ("js", {"pi1": 0.7}),
        ("sce", {"alpha": 0.1, "beta": 0.1}),
        ("nce_rce", {"alpha": 10, "beta": 0.1}),
        ("bootstrap_soft", {"beta": 0.7}),
        ("label_smoothing", {"epsilon": 0.9}),
    ],
)
def test_the_baselines_cells(method, expected):
    settings = cell(method)[1]
    assert {k: getattr(settings, k) for k in expected} == expected and settings.epochs == 400


def test_a_cell_that_does_not_exist_is_refused_with_those_that_do():
    with pytest.raises(ValueError, match="symmetric"):
        cell("nrd", rate=0.33)
    with pytest.raises(ValueError, match="mae"):
        cell("mae")


@pytest.mark.parametrize(
    "paper, dataset, model, size",
    [
        ("nrd", "webvision", "resnet50", 224),
        ("flywheel", "webvision", "inception_resnet_v2", 224),
        ("flywheel", "clothing1m", "resnet50_imagenet", 224),
        ("pu_distill", "clothing1m", "resnet50_imagenet", 224),
    ],
)
def test_networks_and_image_sizes_of_the_large_sets(paper, dataset, model, size):
    plan = resolve(f"paper:{paper}", paper, Settings, dataset=dataset, noise="none", rate=0.0)
    assert plan.model == model and plan.image_size == size and model in models.NAMES


def test_tiny_imagenet_keeps_its_size():
    plan = resolve(
        "paper:flywheel", "flywheel", Settings, dataset="tiny_imagenet", noise="symmetric", rate=0.2
    )
    assert plan.image_size == 64


@pytest.mark.parametrize("preset", ["quick", "demo"])
def test_quick_and_demo_share_the_recipe(preset):
    recipes = set()
    for method, (_, settings_class) in METHODS.items():
        if settings_class.needs_features:  # a closed form or neighbours: no recipe of steps
            continue
        plan, s = cell(method, preset=preset)
        recipes.add((plan.model, s.epochs, s.batch_size, s.schedule, s.milestones, s.view))
    assert len(recipes) == 1


@pytest.mark.parametrize(
    "dataset, noise, rate, model, expected",
    [
        (
            "cifar10",
            "symmetric",
            0.9,
            "preact_resnet18",
            {
                "epochs": 300,
                "warmup": 10,
                "learning_rate": 0.02,
                "batch_size": 128,
                "weight_decay": 5e-4,
                "schedule": "cosine",
            },
        ),
        ("cifar100", "asymmetric", 0.1, "preact_resnet18", {"epochs": 300, "warmup": 10}),
        ("cifar100", "instance", 0.6, "preact_resnet18", {"learning_rate": 0.02}),
        (
            "tiny_imagenet",
            "symmetric",
            0.5,
            "preact_resnet18",
            {
                "epochs": 200,
                "batch_size": 32,
                "learning_rate": 0.01,
                "gamma": 0.5,
                "milestones": (0.5, 0.625, 0.75, 0.875),
                "schedule": "steps",
            },
        ),
        (
            "clothing1m",
            "none",
            0.0,
            "resnet50_imagenet",
            {
                "epochs": 80,
                "batches_per_epoch": 1000,
                "weight_decay": 1e-3,
                "milestones": (0.5,),
                "gamma": 0.1,
                "mixup": 0.5,
                "warmup": 1,
            },
        ),
        (
            "webvision",
            "none",
            0.0,
            "inception_resnet_v2",
            {"epochs": 100, "gamma": 0.5, "milestones": (0.5, 0.75), "mixup": 0.5, "warmup": 1},
        ),
    ],
)
def test_the_flywheels_cells(dataset, noise, rate, model, expected):
    plan, s = cell("flywheel", dataset, noise, rate)
    assert plan.model == model and {k: getattr(s, k) for k in expected} == expected
    assert (s.confidence_regularizer, s.contrastive, s.cycle, s.view) == (3, 0.025, 1, "crop")


@pytest.mark.parametrize(
    "dataset, noise, rate, expected",
    [
        ("cifar10", "symmetric", 0.2, {"unsupervised": 0, "threshold": 0.5, "average_losses": 1}),
        ("cifar10", "symmetric", 0.9, {"unsupervised": 50, "threshold": 0.6, "average_losses": 5}),
        ("cifar10", "asymmetric", 0.4, {"unsupervised": 0, "warmup_entropy": True}),
        ("cifar100", "symmetric", 0.8, {"unsupervised": 150, "warmup": 30}),
    ],
)
def test_dividemixs_cells(dataset, noise, rate, expected):
    plan, s = cell("dividemix", dataset, noise, rate)
    assert {k: getattr(s, k) for k in expected} == expected
    assert (plan.model, s.epochs, s.milestones, s.batch_size) == ("preact_resnet18", 300, (0.5,), 128)


@pytest.mark.parametrize(
    "dataset, noise, rate, model, expected",
    [
        (
            "cifar10",
            "symmetric",
            0.8,
            "preact_resnet34_cifar",
            {
                "epochs": 400,
                "learning_rate": 0.01,
                "weight_decay": 5e-4,
                "q": 0.9,
                "milestones": (0.5, 0.75),
                "nesterov": True,
                "view": "cutout16",
            },
        ),
        (
            "cifar100",
            "asymmetric",
            0.4,
            "preact_resnet34_cifar",
            {"learning_rate": 0.2, "weight_decay": 1e-4, "q": 0.7},
        ),
        ("webvision", "none", 0.0, "resnet50", {"epochs": 300, "learning_rate": 0.1, "view": "imagenet"}),
        (
            "clothing1m",
            "none",
            0.0,
            "resnet50_imagenet",
            {"epochs": 15, "batches_per_epoch": 2000, "batch_size": 64},
        ),
    ],
)
def test_label_confidences_cells(dataset, noise, rate, model, expected):
    plan, s = cell("label_confidence", dataset, noise, rate)
    assert plan.model == model and {k: getattr(s, k) for k in expected} == expected
    assert (s.slope, s.mean_decay, s.correct_after, s.robust_loss) == (0.5, 0.7, 0.25, "gce")
    assert {"alpha", "penalty", "consistency", "margin"} <= set(plan.not_given)


@pytest.mark.parametrize(
    "dataset, noise, rate, model, expected",
    [
        ("cifar10", "symmetric_exclusive", 0.6, "resnet18", {"epochs": 300, "batch_size": 128}),
        ("cifar10", "pair_flip", 0.4, "resnet18", {"epochs": 300}),
        ("cifar100", "symmetric_exclusive", 0.8, "resnet18", {"epochs": 300}),
        (
            "clothing1m",
            "none",
            0.0,
            "resnet18_imagenet",
            {"epochs": 50, "batch_size": 32, "view": "imagenet"},
        ),
    ],
)
def test_robust_features_cells(dataset, noise, rate, model, expected):
    plan, s = cell("robust_features", dataset, noise, rate)
    assert plan.model == model and {k: getattr(s, k) for k in expected} == expected
    assert (s.restoration, s.clustering, s.learning_rate, s.milestones, s.classify) == (
        1,
        1,
        0.1,
        (0.5, 0.75),
        "augmented",
    )
    assert {"cluster_lambda", "randaugment_m", "alpha_schedule"} <= set(plan.not_given)


def test_lcis_alpha_is_that_chosen_for_the_kind_of_image():
    assert cell("label_confidence", "digits", "symmetric", 0.5, preset="quick")[1].alpha == 0.1
    for preset in ("quick", "demo", "paper"):
        assert cell("label_confidence", "cifar10", "symmetric", 0.8, preset=preset)[1].alpha == 0.9


@pytest.mark.parametrize(
    "dataset, noise, rate, model, expected",
    [
        (
            "cifar10",
            "asymmetric",
            0.9,
            "preact_resnet18",
            {
                "teacher_weight": 0.9,
                "threshold": 0.5,
                "filters": 20,
                "votes": 19,
                "sure": 0.9,
                "iterations": 10,
                "filter_epochs": 30,
                "filter_learning_rate": 0.01,
                "filter_milestones": (2 / 3,),
                "filter_batch_size": 128,
            },
        ),
        (
            "cifar10",
            "symmetric",
            0.5,
            "preact_resnet18",
            {
                "teacher_weight": 0.5,
                "threshold": 0.6,
                "epochs": 100,
                "learning_rate": 0.05,
                "milestones": (0.3, 0.5, 0.8),
                "teachers": 5,
                "teacher_epochs": 100,
                "teacher_milestones": (0.3, 0.5, 0.8),
                "mixup": 2.0,
                "teacher_mixup": 2.0,
            },
        ),
        (
            "clothing1m",
            "none",
            0.0,
            "resnet50_imagenet",
            {
                "filters": 10,
                "votes": 10,
                "sure": 0.95,
                "epochs": 5,
                "milestones": (0.6,),
                "filter_milestones": (0.5, 0.75),
                "batch_size": 32,
                "view": "flip",
                "iterations": 6,
            },
        ),
    ],
)
def test_pu_distills_cells(dataset, noise, rate, model, expected):
    plan, s = cell("pu_distill", dataset, noise, rate)
    assert plan.model == model and {k: getattr(s, k) for k in expected} == expected
    assert s.teacher_sampling == "redrawn" and not s.warm_start and s.weight_decay == 1e-4 and s.gamma == 0.1
    assert {"iterations", "entropy"} & set(plan.not_given) or dataset == "clothing1m"


@pytest.mark.parametrize(
    "method, settings_of",
    [
        ("ce", "symmetric 0.4"),
        ("nrd", "symmetric 0.4"),
        ("label_confidence", "symmetric 0.4"),
        ("flywheel", "symmetric 0.5"),
        ("dividemix", "symmetric 0.5"),
        ("pu_distill", "symmetric 0.5"),
        ("robust_features", "symmetric_exclusive 0.4"),
    ],
)
def test_human_labels_take_the_symmetric_cell_nearest_to_theirs_and_it_is_said(method, settings_of):
    noise, rate = settings_of.split()
    human, s = cell(method, noise="human", rate=0.0)
    printed, same = cell(method, noise=noise, rate=float(rate))
    assert s == same and human.model == printed.model
    assert human.not_given == [f"human labels: the settings of {settings_of}", *printed.not_given]
    plan = Plan(method=method, dataset="cifar10", labels="cifar10n.csv", label_column="worst", preset="paper")
    assert plan.resolve().settings == same
    with pytest.raises(ValueError, match="which human labels would take"):
        cell(method, dataset="digits", noise="human", rate=0.0)


def test_a_set_with_settings_for_all_methods_has_a_cell_of_each_that_was_trained_there():
    plan, s = cell("gjs", "webvision", "none", 0.0)
    assert (plan.model, s.epochs, s.batch_size, s.scale) == ("resnet50", 300, 64, False)
    assert {"pi1", "weight_decay"} <= set(plan.not_given)
    with pytest.raises(ValueError, match="gives none for dividemix at all"):
        cell("dividemix", "webvision", "none", 0.0, preset="paper:nrd")


def test_what_a_paper_prints_is_a_setting_or_named_as_none(monkeypatch):
    """Over every cell of every paper: what is not built is said, and nothing else is lost in silence."""
    said = set()
    for paper in published.papers():
        for method, (_, settings_class) in METHODS.items():
            for dataset, noise, rate in cells(method, paper):
                plan = resolve(
                    f"paper:{paper}", method, settings_class, dataset=dataset, noise=noise, rate=rate
                )
                said |= {(method, dataset, text) for text in plan.not_given if "not built" in text}
    assert said == {
        ("label_confidence", "webvision", "ensemble_networks 2: not built"),
        ("label_confidence", "webvision", "warmup_loss simclr_contrastive: not built"),
    }
    monkeypatch.setattr(presets, "NO_SETTINGS", presets.NO_SETTINGS - {"optimizer"})
    assert "optimizer sgd: not built" in cell("nrd")[0].not_given


@pytest.mark.parametrize("method", METHODS)
def test_photographs_is_the_same_recipe_for_every_method(method):
    plan, s = cell(method, preset="photographs")
    assert (plan.model, plan.train_size, plan.test_size, plan.image_size) == ("airbench", None, None, 32)
    assert (s.epochs, s.batch_size, s.weight_decay, s.schedule, s.view) == (20, 256, 5e-4, "cosine", "crop")
    assert s.learning_rate == make(METHODS[method][1]).learning_rate
    with pytest.raises(ValueError, match="not for digits"):
        cell(method, dataset="digits", preset="photographs")


def asked(method, **more):
    plan = Plan(method=method, dataset="cifar10", noise="symmetric", rate=0.4, preset="memorise", **more)
    return plan.resolve()


@pytest.mark.parametrize("method", [m for m in METHODS if not METHODS[m][1].needs_pixels])
def test_memorise_is_a_head_on_features_for_every_method_that_takes_them(method):
    plan = asked(method)
    s = plan.settings
    assert (plan.model, plan.features, plan.train_size) == ("mlp_head", "efficientnet_lite0", None)
    assert (s.epochs, s.batch_size, s.weight_decay, s.schedule) == (40, 256, 0.0, "cosine")
    assert asked(method, features="npz:mine.npz").features == "npz:mine.npz"


def test_memorise_needs_features():
    with pytest.raises(ValueError, match="needs features"):
        asked("ce", features="none")
    with pytest.raises(ValueError, match="which features do not hold"):
        asked("robust_features")


def test_quick_changes_what_a_method_says_and_the_help_shows_it(capsys):
    changed = {m: s.quick for m, (_, s) in METHODS.items() if s.quick}
    assert changed["pes"] == {"refine_learning_rate": 0.01}
    for method, changes in changed.items():
        quick, demo = (cell(method, preset=preset)[1] for preset in ("quick", "demo"))
        defaults = make(METHODS[method][1])
        for name, value in changes.items():
            assert getattr(quick, name) == value != getattr(demo, name) == getattr(defaults, name)
    with pytest.raises(SystemExit):
        main(["train", "pes", "--help"])
    assert "for the layers that start anew; its release [0.01]" in " ".join(capsys.readouterr().out.split())
