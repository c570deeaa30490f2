"""Forward and backward correction by hand, and what they do with the true T."""

import math

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit.methods import correction as c
from lnl_kit.settings import make
from lnl_kit.toolbox import losses

T = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.9, 0.1], [0.3, 0.3, 0.4]])


def test_both_losses_by_a_slow_loop():
    torch.manual_seed(0)
    logits, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    inverse = np.linalg.inv(T.double().numpy())
    both = losses.forward_corrected(logits, y, T), c.backward_loss(logits, y, T)
    for i, (forward, backward) in enumerate(zip(*both)):
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
    for loss in (losses.forward_corrected, c.backward_loss):
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


# ---- T-Revision and Dual T ---------------------------------------------------------------------------------


def test_reweighting_by_a_slow_loop_and_unbiased_where_the_network_is_right():
    torch.manual_seed(0)
    logits, y = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    for i, loss in enumerate(c.reweighted(logits, y, T)):
        p = logits[i].double().softmax(0).tolist()
        noisy = sum(p[k] * T[k, y[i]].item() for k in range(3))
        assert loss.item() == pytest.approx(p[y[i]] / noisy * -math.log(p[y[i]]), abs=1e-6)
    # over given labels drawn from T^T p, the mean is that of clean labels drawn from p
    p = logits.softmax(1)
    every = torch.stack([c.reweighted(logits, torch.full((6,), k), T) for k in range(3)], 1)
    assert torch.allclose(((p @ T) * every).sum(1), -(p * p.log()).sum(1), atol=1e-6)
    assert torch.allclose(c.reweighted(logits, y, torch.eye(3)), losses.cross_entropy(logits, y))


def test_the_weights_have_a_gradient_only_in_the_revision():
    logits, y = torch.randn(4, 3, requires_grad=True), torch.tensor([0, 1, 2, 0])
    slack = torch.zeros(3, 3, requires_grad=True)
    fixed = c.reweighted(logits, y, T + slack).sum()
    assert torch.autograd.grad(fixed, slack, allow_unused=True, retain_graph=True)[0] is None
    weight = c.importance(logits.detach().softmax(1), y, T)[:, None]
    (plain,) = torch.autograd.grad(losses.cross_entropy(logits, y).sum(), logits)
    assert torch.allclose(torch.autograd.grad(fixed, logits)[0], weight * plain, atol=1e-6)
    revised = c.reweighted(logits, y, T + slack, revising=True).sum()
    (of_slack,) = torch.autograd.grad(revised, slack)
    assert of_slack.abs().sum() > 0


def test_the_slack_is_learned_after_the_first_part_alone(tmp_path):
    ask = dict(out=tmp_path, epochs=4, train_size=256, rate=0.5, estimate_epochs=2, progress=False)
    none, some = (
        torch.load(lnl_kit.train("t_revision", **ask, **more).folder / "state.pt", weights_only=True)["state"]
        for more in ({"revise_from": 1.0}, {"revision_learning_rate": 1e-3})
    )
    assert not none["slack"].any() and some["slack"].abs().max() > 1e-4
    assert not none["adam"]["state"] and len(some["adam"]["state"]) > 1


def test_counts_go_from_the_predicted_to_the_given_class():
    predicted, y = torch.tensor([0, 0, 0, 2, 2]), torch.tensor([0, 0, 1, 2, 0])
    assert torch.allclose(
        c.counted(predicted, y, 3), torch.tensor([[2 / 3, 1 / 3, 0], [0, 1, 0], [0.5, 0, 0.5]])
    )


def test_dual_t_is_the_product_of_its_factors_and_forwards_estimate_without_the_second():
    settings, plain = make(c.DualT, quantile=1.0), make(c.DualT, quantile=1.0, intermediate=False)
    probs = torch.tensor([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.7, 0.2], [0.1, 0.1, 0.8]])
    y = torch.tensor([0, 1, 1, 2])
    T_club = probs[[0, 2, 3]]
    T_spade = torch.tensor([[0.5, 0.5, 0], [0, 1.0, 0], [0, 0, 1.0]])
    assert torch.allclose(settings.estimated(probs, y), T_club @ T_spade)
    assert torch.equal(plain.estimated(probs, y), T_club)
    # an intermediate class that is the given label leaves the first factor alone (Theorem 1's easy case)
    assert torch.allclose(settings.estimated(probs, probs.argmax(1)), T_club)


def test_new_settings_refuse_impossible_values():
    for wrong in ({"revise_from": 0.0}, {"revision_learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(c.TRevision, **wrong)
