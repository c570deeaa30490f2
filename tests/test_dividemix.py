"""DivideMix: the mixture, the division, and what each network learns from."""

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit.files import RunError
from lnl_kit.methods import dividemix
from lnl_kit.settings import make
from lnl_kit.toolbox.selection import small_loss_probability

TINY = {"epochs": 3, "warmup": 1, "train_size": 256, "progress": False}


def test_small_losses_are_clean():
    g = torch.Generator().manual_seed(0)
    loss = torch.cat((0.1 + 0.03 * torch.randn(300, generator=g), 0.8 + 0.05 * torch.randn(100, generator=g)))
    clean = small_loss_probability(loss)
    assert (clean[:300] > 0.5).all() and (clean[300:] < 0.5).all()
    assert (small_loss_probability(torch.full((9,), 0.3)) == 1).all()


def test_division_and_its_fallback():
    labelled, unlabelled = dividemix.divide(torch.tensor([0.9, 0.2, 0.6, 0.1]), 0.5)
    assert labelled.tolist() == [0, 2] and unlabelled.tolist() == [1, 3]
    labelled, unlabelled = dividemix.divide(torch.tensor([0.9, 0.7, 0.6, 0.8]), 0.5)  # nobody unlabelled
    assert labelled.tolist() == [0, 3] and unlabelled.tolist() == [1, 2]


def test_each_network_trains_on_the_others_division_and_alone(tmp_path, monkeypatch):
    states, seen = [], []
    from lnl_kit.run.loop import Run

    state_of, train_divided = Run.state, dividemix.train_divided

    def spy(self, **parts):
        states.append(parts)
        return state_of(self, **parts)

    def checked(network, other, clean, *args):
        state = states[0]
        i = 0 if network is state["network_1"] else 1
        assert torch.equal(clean, state["clean"][1 - i]) and other is state[f"network_{2 - i}"]
        before = [p.detach().clone() for p in other.parameters()]
        for p in other.parameters():
            p.grad = None
        train_divided(network, other, clean, *args)
        assert all(p.grad is None and torch.equal(p, b) for p, b in zip(other.parameters(), before))
        seen.append(i)

    monkeypatch.setattr(Run, "state", spy)
    monkeypatch.setattr(dividemix, "train_divided", checked)
    lnl_kit.train("dividemix", out=tmp_path, **TINY)
    assert seen == [0, 1, 0, 1]


def test_an_epoch_shows_every_labelled_image(tmp_path, monkeypatch):
    """Also those of the last batch, which is not full: of 92 images in batches of 64, 28 went unused."""
    asked = []
    from lnl_kit.data.batches import NoisyData

    batches = NoisyData.batches

    def spy(self, draw, views, batch_size=None, order=None):
        asked.append((draw, batch_size, order))
        return batches(self, draw, views, batch_size, order)

    def divided(clean, threshold):
        return torch.arange(92), torch.arange(92, len(clean))

    monkeypatch.setattr(dividemix, "divide", divided)
    monkeypatch.setattr(NoisyData, "batches", spy)
    lnl_kit.train("dividemix", out=tmp_path, **TINY)
    shown = {draw: order for draw, _, order in asked if draw[0] == "labelled"}
    assert len(shown) == 4 and all(order.unique().tolist() == list(range(92)) for order in shown.values())
    assert len({draw for draw, _, _ in asked}) == len(asked)


def test_a_network_that_diverges_is_named_not_scikit_learns_input(tmp_path):
    with pytest.raises(RunError, match=r"epoch 1: .* this epoch was not saved"):
        lnl_kit.train("dividemix", out=tmp_path, **TINY | {"learning_rate": 1e6})
    assert small_loss_probability(torch.tensor([0.1, float("nan"), 0.3])).isnan().all()


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A root of runs: what several tests train is trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize(
    "variant",
    [
        {"unsupervised": 0.0},
        {"threshold": 0.8},
        {"sharpening": 1.0},
        pytest.param({"warmup_entropy": True}, marks=pytest.mark.slow),
        pytest.param({"ramp": 0}, marks=pytest.mark.slow),
    ],
)
def test_settings_change_the_run(shared, variant):
    settings = TINY | {"epochs": 4, "rate": 0.5, "train_size": 128}
    plain, other = (lnl_kit.train("dividemix", out=shared, **settings | changes) for changes in ({}, variant))
    assert not np.array_equal(other.arrays["new_labels"], plain.arrays["new_labels"])


def test_losses_are_averaged_over_epochs_where_asked(tmp_path):
    run = lnl_kit.train("dividemix", out=tmp_path, average_losses=2, **TINY)
    past = torch.load(run.folder / "state.pt", weights_only=True)["state"]["past"]
    assert past.shape == (2, 2, 256) and not torch.equal(past[0, 0], past[0, 1])
    assert ((past >= 0) & (past <= 1)).all()


def test_what_is_logged_and_tested(tmp_path):
    run = lnl_kit.train("dividemix", out=tmp_path, **TINY)
    assert run.arrays["new_labels"].shape == (256, 10) and run.arrays["selected"].dtype == bool
    assert len(run.networks()) == 2, "the mean of both is tested"


def test_settings_refuse_impossible_values():
    for values in (
        {"warmup": 0},
        {"threshold": 1},
        {"sharpening": 0},
        {"mixup": 0},
        {"unsupervised": -1},
        {"average_losses": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(values))):
            make(dividemix.DivideMix, **values)
