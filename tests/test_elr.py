"""ELR: its target and its regulariser by hand."""

import math

import pytest
import torch

import lnl_kit
from lnl_kit.methods import elr
from lnl_kit.settings import make


def test_target_and_regularizer_are_what_they_say_by_a_slow_loop():
    torch.manual_seed(0)
    p, t = (
        torch.rand(5, 3, dtype=torch.float64).softmax(1) * 0.9,
        torch.rand(5, 3, dtype=torch.float64).softmax(1),
    )
    new = elr.updated(t, p, 0.7)
    pull = elr.regularization(p, t)
    for i in range(5):
        total = sum(p[i].tolist())
        assert new[i].tolist() == pytest.approx(
            [0.7 * a + 0.3 * b / total for a, b in zip(t[i].tolist(), p[i].tolist())]
        )
        assert pull[i].item() == pytest.approx(
            math.log(1 - sum(a * b for a, b in zip(p[i].tolist(), t[i].tolist())))
        )


def test_the_pull_raises_the_probability_of_what_was_predicted_early():
    """Its gradient is largest where target and prediction agree, and no gradient reaches the target."""
    logits, target = (
        torch.tensor([[1.0, 0.0, 0.0]], requires_grad=True),
        torch.tensor([[0.8, 0.1, 0.1]], requires_grad=True),
    )
    elr.regularization(logits.softmax(1), target.detach()).sum().backward()
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1] and target.grad is None
    assert elr.regularization(logits.softmax(1), torch.zeros(1, 3)).item() == 0  # an image not yet seen


def test_settings_refuse_impossible_values():
    for wrong in ({"regularizer": -1.0}, {"target_decay": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(elr.ELR, **wrong)
    for wrong in ({"mixup": 0.0}, {"decay": 1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(elr.ELRPlus, **wrong)


def test_averaged_weights_by_hand():
    net, average = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    expected = 0.9 * average.weight.detach() + 0.1 * net.weight.detach()
    elr.average_weights(average, net, 0.9)
    assert torch.allclose(average.weight, expected)


def test_an_image_that_was_never_seen_has_no_score():
    targets = torch.tensor([[0.2, 0.8], [0.0, 0.0]])
    score = elr.agreement(targets, torch.tensor([1, 0]))
    assert score[0].item() == pytest.approx(0.8) and score[1].isnan()


def test_each_networks_targets_come_from_the_other_ones_average(tmp_path):
    """With a target decay of 0 and an average that is the network itself, targets are the other network's
    last predictions.
    """
    run = lnl_kit.train(
        "elr_plus",
        out=tmp_path,
        epochs=2,
        train_size=256,
        target_decay=0.0,
        decay=0.0,
        learning_rate=1e-9,
        view="none",
        progress=False,
    )
    state = torch.load(run.folder / "state.pt", weights_only=True)["state"]
    assert torch.allclose(state["targets"].sum(2), torch.ones(2, 256), atol=1e-5)
    assert not torch.allclose(
        state["targets"][0], state["targets"][1], atol=1e-3
    )  # two networks, two opinions
    assert torch.allclose(state["average_1"]["head.weight"], state["network_1"]["head.weight"])
