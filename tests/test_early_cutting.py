"""Early Cutting: when a label is learned, what is kept, what is cut; gradients by differences."""

import pytest
import torch

import lnl_kit
from lnl_kit.data.batches import NoisyData
from lnl_kit.methods import early_cutting as e
from lnl_kit.settings import make

TINY = {"epochs": 4, "train_size": 256, "rate": 0.2, "warmup": 0, "running": 1, "progress": False}


class Stage:
    """What `looked_at` needs of a stage."""

    @staticmethod
    def autocast():
        return torch.autocast("cpu", enabled=False)


def test_a_label_is_learned_when_it_was_predicted_in_epochs_in_a_row():
    streak, at = torch.zeros(3), torch.full((3,), float("inf"))
    seen = [(1, 1, 0), (1, 0, 1), (1, 1, 1), (0, 1, 1), (1, 1, 1)]
    for epoch, right in enumerate(seen):
        e.follow(streak, at, torch.tensor(right).bool(), epoch, running=3)
    assert at.tolist() == [2, 4, 3] and streak.tolist() == [1, 3, 4]  # the first time counts


def test_a_round_keeps_what_was_learned_first_once_it_is_enough():
    at = torch.tensor([5.0, float("inf"), 2.0, 2.0, 0.0])
    index = torch.tensor([0, 1, 2, 3])  # image 4 is not of this round
    assert e.learned(at, index, 0.75).tolist() == [2, 3, 0] and e.learned(at, index, 0.9) is None


def data_and_network():
    torch.manual_seed(0)
    x = torch.randint(0, 256, (40, 1, 4, 4), dtype=torch.uint8)
    data = NoisyData(x, torch.randint(3, (40,)), ("a", "b", "c"), mean=(0.5,), std=(0.3,))
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(16, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)
    )
    return data, network.double()


def test_losses_confidences_and_gradients_of_images_by_a_slow_loop(monkeypatch):
    data, network = data_and_network()
    monkeypatch.setattr(data, "normalise", lambda x: (x.double() / 255 - 0.5) / 0.3)
    index = torch.tensor([7, 3, 30])
    loss, confidence, slope = e.looked_at(network, index, data, Stage)
    for i, image in enumerate(index):
        x, y = data.normalise(data.x[image : image + 1]), data.y[image].item()
        p = network(x).softmax(1)[0]
        assert loss[i].item() == pytest.approx(-p[y].log().item(), abs=1e-5)
        assert confidence[i].item() == pytest.approx(p.max().item(), abs=1e-6)
        square = 0.0
        for j in range(16):
            up, down = x.clone().flatten(), x.clone().flatten()
            up[j] += 1e-5
            down[j] -= 1e-5
            costs = [-network(v.view(1, 1, 4, 4)).log_softmax(1)[0, y].item() for v in (up, down)]
            square += ((costs[0] - costs[1]) / 2e-5) ** 2
        assert slope[i].item() == pytest.approx(square**0.5, rel=1e-3)
    assert network.training


def test_what_is_cut_is_early_costly_sure_and_flat(monkeypatch):
    settings = make(e.EarlyCutting, early=0.8, largest=0.5, surest=0.5, flattest=0.5)
    first = torch.arange(10, 20)  # images 10 ... 17 are looked at again
    loss = torch.tensor([9.0, 8, 7, 6, 1, 1, 1, 1])  # 10 ... 13 cost most
    confidence = torch.tensor([0.9, 0.8, 0.3, 0.2, 1, 1, 1, 1])  # of these 10 and 11 are surest
    slope = torch.tensor([5.0, 0.1, 0.2, 7.0, 0, 0, 0, 0])  # and 11 and 12 flattest
    monkeypatch.setattr(e, "looked_at", lambda *args: (loss, confidence, slope))
    assert e.cut(None, first, None, settings, None).tolist() == [10, 12, 13, 14, 15, 16, 17, 18, 19]
    none = make(e.EarlyCutting, **e.EarlyCutting.controls["no_cutting"])
    assert e.cut(None, first, None, none, None).tolist() == first.tolist()  # nothing suspect: nothing is cut


def test_rounds_keep_ever_fewer_and_the_last_network_learns_what_is_left(tmp_path, monkeypatch):
    sizes, learned = [], []
    repeated, fit = e.repeated, e.fit_epoch

    def spy(index, n, draw):
        sizes.append(n)
        return repeated(index, n, draw)

    def spy_fit(run, network, optimizer, batches, loss, term="labels"):
        def noted(logits, y, idx):
            learned.append(set(idx.tolist()))
            return loss(logits, y, idx)

        fit(run, network, optimizer, batches, noted, term)

    monkeypatch.setattr(e, "repeated", spy)
    monkeypatch.setattr(e, "fit_epoch", spy_fit)
    run = lnl_kit.train("early_cutting", out=tmp_path, rounds=2, kept_share=0.3, **TINY)
    assert sizes == sorted(sizes, reverse=True) and sizes[0] == 256 > sizes[-1]
    kept = set(run.arrays["selected"].nonzero()[0].tolist())
    assert len(kept) == sizes[-1] and learned[-1] <= kept


def test_settings_refuse_impossible_values():
    for wrong in ({"rounds": 0}, {"kept_share": 0.0}, {"warmup": -1}, {"surest": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(e.EarlyCutting, **wrong)
