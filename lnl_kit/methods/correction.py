"""Forward and backward correction: Making Deep Neural Networks Robust to Label Noise: a Loss Correction
Approach (Patrini, Rozza, Menon, Nock, Qu; CVPR 2017).

Knowing how labels were corrupted, T[i, j] = P(given j | true i), the loss is corrected so that its minimum is
that of clean labels. T is told (`transition="known"`, synthetic noise only) or estimated from a network
trained without correction.

Where this differs: the estimate of T takes, for class i, the image whose probability of i is the
`quantile`-th largest rather than the largest, as its release does on CIFAR. Under `quick` the network that
estimates is trained for the same epochs as the corrected one. Backward correction can be negative, as in the
paper.
"""

from __future__ import annotations

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

    def matrix(self, T: Tensor) -> Tensor:
        """What the loss needs of T (K, K), once for all batches."""
        return T

    def loss(self, logits: Tensor, y: Tensor, T: Tensor) -> Tensor:
        """(B,) forward-corrected loss."""
        return forward_loss(logits, y, T)


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


def train_correction(data: NoisyData, settings: Forward, run: Run) -> None:
    """Estimate T where it is not told, then train with the corrected loss."""
    refuse(
        settings.transition == "known" and data.transition is None,
        "transition known: only synthetic noise with a matrix has one (symmetric, asymmetric, pair_flip, "
        "matrix:FILE); use estimated",
    )
    if settings.transition == "known":
        T = torch.as_tensor(data.transition, dtype=torch.float32, device=run.device)
    else:
        T = run.stage("transition", lambda stage: estimate(stage, settings))
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
    return transition_of(predict([network], data.x, data, stage.autocast), settings.quantile)


def transition_of(probs: Tensor, quantile: float) -> Tensor:
    """T (K, K) from probabilities (N, K): row i is that of the image at this quantile of p_i."""
    at = round(quantile * (len(probs) - 1))
    return torch.stack([probs[probs[:, i].argsort()[at]] for i in range(probs.shape[1])])


def forward_loss(logits: Tensor, y: Tensor, T: Tensor) -> Tensor:
    """-log sum_i T[i, y] p_i, (B,), of logits (B, K); Theorem 2."""
    return -torch.log((logits.float().softmax(1) @ T).gather(1, y[:, None])[:, 0].clamp(min=losses.SMALLEST))


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
