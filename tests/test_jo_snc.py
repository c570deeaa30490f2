"""Jo-SNC: its divergence, sets and losses by slow loops, its limits, and whom its terms reach."""

import math

import pytest
import torch
from scipy.spatial.distance import jensenshannon

from lnl_kit.methods import jo_snc
from lnl_kit.settings import make

N, K = 30, 4


def made(seed=0):
    g = torch.Generator().manual_seed(seed)
    both = [2 * torch.randn(N, K, generator=g, dtype=torch.float64) for _ in range(2)]
    both[1][::2] = 0.9 * both[0][::2]  # every other image is seen alike
    near = (2 * torch.randn(N, 3, K, generator=g, dtype=torch.float64)).softmax(2)
    return (
        both,
        near,
        torch.randint(K, (N,), generator=g),
        0.9 * torch.rand(2, K, generator=g).double().sqrt(),
    )


def test_the_divergence_is_jensen_shannons_in_bits():
    both = made()[0]
    p, q = (z.softmax(1) for z in both)
    found = jo_snc.divergence(p, q)
    by_hand = [jensenshannon(a, b, 2) ** 2 for a, b in zip(p.numpy(), q.numpy())]
    assert found.tolist() == pytest.approx(by_hand, abs=1e-6)
    onehot = torch.eye(2, dtype=torch.float64)
    assert jo_snc.divergence(onehot[:1], onehot[1:]).item() == pytest.approx(1)
    assert jo_snc.p_clean(both[0], p).tolist() == pytest.approx([1] * N)


def test_the_sets_by_a_slow_loop():
    both, near, y, tau = made(1)
    target = jo_snc.smoothed(y, K, 0.2).double()
    clean, odd = jo_snc.p_clean(both[0], target), jo_snc.p_outside(*both)
    sets = jo_snc.divide(clean, odd, target, near, *tau[:, y])
    kinds = set()
    for i in range(N):
        t_clean, t_odd = tau[0, y[i]].item(), tau[1, y[i]].item()
        of_neighbours = sum(1 - jensenshannon(p, target[i], 2) ** 2 for p in near[i].numpy()) / 3
        is_clean = clean[i].item() >= t_clean or of_neighbours > t_clean
        kind = "clean" if is_clean else "outside" if odd[i].item() > t_odd else "inside"
        assert [bool(s[i]) for s in sets] == [kind == name for name in ("clean", "inside", "outside")]
        kinds.add(kind)
    assert len(kinds) == 3
    alone = jo_snc.divide(clean, odd, target, None, *tau[:, y])
    assert (sets.clean | ~alone.clean).all() and alone.clean.sum() < sets.clean.sum()


def test_losses_by_hand_and_whom_they_reach():
    both, near, y, _ = made(2)
    both = [z[:3].requires_grad_() for z in both]
    near, target = near[:3], jo_snc.smoothed(y[:3], K, 0.6).double()
    guess = near.mean(1).roll(1, 0)
    sets = jo_snc.Sets(*(torch.eye(3, dtype=torch.bool)))
    terms = jo_snc.terms_of(both, target, guess, sets, near, make(jo_snc.JoSNC))
    logs = [z.detach().log_softmax(1).tolist() for z in both]
    cross = lambda log, t: -sum(a * b for a, b in zip(log, t))  # noqa: E731
    j = guess[2].argmin().item()
    expected = {
        "clean": sum(cross(log[0], target[0].tolist()) for log in logs) / 6,
        "inside": sum(cross(log[1], guess[1].tolist()) for log in logs) / 6,
        "outside": sum(-math.log(1 - math.exp(log[2][j])) for log in logs) / 6,
        "views_alike": 0.3
        * sum((math.exp(a) - math.exp(b)) * (a - b) for i in (0, 1) for a, b in zip(logs[0][i], logs[1][i]))
        / 3,
        "neighbours_alike": 0.1
        * sum(p * (math.log(p) - a) for i in (0, 1) for a, p in zip(logs[0][i], near[i].mean(0).tolist()))
        / 3,
    }
    assert {k: v.item() for k, v in terms.items()} == pytest.approx(expected, abs=1e-6)
    for name, row in (("clean", 0), ("inside", 1), ("outside", 2)):
        grad = torch.autograd.grad(terms[name], both[0], retain_graph=True)[0].abs().sum(1)
        assert (grad > 0).nonzero().flatten().tolist() == [row]


def test_thresholds_only_rise_and_without_neighbours_nobody_is_asked():
    tau = torch.tensor([[0.9, 0.1], [0.0, 0.0]])
    seen, y = torch.tensor([[0.1, 0.5, 0.7], [0.2, 0.4, 0.0]]), torch.tensor([0, 1, 1])
    jo_snc.raise_thresholds(tau, seen, y, 0.5)
    torch.testing.assert_close(tau, torch.tensor([[0.9, 0.35], [0.1, 0.1]]))
    settings = make(jo_snc.JoSNC, **jo_snc.JoSNC.controls["no_neighbours"])
    both, _, labels, _ = made(3)
    every = torch.ones(N, dtype=torch.bool)
    sets = jo_snc.Sets(every, ~every, ~every)
    target = jo_snc.smoothed(labels, K, 0.6).double()
    terms = jo_snc.terms_of(both, target, target, sets, None, settings)
    assert "neighbours_alike" not in terms
    with pytest.raises(ValueError, match="leaves none to be like"):
        make(jo_snc.JoSNC, neighbours=0)
