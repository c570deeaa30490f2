"""UNICON: the divergence, the share of labels kept, and the even choice over the classes."""

import math
from types import SimpleNamespace

import pytest
import torch

import lnl_kit
from lnl_kit.methods import unicon
from lnl_kit.settings import make

SETTINGS = make(unicon.Unicon)


def test_the_divergence_by_a_slow_loop_and_at_its_ends():
    torch.manual_seed(0)
    probs, y = torch.rand(4, 3).softmax(1), torch.tensor([0, 2, 1, 1])
    found = unicon.divergence(probs, y)
    for i in range(4):
        label = [float(k == y[i]) for k in range(3)]
        p = probs[i].tolist()
        mean = [(a + b) / 2 for a, b in zip(p, label)]
        bits = sum(0.5 * a * math.log2(a / m) for part in (p, label) for a, m in zip(part, mean) if a)
        assert found[i].item() == pytest.approx(bits, abs=1e-5)
    assert unicon.divergence(torch.eye(2), torch.tensor([0, 0])).tolist() == pytest.approx([0, 1], abs=1e-5)


def test_the_cutoff_is_the_mean_and_less_where_the_mean_is_high():
    low = torch.tensor([0.1, 0.2, 0.3, 0.8, 0.9, 0.7])  # mean 0.5
    assert unicon.kept_share(low, 10, SETTINGS) == pytest.approx(3 / 6)
    high = torch.tensor([0.5, 0.72, 0.74, 0.78, 0.95, 0.99])  # mean 0.78, cut-off 0.78 - 0.28 / 5 = 0.724
    assert unicon.kept_share(high, 10, SETTINGS) == pytest.approx(2 / 6)
    assert unicon.kept_share(torch.full((6,), 0.5), 10, SETTINGS) == pytest.approx(
        0.1
    )  # nobody is nearer than the mean


def test_the_choice_is_even_over_the_classes_and_takes_the_nearest():
    class Data(SimpleNamespace):
        def __len__(self):
            return len(self.y)

    data = Data(y=torch.tensor([0] * 8 + [1] * 4), num_classes=2)
    distance = torch.tensor(
        [0.9, 0.1, 0.8, 0.2, 0.62, 0.6, 0.95, 0.85, 0.5, 0.4, 0.9, 0.8]
    )  # mean 0.635, 6 of 12 below
    chosen = unicon.select(distance, data, SETTINGS)
    assert chosen[:8].sum() == chosen[8:].sum() == 3
    for part in (slice(0, 8), slice(8, 12)):
        assert distance[part][chosen[part]].max() < distance[part][~chosen[part]].min()


def test_one_view_of_each_kind_and_no_projector_gradient_without_contrast(tmp_path):
    run = lnl_kit.train(
        "unicon",
        out=tmp_path,
        epochs=3,
        warmup=1,
        train_size=256,
        contrastive=0.0,
        weight_decay=0.0,
        progress=False,
    )
    state = torch.load(run.folder / "state.pt", weights_only=True)["state"]
    fresh = lnl_kit.train(
        "unicon", out=tmp_path, epochs=1, warmup=1, train_size=256, weight_decay=0.0, progress=False
    )
    start = torch.load(fresh.folder / "state.pt", weights_only=True)["state"]
    assert torch.equal(state["projector_1"]["0.weight"], start["projector_1"]["0.weight"])
    assert not torch.equal(state["network_1"]["head.weight"], start["network_1"]["head.weight"])


def test_settings_refuse_impossible_values():
    for wrong in (
        {"warmup": 0},
        {"cutoff": 2.0},
        {"cutoff_divisor": 0.5},
        {"temperature": 0.0},
        {"contrastive": -1.0},
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(unicon.Unicon, **wrong)
