"""CORES²*: the sieve's margin and schedule by hand, what passes, and who learns what in the second phase."""

import math

import pytest
import torch

import lnl_kit
from lnl_kit.methods import cores_star
from lnl_kit.run import fit
from lnl_kit.run.loop import Run
from lnl_kit.settings import make
from lnl_kit.toolbox import losses

TINY = {"epochs": 3, "sieve_epochs": 3, "train_size": 256, "rate": 0.5, "progress": False}


def test_the_margin_is_the_labels_cost_less_the_mean_cost_by_a_slow_loop():
    torch.manual_seed(0)
    logits, y = 3 * torch.randn(8, 5), torch.randint(5, (8,))
    for i, margin in enumerate(cores_star.margin_of(logits, y)):
        costs = [-math.log(p) for p in logits[i].double().softmax(0).tolist()]
        assert margin.item() == pytest.approx(costs[y[i]] - sum(costs) / 5, abs=1e-5)


def test_a_label_passes_where_the_network_is_sure_of_it_and_not_where_of_another():
    logits = torch.tensor([[4.0, 0, 0], [0, 4.0, 0], [0, 0, 0]])
    margin = cores_star.margin_of(logits, torch.tensor([0, 0, 0]))
    assert margin[0] < 0 < margin[1] and margin[2].item() == pytest.approx(0, abs=1e-6)


def test_the_reward_waits_then_grows():
    settings = make(cores_star.CoresStar)
    assert [settings.beta(e) for e in (0, 10, 25, 40, 60)] == pytest.approx([0, 0, 1, 2, 2])


def test_steps_are_slowed_and_the_rate_is_the_same_afterwards():
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=0.4)
    with fit.slowed(optimizer, 4.0):
        p.grad = torch.ones(1)
        optimizer.step()
    assert p.item() == pytest.approx(-0.1) and optimizer.param_groups[0]["lr"] == 0.4


def test_before_the_sieve_its_loss_is_that_of_cores_and_then_only_what_passes_is_learned(
    tmp_path, monkeypatch
):
    """The gradient of a batch: with the sieve, images that do not pass have none."""
    seen = []
    cores = losses.cores

    def spy(logits, y, prior, beta):
        logits.retain_grad()
        seen.append((logits, y, prior))
        return cores(logits, y, prior, beta)

    monkeypatch.setattr(losses, "cores", spy)
    lnl_kit.train("cores_star", out=tmp_path, precision="fp32", sieve_from=0, **TINY)
    first, last = seen[0], seen[-1]
    assert (first[0].grad.abs().sum(1) > 0).all() and first[2].sum().item() == pytest.approx(1)
    passes = cores_star.margin_of(last[0].detach(), last[1]) <= 0
    assert torch.equal(last[0].grad.abs().sum(1) > 0, passes) and not passes.all()


def test_what_passed_is_kept_and_its_labels_alone_are_learned(tmp_path, monkeypatch):
    learned = []
    cross_entropy = losses.cross_entropy

    def spy(logits, target):
        if target.ndim == 1:
            learned.append(target)
        return cross_entropy(logits, target)

    margin = torch.ones(256)
    monkeypatch.setattr(Run, "stage", lambda self, name, fn: torch.where(self.data.y == 3, -margin, margin))
    monkeypatch.setattr(losses, "cross_entropy", spy)
    run = lnl_kit.train("cores_star", out=tmp_path, **TINY)
    assert learned and all((labels == 3).all() for labels in learned)
    assert (run.arrays["selected"] == (run.labels["given"] == 3)).all()


def test_with_nothing_left_to_sieve_both_kinds_are_all_images():
    every = torch.ones(5, dtype=torch.bool)
    assert cores_star.some(every).tolist() == cores_star.some(~every).tolist() == [0, 1, 2, 3, 4]


def test_settings_refuse_impossible_values():
    for wrong in ({"sieve_epochs": 0}, {"ramp": 0}, {"wait": -1}, {"others": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(cores_star.CoresStar, **wrong)
