"""LCI: its equations by hand, its gradients, its theorem over random predictions."""

import copy

import numpy as np
import pytest
import torch

import lnl_kit
from lnl_kit.methods import label_confidence as lci
from lnl_kit.settings import make
from lnl_kit.toolbox import losses

TINY = {"epochs": 2, "train_size": 256, "progress": False}


def test_mapping_is_equation_6():
    s = make(lci.LabelConfidence, slope=0.5, margin=1.0)
    loss, mean = torch.tensor([0.0, 0.4, 1.4]), torch.tensor(0.5)
    expected = [1 / (1 + np.exp(-0.5 * (0.5 + 1 - v))) for v in loss.tolist()]
    assert lci.label_confidence(loss, mean, s).tolist() == pytest.approx(expected, abs=1e-6)


def test_hard_threshold_cuts_improbable_labels():
    s = make(lci.LabelConfidence, threshold=0.3)
    p = torch.tensor([0.29, 0.31, 0.9])
    loss = (1 - p**0.7) / 0.7
    assert (lci.label_confidence(loss, torch.tensor(0.5), s) > 0).tolist() == [False, True, True]


def test_confident_loss_is_the_batch_form_of_equation_8():
    g = torch.Generator().manual_seed(0)
    logits, c = torch.randn(5, 4, generator=g), torch.rand(5, generator=g)
    target = torch.rand(5, 4, generator=g).softmax(1)
    ce = [
        -sum(t * v for t, v in zip(target[i].tolist(), logits[i].log_softmax(0).tolist())) for i in range(5)
    ]
    s = make(lci.LabelConfidence, alpha=0.6)
    expected = 0.6 * sum(a * b for a, b in zip(c.tolist(), ce)) / sum(1 - v for v in c.tolist())
    assert lci.confident_loss(logits, target, c, s).item() == pytest.approx(expected, abs=1e-5)
    plain = make(lci.LabelConfidence, normalize_confidence=False)
    assert lci.confident_loss(logits, target, c, plain).item() == pytest.approx(
        np.mean([a * b for a, b in zip(c.tolist(), ce)]), abs=1e-5
    )


def test_corrected_labels_consistency_and_distance():
    given, predicted = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.2, 0.8]])
    assert lci.corrected(given, predicted).tolist() == [[pytest.approx(0.6), pytest.approx(0.4)]]
    z = torch.tensor([[2.0, 0.0]]), torch.tensor([[-1.0, 0.0]])
    p, q = (v.double().softmax(1).numpy()[0] for v in z)
    m = (p + q) / 2
    assert lci.consistency(*z).item() == pytest.approx(
        (p * np.log(p / m)).sum() / 2 + (q * np.log(q / m)).sum() / 2, abs=1e-6
    )
    a = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    b = copy.deepcopy(a)
    b[1].running_mean.add_(5)  # statistics do not count
    assert lci.distance(a, b).item() == 0
    with torch.no_grad():
        b[0].bias.add_(2)
    assert lci.distance(a, b).item() == pytest.approx(8)


def gradients(settings):
    """{term: which of the two networks it reaches} over one batch, by the code that training uses."""
    torch.manual_seed(0)
    robust = torch.nn.Linear(6, 4)
    free = torch.nn.Linear(6, 4)
    x, y = torch.randn(8, 6), torch.randint(0, 4, (8,))
    logits, free_logits = robust(x), free(x)
    loss = lci.robust_loss(settings, logits, y)
    c = lci.label_confidence(loss.detach(), torch.tensor(0.5), settings)
    target = lci.corrected(torch.nn.functional.one_hot(y, 4).float(), logits.detach().softmax(1))
    terms = {
        "robust": loss.mean(),
        "confident": lci.confident_loss(free_logits, target, c, settings),
        "penalty": lci.distance(robust, free),
    }
    reached = {}
    for name, term in terms.items():
        for net in (robust, free):
            net.zero_grad()
        term.backward(retain_graph=True)
        reached[name] = tuple(
            net.weight.grad is not None and bool(net.weight.grad.abs().sum() > 0) for net in (robust, free)
        )
    return reached


def test_the_robust_loss_reaches_one_network_the_penalty_both():
    assert gradients(make(lci.LabelConfidence)) == {
        "robust": (True, False),
        "confident": (False, True),
        "penalty": (True, True),
    }


def test_training_gives_each_network_only_its_own_gradient(tmp_path, monkeypatch):
    """Without penalty, the noise-robust network trains as it would alone: on the robust loss and nothing
    else.
    """
    ours = lnl_kit.train("label_confidence", out=tmp_path, penalty=0.0, **TINY)
    monkeypatch.setattr(lci, "confident_loss", lambda logits, *args: 0 * logits.sum())
    monkeypatch.setattr(lci, "consistency", lambda logits, other: 0 * logits.sum(1))
    alone = lnl_kit.train("label_confidence", out=tmp_path / "alone", penalty=0.0, **TINY)
    first, second = (torch.load(r.folder / "state.pt", weights_only=True)["state"] for r in (ours, alone))
    assert all(torch.equal(first["robust"][k], second["robust"][k]) for k in first["robust"])
    assert not all(torch.equal(first["free"][k], second["free"][k]) for k in first["free"])


def theorem_holds(g, alpha, tau, p, h):
    """Eq. (3) times n, both sides without their common part: |D_ce| R_L >= alpha |D_ce| R_CE, over
    predictions p (n,).
    """
    return h.sum() * g(p).mean() - alpha * (h * -np.log(p)).sum()


@pytest.mark.parametrize("name, g", [("gce", lambda p: (1 - p**0.7) / 0.7), ("mae", lambda p: 1 - p)])
def test_theorem_1_inside_and_outside_its_condition(name, g):
    """g'(1) = -1 for GCE and MAE, so alpha < 1 has a threshold below which CE must not be used, and alpha > 1
    none.
    """
    grid = np.linspace(1e-4, 1 - 1e-9, 200_001)

    def admissible(alpha):
        """The smallest tau with g(p) >= -alpha log p for every p in [tau, 1)."""
        fails = grid[g(grid) < -alpha * np.log(grid)]
        return fails.max() if len(fails) else 0.0

    assert admissible(0.5) < admissible(0.75) < admissible(0.9) < 1 and admissible(1.01) > 0.999
    if name == "gce":  # the numbers of our derivation
        assert [round(admissible(a), 2) for a in (0.5, 0.75, 0.9)] == [0.1, 0.42, 0.74]
    rng = np.random.RandomState(0)
    for alpha in (0.5, 0.75, 0.9):
        tau = admissible(alpha)
        for _ in range(200):
            p = np.clip(rng.beta(*rng.uniform(0.2, 5, 2), 500), 1e-6, 1 - 1e-9)
            h = np.where(p > tau, rng.uniform(0.1, 3) * (p - tau).clip(0), 0).clip(
                0, 1
            )  # decreasing in the loss, zero above
            assert theorem_holds(g, alpha, tau, p, h) >= -1e-9
    p, h = np.array([0.2, 0.99, 0.995]), np.array([0.9, 0.9, 0.9])  # no threshold, alpha outside
    assert theorem_holds(g, 2.0, 0.0, p, h) < 0


@pytest.mark.parametrize("loss", losses.ROBUST)
def test_any_robust_loss_will_do(tmp_path, loss):
    run = lnl_kit.train("label_confidence", out=tmp_path, robust_loss=loss, **TINY)
    assert (
        np.isfinite(run.arrays["clean_score"][~np.isnan(run.arrays["clean_score"])]).all()
        and run.metrics[-1]["loss"] > 0
    )


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A root of runs: what several tests train is trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize(
    "variant",
    [
        {"variant": "two_models"},
        {"variant": "single_model"},
        {"variant": "no_confidence"},
        {"threshold": 0.3},
        {"consistency": 0.0},
        {"normalize_confidence": False},
        {"margin": 2.0},
        {"slope": 5.0},
    ],
)
def test_every_variant_trains_and_differs(shared, variant):
    plain, other = (
        lnl_kit.train("label_confidence", out=shared, **TINY, **changes) for changes in ({}, variant)
    )
    assert np.abs(other.arrays["train_probs"] - plain.arrays["train_probs"]).max() > 1e-6


def test_without_confidence_no_cross_entropy_is_left(tmp_path, monkeypatch):
    """The control learns from the robust loss on corrected labels and from the two views alone."""
    targets = []
    loss_of = lci.robust_loss

    def spy(settings, logits, y):
        targets.append(y)
        return loss_of(settings, logits, y)

    monkeypatch.setattr(lci, "robust_loss", spy)
    monkeypatch.setattr(lci, "confident_loss", None)  # not to be called
    run = lnl_kit.train(
        "label_confidence",
        out=tmp_path,
        variant="no_confidence",
        **TINY | {"epochs": 4, "correct_after": 0.5},
    )
    soft = [y for y in targets if y.ndim == 2]
    assert len(soft) == len(targets) // 2
    one_hot = [bool((y.amax(1) == 1).all()) for y in soft]
    assert one_hot == sorted(one_hot, reverse=True) and {True, False} == set(one_hot)
    assert run.networks() and len(run.networks()) == 1


def test_the_new_labels_are_the_robust_networks_and_can_be_right_where_the_given_are_wrong(tmp_path):
    run = lnl_kit.train("label_confidence", out=tmp_path, **TINY | {"epochs": 4})
    new, given = run.arrays["new_labels"], run.labels["given"]
    assert np.allclose(new.sum(1), 1, atol=1e-4) and (new.argmax(1) != given).any()


def test_both_networks_start_from_the_same_weights_and_both_are_measured(tmp_path):
    run = lnl_kit.train("label_confidence", out=tmp_path, **TINY)
    assert {
        "robust_test_accuracy",
        "robust_train_accuracy_clean",
        "robust_train_accuracy_wrong",
        "train_accuracy_clean",
    } <= set(run.metrics[-1])


def test_settings_refuse_impossible_values():
    for values in (
        {"robust_loss": "x"},
        {"variant": "x"},
        {"q": 0},
        {"alpha": 0},
        {"slope": 0},
        {"consistency": -1},
        {"threshold": 1},
        {"mean_decay": 1},
        {"correct_after": 2},
    ):
        with pytest.raises(ValueError, match=next(iter(values))):
            make(lci.LabelConfidence, **values)
