"""ProMix: its three choices by slow loops, its losses by hand, the bias that follows, and who learns what."""

import math

import pytest
import torch

import lnl_kit
from lnl_kit.methods import promix
from lnl_kit.settings import make
from lnl_kit.toolbox import mixup

B, K = 10, 3


def batch(seed=0, size=4.0):
    g = torch.Generator().manual_seed(seed)
    logits = size * torch.randn(B, K, generator=g)
    return logits, torch.randint(K, (B,), generator=g), torch.rand(B, generator=g) < 0.3


def uniform():
    return torch.full((2, K), 1 / K)


def test_small_loss_takes_the_same_number_of_each_class_and_all_of_a_small_one():
    y = torch.tensor([0] * 6 + [1] * 5 + [2])
    score = torch.arange(12.0)
    chosen = promix.small_loss(score, y, 3, 0.5)  # half of an even class of four
    assert chosen.nonzero()[:, 0].tolist() == [4, 5, 9, 10, 11]


def test_what_both_networks_are_sure_of():
    p = torch.tensor([[0.98, 0.02], [0.98, 0.02], [0.7, 0.3]])
    q = torch.tensor([[0.96, 0.04], [0.02, 0.98], [0.98, 0.02]])
    assert promix.agreed(p, q, 0.95).tolist() == pytest.approx([0.97, 0, 0])


@pytest.mark.parametrize("guessing", [False, True])
def test_the_choice_by_a_slow_loop(guessing):
    logits, y, small = batch()
    g = torch.Generator().manual_seed(1)
    agree = torch.where(torch.rand(B, generator=g) < 0.9, torch.rand(B, generator=g), 0.0)
    bias = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    settings = make(promix.ProMix, sure=0.8, fill=0.7, debias=0.5)
    choice = promix.choose(logits, y, small, agree if guessing else None, bias, settings)
    p = logits.double().softmax(1).tolist()
    labelled = [bool(small[i]) or p[i][y[i]] > 0.8 for i in range(B)]
    free = int(0.7 * B) - sum(labelled)
    candidates = [i for i in range(B) if not labelled[i] and agree[i] > 0]
    guessed = sorted(candidates, key=lambda i: -agree[i].item())[: max(0, free)] if guessing else []
    for i in range(B):
        debiased = [[logits[i, k].item() - 0.5 * math.log(bias[j, k]) for k in range(K)] for j in range(2)]
        assert choice.chosen[i].item() == (labelled[i] or i in guessed)
        expected = y[i].item() if labelled[i] else debiased[0].index(max(debiased[0]))
        assert choice.target[i].tolist() == [float(k == expected) for k in range(K)]
        e = [math.exp(2 * v) for v in debiased[1]]  # a temperature of 1/2
        assert choice.guess[i].tolist() == pytest.approx([v / sum(e) for v in e], abs=1e-5)
    assert not guessing or (guessed and len(guessed) < len(candidates))  # some are left out


def test_losses_by_a_slow_loop_and_whom_they_reach():
    logits, y, small = batch(2, 1.0)
    three = torch.cat((logits, logits.flip(0), logits.roll(1, 0))).requires_grad_()
    choice = promix.choose(logits, y, small, None, uniform(), make(promix.ProMix))
    mix, shift = mixup.Mix(torch.tensor(0.7), torch.arange(B).roll(1)), torch.tensor([0.1, -0.2, 0.3])
    labelled = promix.labelled_loss(three, choice, mix, shift, 0.5)
    guessed = promix.guessed_loss(three, choice, shift, 0.5)
    log_p = (three.detach().double() + shift).log_softmax(1)
    chosen = choice.chosen.nonzero()[:, 0].tolist()
    others = [i for i in range(B) if i not in chosen]

    def ce(row, target):
        return -sum(t * v for t, v in zip(target.tolist(), log_p[row].tolist()))

    mixed = mix(choice.target)
    expected = sum(
        ce(i, choice.target[i]) + 0.5 * (ce(B + i, choice.target[i]) + ce(2 * B + i, mixed[i]))
        for i in chosen
    )
    assert labelled.item() == pytest.approx(expected / len(chosen), abs=1e-5)
    expected = sum(ce(i, choice.guess[i]) + 0.5 * ce(B + i, choice.guess[i]) for i in others)
    assert guessed.item() == pytest.approx(expected / len(others), abs=1e-5)
    for loss, rows in ((labelled, chosen), (guessed, others)):
        (gradient,) = torch.autograd.grad(loss, three, retain_graph=True)
        reached = {int(i) % B for i in gradient.abs().sum(1).nonzero()[:, 0]}
        assert reached == set(rows)


def test_partners_are_chosen_images_and_all_images_where_none_is():
    torch.manual_seed(0)
    chosen = torch.tensor([0, 1, 0, 0, 1, 1, 0, 0]).bool()
    mix = promix.mixed_partners(chosen, 4.0)
    assert set(mix.partner.tolist()) == {1, 4, 5} and 0.5 <= mix.share <= 1
    assert ((mix.partner >= 0) & (mix.partner < 8)).all()
    assert len(promix.mixed_partners(torch.zeros(8).bool(), 4.0).partner) == 8


def test_the_bias_follows_the_mean_prediction_of_each_kind():
    bias, p = uniform(), torch.tensor([[0.9, 0.1, 0.0], [0.5, 0.5, 0.0], [0.0, 0.2, 0.8]])
    promix.follow(bias, p, torch.tensor([True, True, False]), 0.9)
    assert bias[0].tolist() == pytest.approx([0.9 / 3 + 0.07, 0.9 / 3 + 0.03, 0.9 / 3])
    assert bias[1].tolist() == pytest.approx([0.3, 0.32, 0.38])
    before = bias.clone()
    promix.follow(bias, p, torch.zeros(3).bool(), 0.9)
    assert torch.equal(bias[0], before[0])  # nobody chosen: it stands


def test_a_bias_makes_a_frequent_class_cheaper_to_learn_and_rarer_to_guess():
    logits, y = torch.zeros(1, K), torch.tensor([0])
    bias = torch.tensor([[0.8, 0.1, 0.1]] * 2)
    choice = promix.choose(logits, y, torch.tensor([False]), None, bias, make(promix.ProMix))
    assert choice.guess[0, 0] < 1 / K
    shift = 0.8 * bias[0].log()
    costs = [torch.nn.functional.cross_entropy(logits + shift, torch.tensor([k])).item() for k in range(K)]
    assert costs[0] < costs[1]


def test_weights_rise_and_the_auxiliary_head_alone_learns_guesses(tmp_path):
    settings = make(promix.ProMix, epochs=100, rise=0.2)
    assert [settings.risen(e) for e in (0, 10, 20, 90)] == [0, 0.5, 1, 1] and settings.risen(20, 2) == 0.5
    ask = {"out": tmp_path, "epochs": 4, "warmup": 1, "rise": 0.25, "train_size": 256, "rate": 0.5}
    ask |= {"share": 0.2, "progress": False, "precision": "fp32"}
    plain, some = (
        torch.load(lnl_kit.train("promix", unsupervised=u, **ask).folder / "state.pt", weights_only=True)[
            "state"
        ]
        for u in (0.0, 1.0)
    )
    assert not torch.equal(plain["auxiliary_1"]["weight"], some["auxiliary_1"]["weight"])
    assert (some["bias"] - 0.1).abs().max() > 0 and torch.allclose(some["bias"].sum(2), torch.ones(2, 2))


def test_settings_refuse_impossible_values():
    for wrong in (
        {"warmup": 0},
        {"share": 0.0},
        {"sure": 1.5},
        {"rise": -0.1},
        {"debias": -1.0},
        {"mixup": 0.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(promix.ProMix, **wrong)
