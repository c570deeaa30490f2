"""Linear probe: logistic regression on frozen features (NI-ERM, Zhu et al. 2024, "Label Noise: Ignorance Is
Bliss": on good features plain empirical risk minimisation resists noise).

The strength of the regularisation is the one under which given labels are most probable to heads that did not
see them (five folds). There is nothing to train by steps: the first epoch fits, and any others change
nothing.

`knn` beside it: each image's class is voted by its nearest neighbours' given labels, the number of neighbours
chosen in the same way among `NEIGHBOURS` (Bahri et al. 2020, "Deep k-NN for Noisy Labels").

Where this differs: probabilities of training images are out of sample (of the heads of other folds; of
neighbours without the image itself), which makes them scores of the labels. A network must be tested: the
probe's is a linear layer; that of knn is the linear layer that comes nearest to the votes.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..features import heads
from ..run.settings import Settings, refuse
from ..toolbox.folds import folds_of

NEIGHBOURS = (5, 10, 20, 50, 100, 200)
ROWS = 1024  # images a block of the similarity matrix
SMOOTHING = 1.0  # votes that are spread over all classes, so that no class is impossible


@dataclass(frozen=True, kw_only=True)
class LinearProbe(Settings):
    """Logistic regression on frozen features, regularised by cross-validation on given labels."""

    epochs: int = 1  # the fit is one
    folds: int = 5  # of the cross-validation

    needs_features = True
    family = "a loss"

    def __post_init__(self):
        super().__post_init__()
        refuse(self.folds < 2, f"folds {self.folds} is not allowed: at least 2")


@dataclass(frozen=True, kw_only=True)
class KNN(LinearProbe):
    """Votes of the nearest neighbours in frozen features, their number chosen by given labels."""


def train_linear_probe(data, settings, run) -> None:
    """Fit the head that is tested, and those that judge the training labels."""
    z, y, targets = prepared(data)
    network = run.network("head")
    state = run.state(network=network, tested="network")
    found = None
    for _ in run.epochs(state, settings.epochs):
        if found is None:
            fold = folds_of(y.cpu(), settings.folds, data.seed).to(z.device)
            found = heads.held_out(z, targets, fold, y)
            put(network, z, targets, found[1])
        probs, strength = found
        run.log(train_probs=probs, clean_score=probs.gather(1, y[:, None])[:, 0], strength=strength)


def train_knn(data, settings, run) -> None:
    """Vote, and fit a head to the votes."""
    z, y, _ = prepared(data)
    network = run.network("head")
    state = run.state(network=network, tested="network")
    found = None
    for _ in run.epochs(state, settings.epochs):
        if found is None:
            found = votes(z, y, data.num_classes)
            put(network, z, found[0], min(heads.STRENGTHS))
        probs, k = found
        run.log(train_probs=probs, clean_score=probs.gather(1, y[:, None])[:, 0], neighbours=k)


def prepared(data) -> tuple[Tensor, Tensor, Tensor]:
    """(features (N, d), given labels (N,), the same one-hot (N, K))."""
    z = data.x[:, :, 0, 0].float()
    return z, data.y, torch.nn.functional.one_hot(data.y, data.num_classes).to(z)


@torch.no_grad()
def put(network, z: Tensor, targets: Tensor, strength: float) -> None:
    """Fit one head on all images and write it into the network's linear layer."""
    W, b = heads.fit(
        z,
        targets,
        torch.ones(len(z), 1, device=z.device),
        torch.tensor([strength], device=z.device),
        steps=60,
    )
    network.head.weight.copy_(W[0].T)
    network.head.bias.copy_(b[0])


def votes(z: Tensor, y: Tensor, classes: int) -> tuple[Tensor, int]:
    """((N, K) shares of the given labels among an image's k nearest others by cosine, k): of NEIGHBOURS the k
    under which given labels are most probable.
    """
    unit = torch.nn.functional.normalize(z, dim=1)
    sizes = [k for k in NEIGHBOURS if k < len(z)] or [max(1, len(z) - 1)]
    found = {k: torch.empty(len(z), classes, device=z.device) for k in sizes}
    for start in range(0, len(z), ROWS):
        near = unit[start : start + ROWS] @ unit.T
        rows = torch.arange(len(near), device=z.device)
        near[rows, start + rows] = -2  # not itself
        labels = torch.nn.functional.one_hot(y[near.topk(sizes[-1], 1)[1]], classes).to(z)
        for k in sizes:
            found[k][start : start + ROWS] = (labels[:, :k].sum(1) + SMOOTHING / classes) / (k + SMOOTHING)
    likelihood = {k: p.gather(1, y[:, None]).log().mean().item() for k, p in found.items()}
    best = max(likelihood, key=lambda k: likelihood[k])
    return found[best], best
