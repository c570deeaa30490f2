"""MixUp: one share and one partner for images and targets."""

import torch

from lnl_kit.toolbox import mixup


def test_images_and_targets_are_mixed_alike():
    torch.manual_seed(0)
    mix = mixup.draw(6, 1.0, "cpu")
    x, target = torch.eye(6).view(6, 1, 2, 3), torch.eye(6)
    assert torch.allclose(mix(x).flatten(1), mix(target)) and torch.allclose(
        mix(target).sum(1), torch.ones(6)
    )
    expected = torch.zeros(6, 6)
    for i, j in enumerate(mix.partner.tolist()):
        expected[i, i] += mix.share
        expected[i, j] += 1 - mix.share
    assert torch.allclose(mix(target), expected)


def test_the_own_half_is_the_larger_one():
    torch.manual_seed(0)
    shares = torch.stack([mixup.draw(4, 0.5, "cpu", own_half=True).share for _ in range(50)])
    torch.manual_seed(0)
    others = torch.stack([mixup.draw(4, 0.5, "cpu").share for _ in range(50)])
    assert torch.equal(shares, torch.maximum(others, 1 - others)) and (others < 0.5).any()
