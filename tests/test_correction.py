"""Forward and backward correction by hand, and what they do with the true T."""

import math

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit.methods import correction as c
from lnl_kit.toolbox import losses

T = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.3, 0.4]])


def test_both_losses_by_a_slow_loop():
    torch.manual_seed(0)
    logits, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    inverse = np.linalg.inv(T.double().numpy())
    for i, (forward, backward) in enumerate(zip(c.forward_loss(logits, y, T), c.backward_loss(logits, y, T))):
        p = logits[i].softmax(0).tolist()
        assert forward.item() == pytest.approx(
            -math.log(sum(T[k, y[i]].item() * p[k] for k in range(3))), abs=1e-5
        )
        assert backward.item() == pytest.approx(
            sum(inverse[y[i], k] * -math.log(p[k]) for k in range(3)), abs=1e-4
        )


def test_without_noise_both_are_cross_entropy_and_backward_is_unbiased():
    torch.manual_seed(0)
    logits, y = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1])
    for loss in (c.forward_loss, c.backward_loss):
        assert torch.allclose(loss(logits, y, torch.eye(3)), losses.cross_entropy(logits, y), atol=1e-5)
    every = torch.stack([c.backward_loss(logits, torch.full((5,), k), T) for k in range(3)], 1)  # (5, given)
    assert torch.allclose(
        (T[y] * every).sum(1), losses.cross_entropy(logits, y), atol=1e-4
    )  # mean over given labels


def test_a_matrix_without_inverse_is_refused_in_a_sentence():
    with pytest.raises(lnl_kit.RunError, match=r"T is singular: two of its classes.*use forward"):
        c.backward_loss(torch.zeros(1, 2), torch.tensor([0]), torch.full((2, 2), 0.5))


def test_the_estimate_reads_rows_off_the_images_that_stand_for_a_class():
    probs = torch.tensor(
        [[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.2, 0.5, 0.3], [0.3, 0.3, 0.4]]
    )
    assert torch.equal(c.transition_of(probs, 1.0), probs[[0, 2, 4]])
    assert torch.equal(c.transition_of(probs, 0.75)[:2], probs[[1, 3]])


def test_the_true_matrix_is_told_only_on_request(tmp_path):
    ask = dict(out=tmp_path, epochs=2, train_size=256, rate=0.5, progress=False)
    known = lnl_kit.train("forward", transition="known", **ask)
    assert known.summary["uses"] == ["true T"] and np.allclose(known.arrays["transition"].diagonal(), 0.55)
    estimated = lnl_kit.train("backward", **ask)
    assert estimated.summary["uses"] == [] and np.allclose(
        estimated.arrays["transition"].sum(1), 1, atol=1e-5
    )
    with pytest.raises(ValueError, match="only synthetic noise with a matrix"):
        lnl_kit.train("forward", transition="known", **ask | {"noise": "instance"})


@pytest.mark.slow
def test_forward_with_the_true_matrix_beats_cross_entropy(tmp_path):
    ce, forward = (
        lnl_kit.train(m, out=tmp_path, rate=0.5, progress=False, **more)
        for m, more in (("ce", {}), ("forward", {"transition": "known"}))
    )
    assert forward.summary["test_accuracy_last"] >= ce.summary["test_accuracy_last"] + 0.05
