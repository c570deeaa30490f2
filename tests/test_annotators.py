"""Several annotators: majority, Dawid-Skene against a slow loop, and a run on the columns of a table."""

import csv
import json

import numpy as np
import pytest

import lnl_kit
from lnl_kit import data
from lnl_kit.data.annotators import agree, dawid_skene, matrices_of


def made(n=400, seed=0):
    """(labels (N, 3), true (N,), matrices (3, K, K)): two careful and one that confuses 0 and 1."""
    rng = np.random.RandomState(seed)
    good = np.full((3, 3), 0.1) + 0.7 * np.eye(3)
    poor = np.array([[0.2, 0.7, 0.1], [0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    matrices = np.stack([good, good, poor])
    true = rng.randint(3, size=n)
    draws = rng.random_sample((n, 3))
    labels = np.stack([(draws[:, [a]] >= m[true].cumsum(1)).sum(1) for a, m in enumerate(matrices)], 1)
    return labels, true, matrices


def test_majority_by_hand():
    labels = np.array([[0, 0, 1], [2, 1, 2], [0, 1, 2], [-1, 1, -1]])
    found = agree(labels, 3)
    assert found.given[[0, 1, 3]].tolist() == [0, 2, 1]
    np.testing.assert_allclose(found.probs[2], [1 / 3] * 3)
    ties = agree(np.tile([0, 1, 2], (3000, 1)), 3).given
    assert np.bincount(ties).min() > 900  # drawn, not the first
    np.testing.assert_allclose(found.matrices[1][0], [2 / 3, 1 / 3, 0])  # the second of two thirds and one


def test_dawid_skene_is_expectation_maximisation_as_printed():
    labels, _, _ = made(30)
    labels[3, 0] = -1
    p = np.stack([[np.mean(row[row >= 0] == k) for k in range(3)] for row in labels])
    for _ in range(5):
        pi = np.full((3, 3, 3), 0.01)
        for n, row in enumerate(labels):
            for a, j in enumerate(row):
                if j >= 0:
                    pi[a, :, j] += p[n]
        pi /= pi.sum(2, keepdims=True)
        f = p.mean(0)
        for n, row in enumerate(labels):
            for k in range(3):
                p[n, k] = f[k] * np.prod([pi[a, k, j] for a, j in enumerate(row) if j >= 0])
            p[n] /= p[n].sum()
    np.testing.assert_allclose(dawid_skene(labels, 3, steps=5).probs, p, atol=1e-10)


def test_dawid_skene_knows_who_errs():
    labels, true, matrices = made(4000)
    of_majority, found = agree(labels, 3), agree(labels, 3, "dawid_skene")
    assert (found.given == true).mean() > (of_majority.given == true).mean() + 0.03
    assert np.abs(found.matrices - matrices).max() < 0.05
    assert np.abs(of_majority.matrices - matrices).max() > 0.15  # the majority takes the poor one's word


def test_an_annotator_without_labels_is_even():
    labels = np.array([[0, -1], [1, -1]])
    np.testing.assert_allclose(matrices_of(labels, np.eye(2))[1], 0.5)


@pytest.mark.parametrize(
    "labels, rule, why",
    [
        ([[0, 3]], "majority", "numbers of 3 classes"),
        ([[0, 1], [-1, -1]], "majority", "1 images have a label of no annotator"),
        ([[0, 1]], "loudest", "does not exist"),
    ],
)
def test_what_cannot_agree_is_refused(labels, rule, why):
    with pytest.raises(ValueError, match=why):
        agree(np.array(labels), 3, rule)


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """digits' labels of three annotators: column a is always right, b and c hardly ever."""
    true = data.load("digits").true_labels.numpy()
    rng = np.random.RandomState(0)
    columns = {"a": true, "b": (true + 1) % 10, "c": rng.randint(10, size=len(true))}
    path = tmp_path_factory.mktemp("told") / "labels.csv"
    with open(path, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["index", *columns])
        rows.writerows(zip(range(len(true)), *columns.values()))
    return path, true


def test_columns_of_a_table_are_annotators(table):
    path, true = table
    several = data.load("digits", labels=path, label_column="a,a,b")
    assert (several.given_labels.numpy() == true).all()
    one = data.load("digits", labels=path, label_column="b")
    assert one.agreed is None and (one.given_labels.numpy() == (true + 1) % 10).all()


def test_a_run_writes_what_annotators_do(table):
    path, _ = table
    run = lnl_kit.train(
        "ce", labels=path, label_column="a,a,b", annotators="dawid_skene", epochs=1, train_size=100,
        progress=False,
    )  # fmt: skip
    told = json.loads((run.folder / "annotators.json").read_text())
    assert told["rule"] == "dawid_skene" and told["agrees"]["b"] < 0.01 and told["agrees"]["a"] > 0.99
    assert np.argmax(told["matrices"]["b"], 1).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0]
    assert run.folder.parent.name.startswith("labels-a") and "dawid_skene" in run.folder.parent.name
    assert lnl_kit.open_run(run.folder).dataset().fingerprint == run.settings["fingerprint"]
