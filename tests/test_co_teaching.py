"""Co-teaching, Co-teaching+ and JoCoR: what is selected, for whom, and their losses by hand."""

import math

import pytest
import torch

import lnl_kit
from lnl_kit.methods import co_teaching as co
from lnl_kit.settings import make


def test_the_kept_share_falls_to_one_minus_the_forget_rate():
    s = make(co.CoTeaching, forget_rate=0.4, ramp=10)
    assert [co.kept_share(e, s) for e in (0, 5, 10, 50)] == pytest.approx([1, 0.8, 0.6, 0.6])
    assert co.kept_share(5, make(co.CoTeaching, forget_rate=0.4, exponent=2.0)) == pytest.approx(0.9)


def test_small_losses_are_chosen_among_those_marked():
    loss = torch.tensor([3.0, 1.0, 2.0, 0.5, 4.0])
    assert sorted(co.small_loss(loss, 0.6).tolist()) == [1, 2, 3]
    assert co.small_loss(loss, 0.5, torch.tensor([True, False, True, False, True])).tolist() == [2]
    assert co.small_loss(loss, 0.01).tolist() == [3]  # at least one
    assert len(co.small_loss(loss, 1.0, torch.zeros(5, dtype=torch.bool))) == 5  # nobody disagrees: all


def test_jocors_loss_by_a_slow_loop():
    torch.manual_seed(0)
    a, b, y = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 2, 1, 1])
    found = co.joint_loss(a, b, y, 0.9)
    for i in range(4):
        p, q = a[i].softmax(0).tolist(), b[i].softmax(0).tolist()
        ce = -math.log(p[y[i]]) - math.log(q[y[i]])
        kl = sum(u * math.log(u / v) for u, v in zip(p, q)) + sum(v * math.log(v / u) for u, v in zip(p, q))
        assert found[i].item() == pytest.approx(0.1 * ce + 0.9 * kl, abs=1e-5)


def test_each_network_learns_what_the_other_selects(tmp_path, monkeypatch):
    """With everything dropped but one image a batch, the first network's gradient comes from the second's
    choice.
    """
    picked = []
    original = co.small_loss

    def recorded(loss, share, among=None):
        chosen = original(loss, share, among)
        picked.append((loss, chosen))
        return chosen

    monkeypatch.setattr(co, "small_loss", recorded)
    seen = []
    from lnl_kit.run.loop import Run

    total = Run.total

    def spied(self, **terms):
        seen.append({k: v.item() for k, v in terms.items()})
        return total(self, **terms)

    monkeypatch.setattr(Run, "total", spied)
    lnl_kit.train(
        "co_teaching", out=tmp_path, epochs=2, train_size=256, forget_rate=0.9, ramp=1, progress=False
    )
    (first, of_first), (second, of_second) = picked[-2:]
    assert seen[-1]["first"] == pytest.approx(first[of_second].mean().item(), rel=1e-5)
    assert seen[-1]["second"] == pytest.approx(second[of_first].mean().item(), rel=1e-5)


def test_settings_refuse_impossible_values():
    for cls, wrong in (
        (co.CoTeaching, {"forget_rate": 1.0}),
        (co.CoTeaching, {"ramp": 0}),
        (co.JoCoR, {"agreement": 1.5}),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(cls, **wrong)
