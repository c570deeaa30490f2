"""Guessing and sharpening labels, and going round a short list of images, by hand."""

import pytest
import torch

from lnl_kit.toolbox.semi_supervised import mean_softmax, repeated, sharpen


def test_sharpening_by_hand():
    assert sharpen(torch.tensor([[0.6, 0.3, 0.1]]), 0.5)[0].tolist() == pytest.approx(
        [0.36 / 0.46, 0.09 / 0.46, 0.01 / 0.46], abs=1e-6
    )


def test_repeated_goes_round_before_it_repeats():
    order = repeated(torch.tensor([5, 7, 9]), 7, torch.Generator().manual_seed(0))
    assert (
        len(order) == 7 and order[:3].sort().values.tolist() == [5, 7, 9] == order[3:6].sort().values.tolist()
    )


def test_two_views_are_averaged_image_by_image():
    views = torch.tensor(
        [[2.0, 0], [0, 1], [0, 0], [0, 3]]
    )  # images 1 and 2 in the first view, then in the second
    expected = (views.softmax(1)[[0, 1]] + views.softmax(1)[[2, 3]]) / 2
    assert torch.allclose(mean_softmax(torch.nn.Identity(), views), expected)
