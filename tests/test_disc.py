"""DISC: its sets by a slow loop, its losses by hand, thresholds that lag, and who learns from what."""

import math

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit.methods import disc
from lnl_kit.settings import make

N, K = 40, 4


def predictions(seed=0):
    g = torch.Generator().manual_seed(seed)
    probs = (3 * torch.randn(2, N, K, generator=g, dtype=torch.float64)).softmax(2)
    return (
        probs,
        torch.rand(2, N, generator=g, dtype=torch.float64) * 0.5,
        torch.randint(K, (N,), generator=g),
    )


def test_the_sets_are_what_they_say_by_a_slow_loop():
    probs, thresholds, y = predictions()
    sets = disc.divide(probs, thresholds, y, make(disc.DISC, correction=0.2))
    kinds = set()
    for i in range(N):
        weak, strong = probs[0, i].tolist(), probs[1, i].tolist()
        above = [p[y[i]] > t for p, t in zip((weak, strong), thresholds[:, i].tolist())]
        mean = [(a + b) / 2 for a, b in zip(weak, strong)]
        needed = min(0.9, thresholds[:, i].mean().item() + 0.2)
        corrected = not any(above) and max(mean) > needed
        assert (sets.clean[i], sets.hard[i]) == (all(above), any(above) and not all(above))
        assert sets.corrected[i] == corrected
        assert sets.labels[i] == (mean.index(max(mean)) if corrected else y[i])
        kinds.add((all(above), any(above), corrected))
    assert len(kinds) == 4  # clean, hard, corrected, unused: each occurs


def test_no_label_is_replaced_without_correction_and_none_is_in_two_sets():
    probs, thresholds, y = predictions(1)
    sets = disc.divide(probs, thresholds, y, make(disc.DISC, **disc.DISC.controls["no_correction"]))
    assert not sets.corrected.any() and torch.equal(sets.labels, y)
    sets = disc.divide(probs, thresholds, y, make(disc.DISC))
    assert not (sets.clean & sets.hard).any() and not (sets.corrected & (sets.clean | sets.hard)).any()
    assert torch.equal(sets.used, sets.clean | sets.hard | sets.corrected)


def test_losses_of_clean_and_hard_labels_by_hand_and_whom_they_reach():
    torch.manual_seed(0)
    both, y = [torch.randn(4, K, requires_grad=True) for _ in range(2)], torch.tensor([0, 1, 2, 3])
    clean, hard = torch.tensor([1, 0, 0, 1]).bool(), torch.tensor([0, 1, 0, 0]).bool()
    terms = disc.selected_terms(both, y, clean, hard, make(disc.DISC, hard=0.5))
    p = [[z[i].double().softmax(0)[y[i]].item() for i in range(4)] for z in both]
    assert terms["clean"].item() == pytest.approx(
        sum(-math.log(q[i]) for q in p for i in (0, 3)) / 4, abs=1e-6
    )
    assert terms["hard"].item() == pytest.approx(0.5 * sum((1 - q[1] ** 0.7) / 0.7 for q in p) / 4, abs=1e-6)
    for name, rows in (("clean", {0, 3}), ("hard", {1})):
        gradients = torch.autograd.grad(terms[name], both, retain_graph=True)
        assert all({i for i in range(4) if g[i].abs().sum() > 0} == rows for g in gradients)


def test_thresholds_are_running_averages_that_lag_an_epoch(tmp_path):
    """With a decay of 0 they are the last epoch's confidence; always those of the epoch's own end."""
    ask = {"out": tmp_path, "epochs": 3, "train_size": 256, "rate": 0.5, "progress": False}
    state = torch.load(lnl_kit.train("disc", decay=0.0, **ask).folder / "state.pt", weights_only=True)[
        "state"
    ]
    assert torch.equal(state["thresholds"], state["probs"].amax(2))
    one = torch.load(
        lnl_kit.train("disc", decay=0.9, warmup=1.0, **ask | {"epochs": 1}).folder / "state.pt",
        weights_only=True,
    )["state"]
    expected = 0.9 / 256 + 0.1 * one["probs"].amax(2)
    assert torch.allclose(one["thresholds"], expected, atol=1e-6)


def test_all_three_kinds_train_and_the_mixture_takes_them_alone(tmp_path, monkeypatch):
    seen = []
    mixed_loss = disc.mixed_loss

    def spy(forward, x, onehot, alpha, run):
        seen.append((len(x), onehot.sum(1).tolist()))
        return mixed_loss(forward, x, onehot, alpha, run)

    monkeypatch.setattr(disc, "mixed_loss", spy)
    run = lnl_kit.train(
        "disc", out=tmp_path, epochs=4, train_size=256, rate=0.5, warmup=0.5, decay=0.5, progress=False
    )
    assert seen and all(n <= 128 and ones == [1.0] * n for n, ones in seen)
    state = torch.load(run.folder / "state.pt", weights_only=True)["state"]
    assert np.array_equal(run.arrays["selected"], (state["clean"] | state["hard"]).numpy())
    assert state["clean"].any() and state["hard"].any()


def test_settings_refuse_impossible_values():
    for wrong in (
        {"warmup": 1.5},
        {"decay": 1.0},
        {"correction": -0.1},
        {"most": 0.0},
        {"q": 0.0},
        {"mixup": 0.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(disc.DISC, **wrong)
