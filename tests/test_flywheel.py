"""LNL-flywheel: its equations against slow loops and known answers, and what each network learns from."""

import dataclasses

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit.methods import flywheel
from lnl_kit.run.settings import parse
from lnl_kit.settings import make
from lnl_kit.toolbox import losses

TINY = {"epochs": 3, "warmup": 1, "cycle": 1, "train_size": 256, "progress": False}


@pytest.fixture
def problem():
    g = torch.Generator().manual_seed(0)
    g_probs, f_probs = (torch.randn(7, 4, generator=g).softmax(1) for _ in range(2))
    return g_probs, f_probs, torch.randint(0, 4, (7,), generator=g), torch.rand(7, generator=g)


def test_cleanness_is_bayes_rule(problem):
    g_probs, _, y, epsilon = problem
    q = flywheel.cleanness(g_probs, y, torch.tensor(0.6), epsilon)
    for i in range(7):
        right, wrong = 0.6 * g_probs[i, y[i]].item(), 0.4 * epsilon[i].item()
        assert q[i].item() == pytest.approx(right / (right + wrong), abs=1e-6)
    # nothing known either way: half of the smallest numbers, not 0/0
    assert (
        0
        <= flywheel.cleanness(torch.zeros(1, 4), torch.tensor([1]), torch.tensor(0.5), torch.zeros(1)).item()
        <= 1
    )


def test_soft_targets_and_transition_matrices_by_loops(problem):
    _, f_probs, y, q = problem
    targets, k = flywheel.soft_targets(q, f_probs, y), 4
    T, T_c = flywheel.transition_matrix(targets, y), flywheel.transition_matrix((1 - q)[:, None] * f_probs, y)
    for i in range(7):
        for c in range(k):
            assert targets[i, c].item() == pytest.approx(
                q[i].item() * (y[i].item() == c) + (1 - q[i]).item() * f_probs[i, c].item(), abs=1e-6
            )
    assert torch.allclose(targets.sum(1), torch.ones(7))
    for row in range(k):
        for column in range(k):
            where = [i for i in range(7) if y[i] == column]
            whole = sum(targets[i, row] for i in where) / targets[:, row].sum()
            corrupted = [(1 - q[i]) * f_probs[i, row] for i in range(7)]
            assert T[row, column].item() == pytest.approx(float(whole), abs=1e-6)
            assert T_c[row, column].item() == pytest.approx(
                float(sum(corrupted[i] for i in where) / sum(corrupted)), abs=1e-6
            )
    epsilon = flywheel.outlier_density(f_probs, T_c, y)
    assert epsilon[3].item() == pytest.approx(
        sum(f_probs[3, c].item() * T_c[c, y[3]].item() for c in range(k)), abs=1e-6
    )


def test_a_class_without_corrupted_mass_has_a_uniform_row():
    f_probs, y = torch.eye(3)[[0, 0, 1, 1]], torch.tensor([0, 1, 1, 1])
    T_c = flywheel.transition_matrix((1 - torch.tensor([0.0, 0.0, 1.0, 1.0]))[:, None] * f_probs, y)
    assert T_c[0].tolist() == [0.5, 0.5, 0.0]
    assert torch.allclose(T_c[1:], torch.full((2, 3), 1 / 3))


def test_main_loss_is_equations_8_and_9(problem):
    g_probs, _, y, _ = problem
    logits, prior = g_probs.log(), torch.tensor([0.1, 0.2, 0.3, 0.4])
    loss = flywheel.main_loss(logits, y, prior, 3.0)
    for i in range(7):
        expected = -np.log(g_probs[i, y[i]].item()) + 3 * sum(
            p * np.log(v) for p, v in zip(prior.tolist(), g_probs[i].tolist())
        )
        assert loss[i].item() == pytest.approx(expected, abs=1e-4)
    assert flywheel.main_loss(80 * torch.eye(4), torch.arange(4), prior, 3.0).isfinite().all()


@pytest.mark.parametrize("weight_is, expected_is", [("1 - gamma'", "clean"), ("0", "noisy")])
def test_lemma_1(weight_is, expected_is):
    """p(y|x) = gamma' p_pi + (1 - gamma') / K with uniform labels: lambda = 1 - gamma' gives p_pi, 0 gives
    p(y|x).
    """
    k, share = 4, 0.4
    rows = torch.from_numpy(np.random.RandomState(0).dirichlet([0.5] * k, 5)).float()
    clean = torch.cat([rows.roll(i, 1) for i in range(k)])  # every class equally often
    noisy = share * clean + (1 - share) / k
    logits = torch.zeros(len(clean), k, requires_grad=True)
    weight = 1 - share if weight_is == "1 - gamma'" else 0.0
    optimizer = torch.optim.LBFGS([logits], max_iter=500, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = sum(
            (
                noisy[:, c]
                * flywheel.main_loss(logits, torch.full((len(clean),), c), torch.full((k,), 1 / k), weight)
            ).sum()
            for c in range(k)
        )
        loss.backward()
        return loss

    optimizer.step(closure)
    error = {"clean": clean, "noisy": noisy}
    assert (logits.detach().softmax(1) - error[expected_is]).abs().max() < 0.01
    other = {"clean": noisy, "noisy": clean}[expected_is]
    assert (logits.detach().softmax(1) - other).abs().max() > 0.1


def test_lemma_1s_weight_is_the_share_of_wrong_labels_by_the_models_own_estimate(tmp_path, monkeypatch):
    weights, gammas = [], []
    loss_of, train_main = flywheel.main_loss, flywheel.train_main

    def spy_loss(logits, labels, prior, weight):
        weights.append(float(weight))
        return loss_of(logits, labels, prior, weight)

    def spy_step(g, optimizer, labels, q, gamma, *rest):
        gammas.append(float(gamma))
        return train_main(g, optimizer, labels, q, gamma, *rest)

    monkeypatch.setattr(flywheel, "main_loss", spy_loss)
    monkeypatch.setattr(flywheel, "train_main", spy_step)
    lnl_kit.train("flywheel", out=tmp_path, confidence_regularizer="lemma", **TINY)
    steps = len(weights) // len(gammas)
    assert weights == pytest.approx([1 - g for g in gammas for _ in range(steps)]) and len(gammas) == 2
    assert all(0 < w < 1 for w in weights)
    field = {f.name: f for f in dataclasses.fields(flywheel.Flywheel)}["confidence_regularizer"]
    assert parse(field, "lemma") == "lemma" and parse(field, "0.6") == 0.6 and parse(field, "1") == 1.0
    assert make(flywheel.Flywheel, confidence_regularizer=1) == make(
        flywheel.Flywheel, confidence_regularizer=1.0
    )


def test_contrastive_loss_by_a_loop():
    g = torch.Generator().manual_seed(0)
    z1, z2 = torch.randn(3, 5, generator=g), torch.randn(3, 5, generator=g)
    z = [v / v.norm() for v in (*z1, *z2)]
    loss = losses.contrastive(z1, z2, 0.5)
    for i in range(6):
        others = [j for j in range(6) if j != i]
        expected = -np.log(
            np.exp(2 * (z[i] @ z[(i + 3) % 6]).item()) / sum(np.exp(2 * (z[i] @ z[j]).item()) for j in others)
        )
        assert loss[i].item() == pytest.approx(expected, abs=1e-5)
    assert losses.contrastive(z1, z1, 0.01).max() < losses.contrastive(z1, z1.roll(1, 0), 0.01).min()


def test_no_term_leaks_gradient_into_the_other_network(tmp_path, monkeypatch):
    """While one network trains, the other's weights do not move and receive no gradient."""

    def guard(name, argument, other):
        original = getattr(flywheel, name)

        def checked(network, *args):
            others = [p for p in networks[other].parameters()]
            before = [p.detach().clone() for p in others]
            for p in others:
                p.grad = None
            original(network, *args)
            seen.add(name)
            assert all(p.grad is None for p in others) and all(
                torch.equal(a, b) for a, b in zip(before, others)
            )

        monkeypatch.setattr(flywheel, name, checked)

    networks, seen = {}, set()
    from lnl_kit.run.loop import Run

    state_of = Run.state

    def spy(self, **parts):
        networks.update(parts)
        return state_of(self, **parts)

    monkeypatch.setattr(Run, "state", spy)
    guard("train_auxiliary", "f", "main")
    guard("train_main", "g", "auxiliary")
    lnl_kit.train("flywheel", out=tmp_path, **TINY)
    assert seen == {"train_auxiliary", "train_main"}


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A root of runs: what several tests train is trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize(
    "ablation",
    [
        {"confidence_regularizer": "lemma"},
        {"auxiliary": False},
        {"prior": "uniform"},
        pytest.param({"confidence_regularizer": 0.0}, marks=pytest.mark.slow),
        pytest.param({"epsilon": "fixed"}, marks=pytest.mark.slow),
        pytest.param({"contrastive": 0.0}, marks=pytest.mark.slow),
        pytest.param({"ramp": 4}, marks=pytest.mark.slow),
    ],
)
def test_every_ablation_trains_and_differs(shared, ablation):
    settings = TINY | {"epochs": 4}  # the prior counts from the second cycle on
    plain, other = (lnl_kit.train("flywheel", out=shared, **settings | changes) for changes in ({}, ablation))
    assert other.folder != plain.folder
    assert not np.array_equal(other.arrays["clean_score"], plain.arrays["clean_score"])


def test_what_is_logged(tmp_path):
    run = lnl_kit.train("flywheel", out=tmp_path, **TINY)
    n = len(run.labels["given"])
    assert run.arrays["clean_score"].shape == (n,) and run.arrays["new_labels"].shape == (n, 10)
    for name in ("transition", "transition_all"):
        assert np.allclose(run.arrays[name].sum(1), 1, atol=1e-5)
    assert [row["transition_error"] is None for row in run.metrics] == [True, False, False]
    assert all(0 < row["gamma"] < 1 for row in run.metrics)
    assert run.metrics[-1]["main_test_accuracy"] is not None
    # q is clean_score: by (4) from what the state holds
    saved = torch.load(run.folder / "state.pt", weights_only=True)["state"]
    assert np.array_equal(run.arrays["clean_score"], saved["q"].numpy())


def test_an_epoch_may_be_a_class_balanced_draw(tmp_path):
    """Only images that were drawn, or are about to be, are judged."""
    run = lnl_kit.train("flywheel", out=tmp_path, batches_per_epoch=1, batch_size=20, **TINY)
    judged = ~np.isnan(run.arrays["clean_score"])
    assert 20 < judged.sum() <= 4 * 20 and np.isfinite([m["loss"] for m in run.metrics]).all()


def test_e_steps_come_every_few_epochs(tmp_path):
    run = lnl_kit.train("flywheel", out=tmp_path, **TINY | {"epochs": 8, "warmup": 4, "cycle": 2})
    gamma = [m["gamma"] for m in run.metrics]
    assert gamma[0] == 1 and all(gamma[i] == gamma[i + 1] for i in (1, 3, 5)) and len(set(gamma)) == 5
    assert [m["selection_auc"] is None for m in run.metrics][:2] == [True, False]


def test_settings_refuse_impossible_values():
    for values in (
        {"warmup": 0},
        {"confidence_regularizer": -1},
        {"confidence_regularizer": "theorem"},
        {"confidence_regularizer": True},
        {"temperature": 0},
        {"mixup": 0},
        {"prior": "x"},
        {"epsilon": "x"},
        {"schedule": "x"},
        {"batches_per_epoch": 5},
        {"cycle": 0},
    ):
        with pytest.raises(ValueError, match=next(iter(values))):
            make(flywheel.Flywheel, **values)
