"""Stacked networks: the same numbers as their members alone."""

import pytest
import torch
from torch import nn

from lnl_kit.toolbox import losses, models
from lnl_kit.toolbox.stacked import Stacked


@pytest.mark.parametrize(
    "name, channels, size",
    [
        ("small_cnn", 1, 16),
        ("preact_resnet18", 3, 16),
        pytest.param("preact_resnet34_cifar", 3, 16, marks=pytest.mark.slow),
        pytest.param("resnet18", 3, 16, marks=pytest.mark.slow),
        ("mlp_head", 48, 1),
    ],
)
def test_members_train_as_they_would_alone(name, channels, size):
    """Three steps of SGD with momentum and weight decay, in float64: every output and running statistic to
    1e-6.
    """
    torch.manual_seed(0)
    n, b = 2, 4
    alone = [models.make(name, 2, channels).double() for _ in range(n)]
    stacked = Stacked(alone)
    x, y = torch.randn(n, b, channels, size, size, dtype=torch.float64), torch.randint(0, 2, (n, b))

    def sgd(net):
        return torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    together, each = sgd(stacked), [sgd(net) for net in alone]
    for _ in range(3):
        together.zero_grad()
        losses.cross_entropy(stacked(x).flatten(0, 1), y.flatten()).view(n, b).mean(1).sum().backward()
        together.step()
        for net, optimizer, own, labels in zip(alone, each, x, y):
            optimizer.zero_grad()
            losses.cross_entropy(net(own), labels).mean().backward()
            optimizer.step()
    stacked.eval()
    with torch.no_grad():
        for i, net in enumerate(alone):
            expected = net.eval()(x[0])
            assert torch.allclose(stacked(x[0])[i], expected, atol=1e-6)  # a common batch
            assert torch.allclose(stacked.member(i, net).eval()(x[0]), expected, atol=1e-6)
        assert torch.allclose(stacked(x)[1], alone[1](x[1]), atol=1e-6)  # each its own
    assert (stacked(x[0])[0] - stacked(x[0])[1]).abs().max() > 1e-3


def test_a_member_never_feels_another():
    torch.manual_seed(0)
    stacked = Stacked([models.make("small_cnn", 2, 1) for _ in range(3)]).train()
    x = torch.randn(3, 4, 1, 16, 16, requires_grad=True)
    stacked(x)[1].sum().backward()
    assert x.grad[1].abs().sum() > 0 and x.grad[0].abs().sum() == x.grad[2].abs().sum() == 0


def test_what_cannot_be_stacked_is_refused():
    with pytest.raises(ValueError, match="LayerNorm cannot be stacked"):
        Stacked([nn.Sequential(nn.Conv2d(1, 2, 3), nn.LayerNorm(4))] * 2)


@pytest.mark.slow
def test_stacked_training_is_faster_than_one_after_the_other():
    """A bag of 20 filters on two cores: at least 1.5 times as fast on an idle machine (`lnl bench --only
    stacked`).
    """
    from lnl_kit.bench.stacked import stacked_against_sequential

    assert (
        stacked_against_sequential("small_cnn", channels=1, size=16)["ratio"] > 1.2
    )  # other jobs may run beside it
