"""PENCIL: its terms by hand, one step of the labels, and its three parts."""

import contextlib
import math

import pytest
import torch

import lnl_kit
from lnl_kit.methods import pencil
from lnl_kit.settings import make


def test_the_terms_by_a_slow_loop():
    torch.manual_seed(0)
    logits, z, y = (
        torch.randn(5, 3, dtype=torch.float64),
        torch.randn(5, 3, dtype=torch.float64),
        torch.tensor([0, 1, 2, 1, 0]),
    )
    kl, kept = pencil.divergence(logits, z), pencil.compatibility(z, y)
    for i in range(5):
        p, label = logits[i].softmax(0).tolist(), z[i].softmax(0).tolist()
        assert kl[i].item() == pytest.approx(sum(a * math.log(a / b) for a, b in zip(p, label)) / 3, abs=1e-6)
        assert kept[i].item() == pytest.approx(-math.log(label[y[i]]), abs=1e-6)


def test_one_step_moves_labels_along_their_gradient():
    class Run:  # what the second part needs of a run
        compiled, total = staticmethod(lambda net: net), staticmethod(lambda **terms: sum(terms.values()))
        autocast = staticmethod(contextlib.nullcontext)

    torch.manual_seed(0)
    settings = make(pencil.Pencil, label_learning_rate=2.0)
    network, x, y, idx = torch.nn.Linear(4, 3), torch.randn(2, 4), torch.tensor([0, 2]), torch.tensor([3, 1])
    z = torch.randn(5, 3)
    before, expected = z.clone(), z[idx].clone().requires_grad_()
    (
        pencil.divergence(network(x).detach(), expected).mean()
        + 0.1 * pencil.compatibility(expected, y).mean()
    ).backward()
    pencil.learn_labels(network, torch.optim.SGD(network.parameters(), 0.1), z, [(x, y, idx)], settings, Run)
    assert torch.allclose(z[idx], before[idx] - 2.0 * expected.grad, atol=1e-6)
    assert torch.equal(z[[0, 2, 4]], before[[0, 2, 4]])


def test_labels_stand_in_the_first_and_the_last_part(tmp_path):
    ask = dict(epochs=4, train_size=256, rate=0.5, certainty=1.0, progress=False, out=tmp_path)

    def score(**more):  # the label's own share, by epoch
        return lnl_kit.train("pencil", **ask, **more).history["clean_score"]

    whole = score(start=0.25, stop=0.75)
    assert (whole[0] == whole[0][0]).all() and not (whole[1] == whole[0]).all()
    assert (whole[3] == whole[2]).all()
    assert (score(start=1.0, stop=1.0)[3] == whole[0]).all()


def test_settings_refuse_impossible_values():
    for wrong in ({"start": 0.7}, {"certainty": 0.0}, {"compatibility": -1.0}, {"stop": 1.2}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(pencil.Pencil, **wrong)
