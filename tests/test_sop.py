"""SOP: its equations by slow loops in float64, who learns by which term, and its limits."""

import math

import pytest
import torch

import lnl_kit
from lnl_kit.methods import sop
from lnl_kit.settings import make
from lnl_kit.toolbox import losses

B, K = 6, 4


def batch(seed=0):
    """Predictions, u, v and one-hot labels in float64; some squares large, as of wrong labels."""
    g = torch.Generator().manual_seed(seed)
    p = torch.randn(B, K, generator=g, dtype=torch.float64).softmax(1)
    u, v = (torch.rand(B, n, generator=g, dtype=torch.float64) for n in (1, K))
    y = torch.randint(K, (B,), generator=g)
    return p, u, v, torch.nn.functional.one_hot(y, K).double(), y


def slow_corrected(p, u, v, y):
    raised = [
        max(1e-4, p[k] + (min(u * u, 1 - 1e-4) if k == y else -min(v[k] * v[k], 1 - 1e-4))) for k in range(K)
    ]
    return [max(1e-4, r / sum(raised)) for r in raised]


def test_corrected_prediction_and_squared_error_are_what_they_say_by_a_slow_loop():
    p, u, v, onehot, y = batch()
    corrected, error = sop.corrected_prediction(p, u, v, onehot), sop.squared_error(p.log(), u, v, onehot)
    for i in range(B):
        row, own, others, given = p[i].tolist(), u[i].item(), v[i].tolist(), y[i].item()
        assert corrected[i].tolist() == pytest.approx(slow_corrected(row, own, others, given), abs=1e-6)
        top, expected = row.index(max(row)), 0.0
        for k in range(K):
            s = own * own if k == given else -(others[k] ** 2)
            expected += ((k == top) + s - (k == given)) ** 2
        assert error[i].item() == pytest.approx(expected, abs=1e-6)


def test_gradients_are_those_of_the_slow_loop():
    p, u, v, onehot, y = batch(1)
    u.requires_grad_()
    sop.corrected_prediction(p, u, v, onehot).gather(1, y[:, None]).log().sum().backward()
    for i in range(B):
        row, own, others, given = p[i].tolist(), u[i].item(), v[i].tolist(), y[i].item()
        up, down = (math.log(slow_corrected(row, own + step, others, given)[given]) for step in (1e-6, -1e-6))
        assert u.grad[i].item() == pytest.approx((up - down) / 2e-6, abs=1e-5)


def test_without_noise_it_is_cross_entropy_and_with_all_of_it_the_label_costs_little():
    """s = 0 leaves the prediction; u = 1 gives the label more than half whatever the network says."""
    p, _, _, onehot, y = batch()
    zero = torch.zeros(B, K, dtype=torch.float64)
    plain = sop.corrected_prediction(p, zero[:, :1], zero, onehot)
    assert torch.allclose(plain, p.clamp(min=1e-4), atol=1e-6)
    full = sop.corrected_prediction(p, torch.ones(B, 1, dtype=torch.float64), zero, onehot)
    assert (full.gather(1, y[:, None]) > 0.49).all()


def test_u_grows_on_a_label_that_the_network_does_not_give_and_hardly_where_it_does():
    """Implicit sparsity: the same rate, the same start, a factor that depends on the prediction."""
    p = torch.tensor([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01]])
    onehot = torch.tensor([[1.0, 0, 0], [1.0, 0, 0]])
    u = torch.full((2, 1), 1e-3, requires_grad=True)
    (-sop.corrected_prediction(p, u, torch.zeros(2, 3), onehot)[:, 0].log()).sum().backward()
    growth = (-u.grad / u.detach())[:, 0]
    assert growth[1] > 1000 * growth[0] > 0


def test_v_grows_where_the_network_gives_another_class_than_the_label():
    v = torch.full((1, 3), 0.1, requires_grad=True)
    logits, onehot = torch.tensor([[0.0, 5.0, 0.0]]), torch.tensor([[1.0, 0, 0]])
    sop.squared_error(logits, torch.zeros(1, 1), v, onehot).sum().backward()
    # the class that is predicted grows, one that nobody names shrinks, the label's own is not of v
    assert v.grad[0, 1] < 0 < v.grad[0, 2] and v.grad[0, 0] == 0


def test_consistency_moves_the_strong_view_alone():
    weak, strong = (torch.randn(5, 3, requires_grad=True) for _ in range(2))
    pull = losses.consistency(weak, strong)
    pull.sum().backward()
    p, q = weak.double().softmax(1), strong.double().softmax(1)
    assert torch.allclose(pull.double(), (p * (p / q).log()).sum(1), atol=1e-6)
    assert weak.grad is None and strong.grad.abs().sum() > 0
    assert losses.consistency(weak, weak).abs().max() < 1e-6


def test_evenness_and_consistency_reach_the_network():
    logits = torch.randn(8, 3, requires_grad=True)
    terms = make(sop.SOPPlus).more_terms(logits, logits[:4].softmax(1))
    assert set(terms) == {"consistency", "evenness"}
    for term in terms.values():
        (gradient,) = torch.autograd.grad(term, logits, retain_graph=True)
        assert gradient.abs().sum() > 0
    assert make(sop.SOP).more_terms(logits, logits) == {}


def test_the_variables_of_images_move_and_only_where_they_may(tmp_path):
    ask = {"out": tmp_path, "epochs": 3, "train_size": 256, "progress": False}
    state = {
        name: torch.load(lnl_kit.train("sop", **ask, **more).folder / "state.pt", weights_only=True)["state"]
        for name, more in {"moved": {}, "still": dict(sop.SOP.controls["no_noise"])}.items()
    }
    assert state["still"]["u"].abs().max() < 1e-6 and state["still"]["v"].abs().max() < 1e-6
    assert (state["moved"]["u"].abs() > 2 * state["still"]["u"].abs()).float().mean() > 0.5
    given = state["moved"]["v"] == state["still"]["v"]
    assert (given.sum(1) >= 1).all()  # the label's own entry of v never moves


def test_settings_refuse_impossible_values():
    with pytest.raises(ValueError, match="u_learning_rate"):
        make(sop.SOP, u_learning_rate=-1.0)
    with pytest.raises(ValueError, match="consistency"):
        make(sop.SOPPlus, consistency=-1.0)
