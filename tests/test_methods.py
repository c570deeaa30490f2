"""What every method in the dictionary must hold."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from conftest import feature_file

import lnl_kit
from lnl_kit import data
from lnl_kit.data.batches import NoisyData
from lnl_kit.methods import METHODS, loss_only, nrd
from lnl_kit.run.loop import Run
from lnl_kit.settings import Settings, field_help, make
from lnl_kit.toolbox import losses
from lnl_kit.toolbox.averaging import update_teacher

TINY = {"epochs": 2, "train_size": 256, "progress": False}


@pytest.mark.parametrize("method", METHODS)
def test_settings_are_documented_and_named_in_one_line(method):
    train, settings_class = METHODS[method]
    assert all(text for text in field_help(settings_class).values()), field_help(settings_class)
    assert len(settings_class.__doc__.splitlines()[0]) < 120 and train.__doc__
    assert dataclasses.is_dataclass(settings_class) and issubclass(settings_class, Settings)


def test_settings_refuse_impossible_values_in_a_sentence():
    for values in (
        {"pi": (0.5, 0.5)},
        {"pi": (0.5, 0.4, 0.2)},
        {"decay": 1.0},
        {"learning_rate": 0},
        {"milestones": (1.5,)},
        {"batch_size": 1},
        {"momentum": 1.0},
    ):
        with pytest.raises(ValueError, match=next(iter(values))):
            make(nrd.NRD, **values)
    for cls, values in (
        (loss_only.GCE, {"q": 0}),
        (loss_only.JS, {"pi1": 1}),
        (loss_only.SCE, {"alpha": -1}),
        (loss_only.LabelSmoothing, {"epsilon": 2}),
        (loss_only.BootstrapSoft, {"beta": -0.1}),
    ):
        with pytest.raises(ValueError, match=next(iter(values))):
            make(cls, **values)


# ---- NRD ---------------------------------------------------------------------------------------------------


def test_nrd_loss_is_equation_25():
    g = torch.Generator().manual_seed(0)
    y = torch.randint(0, 10, (6,), generator=g)
    y_s, y_t = (torch.randn(6, 10, generator=g).softmax(1) for _ in range(2))
    pi = (0.2, 0.6, 0.2)
    expected = []
    for i in range(6):
        p = [torch.eye(10, dtype=torch.float64)[y[i]], y_s[i].double(), y_t[i].double()]
        m = sum(w * q for w, q in zip(pi, p))
        expected.append(
            sum(
                w * sum(float(a) * np.log(float(a / b)) for a, b in zip(q, m) if a > 0) for w, q in zip(pi, p)
            )
        )
    assert torch.allclose(
        nrd.nrd_loss(pi, y, y_s, y_t), torch.tensor(expected, dtype=torch.float32), atol=1e-6
    )
    scaled = nrd.nrd_loss(pi, y, y_s, y_t, scale=True)
    assert torch.allclose(
        scaled * -(0.8 * np.log(0.8)), torch.tensor(expected, dtype=torch.float32), atol=1e-6
    )


def test_nrd_gradient_at_initialisation():
    """Uniform predictions, K = 10, pi = (.2, .6, .2): -0.068 on the label's logit, by cross-entropy -0.90."""
    logits = torch.zeros(1, 10, requires_grad=True)
    uniform = torch.full((1, 10), 0.1)
    nrd.nrd_loss((0.2, 0.6, 0.2), torch.tensor([3]), logits.softmax(1), uniform).sum().backward()
    assert logits.grad[0, 3].item() == pytest.approx(-0.068, abs=0.001)
    logits.grad = None
    losses.cross_entropy(logits, torch.tensor([3])).sum().backward()
    assert logits.grad[0, 3].item() == pytest.approx(-0.9, abs=1e-5)


def test_teacher_is_the_moving_average_and_borrows_statistics():
    torch.manual_seed(0)
    student, teacher = (torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)) for _ in range(2))
    old, new = ([p.clone() for p in net.parameters()] for net in (teacher, student))
    student[1].running_mean.fill_(5.0)
    update_teacher(teacher, student, 0.99)
    for p, a, b in zip(teacher.parameters(), old, new):
        assert torch.allclose(p, 0.99 * a + 0.01 * b)
    assert teacher[1].running_mean[0] == 5
    student[1].running_mean.fill_(7.0)
    update_teacher(teacher, student, 0.9, average_buffers=True)
    assert teacher[1].running_mean[0].item() == pytest.approx(5.2)
    update_teacher(teacher, student, 0.0)
    assert all(torch.equal(a, b) for a, b in zip(teacher.parameters(), student.parameters()))


def test_no_gradient_reaches_the_teacher(tmp_path, monkeypatch):
    seen = []
    state_of = Run.state

    def spy(self, **parts):
        seen.append(parts["teacher"])
        return state_of(self, **parts)

    monkeypatch.setattr(Run, "state", spy)
    lnl_kit.train("nrd", out=tmp_path, **TINY)
    assert all(p.grad is None and not p.requires_grad for p in seen[0].parameters())


@pytest.mark.parametrize(
    "variant",
    [
        {"scale_jsd": True},
        {"teacher_batch_statistics": False},
        {"decay": 0.0},
        {"teacher_view": "crop"},
        {"decay": 0.0, "stop_gradient": False},
        {"decay": 0.0, "joint_batch": True},
    ],
)
def test_every_variant_of_nrd_trains_and_differs(tmp_path, variant):
    plain = lnl_kit.train("nrd", out=tmp_path, **TINY)
    other = lnl_kit.train("nrd", out=tmp_path, **TINY, **variant)
    assert other.folder != plain.folder
    assert np.abs(other.arrays["train_probs"] - plain.arrays["train_probs"]).max() > 1e-6


def test_what_keeps_nrds_teacher_apart_is_taken_back_one_thing_at_a_time(tmp_path):
    """Moving average, stop-gradient, BatchNorm's batch: each step of the ladder is another run."""
    ladder = [{"decay": 0.0}]
    ladder += [ladder[-1] | {"stop_gradient": False}]
    ladder += [ladder[-1] | {"joint_batch": True}]
    probs = [lnl_kit.train("nrd", out=tmp_path, **TINY, **rung).arrays["train_probs"] for rung in ladder]
    assert all(np.abs(a - b).max() > 1e-6 for a, b in itertools.pairwise(probs))
    for alone in ({"stop_gradient": False}, {"joint_batch": True}):
        with pytest.raises(ValueError, match="where the teacher is the student, decay 0"):
            make(nrd.NRD, **alone)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_every_method_learns_at_quick(tmp_path, method):
    """More than a digit's worth: test accuracy above .5 at 20 % noise (chance is .1)."""
    features = feature_file(tmp_path) if METHODS[method][1].needs_features else None
    run = lnl_kit.train(method, out=tmp_path, rate=0.2, epochs=30, progress=False, features=features)
    assert run.summary["test_accuracy_best"] > 0.5


def test_methods_see_no_true_labels():
    from lnl_kit.data.batches import NoisyData

    d = data.load("digits")
    noisy = NoisyData(d.x, d.true_labels, d.classes, mean=d.mean, std=d.std, like=d.like)
    assert not any("true" in name for name in vars(noisy))


def test_mixup_mixes_images_and_labels_with_the_same_share():
    settings = make(loss_only.Mixup)
    x, y = torch.eye(6).view(6, 1, 2, 3), torch.arange(6)
    torch.manual_seed(0)
    mixed, target = settings.mix(x, y, 6)
    torch.manual_seed(0)
    share, other = torch.distributions.Beta(1.0, 1.0).sample(), torch.randperm(6)
    assert torch.allclose(mixed, share * x + (1 - share) * x[other]) and torch.allclose(
        target, mixed.flatten(1)
    )
    assert loss_only.CrossEntropy().mix(x, y, 6) == (x, y)


def test_cores_regulariser_waits_then_grows():
    d = data.load("digits")
    noisy = NoisyData(d.x, d.true_labels, d.classes, mean=d.mean, std=d.std, like=d.like)
    settings, logits, y = make(loss_only.CORES), torch.randn(4, 10), torch.arange(4)
    prior = torch.bincount(d.true_labels) / len(d.true_labels)
    for epoch, beta in ((0, 0.0), (10, 0.0), (25, 1.0), (40, 2.0), (59, 2.0)):
        assert torch.allclose(settings.loss_at(epoch, noisy)(logits, y), losses.cores(logits, y, prior, beta))
    assert torch.equal(settings.loss_at(0, noisy)(logits, y), losses.cross_entropy(logits, y))
