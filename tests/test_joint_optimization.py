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
    mean = logits.softmax(1).mean(0).tolist()
    assert jo.evenness(logits.softmax(1)).item() == pytest.approx(sum(math.log(1 / 3 / p) / 3 for p in mean), abs=1e-5)


def test_labels_are_means_of_what_was_predicted():
    recent = torch.tensor([[[1.0, 0], [0.5, 0.5], [0, 0]], [[0.0, 1], [9, 9], [0, 0]]])
    seen = torch.tensor([[True, True, False], [True, False, False]])
    labels = torch.tensor([[1.0, 0], [1, 0], [1, 0]])
    assert jo.averaged(recent, seen, labels).tolist() == [[0.5, 0.5], [0.5, 0.5], [1, 0]]


def test_labels_stay_given_until_the_start_and_sum_to_one(tmp_path):
    ask = dict(out=tmp_path, epochs=3, train_size=256, rate=0.5, progress=False)
    run = lnl_kit.train("joint_optimization", **ask)
    assert abs(run.arrays["new_labels"].sum(1) - 1).max() < 1e-5
    changed = run.arrays["new_labels"].argmax(1) != run.labels["given"]
    assert changed.any()
    late = lnl_kit.train("joint_optimization", **ask | {"seed": 0}, start=1.0)  # the last epoch still replaces them
    assert abs(late.arrays["new_labels"].sum(1) - 1).max() < 1e-5


def test_settings_refuse_impossible_values():
    for wrong in ({"averaged": 0}, {"start": 2.0}, {"evenness": -1.0}, {"label_learning_rate": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(jo.JointOptimization, **wrong)
