"""ELR: its target and its regulariser by hand."""

import math

import pytest
import torch

from lnl_kit.methods import elr
from lnl_kit.settings import make


def test_target_and_regularizer_are_equations_9_and_6_by_a_slow_loop():
    torch.manual_seed(0)
    p, t = torch.rand(5, 3, dtype=torch.float64).softmax(1) * 0.9, torch.rand(5, 3, dtype=torch.float64).softmax(1)
    new = elr.updated(t, p, 0.7)
    pull = elr.regularization(p, t)
    for i in range(5):
        total = sum(p[i].tolist())
        assert new[i].tolist() == pytest.approx([0.7 * a + 0.3 * b / total for a, b in zip(t[i].tolist(), p[i].tolist())])
        assert pull[i].item() == pytest.approx(math.log(1 - sum(a * b for a, b in zip(p[i].tolist(), t[i].tolist()))))


def test_the_pull_raises_the_probability_of_what_was_predicted_early():
    """Its gradient is largest where target and prediction agree, and no gradient reaches the target."""
    logits, target = torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True), torch.tensor([[0.8, 0.1, 0.1]], requires_grad=True)
    elr.regularization(logits.softmax(1), target.detach()).sum().backward()
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1] and target.grad is None
    assert elr.regularization(logits.softmax(1), torch.zeros(1, 3)).item() == 0  # an image not yet seen


def test_settings_refuse_impossible_values():
    for wrong in ({"regularizer": -1.0}, {"target_decay": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(elr.ELR, **wrong)
