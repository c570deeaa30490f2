import numpy as np
import pytest
import torch
from sklearn.metrics import precision_score, recall_score, roc_auc_score, top_k_accuracy_score
from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError

from lnl_kit.toolbox import metrics

N, K = 500, 7


@pytest.fixture
def rng():
    return np.random.RandomState(0)


@pytest.fixture
def probs(rng):
    return rng.dirichlet(np.full(K, 0.5), N).astype(np.float32)


@pytest.fixture
def labels(rng, probs):
    guess = rng.randint(K, size=N)
    return np.where(rng.rand(N) < 0.6, probs.argmax(1), guess)


def test_accuracy(probs, labels):
    expected = MulticlassAccuracy(K, average="micro")(torch.from_numpy(probs), torch.from_numpy(labels))
    assert metrics.accuracy(probs, labels) == pytest.approx(float(expected), abs=1e-7)
    assert metrics.accuracy(probs.argmax(1), labels) == metrics.accuracy(probs, labels)
    assert metrics.accuracy(np.eye(3), np.array([0, 1, 0])) == pytest.approx(2 / 3)


def test_top_k(probs, labels):
    for k in (1, 2, 5):
        assert metrics.top_k(probs, labels, k) == pytest.approx(top_k_accuracy_score(labels, probs, k=k))
    assert metrics.top_k(probs, labels, 1) == metrics.accuracy(probs, labels)
    assert metrics.top_k(probs, labels, K) == 1


@pytest.mark.parametrize("bins", [5, 15])
def test_ece_against_torchmetrics(probs, labels, bins):
    reference = MulticlassCalibrationError(K, n_bins=bins, norm="l1")
    expected = reference(torch.from_numpy(probs), torch.from_numpy(labels))
    assert metrics.ece(probs, labels, bins) == pytest.approx(float(expected), abs=1e-6)


def test_ece_and_reliability_by_a_slow_loop(probs, labels):
    bins, total = 15, 0.0
    r = metrics.reliability(probs, labels, bins)
    assert r["edges"].shape == (bins + 1,) and r["count"].sum() == N
    assert np.isnan(r["accuracy"][0])  # no confidence lies below 1/7
    for b in range(bins):
        inside = [i for i in range(N) if b / bins < probs[i].max() <= (b + 1) / bins]
        assert r["count"][b] == len(inside)
        if inside:
            confidence = sum(float(probs[i].max()) for i in inside) / len(inside)
            accuracy = sum(int(probs[i].argmax() == labels[i]) for i in inside) / len(inside)
            assert r["confidence"][b] == pytest.approx(confidence)
            assert r["accuracy"][b] == pytest.approx(accuracy)
            total += len(inside) / N * abs(accuracy - confidence)
    assert metrics.ece(probs, labels, bins) == pytest.approx(total)


def test_ece_limits():
    sure = np.eye(2)[[0, 0, 0, 0]]
    assert metrics.ece(sure, np.array([0, 0, 0, 0])) == 0  # confidence 1 falls in the last bin
    assert metrics.ece(sure, np.array([0, 1, 1, 1])) == pytest.approx(0.75)
    half = np.full((4, 2), 0.5, np.float16)
    assert metrics.ece(half, np.array([0, 0, 1, 1])) == 0


def test_selection_auc_against_sklearn(rng):
    is_clean = rng.rand(N) < 0.7
    score = np.round(rng.randn(N) + is_clean, 1)  # rounding makes ties
    assert metrics.selection_auc(score, is_clean) == pytest.approx(roc_auc_score(is_clean, score))
    pairs = [(a > b) + 0.5 * (a == b) for a in score[is_clean] for b in score[~is_clean]]
    assert metrics.selection_auc(score, is_clean) == pytest.approx(np.mean(pairs))


def test_selection_auc_limits():
    clean = np.array([True, True, False, False])
    assert metrics.selection_auc(np.array([3.0, np.inf, 1, -np.inf]), clean) == 1
    assert metrics.selection_auc(np.array([0.0, 1, 2, 3]), clean) == 0
    assert metrics.selection_auc(np.zeros(4), clean) == 0.5
    assert metrics.selection_auc(np.array([3.0, np.nan, 1, 5]), clean) == 0.5  # the NaN image has no score
    assert metrics.selection_auc(np.arange(4.0), np.ones(4, bool)) is None
    assert metrics.selection_auc(np.array([1.0, 2, np.nan, np.nan]), clean) is None


def test_selection_precision_recall(rng):
    is_clean, selected = rng.rand(N) < 0.7, rng.rand(N) < 0.4
    precision, recall = metrics.selection_precision_recall(selected, is_clean)
    assert precision == pytest.approx(precision_score(is_clean, selected))
    assert recall == pytest.approx(recall_score(is_clean, selected))
    assert metrics.selection_precision_recall(np.zeros(3, bool), np.ones(3, bool)) == (None, 0)
    assert metrics.selection_precision_recall(np.ones(3, bool), np.zeros(3, bool)) == (0, None)


def test_accepted_precision_and_share():
    assert metrics.accepted_precision_share(np.array([0, -1, 2, 1]), np.array([0, 1, 2, 2])) == (
        pytest.approx(2 / 3),
        0.75,
    )
    assert metrics.accepted_precision_share(np.array([-1, -1]), np.array([0, 1])) == (None, 0.0)


def test_refurbished_accuracy(rng, probs, labels):
    assert metrics.refurbished_accuracy(labels, labels) == 1
    assert metrics.refurbished_accuracy(probs, labels) == metrics.accuracy(probs, labels)
    assert metrics.refurbished_accuracy(np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0])) == 0.75


@pytest.mark.parametrize("corrupted", [False, True])
def test_empirical_transition_by_a_slow_loop(rng, corrupted):
    true, given = rng.randint(K - 1, size=N), rng.randint(K, size=N)  # the last class has no image
    counts = np.zeros((K, K))
    for t, g in zip(true, given):
        if t != g or not corrupted:
            counts[t, g] += 1
    matrix, mass = metrics.empirical_transition(true, given, K, corrupted)
    assert mass.tolist() == counts.sum(1).tolist() and mass[K - 1] == 0
    np.testing.assert_allclose(matrix[:-1], counts[:-1] / counts[:-1].sum(1, keepdims=True))
    assert np.isnan(matrix[-1]).all()
    if corrupted:
        assert np.diag(matrix)[:-1].tolist() == [0] * (K - 1)


def test_transition_error():
    true, given = np.array([0, 0, 0, 0, 1, 1, 2]), np.array([0, 0, 0, 1, 1, 1, 2])
    made = np.array([[0.75, 0.25, 0], [0, 1, 0], [0, 0, 1]])
    assert metrics.transition_error(made, true, given) == 0
    assert metrics.transition_error(np.eye(3), true, given) == pytest.approx(0.5 / 9)
    # of the wrong labels only row 0 has any: its truth is (0, 1, 0), the other rows do not count
    wrong = np.array([[0, 0.9, 0.1], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    assert metrics.transition_error(wrong, true, given, "corrupted") == pytest.approx(0.2 / 3)
    assert metrics.transition_error(np.eye(3), true, true, "corrupted") is None
    with pytest.raises(ValueError, match="not 'wrong'"):
        metrics.transition_error(made, true, given, "wrong")
    with pytest.raises(ValueError, match=r"shape \(K, K\), not \(2, 3\)"):
        metrics.transition_error(made[:2], true, given)


def test_train_metrics():
    true = np.array([0, 0, 1, 1, 2, 2, 0, 1])
    given = np.array([0, 0, 1, 1, 0, 0, 1, 2])  # the last four are wrong
    predicted = np.array([0, 0, 1, 2, 2, 0, 1, 0])  # of them: the truth, the label, the label, neither
    for probs in (predicted, np.eye(3)[predicted]):
        got = metrics.train_metrics(probs, given, true)
        assert got == {"train_accuracy_clean": 0.75, "train_accuracy_wrong": 0.25, "memorized": 0.5}


def test_what_cannot_be_measured_is_none():
    probs, true = np.eye(3), np.arange(3)
    assert metrics.train_metrics(probs, true, true) == {
        "train_accuracy_clean": 1,
        "train_accuracy_wrong": None,
        "memorized": None,
    }
    assert set(metrics.train_metrics(probs, true, None).values()) == {None}
    nothing = np.zeros((0, 3)), np.zeros(0, int)
    assert metrics.accuracy(*nothing) is None and metrics.ece(*nothing) is None
    assert metrics.top_k(*nothing, 2) is None and metrics.refurbished_accuracy(*nothing) is None


def test_results_are_plain_floats(probs, labels):
    """JSON and CSV writers get Python numbers, not numpy's."""
    values = [
        metrics.accuracy(probs, labels),
        metrics.ece(probs, labels),
        metrics.top_k(probs, labels, 2),
        metrics.selection_auc(probs[:, 0], labels == 0),
        *metrics.train_metrics(probs, labels, labels).values(),
        metrics.transition_error(np.eye(K), labels, labels),
    ]
    assert {type(value) for value in values} == {float, type(None)}
