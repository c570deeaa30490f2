"""What a method sees: batches on the device, reproducible by (seed, epoch, position) alone."""

import pytest
import torch

from lnl_kit import data
from lnl_kit.data import batches
from lnl_kit.data.batches import NoisyData


@pytest.fixture(scope="module")
def noisy():
    d = data.load("digits")
    return NoisyData(
        d.x, d.true_labels, d.classes, mean=d.mean, std=d.std, like=d.like, batch_size=100, seed=3
    )


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
    ((_, y, _),) = few.batches(0, views="none")
    assert len(y) == 7


def test_in_order_covers_everything_once(noisy):
    assert torch.equal(torch.cat([idx for _, idx in noisy.in_order()]), torch.arange(len(noisy)))
    x, _ = next(noisy.in_order("crop"))
    plain, _ = next(noisy.in_order())
    assert x.shape == plain.shape and not torch.equal(x, plain)


def test_no_true_labels_in_sight(noisy):
    assert set(vars(noisy)) == {
        "device",
        "classes",
        "like",
        "batch_size",
        "seed",
        "y",
        "clean",
        "x",
        "mean",
        "std",
        "_scale",
        "_shift",
        "transition",
    }
    assert noisy.transition is None  # told to methods that ask for the true T alone
    assert not noisy.clean.any() and batches.CHUNK % 128 == 0


@pytest.mark.cuda
def test_the_device_does_not_change_the_draws(noisy):
    gpu = NoisyData(
        noisy.x,
        noisy.y,
        noisy.classes,
        mean=noisy.mean,
        std=noisy.std,
        like=noisy.like,
        batch_size=100,
        seed=3,
        device="cuda",
    )
    for (a, y, i), (b, z, j) in zip(noisy.batches(0, views="crop"), gpu.batches(0, views="crop")):
        assert torch.equal(i, j.cpu()) and torch.equal(y, z.cpu()) and torch.allclose(a, b.cpu(), atol=1e-5)


# ---------------------------------------------------------------- orders of one's own


def test_an_order_of_one_s_own_is_followed(noisy):
    order = torch.randperm(1437)[:350]
    seen = list(noisy.batches(2, views="none", order=order))
    assert torch.equal(torch.cat([idx for _, _, idx in seen]), order[:300])  # a partial batch is dropped
    for x, y, idx in seen:
        assert torch.equal(y, noisy.y[idx]) and torch.equal(x, noisy.normalise(noisy.x[idx]))
    ((_, y, _),) = noisy.batches(2, views="none", order=order[:7])
    assert len(y) == 7 and list(noisy.batches(2, order=order[:0])) == []
    its_own = torch.cat([idx for _, _, idx in noisy.batches(2, views="none")])
    again = noisy.batches(2, views="crop", order=its_own)
    assert all(torch.equal(a[0], b[0]) for a, b in zip(noisy.batches(2, views="crop"), again, strict=True))


def test_a_balanced_order_has_every_label_equally_often():
    y = torch.repeat_interleave(torch.tensor([0, 2, 3]), torch.tensor([5, 40, 15]))[
        torch.randperm(60)
    ]  # no class 1
    few = NoisyData(
        torch.zeros(60, 1, 4, 4, dtype=torch.uint8), y, tuple("abcd"), mean=(0,), std=(1,), batch_size=8
    )
    order = few.balanced_order(0, 5)
    assert order.shape == (40,) and order.dtype == torch.int64
    counts = torch.bincount(y[order], minlength=4)
    assert counts[1] == 0 and sorted(counts.tolist()) == [0, 13, 13, 14]
    times = torch.bincount(order, minlength=60)
    for label in (0, 2, 3):  # none comes a third time before all came twice
        assert times[y == label].max() - times[y == label].min() <= 1
    first_half = torch.bincount(y[few.balanced_order(0, 500)[:2000]], minlength=4)
    assert first_half[[0, 2, 3]].min() > 500  # mixed, not class by class
    assert few.balanced_order(0, 5, batch_size=3).shape == (15,)


def test_a_balanced_order_is_a_function_of_seed_and_epoch(noisy):
    order = noisy.balanced_order(4, 10)
    torch.manual_seed(99)
    assert torch.equal(noisy.balanced_order(4, 10), order) and not torch.equal(
        noisy.balanced_order(5, 10), order
    )
    other = NoisyData(noisy.x, noisy.y, noisy.classes, mean=noisy.mean, std=noisy.std, batch_size=100, seed=4)
    assert not torch.equal(other.balanced_order(4, 10), order)


def test_in_order_over_some_images_only(noisy):
    some = torch.tensor([900, 3, 3, 41])
    ((x, idx),) = noisy.in_order(indices=some)
    assert torch.equal(idx, some) and torch.equal(x, noisy.normalise(noisy.x[some]))
    assert [len(i) for _, i in noisy.in_order(indices=some, batch_size=3)] == [3, 1]
    assert list(noisy.in_order(indices=some[:0])) == []


def test_the_draws_are_those_of_earlier_versions(noisy):
    x, _y, idx = next(noisy.batches(5, views="crop"))
    assert idx[:8].tolist() == [322, 1109, 145, 61, 75, 136, 682, 1277]
    assert x.double().sum().item() == pytest.approx(-1486.13651, abs=1e-2)
    x, _ = next(noisy.in_order("crop", epoch=1))
    assert x.double().sum().item() == pytest.approx(-8615.88894, abs=1e-2)
