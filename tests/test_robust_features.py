"""RFL: its equations by hand, where each term's gradient goes, and what its heads learn."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

import lnl_kit
from lnl_kit.data.batches import NoisyData
from lnl_kit.methods import robust_features as rfl
from lnl_kit.settings import make
from lnl_kit.toolbox import augment, losses, models


def settings(**values):
    return make(rfl.RobustFeatures, **values)


def test_cluster_loss_is_equations_5_to_11_by_a_slow_loop():
    torch.manual_seed(0)
    weak, strong = torch.randn(7, 4, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
    p, s = weak.softmax(1).tolist(), strong.softmax(1).tolist()
    consistency = -sum(p[i][k] * math.log(s[i][k]) for i in range(7) for k in range(4)) / 7
    mean = [sum(p[i][k] for i in range(7)) / 7 for k in range(4)]
    marginal = -sum(m * math.log(m / (1 / 4)) for m in mean)  # (10): minus the divergence from the uniform
    conditional = -sum(p[i][k] * math.log(p[i][k]) for i in range(7) for k in range(4)) / 7
    expected = consistency - 3.0 * (marginal - conditional)
    assert rfl.cluster_loss(weak, strong, settings(information=3.0)).item() == pytest.approx(
        expected, abs=1e-6
    )


def test_mutual_information_is_zero_for_one_cluster_and_largest_for_sure_even_assignments():
    one = F.one_hot(torch.zeros(8, dtype=torch.int64), 4).float()
    even = F.one_hot(torch.arange(8) % 4, 4).float()
    assert rfl.mutual_information(one).item() == pytest.approx(-math.log(4), abs=1e-5)  # log M is left out
    assert rfl.mutual_information(even).item() == pytest.approx(0.0, abs=1e-5)
    assert rfl.mutual_information(torch.full((8, 4), 0.25)).item() == pytest.approx(-math.log(4), abs=1e-5)


def test_a_constant_assignment_satisfies_the_consistency_alone():
    """The collapse: with a small lambda one cluster for all costs less than any informative assignment that
    errs.
    """
    torch.manual_seed(0)
    constant = torch.zeros(64, 10)
    constant[:, 0] = 20.0
    unsure = 3 * F.one_hot(torch.arange(64) % 10, 10).float()
    for information, constant_wins in ((0.1, True), (5.0, False)):
        a, b = (rfl.cluster_loss(c, c, settings(information=information)) for c in (constant, unsure))
        assert (a < b).item() is constant_wins


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_alpha_falls_from_one_to_nearly_zero(schedule):
    s = settings(epochs=50, schedule_alpha=schedule)
    values = [rfl.alpha(e, s) for e in range(50)]
    assert (
        values[0] == 1
        and values[25] == pytest.approx(0.5)
        and values == sorted(values, reverse=True)
        and values[-1] < 0.03
    )
    assert rfl.alpha(49, settings(epochs=50, bootstrapping=False)) == 1
    held = settings(epochs=50, schedule_alpha=schedule, hold=0.4)
    late = [rfl.alpha(e, held) for e in range(50)]
    assert late[:21] == [1] * 21 and late[21] < 1 and 0 < late[-1] < 0.05
    whole = settings(epochs=30, schedule_alpha=schedule)
    assert late[20:] == pytest.approx([rfl.alpha(e, whole) for e in range(30)])


def test_bootstrapping_is_equation_13_and_its_own_label_has_no_gradient():
    torch.manual_seed(0)
    logits = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    y, a = torch.tensor([0, 1, 2, 3, 0]), 0.3
    loss = losses.bootstrap_hard(logits, y, 1 - a)
    log_p = logits.detach().log_softmax(1)
    expected = [-a * log_p[i, y[i]] - (1 - a) * log_p[i, log_p[i].argmax()] for i in range(5)]
    assert torch.allclose(loss.double(), torch.stack(expected), atol=1e-6)
    loss.sum().backward()
    target = a * F.one_hot(y, 4) + (1 - a) * F.one_hot(
        logits.argmax(1), 4
    )  # fixed: the gradient of cross-entropy to it
    assert torch.allclose(logits.grad, (logits.softmax(1) - target).detach(), atol=1e-6)


@pytest.mark.parametrize("with_gradient", [False, True])
def test_the_target_of_the_consistency_is_detached_unless_asked(with_gradient):
    torch.manual_seed(0)
    weak, strong = torch.randn(6, 4, requires_grad=True), torch.randn(6, 4, requires_grad=True)
    rfl.cluster_loss(weak, strong, settings(information=0.0, target_gradient=with_gradient)).backward()
    assert strong.grad.abs().sum() > 0
    assert bool(weak.grad.abs().sum() > 1e-6) is with_gradient


def model_and_batch():
    torch.manual_seed(0)
    network = models.make("small_cnn", 10, 1)
    model = rfl.WithHeads(network, (1, 16, 16), 10).train()
    return model, torch.randn(8, 1, 16, 16), torch.randn(8, 1, 16, 16)


def reached(model, loss) -> set[str]:
    """Which of the four parts the gradient of a loss reaches."""
    model.zero_grad()
    loss.backward()
    parts = {
        "body": model.network.body,
        "head": model.network.head,
        "assign": model.assign,
        "decoder": model.decoder,
    }
    return {
        name
        for name, part in parts.items()
        if any(p.grad is not None and p.grad.abs().sum() > 0 for p in part.parameters())
    }


def test_each_term_reaches_the_body_and_its_own_head():
    model, x, augmented = model_and_batch()
    logits, restored, clusters, clusters_augmented = model(x, augmented)
    assert reached(model, losses.bootstrap_hard(logits[8:], torch.arange(8), 0.5).mean()) == {"body", "head"}
    restored = model(x, augmented)[1]
    assert reached(model, F.mse_loss(restored, x)) == {"body", "decoder"}
    clusters, clusters_augmented = model(x, augmented)[2:]
    assert reached(model, rfl.cluster_loss(clusters, clusters_augmented, settings())) == {"body", "assign"}


@pytest.mark.parametrize("name", ["small_cnn", "resnet18", "preact_resnet18", "resnet50"])
@pytest.mark.parametrize("size", [32, 40])
def test_any_network_with_a_feature_map_gets_heads(name, size):
    model = rfl.WithHeads(models.make(name, 10, 3), (3, size, size), 7)
    x = torch.randn(2, 3, size, size)
    logits, restored, clusters, other = model.train()(x, x)
    assert logits.shape == (4, 10) and restored.shape == x.shape and clusters.shape == other.shape == (2, 7)


def test_the_extras_are_at_most_15_percent_of_resnet18():
    network = models.make("resnet18", 10, 3)
    model = rfl.WithHeads(network, (3, 32, 32), 10)
    own = sum(p.numel() for p in network.parameters())
    assert sum(p.numel() for p in model.parameters()) - own <= 0.15 * own


def test_the_augmented_view_is_the_same_crop_distorted():
    x = torch.randint(0, 256, (6, 1, 16, 16), dtype=torch.uint8)
    data = NoisyData(
        x, torch.arange(6) % 2, ("a", "b"), mean=(0.5,), std=(0.25,), like="digits", batch_size=6
    )
    same = next(data.batches(0, views=("crop", augment.OnTop(augment.Compose(())))))[0]
    assert torch.equal(*same)
    weak, other = next(
        data.batches(0, views=("crop", augment.OnTop(rfl.distortion(data, settings(magnitude=0)))))
    )[0]
    erased = (weak != other).flatten(1).float().mean(1)
    assert torch.equal(weak, same[0]) and (erased <= 0.5).all()  # Cutout, and operations at their weakest


SHORT = dict(noise="symmetric_exclusive", rate=0.6, epochs=2, progress=False)


@pytest.mark.slow
def test_all_eight_combinations_of_the_parts_train_and_differ(tmp_path):
    found = set()
    for boot in (True, False):
        for restoration in (0.0, 0.3):
            for clustering in (0.0, 0.1):
                run = lnl_kit.train(
                    "robust_features",
                    out=tmp_path,
                    bootstrapping=boot,
                    restoration=restoration,
                    clustering=clustering,
                    train_size=512,
                    **SHORT,
                )
                found.add(run.arrays["test_probs"].tobytes())
    assert len(found) == 8


def test_heads_are_loaded_as_they_were_trained(tmp_path):
    run = lnl_kit.train("robust_features", out=tmp_path, **SHORT, precision="fp32")  # as `model` computes
    model = rfl.load_heads(run)
    images = run.train_images()[:32]
    with torch.no_grad():
        x = NoisyData(
            images,
            torch.zeros(32, dtype=torch.int64),
            run.classes,
            mean=run.settings["mean"],
            std=run.settings["std"],
        )
        x = x.normalise(images)
        logits, restored, clusters, _ = model(x, x)
    assert np.allclose(logits[:32].softmax(1).numpy(), run.predict(images), atol=1e-5)
    assert restored.shape == x.shape and clusters.shape == (32, 10)
    assert all(m["restoration_left"] > 0 and 1 <= m["clusters_used"] <= 10 for m in run.metrics)


def test_what_the_heads_make_of_images_follows_the_strength(tmp_path):
    run = lnl_kit.train("robust_features", out=tmp_path, **SHORT)
    images = run.dataset().test_x[:64]
    x, augmented, restored, clusters = rfl.with_heads(run, images)
    assert x.shape == augmented.shape == restored.shape == (64, 1, 16, 16) and clusters.shape == (64,)
    again = rfl.with_heads(run, images, magnitude=run.settings["settings"]["magnitude"])
    assert torch.equal(augmented, again[1]) and torch.equal(
        restored, again[2]
    )  # as trained, and the same draw
    far = [F.mse_loss(rfl.with_heads(run, images, magnitude=m)[1], x).item() for m in (0, 30)]
    assert far[0] < far[1]


def test_settings_refuse_impossible_values():
    for wrong in (
        dict(restoration=-1.0),
        dict(schedule_alpha="steps"),
        dict(hold=1.0),
        dict(clusters=1),
        dict(operations=0),
        dict(magnitude=31),
        dict(classify="weak"),
        dict(information=-1.0),
    ):
        with pytest.raises(ValueError, match=r"not allowed|does not exist|outside|0 or more"):
            settings(**wrong)
