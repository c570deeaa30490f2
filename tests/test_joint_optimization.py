"""Joint optimization: its terms by hand, and which predictions become labels."""

import math

import pytest
import torch

import lnl_kit
from lnl_kit.methods import joint_optimization as jo
from lnl_kit.settings import make


def test_the_terms_by_a_slow_loop():
    torch.manual_seed(0)
    logits, target = torch.randn(5, 3), torch.rand(5, 3).softmax(1)
    found = jo.divergence(target, logits)
    for i in range(5):
        p, t = logits[i].softmax(0).tolist(), target[i].tolist()
        assert found[i].item() == pytest.approx(sum(b * math.log(b / a) for a, b in zip(p, t)), abs=1e-5)


def test_labels_are_means_of_what_was_predicted():
    recent = torch.tensor([[[1.0, 0], [0.5, 0.5], [0, 0]], [[0.0, 1], [9, 9], [0, 0]]])
    seen = torch.tensor([[True, True, False], [True, False, False]])
    labels = torch.tensor([[1.0, 0], [1, 0], [1, 0]])
    assert jo.averaged(recent, seen, labels).tolist() == [[0.5, 0.5], [0.5, 0.5], [1, 0]]


def test_labels_stay_given_until_the_start_and_sum_to_one(tmp_path, monkeypatch):
    given, after = [], []  # whether the labels of the first step's epochs are one-hot when each ends
    divergence = jo.divergence
    monkeypatch.setattr(
        jo,
        "divergence",
        lambda target, logits: given.append(bool((target.amax(1) == 1).all())) or divergence(target, logits),
    )
    run = lnl_kit.train(
        "joint_optimization", out=tmp_path, epochs=4, train_size=256, rate=0.5, start=0.5, progress=False
    )
    for epoch in range(4):
        steps = given[2 * epoch : 2 * epoch + 2]  # 256 images, two batches an epoch
        after.append(all(steps))
    assert after == [True, True, True, False] and len(given) == 8  # replaced at the end of epoch 2 (from 0)
    assert abs(run.arrays["new_labels"].sum(1) - 1).max() < 1e-5
    assert (run.arrays["new_labels"].argmax(1) != run.labels["given"]).any()


def test_settings_refuse_impossible_values():
    for wrong in ({"averaged": 0}, {"start": 2.0}, {"evenness": -1.0}, {"label_learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(jo.JointOptimization, **wrong)
