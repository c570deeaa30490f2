"""VolMinNet: its matrix, its volume, and who learns by what."""

import math

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit.methods import volminnet
from lnl_kit.settings import make
from lnl_kit.toolbox import losses


def test_the_matrix_is_stochastic_with_the_largest_entry_on_the_diagonal():
    transition = volminnet.Transition(4, -2.0)
    wrong = 1 / (1 + math.exp(2))
    row = [1 / (1 + 3 * wrong)] + [wrong / (1 + 3 * wrong)] * 3
    assert transition()[0].tolist() == pytest.approx(row, abs=1e-6)
    torch.nn.init.normal_(transition.w, std=9.0)
    T = transition()
    assert torch.allclose(T.sum(1), torch.ones(4)) and torch.equal(T.argmax(1), torch.arange(4))
    assert (T >= 0).all()


def test_log_volume_by_hand_and_what_it_rewards():
    T = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.1, 0.6]], requires_grad=True)
    a, b, c, d, e, f, g, h, i = T.flatten().tolist()
    det = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    assert volminnet.log_volume(T).item() == pytest.approx(math.log(det), abs=1e-6)
    assert volminnet.log_volume(torch.eye(3)).item() == 0  # no noise spans the whole simplex
    volminnet.log_volume(T).backward()
    assert torch.allclose(T.grad, torch.linalg.inv(T.detach()).T, atol=1e-5)


def test_both_terms_reach_the_matrix_and_only_the_labels_the_network():
    transition, logits = volminnet.Transition(3, -2.0), torch.randn(6, 3, requires_grad=True)
    T = transition()
    labels = losses.forward_corrected(logits, torch.tensor([0, 1, 2, 0, 1, 2]), T).mean()
    for term, reaches in ((labels, True), (volminnet.log_volume(T), False)):
        of_w, of_logits = torch.autograd.grad(
            term, (transition.w, logits), retain_graph=True, allow_unused=True
        )
        assert of_w.abs().sum() > 0 and (of_logits is not None) == reaches


def test_with_the_volume_the_true_matrix_is_the_smallest_that_explains_the_labels():
    """Posteriors spread over the simplex: the true T and a wider one explain the same; the volume decides."""
    true = torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    mixing = torch.tensor([[0.9, 0.05, 0.05], [0.05, 0.9, 0.05], [0.05, 0.05, 0.9]])
    wider = torch.linalg.inv(mixing) @ true  # p' = p mixing explains p true as p' wider
    p = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
    assert torch.allclose((p @ mixing) @ wider, p @ true, atol=1e-6)
    assert volminnet.log_volume(true) < volminnet.log_volume(wider)


def test_the_matrix_is_learned_and_logged(tmp_path):
    ask = {"out": tmp_path, "epochs": 3, "train_size": 256, "rate": 0.5, "progress": False}
    run = lnl_kit.train("volminnet", transition_learning_rate=10.0, **ask)
    T = run.arrays["transition"]
    start = volminnet.Transition(10, -2.0)().detach().numpy()
    assert np.allclose(T.sum(1), 1, atol=1e-5) and np.abs(T - start).max() > 1e-4
    assert run.metrics[-1]["transition_error"] is not None


def test_settings_refuse_impossible_values():
    for wrong in ({"volume": -1.0}, {"transition_learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(volminnet.VolMinNet, **wrong)
