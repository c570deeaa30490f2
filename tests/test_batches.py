"""What a method sees: batches on the device, reproducible by (seed, epoch, position) alone."""

import pytest
import torch

from lnl_kit import batches, data
from lnl_kit.batches import NoisyData


@pytest.fixture(scope="module")
def noisy():
    d = data.load("digits")
    return NoisyData(d.x, d.true_labels, d.classes, mean=d.mean, std=d.std, like=d.like, batch_size=100, seed=3)


def test_an_epoch_visits_every_image_at_most_once_and_drops_the_rest(noisy):
    seen = torch.cat([idx for _, _, idx in noisy.batches(0, views="none")])
    assert len(seen) == 1400 == len(seen.unique()) and noisy.steps() == 14
    assert not torch.equal(seen, torch.cat([idx for _, _, idx in noisy.batches(1, views="none")]))


def test_batches_carry_their_images_labels_and_indices(noisy):
    for x, y, idx in noisy.batches(0, views="none"):
        assert torch.equal(y, noisy.y[idx]) and torch.allclose(x, noisy.normalise(noisy.x[idx]))
        expected = (noisy.x[idx].double() / 255 - noisy.mean[0]) / noisy.std[0]
        assert torch.allclose(x.double(), expected, atol=1e-6)


def test_the_same_epoch_is_the_same_again_and_views_are_drawn_apart(noisy):
    first, second = (list(noisy.batches(5, views=("crop", "augmix", "augmix"))) for _ in range(2))
    for (a, _, _), (b, _, _) in zip(first, second):
        assert all(torch.equal(p, q) for p, q in zip(a, b))
    x = first[0][0]
    assert not torch.equal(x[1], x[2]), "two views by one policy must be two draws"


def test_a_set_smaller_than_a_batch_is_one_batch(noisy):
    few = NoisyData(noisy.x[:7], noisy.y[:7], noisy.classes, mean=noisy.mean, std=noisy.std, batch_size=100)
    (_, y, _), = few.batches(0, views="none")
    assert len(y) == 7


def test_in_order_covers_everything_once(noisy):
    assert torch.equal(torch.cat([idx for _, idx in noisy.in_order()]), torch.arange(len(noisy)))
    x, _ = next(noisy.in_order("crop"))
    plain, _ = next(noisy.in_order())
    assert x.shape == plain.shape and not torch.equal(x, plain)


def test_no_true_labels_in_sight(noisy):
    assert set(vars(noisy)) == {"device", "classes", "like", "batch_size", "seed", "y", "clean", "x", "mean", "std",
                                "_scale", "_shift"}
    assert not noisy.clean.any() and batches.CHUNK % 128 == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_device_does_not_change_the_draws(noisy):
    gpu = NoisyData(noisy.x, noisy.y, noisy.classes, mean=noisy.mean, std=noisy.std, like=noisy.like, batch_size=100,
                    seed=3, device="cuda")
    for (a, y, i), (b, z, j) in zip(noisy.batches(0, views="crop"), gpu.batches(0, views="crop")):
        assert torch.equal(i, j.cpu()) and torch.equal(y, z.cpu()) and torch.allclose(a, b.cpu(), atol=1e-5)
