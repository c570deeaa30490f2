"""PUDistill: its equations by hand, what its filters may see, and its stages' resume."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import SHORT_STAGES

import lnl_kit
from lnl_kit.data.batches import NoisyData
from lnl_kit.methods import pu_distill as pu
from lnl_kit.methods import pu_filters
from lnl_kit.settings import make
from lnl_kit.toolbox.rng import generator

SHORT = {"epochs": 4, "train_size": 256, "progress": False} | SHORT_STAGES["pu_distill"]


def settings(**values):
    return make(pu.PUDistill, **values)


def some_data(n=60, classes=3, clean=12):
    torch.manual_seed(0)
    y = torch.arange(n) % classes
    known = torch.zeros(n, dtype=torch.bool)
    known[:clean] = True
    return NoisyData(
        torch.randint(0, 256, (n, 1, 16, 16), dtype=torch.uint8),
        y,
        tuple("abc"[:classes]),
        mean=(0.5,),
        std=(0.25,),
        like="digits",
        clean=known,
        batch_size=16,
    )


def test_a_filter_draws_by_algorithm_1():
    """Positives: own clean ones and m accepted; negatives: m' others that are not accepted and m' clean of
    other classes.
    """
    data, s = some_data(), settings(filters=7, votes=5)
    positives = torch.zeros(60, dtype=torch.bool)
    positives[[0, 20, 23, 26, 29, 32, 35]] = True  # image 0 is clean: never drawn as accepted
    for accepted, m in ((torch.zeros_like(positives), 0), (positives, 4)):  # 4 clean images of class a
        half = (m + 4) // 2
        idx, target = pu_filters.draw_members(data, 0, accepted, s, generator(0))
        assert idx.shape == target.shape == (7, 4 + m + 2 * half) and target.sum(1).unique().tolist() == [
            4 + m
        ]
        for member, label in zip(idx, target):
            assert len(set(member.tolist())) == len(member)  # without replacement
            yes, no = member[label == 1], member[label == 0]
            assert data.clean[yes].sum() == 4 and (data.y[yes[data.clean[yes]]] == 0).all()
            assert accepted[yes[~data.clean[yes]]].all()
            unlabelled, others = no[~data.clean[no]], no[data.clean[no]]
            assert (
                len(unlabelled) == len(others) == half
                and not accepted[unlabelled].any()
                and (data.y[others] != 0).all()
            )
    assert len({tuple(sorted(m.tolist())) for m in idx}) > 1  # each filter has its own draw


def test_images_that_several_classes_accept_go_to_most_votes_then_highest_mean():
    votes = torch.tensor([[5, 4, 4, 3], [4, 5, 4, 3], [5, 3, 4, 2]], dtype=torch.int16)
    mean = torch.tensor([[0.5, 0.9, 0.7, 1.0], [0.9, 0.5, 0.8, 1.0], [0.6, 1.0, 0.6, 1.0]])
    assert pu_filters.accept(votes, mean, settings(filters=5, votes=4)).tolist() == [2, 1, 1, -1]
    assert pu_filters.accept(votes, mean, settings(filters=5, votes=5)).tolist() == [2, 1, -1, -1]


def test_pseudo_labels_are_equations_4_to_6_by_hand():
    data = some_data(n=6, clean=1)  # labels a b c a b c, the first known to be right
    known = torch.tensor([0, 2, -1, -1, -1, -1])  # the second was accepted as c
    teacher = torch.tensor(
        [
            [0.1, 0.8, 0.1],
            [0.6, 0.2, 0.2],
            [0.3, 0.6, 0.1],
            [0.4, 0.35, 0.25],
            [0.1, 0.8, 0.1],
            [0.2, 0.2, 0.6],
        ]
    )
    soft = pu.student_targets(data, known, teacher, settings(teacher_weight=0.7, threshold=0.5))
    assert soft[0].tolist() == [1, 0, 0]  # clean
    assert torch.allclose(soft[1], torch.tensor([0.42, 0.14, 0.44]))  # .7 teacher + .3 c, its new label
    assert torch.allclose(soft[2], torch.tensor([0.21, 0.42, 0.37]))
    assert soft[3].tolist() == [1, 0, 0]  # the teachers are not sure enough
    hard_bootstrap = pu.student_targets(
        data, known, teacher, settings(pseudo_label="hard_bootstrap", teacher_weight=0.7, threshold=0.5)
    )
    assert torch.allclose(hard_bootstrap[2], torch.tensor([0, 0.7, 0.3])) and hard_bootstrap[3].tolist() == [
        1,
        0,
        0,
    ]
    hard = pu.student_targets(data, known, teacher, settings(pseudo_label="hard", threshold=0.5))
    assert hard.argmax(1).tolist() == [0, 0, 1, 0, 1, 2] and set(hard.flatten().tolist()) == {0, 1}


def test_teachers_see_balanced_subsets_redrawn_each_epoch():
    known = torch.cat((torch.zeros(50), torch.ones(20), torch.full((9,), 2), torch.full((40,), -1))).long()
    first, second = (pu.subset(known, "redrawn", e, seed=0) for e in (0, 1))
    assert known[first].bincount().tolist() == [9, 9, 9] and set(first.tolist()) != set(second.tolist())
    fixed = [pu.subset(known, "fixed", e, seed=0) for e in (0, 1)]
    assert set(fixed[0].tolist()) == set(fixed[1].tolist()) and fixed[0].tolist() != fixed[1].tolist()
    assert sorted(pu.subset(known, "all", 0, seed=0).tolist()) == list(range(79))


def test_mixup_and_entropy_are_what_the_paper_prints():
    from lnl_kit.toolbox import losses

    p = torch.tensor([[0.5, 0.3, 0.2], [1 / 3] * 3])
    expected = -sum(v * np.log(v) for v in p.flatten().tolist()) / 2
    assert losses.entropy(p).mean().item() == pytest.approx(expected, abs=1e-6)

    class Probe:
        @staticmethod
        def autocast():
            return torch.autocast("cpu", enabled=False)

        @staticmethod
        def total(**terms):
            seen.update(terms)
            return sum(terms.values())

    seen, weight = {}, torch.zeros(4, 3, requires_grad=True)
    optimizer = torch.optim.SGD([weight], 0.1)
    inputs = []

    def forward(x):
        inputs.append(x)
        return x.flatten(1) @ weight

    x, target = torch.eye(4).view(4, 1, 2, 2), torch.eye(4)[:, :3]
    torch.manual_seed(0)
    pu.step(forward, x, target, 2.0, 0.8, optimizer, Probe)
    share = torch.distributions.Beta(2.0, 2.0)
    torch.manual_seed(0)
    beta, other = share.sample(), torch.randperm(4)
    assert torch.allclose(inputs[0], beta * x + (1 - beta) * x[other])
    mixed = beta * target + (1 - beta) * target[other]
    assert seen["labels"].item() == pytest.approx((mixed.sum(1) * np.log(3)).mean().item(), abs=1e-5)
    assert seen["entropy"].item() == pytest.approx(0.8 * np.log(3), abs=1e-5)


def test_stacked_filters_are_what_their_members_are_alone(tmp_path):
    """A bag against its members trained one after the other on the same draws: the same votes, probabilities
    within 1e-3.
    """
    from lnl_kit.toolbox import losses

    s = settings(
        **{k: v for k, v in SHORT_STAGES["pu_distill"].items() if k != "clean_share"}
        | {"filters": 3, "view": "none", "filter_epochs": 5}
    )
    data, stage = some_data(), None

    class Stage:  # what train_bag needs of a run
        seed, test_images, device = 0, data.x[:20], torch.device("cpu")

        def __init__(self):
            self.made = []
            self.data = some_data()

        def network(self):
            from lnl_kit.toolbox import models

            torch.manual_seed(len(self.made))
            self.made.append(models.make("small_cnn", 2, 1))
            return self.made[-1]

        def sgd(self, network, recipe):
            optimizer = torch.optim.SGD(
                network.parameters(),
                lr=recipe.learning_rate,
                momentum=recipe.momentum,
                weight_decay=recipe.weight_decay,
            )
            return optimizer, torch.optim.lr_scheduler.MultiStepLR(
                optimizer, [round(m * recipe.epochs) for m in recipe.milestones], gamma=recipe.gamma
            )

        def compiled(self, network):
            return network

        def autocast(self):
            return torch.autocast("cpu", enabled=False)

    stage = Stage()
    bag = pu_filters.train_bag(stage, 1, torch.zeros(60, dtype=torch.bool), None, s)
    data = some_data()
    idx, target = pu_filters.draw_members(data, 1, torch.zeros(60, dtype=torch.bool), s, generator(0, "draw"))
    n = idx.shape[1]
    steps = max(1, round(n / s.filter_batch_size))
    size, probs = n // steps, []
    from lnl_kit.toolbox import models

    nets = []
    for member in range(3):
        torch.manual_seed(member)
        nets.append(models.make("small_cnn", 2, 1))
    for member, net in enumerate(nets):
        optimizer, schedule = stage.sgd(
            net,
            make(
                pu.PUDistill, epochs=5, learning_rate=s.filter_learning_rate, milestones=s.filter_milestones
            ),
        )
        for epoch in range(5):
            order = torch.rand(idx.shape, generator=generator(0, "order", epoch)).argsort(1)[member]
            for part in order[: steps * size].split(size):
                optimizer.zero_grad()
                losses.cross_entropy(
                    net(data.normalise(data.x[idx[member][part]])), target[member][part]
                ).mean().backward()
                optimizer.step()
            schedule.step()
        with torch.no_grad():
            probs.append(net.eval()(data.normalise(data.x)).softmax(1)[:, 1])
    probs = torch.stack(probs)
    assert torch.allclose(bag["mean"], probs.mean(0), atol=1e-3)
    assert ((bag["votes"] == (probs >= s.sure).sum(0)) | ((probs - s.sure).abs().amin(0) < 1e-3)).all()


def test_a_second_noise_costs_no_filter_and_no_teacher(tmp_path):
    """On all images, whose choice does not depend on the labels."""
    short = {k: v for k, v in SHORT.items() if k != "train_size"} | {
        "teachers": 1,
        "teacher_epochs": 1,
        "epochs": 1,
        "clean_share": 0.1,
        "filter_epochs": 8,
    }
    first = lnl_kit.train("pu_distill", out=tmp_path, noise="symmetric", rate=0.4, **short)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "stages").glob("*/result.pt")}
    second = lnl_kit.train("pu_distill", out=tmp_path, noise="asymmetric", rate=0.9, **short)
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "stages").glob("*/result.pt")} == before and len(
        before
    ) == 11
    assert np.array_equal(first.arrays["teacher_probs"], second.arrays["teacher_probs"])
    assert not np.array_equal(first.labels["given"], second.labels["given"])
    assert second.metrics[-1]["filter_seconds"] + second.metrics[-1]["teacher_seconds"] < 2


@pytest.mark.parametrize(
    "values, message",
    [
        ({"votes": 21}, "votes 21 of 20 filters are not possible"),
        ({"sure": 1.0}, "sure"),
        ({"pseudo_label": "soft"}, "pseudo_label 'soft' does not exist"),
        ({"teacher_weight": 1.5}, "teacher_weight"),
        ({"filters": 0, "votes": 0}, "at least 1"),
        ({"filter_milestones": (2.0,)}, "filter_milestones"),
        ({"teacher_sampling": "random"}, "teacher_sampling"),
        ({"mixup": -1.0}, "mixup"),
    ],
)
def test_impossible_settings_are_refused_in_a_sentence(values, message):
    with pytest.raises(ValueError, match=message):
        settings(**values)


def test_where_the_filters_accept_nothing_the_clean_images_stand_alone_and_without_them_it_is_refused(
    tmp_path, capsys
):
    run = lnl_kit.train("pu_distill", out=tmp_path, **SHORT | {"sure": 0.999999})
    said = capsys.readouterr().err
    assert "the filters accepted no image of 0, " in said and not (run.arrays["accepted"] == 0).any()
    assert "the teachers see " in said and "1 step of " in said
    assert run.summary["test_accuracy_last"] > 0
    with pytest.raises(ValueError, match="--clean-share above 0"):
        lnl_kit.train("pu_distill", out=tmp_path, **SHORT | {"clean_share": 0.0})


def test_the_clean_labels_alone_are_the_same_run_whatever_the_noise(tmp_path):
    short = SHORT | {"pseudo_label": "clean", "epochs": 2, "batch_size": 8}
    del short["train_size"]  # which images these are depends on their labels
    first, second = (
        lnl_kit.train("pu_distill", out=tmp_path, **short | {"noise": noise, "rate": rate})
        for noise, rate in (("symmetric", 0.4), ("asymmetric", 0.5))
    )
    assert not list(tmp_path.glob("stages/*")) and first.metrics[-1]["loss"] > 0
    same = (first.labels["clean"] == second.labels["clean"]).all()
    assert same and np.array_equal(first.arrays["test_probs"], second.arrays["test_probs"])
    with pytest.raises(ValueError, match="--clean-share above 0"):
        lnl_kit.train("pu_distill", out=tmp_path, **short | {"clean_share": 0.0})


@pytest.mark.slow
def test_killed_in_every_stage_it_ends_with_the_same_student(tmp_path):
    """One run, killed while its filters, teachers and student train, against one that was left alone."""
    ask = [f"--{k.replace('_', '-')}={v}" for k, v in SHORT.items() if k != "progress"]

    def start():
        return subprocess.Popen(
            [
                sys.executable,
                "-m",
                "lnl_kit.cli",
                "train",
                "pu_distill",
                "--out",
                str(tmp_path / "killed"),
                *ask,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    for stage in ("stages/bag-4-*/result.pt", "stages/teacher-1-*/state.pt", "pu_distill/*/*/*/state.pt"):
        child = start()
        while not list((tmp_path / "killed").glob(stage)):
            assert child.poll() is None, child.stderr.read()
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.communicate()
        assert not list((tmp_path / "killed").glob("pu_distill/*/*/*/summary.json"))
    child = start()
    out, _ = child.communicate(timeout=1200)
    assert child.returncode == 0
    alone, resumed = (
        lnl_kit.train("pu_distill", out=tmp_path / "alone", **SHORT),
        lnl_kit.open_run(out.splitlines()[-1]),
    )
    assert resumed.settings["settings"] == alone.settings["settings"]
    for name in ("train_probs", "accepted", "teacher_probs"):
        assert np.array_equal(resumed.arrays[name], alone.arrays[name]), name


def validated(rate):
    """Rows of `cross_validate` on digits at a symmetric noise rate."""
    rows = []

    def validate(data, settings, run):
        rows.extend(pu_filters.cross_validate(data, settings, run, folds=2, sures=(0.5, 0.7)))
        raise KeyboardInterrupt  # there is nothing else to train

    few = {"filters": 3, "votes": 2, "filter_epochs": 12, "clean_share": 0.15}
    lnl_kit.train(validate, rate=rate, settings_class=pu.PUDistill, progress=False, **few)
    return rows


def test_thresholds_are_validated_on_clean_images_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("LNL_RUNS", str(tmp_path))
    rows = validated(0.3)
    assert rows == validated(0.7)  # no noisy label is read
    assert [(r["sure"], r["votes"]) for r in rows] == [(s, v) for s in (0.5, 0.7) for v in (1, 2, 3)]
    kept = np.array([r["kept"] for r in rows]).reshape(2, 3)
    assert (np.diff(kept, axis=0) <= 0).all() and (np.diff(kept, axis=1) <= 0).all()
    assert rows[5]["precision"] > 0.5 and kept[1, 2] > 0.2, rows  # guessing: .1


def test_without_filters_the_teachers_have_the_clean_images_alone(tmp_path):
    run = lnl_kit.train("pu_distill", **SHORT | {"iterations": 0}, rate=0.5, out=tmp_path)
    assert (run.arrays["accepted"] == -1).all() and not run.arrays["votes"].any()
    labels, targets = run.labels, run.arrays["new_labels"]
    assert (targets[labels["clean"]].argmax(1) == labels["true"][labels["clean"]]).all()
    assert len(list((tmp_path / "stages").glob("teacher-*"))) == SHORT["teachers"]
    assert not list((tmp_path / "stages").glob("bag-*"))
