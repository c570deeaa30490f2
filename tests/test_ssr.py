"""SSR: neighbours and choices by slow loops, its limits, and what carries gradient."""

import numpy as np
import pytest
import torch

from lnl_kit.methods import ssr
from lnl_kit.settings import make
from lnl_kit.toolbox import neighbours

N, K, D = 40, 4, 6


def looked(seed=0):
    g = torch.Generator().manual_seed(seed)
    probs = (4 * torch.randn(N, K, generator=g)).softmax(1)
    return torch.randn(N, D, generator=g), probs, torch.randint(K, (N,), generator=g)


def test_votes_by_a_slow_loop():
    z, _, y = looked()
    found = neighbours.votes(z, y, K, 7)
    unit = z / z.norm(dim=1, keepdim=True)
    for i in range(N):
        near = sorted((j for j in range(N) if j != i), key=lambda j: -float(unit[i] @ unit[j]))[:7]
        by_hand = [sum(y[j] == k for j in near).item() / 7 for k in range(K)]
        assert found[i].tolist() == pytest.approx(by_hand)
    assert neighbours.votes(z[:3], y[:3], K, 200).sum(1).tolist() == pytest.approx([1] * 3)


def test_the_choice_by_a_slow_loop():
    z, probs, y = looked(1)
    settings = make(ssr.SSR, neighbours=7, agreement=0.8, sure=0.8)
    found = ssr.choose(z, probs, y, K, settings)
    labels = [p.index(max(p)) if max(p) > 0.8 else int(g) for p, g in zip(probs.tolist(), y)]
    assert found.labels.tolist() == labels and 0 < (found.labels != y).sum() < N
    share = np.bincount(labels, minlength=K) / N
    shares = neighbours.votes(z, torch.tensor(labels), K, 7).double().numpy() / share
    shares /= shares.sum(1, keepdims=True)
    for i in range(N):
        ratio = shares[i, labels[i]] / shares[i].max()
        assert bool(found.selected[i]) == (ratio >= 0.8)
        assert found.outside[i].item() == pytest.approx(1 - shares[i].max(), abs=1e-6)
        assert found.score[i].item() == pytest.approx(shares[i, y[i]] / shares[i].max(), abs=1e-6)
    assert 0 < found.selected.sum() < N


def test_its_limits():
    z, probs, y = looked(2)
    nobody = ssr.choose(z, probs, y, K, make(ssr.SSR, neighbours=7, **ssr.SSR.controls["no_relabelling"]))
    assert torch.equal(nobody.labels, y)
    every = ssr.choose(z, probs, y, K, make(ssr.SSR, neighbours=7, **ssr.SSR.controls["no_selection"]))
    assert every.selected.all()


def test_classes_are_learnt_evenly():
    labels = torch.tensor([0] * 30 + [1] * 3 + [2] * 7)
    selected = torch.ones(40, dtype=torch.bool)
    selected[33:] = False
    order = ssr.balanced(labels, selected, 100, torch.Generator().manual_seed(0))
    counts = torch.bincount(labels[order], minlength=3)
    assert counts[2] == 0 and abs(int(counts[0] - counts[1])) <= 1 and len(order) == 100
    assert len(ssr.balanced(labels, ~selected & selected, 10, torch.Generator().manual_seed(0))) == 10


def test_consistency_reaches_who_is_asked_and_not_who_is_seen():
    asked, seen = (torch.randn(5, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    loss = ssr.apart(asked, seen)
    by_hand = -sum((a @ b / a.norm() / b.norm()).item() for a, b in zip(asked, seen)) / 5
    assert loss.item() == pytest.approx(by_hand, abs=1e-9)
    loss.backward()
    assert asked.grad.abs().sum() > 0 and seen.grad is None
