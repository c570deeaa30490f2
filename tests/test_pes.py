"""PES: which layers start anew and when, which labels are kept, how classes are weighed, and its MixMatch."""

import pytest
import torch
from conftest import feature_file
from torch import nn

import lnl_kit
from lnl_kit.methods import pes
from lnl_kit.settings import make
from lnl_kit.toolbox import models

TINY = {"epochs": 4, "train_size": 256, "rate": 0.5, "progress": False}


@pytest.mark.parametrize(
    "name, found, latter",
    [("small_cnn", 8, 2), ("preact_resnet18", 9, 2), ("resnet18", 10, 2), ("mlp_head", 1, 0), ("head", 0, 0)],
)
def test_the_last_quarter_of_a_networks_blocks(name, found, latter):
    net = models.make(name, 10, 3)
    blocks, last = pes.blocks(net), pes.last_blocks(net, 0.25)
    assert (len(blocks), len(last)) == (found, latter) and all(
        b is c for b, c in zip(blocks[::-1], last[::-1])
    )
    assert net.head not in blocks


def test_resnet18s_last_blocks_are_its_fourth_stage():
    net = models.make("resnet18", 10, 3)
    assert all(a is b for a, b in zip(pes.last_blocks(net, 0.25), net.layer4))


def test_renewed_layers_have_new_weights_and_no_momentum_and_others_stand():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)
    net(torch.randn(8, 3)).square().sum().backward()
    optimizer.step()
    before = [p.clone() for p in net.parameters()]
    pes.renew([net[1], net[2]], optimizer)
    after = list(net.parameters())
    assert torch.equal(after[0], before[0]) and not torch.equal(after[4], before[4])
    assert torch.equal(net[1].weight, torch.ones(4)) and not net[1].running_mean.any()
    momentum = [optimizer.state[p]["momentum_buffer"].abs().sum().item() for p in after]
    assert momentum[0] > 0 and momentum[2:] == [0, 0, 0, 0]


def test_class_weights_by_hand():
    y = torch.tensor([0, 0, 0, 0, 1, 1, 2])
    expected = torch.tensor([7 / 3 / 4, 7 / 3 / 2, 7 / 3, 0.0])  # the mean is over classes that are there
    assert torch.allclose(pes.class_weights(y, 4), expected)
    assert torch.allclose(pes.class_weights(y, 4, most=2.0), expected.clamp(max=2))


def test_without_two_kept_labels_all_are():
    assert pes.some(torch.tensor([True, False, True])).tolist() == [0, 2]
    assert pes.some(torch.tensor([True, False, False])).tolist() == [0, 1, 2]


def test_only_the_layers_that_start_anew_learn_and_only_once(tmp_path, monkeypatch):
    seen = []
    fit = pes.fit_epoch

    def spy(run, network, optimizer, batches, loss, term="labels"):
        before = {n: p.detach().clone() for n, p in network.named_parameters()}
        fit(run, network, optimizer, batches, loss, term)
        moved = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
        seen.append((term, moved, len(before)))

    monkeypatch.setattr(pes, "fit_epoch", spy)
    lnl_kit.train("pes", out=tmp_path, first=0.25, latter_epochs=2, head_epochs=1, **TINY)
    assert [term for term, *_ in seen] == ["labels", "latter", "latter", "head", "kept", "kept", "kept"]
    moved = [names for _, names, _ in seen]
    # the whole; the last convolution, its norm and the head; the head; the whole
    assert len(moved[0]) == len(moved[-1]) == seen[0][2]
    assert (
        moved[1]
        == moved[2]
        == {n for n in moved[0] if n.split(".")[0] == "head"}
        | {n for n in moved[0] if n.startswith(("body.11", "body.12"))}
    )
    assert moved[3] == {"head.weight", "head.bias"}


def test_the_kept_labels_are_those_that_the_network_gives(tmp_path):
    run = lnl_kit.train("pes", out=tmp_path, **TINY)
    state = torch.load(run.folder / "state.pt", weights_only=True)
    labels = torch.from_numpy(run.labels["given"])
    agrees = torch.from_numpy(run.arrays["new_labels"]).argmax(1) == labels
    assert torch.equal(state["state"]["kept"], agrees)
    assert torch.equal(torch.from_numpy(run.arrays["selected"]), agrees)


def test_the_unlabelled_images_weigh_nothing_at_first_and_reach_the_network_later(tmp_path):
    """With a weight of 0 the run differs from the epoch on at which the weight has risen."""
    ask = TINY | {"first": 0.25, "ramp": 1, "epochs": 4}
    plain = lnl_kit.train("pes_semi", out=tmp_path, **ask, unsupervised=0.0)
    some = lnl_kit.train("pes_semi", out=tmp_path, **ask, unsupervised=50.0)
    losses = [[row["loss"] for row in run.metrics] for run in (plain, some)]
    assert losses[0][0] == losses[1][0] and losses[0][2] != losses[1][2]


def test_a_network_of_one_layer_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(lnl_kit.RunError, match="keeps the first layers"):
        lnl_kit.train("pes", out=tmp_path, features=feature_file(tmp_path), model="head", **TINY)


def test_settings_refuse_impossible_values():
    for cls, wrong in (
        (pes.PES, {"first": 0.0}),
        (pes.PES, {"head_epochs": -1}),
        (pes.PES, {"refine_learning_rate": 0.0}),
        (pes.PES, {"latter": 1.0}),
        (pes.PESSemi, {"mixup": 0.0}),
        (pes.PESSemi, {"ramp": -1}),
    ):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            make(cls, **wrong)


def test_labels_are_chosen_by_the_statistics_of_the_present_weights(tmp_path):
    """After an epoch that hardly trains, only the renewed statistics are those of the images."""
    ask = TINY | {"learning_rate": 1e-9, "refine_learning_rate": 1e-9, "epochs": 1, "view": "none"}
    states = [
        torch.load(
            lnl_kit.train("pes", out=tmp_path, renew_statistics=r, **ask).folder / "state.pt",
            weights_only=True,
        )
        for r in (True, False)
    ]
    renewed, running = (s["state"]["network"]["body.1.running_var"] for s in states)
    assert (
        not torch.allclose(renewed, running, rtol=0.1) and ((1 - running).abs() < (1 - renewed).abs()).all()
    )
