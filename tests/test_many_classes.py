"""The estimate of label errors with hundreds of classes: as with all classes kept, but faster."""

import time

import numpy as np
import pytest

from lnl_kit.label_errors import estimates, many_classes


def sample(k, n, wrong=0.2, seed=0):
    """(probabilities (n, k), given labels (n,)) of a network that is right about 8 of 10 times."""
    random = np.random.RandomState(seed)
    true = np.arange(n) % k
    seen = np.where(random.rand(n) < 0.8, true, random.randint(0, k, n))
    p = random.dirichlet(np.full(k, 0.1), n) * 0.3
    p[np.arange(n), seen] += 0.7
    given = np.where(random.rand(n) < wrong, random.randint(0, k, n), true)
    return p, given


def test_keeping_the_most_probable_classes_changes_little(monkeypatch):
    p, given = sample(60, 600)
    monkeypatch.setattr(many_classes, "MANY", 50)
    few = estimates.estimate(p, given)
    monkeypatch.setattr(many_classes, "MANY", 10_000)
    all_of_them = estimates.estimate(p, given)
    assert few.suspicion.mean() == pytest.approx(all_of_them.suspicion.mean(), abs=0.01)
    assert np.corrcoef(few.suspicion, all_of_them.suspicion)[0, 1] > 0.995
    assert np.allclose(few.posterior.sum(1), 1)


def test_a_step_is_exact_where_every_class_is_kept(monkeypatch):
    p, given = sample(30, 400)
    T, weight = estimates.surest(p, given), np.ones(400)
    monkeypatch.setattr(many_classes, "KEPT", 30)
    assert np.allclose(
        many_classes.maximise(many_classes.keep(p, given), given, T, weight, estimates.PRIOR, 5),
        estimates.maximise(p, given, T, steps=5),
    )


@pytest.mark.slow
def test_a_thousand_classes_and_20000_images_take_a_minute():
    p, given = sample(1000, 20_000)
    start = time.process_time()
    estimates.estimate(p, given)
    seconds = time.process_time() - start
    print(f"1,000 classes, 20,000 images: {seconds:.0f} s of processor time")
    assert seconds < 60
