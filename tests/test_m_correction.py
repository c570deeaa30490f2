"""M-correction: the beta mixture on losses of known origin, its targets and its regulariser by hand."""

import contextlib

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit.methods import m_correction as m
from lnl_kit.settings import make
from lnl_kit.toolbox import metrics
from lnl_kit.toolbox.selection import BetaMixture


def test_the_mixture_finds_the_two_groups_it_was_made_from():
    rng = np.random.RandomState(0)
    wrong = np.arange(2000) % 5 < 2  # 40 %
    loss = np.where(wrong, rng.beta(8, 3, 2000), rng.beta(2, 10, 2000)) * 6
    mixture = BetaMixture(loss)
    w = mixture.wrong(torch.from_numpy(loss)).numpy()
    assert metrics.selection_auc(1 - w, ~wrong) > 0.98 and np.mean((w > 0.5) == wrong) > 0.93
    assert mixture.weight[(mixture.a / (mixture.a + mixture.b)).argmax()] == pytest.approx(0.4, abs=0.06)
    assert w.min() >= 0 and w.max() <= 1 and np.isfinite(w).all()


def test_losses_that_are_all_the_same_give_finite_probabilities():
    w = BetaMixture(np.full(50, 0.7)).wrong(torch.full((50,), 0.7))
    assert torch.isfinite(w).all()


def test_the_target_moves_by_the_probability_of_being_wrong():
    class Fixed(torch.nn.Module):
        def forward(self, x):
            assert not self.training
            return x

    class Mixture:
        def wrong(self, loss):
            return torch.tensor([0.0, 0.25, 1.0])

    class Run:
        @staticmethod
        def autocast():
            return contextlib.nullcontext()

    logits, y = torch.tensor([[5.0, 0, 0], [5.0, 0, 0], [0, 0, 5.0]]), torch.tensor([1, 1, 0])
    network = Fixed().train()
    target = m.corrected(network, Mixture(), logits, y, torch.nn.functional.one_hot(y, 3).float(), Run)
    assert target.tolist() == [[0, 1, 0], [0.25, 0.75, 0], [0, 0, 1]] and network.training


def test_nothing_is_said_of_the_labels_before_the_warm_up_ends(tmp_path):
    run = lnl_kit.train("m_correction", out=tmp_path, epochs=4, warmup=0.5, train_size=256, progress=False)
    assert [row["selection_auc"] is None for row in run.metrics] == [True, True, False, False]
    assert len(run.history["clean_score"]) == len(run.history["epochs"]) == 4


def test_settings_refuse_impossible_values():
    for wrong in ({"warmup": 1.5}, {"mixup": 0.0}, {"evenness": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(m.MCorrection, **wrong)
