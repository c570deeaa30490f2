"""Open-set noise and long tails: who is outside, what stays as it was, and what is measured."""

import json

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit import data
from lnl_kit.cli import main
from lnl_kit.data import open_set
from lnl_kit.data.batches import NoisyData
from lnl_kit.run.evaluate import Evaluator
from lnl_kit.run.prepared import prepare
from lnl_kit.toolbox import metrics
from lnl_kit.train import Plan

TOLD = {"rate": 0.4, "epochs": 1, "progress": False}


def prepared(**ask):
    return prepare(Plan.of("ce", rate=0.4, **ask).resolve())


@pytest.fixture(scope="module")
def both():
    return prepared(), prepared(open_set=0.2)


def test_outsiders_are_the_share_of_all_and_digits_stay_what_they_are(both):
    plain, wide = both
    n = len(plain.index)
    outside = wide.outside[wide.index]
    assert outside.mean() == pytest.approx(0.2, abs=0.001) and (wide.index == np.arange(len(outside))).all()
    assert (wide.given[:n] == plain.given).all() and (wide.true[:n] == plain.true).all()
    assert (wide.true[n:] == -1).all() and outside[n:].all() and not outside[:n].any()
    assert torch.equal(wide.source.x[:n], plain.source.x)
    counts = np.bincount(wide.given[n:], minlength=10)
    assert counts.min() > 15 and len(counts) == 10  # 36 expected, of each class


def test_a_seed_decides_the_outsiders(both):
    again, other = prepared(open_set=0.2), prepared(open_set=0.2, seed=1)
    assert torch.equal(again.source.x, both[1].source.x) and (again.given == both[1].given).all()
    assert not torch.equal(other.source.x[1437:], again.source.x[1437:])
    assert other.source.fingerprint != again.source.fingerprint != both[0].source.fingerprint


def test_a_smaller_set_keeps_the_share():
    some = prepared(open_set=0.2, train_size=100)
    assert some.outside[some.index].sum() == 20 and len(some.index) == 100


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Five classes of ten images and a test set, each class a grey of its own."""
    from PIL import Image

    root = tmp_path_factory.mktemp("photos")
    for part, n in (("train", 10), ("test", 3)):
        for k, name in enumerate("abcde"):
            (root / part / name).mkdir(parents=True)
            for i in range(n):
                pixels = np.full((8, 8, 3), 40 * k + i, np.uint8)
                Image.fromarray(pixels).save(root / part / name / f"{i}.png")
    return root


def test_of_other_sets_the_last_classes_are_held_out(folder):
    found = prepare(
        Plan.of("ce", dataset=folder, noise="pair_flip", rate=0.5, open_set=0.1, batch_size=8).resolve()
    )
    outside = found.outside[found.index]
    assert found.source.classes == tuple("abcd") and len(found.test_index) == 12
    assert outside.sum() == 4 and (~outside).sum() == 40  # 4 of 44; the other six images are not used
    shown = [found.source.names[i].split("/")[-2] for i in found.index]
    assert (np.array(shown) == "e").tolist() == outside.tolist()
    assert found.given[found.index].max() == 3 and (found.truth[outside] == -1).all()
    assert (found.given != found.true)[found.index][~outside].mean() == 0.5


def test_what_cannot_be_had_is_refused(folder, capsys):
    for ask, why in (
        ({"open_set": 1.0}, "outside [0, 1)"),
        ({"open_set": 0.8, "dataset": folder, "noise": "none"}, "at most 0.6"),
        ({"open_set": 0.2, "dataset": "clothing1m"}, "come from the web"),
        ({"open_set": 0.2, "dataset": "cifar10", "noise": "human"}, "people chose among all"),
        ({"imbalance": 2}, "outside (0, 1]"),
    ):
        with pytest.raises(ValueError, match=why.replace("(", r"\(").replace("[", r"\[").replace(")", r"\)")):
            prepare(Plan.of("ce", **ask).resolve())
    assert main(["train", "ce", "--open-set", "-1"]) == 2 and "open_set -1" in capsys.readouterr().err


@pytest.fixture(scope="module")
def run():
    return lnl_kit.train("elr", open_set=0.2, train_size=200, keep=("margins",), **TOLD)


def test_a_run_tells_outsiders_apart(run):
    outside, labels = run.labels["outside"], run.labels
    assert outside.sum() == 40 and (labels["true"][outside] == -1).all()
    assert run.summary["open_set"] == 0.2 and run.train_images().shape == (200, 1, 16, 16)
    right = labels["given"] == labels["true"]
    score = run.arrays["clean_score"].astype(np.float64)
    confidence = run.arrays["train_probs"].max(1)
    pairs = (confidence[~outside][:, None] > confidence[outside]).mean()
    assert run.metrics[-1]["outside_auroc_confidence"] == pytest.approx(pairs, abs=1e-3)
    told = metrics.selection_auc(score[~outside], right[~outside])
    assert run.metrics[-1]["selection_auc"] == pytest.approx(told, abs=1e-6)


def test_the_settings_of_a_run_ask_for_it_again(run, tmp_path):
    from lnl_kit.commands.config import read_config

    asked = read_config(run.folder / "settings.json", "elr")
    assert asked["open_set"] == 0.2
    assert lnl_kit.train("elr", **asked, progress=False).folder == run.folder
    held = json.loads((run.folder / "settings.json").read_text())
    assert (
        "imbalance" not in held and lnl_kit.open_run(run.folder).dataset().fingerprint == held["fingerprint"]
    )


def test_metrics_of_labels_leave_outsiders_out():
    given, true = np.array([0, 1, 0, 1]), np.array([0, 0, -1, -1])
    outside = np.array([False, False, True, True])
    x = torch.zeros(4, 1, 4, 4, dtype=torch.uint8)
    noisy = NoisyData(x, torch.from_numpy(given), ("a", "b"), mean=[0.5], std=[0.5])
    evaluator = Evaluator(noisy, given, true, x, np.zeros(4, int), outside=outside)
    probs = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.45, 0.55]])
    assert evaluator.of_training(probs) == {
        "outside_auroc_confidence": 1.0,
        "train_accuracy_clean": 1.0,
        "train_accuracy_wrong": 0.0,
        "memorized": 1.0,
    }
    log = {
        "clean_score": np.array([0.9, 0.1, 0.5, 0.0]),
        "outside_score": np.array([0.1, 0.7, 0.6, 0.9]),
        "selected": np.array([True, False, True, False]),
        "new_labels": np.array([0, 1, 0, 0]),
    }
    assert evaluator.of_log(log) == {
        "outside_auroc": 0.75,
        "outside_auroc_clean_score": 0.75,
        "outside_kept": 0.5,
        "inside_kept": 0.5,
        "selection_auc": 1.0,
        "selection_precision": 1.0,
        "selection_recall": 1.0,
        "refurbished_accuracy": 0.5,
    }


def test_a_long_tail_by_its_formula():
    true = np.repeat(np.arange(3), 100)
    kept = open_set.long_tailed(true, 0.01, seed=0)
    assert np.bincount(true[kept]).tolist() == [100, 10, 1]
    assert np.bincount(true[open_set.long_tailed(true, 1.0, 0)]).tolist() == [100, 100, 100]


def test_a_long_tail_together_with_noise():
    found = prepared(imbalance=0.1, noise="symmetric_exclusive")
    counts = np.bincount(found.truth)
    assert (np.diff(counts) <= 0).all() and counts[9] == pytest.approx(0.1 * counts[0], abs=1)
    assert found.actual_rate == pytest.approx(0.4, abs=0.005)  # of the images that are left
    some = prepared(imbalance=0.1, train_size=200)
    share = np.bincount(some.truth, minlength=10) / 200
    assert np.abs(share - counts / counts.sum()).max() < 0.06  # as they come, not even over the classes
    assert len(data.load("digits").x) > len(found.index)
