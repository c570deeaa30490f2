"""RRM: its closed form beside a solver, what prunes and what does not, and the weights in a run."""

import numpy as np
import pytest
import torch
from scipy.optimize import linprog

import lnl_kit
from lnl_kit.methods import rrm
from lnl_kit.settings import make

TINY = {"epochs": 4, "train_size": 256, "rate": 0.5, "progress": False}


@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.8, 5.0])
def test_the_weights_are_the_linear_programs(gamma):
    """min c'(1/N + u) + gamma/2 |u|_1 over sum u = 0, u >= -1/N: with u = a - b, a, b >= 0, by a solver."""
    loss = torch.from_numpy(np.random.RandomState(0).gamma(1.0, 1.0, 12))
    n, c = len(loss), loss.numpy()
    solved = linprog(
        np.concatenate((c + gamma / 2, -c + gamma / 2)),
        A_eq=np.concatenate((np.ones(n), -np.ones(n)))[None],
        b_eq=[0],
        bounds=[(0, None)] * n + [(0, 1 / n)] * n,
    )
    u = rrm.best_weights(loss, gamma).numpy() / n - 1 / n
    assert u.sum() == pytest.approx(0, abs=1e-9) and (u >= -1 / n - 1e-12).all()
    assert c @ u + gamma / 2 * np.abs(u).sum() == pytest.approx(solved.fun, abs=1e-6)


def test_weights_by_hand():
    loss = torch.tensor([0.1, 0.1005, 0.5, 1.0, 3.0])
    assert rrm.best_weights(loss, 0.8).tolist() == pytest.approx([2, 2, 1, 0, 0])  # two share what two had
    assert rrm.best_weights(loss, 10.0).tolist() == [1] * 5  # so dear that nothing moves: the plain mean
    assert rrm.best_weights(loss, 0.8, float("inf")).tolist() == pytest.approx([5 / 3] * 3 + [0, 0])
    assert rrm.best_weights(loss, 0.8).sum().item() == pytest.approx(5)


def test_weights_move_by_a_share_of_the_way_after_each_round_and_not_before(tmp_path):
    some, none = (
        torch.load(lnl_kit.train("rrm", out=tmp_path, **TINY, **more).folder / "state.pt", weights_only=True)[
            "state"
        ]
        for more in ({"every": 4, "step": 0.5, "penalty": 0.1, "spread": 1e-3}, {"every": 5, "penalty": 0.1})
    )
    assert torch.equal(none["weights"], torch.ones(256))
    assert set(some["weights"][some["weights"] <= 1].tolist()) <= {0.5, 1.0} and some["weights"].min() == 0.5


def test_an_image_without_weight_has_no_gradient_and_even_weights_are_the_wrapped_loss(tmp_path):
    """The control ends with the weights of plain cross-entropy: nothing else is added."""
    even = lnl_kit.train("rrm", out=tmp_path, **TINY, **rrm.RRM.controls["even"])
    ce = lnl_kit.train("ce", out=tmp_path, **TINY)
    assert np.array_equal(even.arrays["test_probs"], ce.arrays["test_probs"])
    logits, y = torch.randn(2, 3, requires_grad=True), torch.tensor([0, 1])
    (torch.tensor([0.0, 2.0]) * rrm.WRAPPED["ce"](logits, y)).sum().backward()
    assert not logits.grad[0].any() and logits.grad[1].any()


def test_every_loss_can_be_wrapped(tmp_path):
    for name in rrm.WRAPPED:
        run = lnl_kit.train("rrm", out=tmp_path, loss=name, every=1, **TINY | {"epochs": 2})
        assert np.isfinite(run.metrics[-1]["loss"])


def test_settings_refuse_impossible_values():
    for wrong in ({"loss": "hinge"}, {"penalty": -0.1}, {"step": 0.0}, {"spread": -1.0}, {"every": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(rrm.RRM, **wrong)
