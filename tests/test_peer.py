"""Peer loss and f-divergences: against slow loops, and what their papers prove, on small distributions."""

import math

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit.methods import peer
from lnl_kit.settings import make

K = 4


def pq(seed=0, n=7):
    g = torch.Generator().manual_seed(seed)
    return tuple(torch.rand(n, generator=g, dtype=torch.float64) for _ in range(2))


def alphas(value):
    return {"at": (0.0, 1.0), "alphas": (value, value)}


def test_peer_loss_is_what_it_says_by_a_slow_loop():
    p, q = pq()
    terms = make(peer.PeerLoss, **alphas(0.7)).terms(p, q, 0)
    expected = sum(-math.log(a + 1e-5) + 0.7 * math.log(b + 1e-5) for a, b in zip(p.tolist(), q.tolist())) / 7
    assert sum(terms.values()).item() == pytest.approx(expected, abs=1e-6)


SLOW = {  # g and f* as Nowozin et al. (2016) print them, with the generator f and its derivative
    "total_variation": (
        lambda v: math.tanh(v) / 2,
        lambda t: t,
        lambda r: abs(r - 1) / 2,
        lambda r: 0.5 * np.sign(r - 1),
    ),
    "jensen_shannon": (
        lambda v: math.log(2) - math.log(1 + math.exp(-v)),
        lambda t: -math.log(2 - math.exp(t)),
        lambda r: r * math.log(r) - (r + 1) * math.log((r + 1) / 2),
        lambda r: math.log(2 * r / (r + 1)),
    ),
    "pearson": (lambda v: v, lambda t: t * t / 4 + t, lambda r: (r - 1) ** 2, lambda r: 2 * (r - 1)),
    "kl": (lambda v: v, lambda t: math.exp(t - 1), lambda r: r * math.log(r), lambda r: 1 + math.log(r)),
    "reverse_kl": (
        lambda v: -math.exp(v),
        lambda t: -1 - math.log(-t),
        lambda r: -math.log(r),
        lambda r: -1 / r,
    ),
    "squared_hellinger": (
        lambda v: 1 - math.exp(v),
        lambda t: t / (1 - t),
        lambda r: (math.sqrt(r) - 1) ** 2,
        lambda r: 1 - 1 / math.sqrt(r),
    ),
}


@pytest.mark.parametrize("name", peer.DIVERGENCES)
def test_each_divergence_by_a_slow_loop(name):
    p, q = pq(1)
    g, conjugate, _, _ = SLOW[name]
    settings = make(peer.FDivergence, divergence=name, warmup=0.0)
    loss = sum(settings.terms(p, q, 0).values()).item()
    expected = sum(conjugate(g(b)) - g(a) for a, b in zip(p.tolist(), q.tolist())) / 7
    assert loss == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("name", peer.DIVERGENCES)
def test_with_the_best_witness_the_variational_form_is_the_divergence(name):
    """g(v) = f'(P/Q) attains sum Q f(P/Q), and another witness stays below."""
    P, Q = np.array([0.5, 0.3, 0.2]), np.array([0.2, 0.3, 0.5])
    g, _, f, slope = SLOW[name]
    best = []
    for r in P / Q:  # the v with g(v) = f'(r), by bisection; total variation's g only nears its ends
        low, high = -30.0, 30.0
        rising = g(1.0) > g(0.0)
        for _ in range(200):
            middle = (low + high) / 2
            low, high = (middle, high) if (g(middle) < slope(r)) == rising else (low, middle)
        best.append((low + high) / 2)
    divergence = peer.DIVERGENCES[name]

    def bound(v):
        v = torch.tensor(v, dtype=torch.float64)
        return (
            torch.from_numpy(P) @ divergence.witness(v) - torch.from_numpy(Q) @ divergence.conjugate(v)
        ).item()

    exact = sum(q * f(p / q) for p, q in zip(P, Q))
    assert bound(best) == pytest.approx(exact, abs=1e-6)
    assert bound([0.3, 0.1, 0.2]) < exact


def expectation(terms, prediction, joint):
    """A loss's expectation over images and labels with this joint distribution (N, K), peers independent."""
    image, label = joint.sum(1), joint.sum(0)
    total = 0.0
    for i in range(len(joint)):
        for k in range(K):
            p = prediction[i, k : k + 1]
            parts = terms(p, p)
            total += joint[i, k] * parts["labels"].item() + image[i] * label[k] * parts["peers"].item()
    return float(total)


@pytest.mark.parametrize(
    "terms",
    [
        lambda p, q: make(peer.PeerLoss, **alphas(1.0)).terms(p, q, 0),
        lambda p, q: make(peer.FDivergence, divergence="total_variation", warmup=0.0).terms(p, q, 0),
    ],
    ids=["peer loss", "total variation"],
)
def test_noise_scales_the_expected_loss_and_turns_nothing_round(terms):
    """Symmetric noise of rate e multiplies it by 1 - e, for any classifier: its minimiser stays."""
    rng = np.random.RandomState(0)
    clean = np.zeros((8, K))
    clean[np.arange(8), np.arange(8) % K] = 1 / 8  # classes of equal size
    rate = 0.6
    noisy = clean @ ((1 - rate) * np.eye(K) + rate / K)
    for _ in range(3):
        prediction = torch.from_numpy(rng.dirichlet(np.ones(K), 8))
        assert expectation(terms, prediction, noisy) == pytest.approx(
            (1 - rate) * expectation(terms, prediction, clean), abs=1e-9
        )


def test_a_network_that_says_the_same_of_all_images_gains_nothing():
    constant, y = torch.tensor([0.4, 0.3, 0.2, 0.1]), torch.tensor([0, 1, 2, 3, 3, 1])
    for settings in (make(peer.PeerLoss, **alphas(1.0)), make(peer.FDivergence, warmup=0.0)):
        terms = settings.terms(constant[y], constant[y.flip(0)], 0)
        assert sum(terms.values()).item() == pytest.approx(0, abs=1e-7)


def test_both_terms_reach_the_network_and_pull_apart():
    p, q = (t.float().requires_grad_() for t in pq(2))
    for settings in (make(peer.PeerLoss, **alphas(1.0)), make(peer.FDivergence, warmup=0.0)):
        a, b = torch.autograd.grad(sum(settings.terms(p, q, 0).values()), (p, q))
        assert (a < 0).all() and (b > 0).all()  # the given label more probable, another's less


def test_alpha_rises_along_lines_and_slows_the_step():
    settings = make(peer.PeerLoss, epochs=300, at=(0.1, 0.5, 1.0), alphas=(0.0, 2.0, 10.0))
    assert [settings.alpha(e) for e in (0, 30, 90, 150, 225, 300)] == pytest.approx([0, 0, 1, 2, 6, 10])
    assert settings.slowed(150) == pytest.approx(3)
    shares, heights = (0.067, 0.133, 0.167, 0.333, 0.667, 1.0), (0.0, 1.0, 2.0, 5.0, 10.0, 20.0)
    release = make(peer.PeerLoss, epochs=300, at=shares, alphas=heights)
    assert [release.alpha(e) for e in (10, 40, 50, 100, 200)] == pytest.approx([0, 1, 2, 5, 10], abs=0.02)
    default = make(peer.PeerLoss, epochs=300)
    assert [default.alpha(e) for e in (20, 40, 299)] == pytest.approx([0, 1, 1], abs=0.01)


def test_the_warm_up_of_a_divergence_is_cross_entropy():
    p, q = pq()
    settings = make(peer.FDivergence, epochs=10, warmup=0.3)
    assert set(settings.terms(p, q, 2)) == {"labels"} and set(settings.terms(p, q, 3)) == {"labels", "peers"}
    assert settings.terms(p, q, 0)["labels"].item() == pytest.approx(-(p + 1e-5).log().mean().item())


def test_the_learning_rate_is_the_recipes_again_after_each_epoch(tmp_path):
    ask = {"out": tmp_path, "epochs": 4, "train_size": 256, "progress": False}
    run = lnl_kit.train("peer_loss", **ask, **alphas(3.0))
    assert [row["learning_rate"] for row in run.metrics] == pytest.approx([0.1, 0.1, 0.1, 0.01])


def test_settings_refuse_impossible_values():
    for cls, wrong in (
        (peer.PeerLoss, {"at": (0.5, 0.2)}),
        (peer.PeerLoss, {"alphas": (1.0,)}),
        (peer.FDivergence, {"divergence": "renyi"}),
        (peer.FDivergence, {"warmup": 1.5}),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(cls, **wrong)
