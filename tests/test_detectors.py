"""Detectors that need no training of their own: by hand, in a run, and in a search."""

import numpy as np
import pytest
from conftest import feature_file

import lnl_kit
from lnl_kit.label_errors.find import find_errors, who_judges
from lnl_kit.label_errors.ranking import detector_aucs, single_score
from lnl_kit.toolbox import detectors, metrics


def test_margins_are_differences_of_logits():
    logits = np.array([[3.0, 1.0, -2.0], [0.5, 4.0, 1.0]])
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(detectors.margins(probs, np.array([0, 2])), [2.0, -3.0], atol=1e-12)
    assert np.isfinite(detectors.margins(np.array([[1.0, 0.0]]), np.array([1]))).all()


def test_the_drop_of_the_learning_rate():
    assert detectors.before_the_drop([0.1, 0.1, 0.01]) == 2
    assert detectors.before_the_drop([0.1, 0.09, 0.06, 0.05]) == 3  # a cosine counts until its half
    assert detectors.before_the_drop([0.01, 0.1, 0.1]) == 3  # a warm-up is no drop
    assert detectors.before_the_drop([None, None]) == 2


def test_scores_of_a_training_by_hand():
    margin = np.array([[1.0, -1.0], [3.0, -1.0], [9.0, 9.0]], np.float16)
    prob = np.array([[0.5, 0.25], [0.75, 0.25], [1.0, 1.0]], np.float16)
    rates = [0.1, 0.1, 0.01]
    by_hand = {
        "aum": [2.0, -1.0],
        "mean_margin": [13 / 3, 7 / 3],
        "data_maps": [0.75, 0.5],
        "data_variability": [np.sqrt(0.125 / 3), np.sqrt(0.375 / 3)],
    }
    assert by_hand.keys() == detectors.DYNAMICS.keys()
    for name, score in detectors.DYNAMICS.items():
        np.testing.assert_allclose(score(margin, prob, rates), by_hand[name], atol=1e-12, err_msg=name)


def test_simifeat_by_a_slow_loop():
    rng = np.random.RandomState(0)
    z, given = rng.randn(40, 5), rng.randint(3, size=40)
    found = detectors.simifeat(z, given, 3, neighbours=7)
    for i in range(40):
        cosine = [
            -2 if i == j else z[i] @ z[j] / np.linalg.norm(z[i]) / np.linalg.norm(z[j]) for j in range(40)
        ]
        votes = np.bincount(given[np.argsort(cosine)[-7:]], minlength=3)
        assert found[i] == pytest.approx(votes[given[i]] / np.linalg.norm(votes), abs=1e-12)
    assert detectors.simifeat(z[:1], given[:1], 3) == [0.0]  # nobody to ask


@pytest.fixture(scope="module")
def run():
    return lnl_kit.train(
        "ce", rate=0.2, epochs=3, train_size=200, keep=("margins", "features"), progress=False
    )


def test_a_run_keeps_every_margin(run):
    given, history = run.labels["given"], run.history
    assert history["margins"].dtype == np.float16 and history["margins"].shape == (3, 200)
    probs = history["train_probs"].astype(np.float64)  # three epochs, three snapshots
    np.testing.assert_allclose(history["given_probs"], probs[:, np.arange(200), given], atol=1e-3)
    last = detectors.margins(run.arrays["train_probs"], given)
    np.testing.assert_allclose(history["margins"][-1], last, atol=0.02)


def test_a_run_measures_its_detectors(run):
    right = run.labels["given"] == run.labels["true"]
    aum = history_mean(run.history["margins"][:2])  # the rate drops for the third epoch
    assert run.metrics[-1]["aum_auc"] == metrics.selection_auc(aum, right)
    assert run.summary["data_maps_auc_last"] == run.metrics[-1]["data_maps_auc"]
    found = detector_aucs(run)
    assert {f"{k}_auc": v for k, v in found.items() if k != "simifeat"}.items() <= run.metrics[-1].items()
    assert found["simifeat"] > 0.5


def history_mean(values):
    return values.astype(np.float64).mean(0)


def test_a_run_without_margins_says_so():
    plain = lnl_kit.train("ce", rate=0.2, epochs=1, train_size=100, progress=False)
    assert "margins" not in plain.history and "aum_auc" not in plain.metrics[-1]
    with pytest.raises(ValueError, match="ce has no aum"):
        single_score(plain, "aum")


def test_a_search_by_margins_is_in_their_order(tmp_path, run):
    table = find_errors(
        "digits", noise="symmetric", rate=0.2, score="aum", epochs=3, train_size=200, preset="quick",
        to=tmp_path, report=False, progress=False,
    )  # fmt: skip
    order = np.argsort(-single_score(run, "aum"), kind="stable")
    assert table["index"].tolist() == run.labels["index"][order].tolist()


def test_a_search_by_votes_on_features(tmp_path):
    told = {"noise": "symmetric", "rate": 0.2, "features": feature_file(tmp_path), "report": False}
    table = find_errors("digits", score="simifeat", train_size=150, to=tmp_path / "f", **told)
    wrong = (table["given"] != table["true"]).to_numpy()
    assert metrics.selection_auc(np.arange(150), ~wrong) > 0.95


@pytest.mark.parametrize(
    "asked, why",
    [
        ({"score": "aum", "method": "cross_validation"}, "one network's training"),
        ({"score": "simifeat", "probs": [[1.0]]}, "neighbours need features"),
        ({"score": "aum", "features": "efficientnet_lite0"}, "drop one of them"),
        ({"score": "votes"}, "does not exist"),
    ],
)
def test_contradictions_are_refused(asked, why):
    with pytest.raises(ValueError, match=why):
        who_judges(asked.get("features"), asked.get("probs"), asked.get("method"), asked["score"], {})
