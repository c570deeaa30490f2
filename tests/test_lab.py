"""The noise lab: each stacked network is the one that `lnl train` trains at its rate."""

import numpy as np
import pytest

import lnl_kit
from lnl_kit import figures
from lnl_kit.notebook import noise_lab
from lnl_kit.run.prepared import prepare
from lnl_kit.train import Plan

SMALL = dict(rates=(0.0, 0.5), epochs=2)


SLOW = [pytest.param(m, marks=pytest.mark.slow) for m in ("gjs", "cores")]


@pytest.mark.parametrize("method", ["ce", "mixup", *SLOW])
def test_a_member_is_the_run_at_its_rate(tmp_path, method, monkeypatch):
    """Same start, order, crops and labels; only the order of sums differs, so that few predictions do after
    two epochs.
    """
    monkeypatch.setenv("LNL_PRECISION", "fp32")  # equal to rounding; bfloat16's is a hundred times coarser
    found = noise_lab.train_rates(method, out=tmp_path, **SMALL)
    for rate in SMALL["rates"]:
        run = lnl_kit.train(
            method, rate=rate, out=tmp_path, epochs=2, view="none", batch_size=64, progress=False
        )
        r = found.at(rate)
        assert np.array_equal(found.given[r], run.labels["given"]) and np.array_equal(
            found.true, run.labels["true"]
        )
        assert np.abs(found.test_probs[r] - run.arrays["test_probs"]).mean() < 0.01
        assert found.test_accuracy[-1, r] == pytest.approx(run.metrics[-1]["test_accuracy"], abs=0.03)
        if rate:
            assert found.memorized[-1, r] == pytest.approx(run.metrics[-1]["memorized"], abs=0.05)
    assert np.isnan(found.memorized[:, 0]).all()


def test_a_step_of_a_member_is_the_step_of_the_run(tmp_path):
    """Two steps, before rounding has grown: the same network."""
    small = dict(epochs=2, train_size=64, out=tmp_path)
    found = noise_lab.train_rates(rates=(0.0, 0.5), **small)
    run = lnl_kit.train("ce", rate=0.0, view="none", batch_size=64, progress=False, **small)
    assert np.abs(found.test_probs[0] - run.arrays["test_probs"]).max() < 1e-4
    assert np.abs(found.test_probs[1] - run.arrays["test_probs"]).max() > 5e-4  # other labels


def test_a_finished_lab_is_loaded_and_a_stopped_one_keeps_its_epochs(tmp_path):
    seen = []

    def stop(now):
        seen.append(now.test_accuracy.shape)
        raise KeyboardInterrupt

    half = noise_lab.train_rates(out=tmp_path, on_epoch=stop, **SMALL)
    assert seen == [(1, 2)] and half.test_probs.shape == (2, 360, 10)
    whole = noise_lab.train_rates(out=tmp_path, **SMALL)
    again = noise_lab.train_rates(out=tmp_path, on_epoch=stop, **SMALL)
    assert whole.test_accuracy.shape == (2, 2) and len(seen) == 1  # loaded: no epoch was trained
    assert np.array_equal(whole.test_probs, again.test_probs) and whole.seconds == again.seconds


def test_a_lab_answers_by_rate(tmp_path):
    found = noise_lab.train_rates(out=tmp_path, **SMALL)
    assert found.actual_rate(0.0) == 0 and 0.4 < found.actual_rate(0.5) < 0.5
    assert found.confusion(0.5).sum(1) == pytest.approx(np.ones(10))
    with pytest.raises(ValueError, match=r"rate 0.3 was not trained: 0, 0.5"):
        found.at(0.3)


def test_bad_input_is_refused_in_a_sentence(tmp_path):
    for ask, words in (
        ({"method": "dividemix"}, "change the loss alone: ce"),
        ({"rates": ()}, "no noise rates"),
        ({"noise": "odd"}, "odd"),
        ({"rates": (1.5,)}, "1.5"),
    ):
        with pytest.raises(ValueError, match=words):
            noise_lab.train_rates(out=tmp_path, **ask)


@pytest.mark.slow
def test_ten_rates_at_once_are_faster_than_ten_runs(tmp_path):
    import time

    together = noise_lab.train_rates(out=tmp_path, epochs=3)
    started = time.perf_counter()
    for rate in noise_lab.RATES:
        lnl_kit.train("ce", rate=rate, out=tmp_path, epochs=3, view="none", batch_size=64, progress=False)
    assert (time.perf_counter() - started) / together.seconds > 1.5  # 1.95 on two idle cores


def test_open_set_and_long_tail_are_those_of_a_run():
    x, given, true, names = noise_lab.opened_at("digits", "symmetric", 0.2, 0.2, 0.1, seed=1)
    found = prepare(Plan.of("ce", rate=0.2, open_set=0.2, imbalance=0.1, seed=1).resolve())
    assert (given == found.given[found.index]).all() and (true == found.truth).all()
    assert names[-1] == "no class" and np.array_equal(x, found.source.x[found.index].numpy())
    figure = figures.open_counts(given, true, names[:-1])
    parts = {trace.name: int(trace.y.sum()) for trace in figure.data}
    wrong = (given != true) & (true >= 0)
    assert parts == {"right": (given == true).sum(), "wrong": wrong.sum(), "of no class": (true < 0).sum()}
    plain = noise_lab.opened_at("digits", "symmetric", 0.2, seed=1)
    assert (plain[1] == noise_lab.labels_at("digits", "symmetric", 0.2, 1)[0]).all()
