"""Losses corrected by an estimated transition matrix T[i, j] = P(given j | true i). Knowing how labels were
corrupted, the loss is corrected so that its minimum is that of clean labels. T is told
(`transition="known"`, synthetic noise only) or estimated from a network trained without correction.

- Forward and backward correction: Making Deep Neural Networks Robust to Label Noise: a Loss Correction
  Approach (Patrini, Rozza, Menon, Nock, Qu; CVPR 2017).
- T-Revision: Are Anchor Points Really Indispensable in Label-Noise Learning? (Xia, Liu, Wang, Han, Gong,
  Niu, Sugiyama; NeurIPS 2019). The loss is reweighted by T, then T is revised together with the network.
- Dual T: Reducing Estimation Error for Transition Matrix in Label-Noise Learning (Yao, Liu, Han, Gong,
  Deng, Niu, Sugiyama; NeurIPS 2020). T is estimated as two factors: from the true class to the class that
  the network predicts, and from that to the given label, which is counted. It is then used by forward
  correction.

Where this differs: the estimate of T takes, for class i, the image whose probability of i is the
`quantile`-th largest rather than the largest, as the releases do on CIFAR. Under `quick` the network that
estimates for forward and backward is trained for the same epochs as the corrected one; T-Revision's and
Dual T's for 20, as in their releases, of which they take the epoch with the best noisy validation
accuracy and this file the last. Backward correction can be negative, as in the paper. T-Revision's
network starts anew, not from the one that estimated; its learning rate drops at the recipe's shares of
the epochs before the revision. A class that is never predicted has no counts: Dual T takes its prediction
for the given label.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..files import RunError
from ..run.evaluate import predict
from ..run.fit import fit_epoch
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses
from ..toolbox.wide import wide


@dataclass(frozen=True, kw_only=True)
class Forward(Settings):
    """Forward correction: cross-entropy of the prediction after the noise, T transposed times p."""

    transition: str = "estimated"  # T: known (told; synthetic noise only), or estimated by a first network
    quantile: float = 0.97  # which image stands for a class in the estimate; 1 = the surest one, as printed
    estimate_epochs: int = 0  # of that first network; 0 = as many as of the corrected one

    family: ClassVar[str] = "a transition matrix"

    def __post_init__(self):
        super().__post_init__()
        refuse(
            self.transition not in ("known", "estimated"),
            f"transition {self.transition!r} does not exist: known or estimated",
        )
        refuse(not 0 < self.quantile <= 1, f"quantile {self.quantile} is outside (0, 1]")
        refuse(self.estimate_epochs < 0, f"estimate_epochs {self.estimate_epochs} is not allowed: 0 or more")

    @property
    def told(self) -> tuple[str, ...]:  # type: ignore[override]  # by the setting
        """What it is told: the true T, where asked for."""
        return ("true T",) if self.transition == "known" else ()

    def estimated(self, probs: Tensor, y: Tensor) -> Tensor:
        """T (K, K) from the first network's probabilities (N, K) and given labels (N,)."""
        return transition_of(probs, self.quantile)

    def matrix(self, T: Tensor) -> Tensor:
        """What the loss needs of T (K, K), once for all batches."""
        return T

    def loss(self, logits: Tensor, y: Tensor, T: Tensor) -> Tensor:
        """(B,) forward-corrected loss."""
        return losses.forward_corrected(logits, y, T)


@dataclass(frozen=True, kw_only=True)
class Backward(Forward):
    """Backward correction: the losses of all labels, mixed by the inverse of T."""

    # The mixed loss has no lower bound: rounded to bfloat16, logits run away within two epochs of digits.
    bears_bf16: ClassVar[bool] = False

    def matrix(self, T: Tensor) -> Tensor:
        """The inverse of T."""
        return inverse(T)

    def loss(self, logits: Tensor, y: Tensor, T: Tensor) -> Tensor:
        """(B,) backward-corrected loss, T being its inverse."""
        return mixed(logits, y, T)


@dataclass(frozen=True, kw_only=True)
class DualT(Forward):
    """Dual T: forward correction by two easier matrices, through the class that a network predicts."""

    estimate_epochs: int = 20  # of the network that estimates T, 0 = all; its release
    intermediate: bool = True  # through the predicted class; False = forward's estimate in as many epochs

    controls: ClassVar[dict] = {"one_matrix": {"intermediate": False}}

    def estimated(self, probs: Tensor, y: Tensor) -> Tensor:
        """T from the true class to the predicted one, times T from that to the given label."""
        T = super().estimated(probs, y)
        return T @ counted(probs.argmax(1), y, probs.shape[1]) if self.intermediate else T


@dataclass(frozen=True, kw_only=True)
class TRevision(Forward):
    """T-Revision: cross-entropy reweighted by T, then T is revised by a slack learned with the network."""

    estimate_epochs: int = 20  # of the network that estimates T, 0 = all; its release
    revise_from: float = 0.5  # share of the epochs after which T is revised; 200 of 400 in its release
    revision_learning_rate: float = 5e-7  # of Adam, for network and slack; its release

    search: ClassVar[dict] = {**Settings.search, "revision_learning_rate": (1e-7, 1e-3, "log")}
    controls: ClassVar[dict] = {"no_revision": {"revise_from": 1.0}}

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 < self.revise_from <= 1, f"revise_from {self.revise_from} is outside (0, 1]")
        refuse(
            not self.revision_learning_rate > 0,
            f"revision_learning_rate {self.revision_learning_rate} is not allowed: above 0",
        )


def train_correction(data: NoisyData, settings: Forward, run: Run) -> None:
    """Estimate T where it is not told, then train with the corrected loss."""
    T = told_or_estimated(data, settings, run)
    matrix = settings.matrix(T)
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, tested="network")
    for epoch in run.epochs(state, settings.epochs):
        fit_epoch(
            run,
            network,
            optimizer,
            data.batches(epoch, views=settings.view),
            lambda logits, y, idx: settings.loss(logits, y, matrix),
        )
        schedule.step()
        run.log(transition=T)


def train_t_revision(data: NoisyData, settings: TRevision, run: Run) -> None:
    """Reweight by T (Eq. 3), then learn the slack beside the network (Algorithm 1)."""
    T = told_or_estimated(data, settings, run)
    network, start = run.network(), max(1, round(settings.revise_from * settings.epochs))
    optimizer, schedule = run.sgd(network, dataclasses.replace(settings, epochs=start))
    slack = torch.zeros_like(T, requires_grad=True)
    adam = torch.optim.Adam(
        [*network.parameters(), slack],
        lr=settings.revision_learning_rate,
        weight_decay=settings.weight_decay,
    )
    state = run.state(
        network=network, optimizer=optimizer, schedule=schedule, slack=slack, adam=adam, tested="network"
    )
    for epoch in run.epochs(state, settings.epochs):
        revising = epoch >= start
        batches = data.batches(epoch, views=settings.view)
        if revising:
            fit_epoch(
                run,
                network,
                adam,
                batches,
                lambda logits, y, idx: reweighted(logits, y, T + slack, revising=True),
                "revision",
            )
        else:
            fit_epoch(run, network, optimizer, batches, lambda logits, y, idx: reweighted(logits, y, T))
            schedule.step()
        run.log(transition=T + slack.detach())


def told_or_estimated(data: NoisyData, settings: Forward, run: Run) -> Tensor:
    """T (K, K). Raises ValueError where it should be told and there is none."""
    refuse(
        settings.transition == "known" and data.transition is None,
        "transition known: only synthetic noise with a matrix has one (symmetric, asymmetric, pair_flip, "
        "matrix:FILE); use estimated",
    )
    if settings.transition == "known":
        return torch.as_tensor(data.transition, dtype=torch.float32, device=run.device)
    return run.stage("transition", lambda stage: estimate(stage, settings))


def estimate(stage: Run, settings: Forward) -> Tensor:
    """T (K, K) by a network trained with plain cross-entropy on the given labels."""
    data, network = stage.data, stage.network()
    epochs = settings.estimate_epochs or settings.epochs
    optimizer, schedule = stage.sgd(network, settings)
    state = stage.state(network=network, optimizer=optimizer, schedule=schedule, tested="network")
    for epoch in stage.epochs(state, epochs):
        fit_epoch(
            stage,
            network,
            optimizer,
            data.batches(epoch, views=settings.view),
            lambda logits, y, idx: losses.cross_entropy(logits, y),
        )
        schedule.step()
    return settings.estimated(predict([network], data.x, data, stage.autocast), data.y.cpu())


def transition_of(probs: Tensor, quantile: float) -> Tensor:
    """T (K, K) from probabilities (N, K): row i is that of the image at this quantile of p_i."""
    at = round(quantile * (len(probs) - 1))
    return torch.stack([probs[probs[:, i].argsort()[at]] for i in range(probs.shape[1])])


def counted(predicted: Tensor, y: Tensor, num_classes: int) -> Tensor:
    """P(given j | predicted l), (K, K), by counting predicted classes (N,) and given labels (N,)."""
    pairs = torch.bincount(predicted * num_classes + y, minlength=num_classes**2)
    counts = pairs.view(num_classes, num_classes).float()
    total = counts.sum(1, keepdim=True)
    return torch.where(total > 0, counts / total.clamp(min=1), torch.eye(num_classes))


def importance(p: Tensor, y: Tensor, T: Tensor) -> Tensor:
    """P(true = y) / P(given = y), (B,), of clean predictions p (B, K): p_y / (T^T p)_y."""
    noisy = (p @ T).clamp(min=losses.SMALLEST)
    return (p / noisy).gather(1, y[:, None])[:, 0]


def reweighted(logits: Tensor, y: Tensor, T: Tensor, revising: bool = False) -> Tensor:
    """Importance times cross-entropy, (B,); the weights have a gradient only while T is revised."""
    weight = importance(logits.float().softmax(1), y, T)
    return (weight if revising else weight.detach()) * losses.cross_entropy(logits, y)


def backward_loss(logits: Tensor, y: Tensor, T: Tensor) -> Tensor:
    """(T^-1 l)_y, (B,), l_j = -log p_j; Theorem 1. Unbiased; unbounded below for a nearly singular T."""
    return mixed(logits, y, inverse(T))


def mixed(logits: Tensor, y: Tensor, inverse: Tensor) -> Tensor:
    """The losses of all labels, mixed by T's inverse: (B,)."""
    return -(inverse[y] * logits.float().log_softmax(1)).sum(1)


def inverse(T: Tensor) -> Tensor:
    """T's inverse (K, K). Raises RunError where it has none."""
    found, info = torch.linalg.inv_ex(T.to(wide(T.device)))
    if bool(info) or not bool(found.isfinite().all()):
        raise RunError(
            "T is singular: two of its classes get the same labels, and backward correction needs its "
            "inverse; use forward, or a longer estimate (estimate_epochs)"
        )
    return found.float()


METHODS = {
    "forward": (train_correction, Forward),
    "backward": (train_correction, Backward),
    "t_revision": (train_t_revision, TRevision),
    "dual_t": (train_correction, DualT),
}
