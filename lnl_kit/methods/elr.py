"""ELR and ELR+: Early-Learning Regularization Prevents Memorization of Noisy Labels (Liu, Niles-Weed,
Razavian, Fernandez-Granda; NeurIPS 2020).

What a network predicts early, before it memorises, is kept as a running average per image, and the prediction
is pulled towards it. ELR+ adds a second network, MixUp and averaged weights: each network's targets are what
the other one's averaged copy predicts; the mean of both networks is tested.

Where this differs from the paper's release: predictions are kept away from 0 and 1 by 1e-4, as there, and
before its first update an image's target is 0, which leaves cross-entropy alone. lambda and beta are those of
its CIFAR-10 experiments with symmetric noise (its configuration files); asymmetric: lambda 1, beta 0.9;
CIFAR-100: lambda 7, beta 0.9. ELR+'s slow start of lambda and its reweighting of the labels by the targets,
both for CIFAR-100 alone, are left out.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses, mixup
from ..toolbox.models import Classifier

SMALLEST = 1e-4  # predictions are kept in [SMALLEST, 1 - SMALLEST]


@dataclass(frozen=True, kw_only=True)
class ELR(Settings):
    """ELR: cross-entropy, and a pull towards a running average of the network's own predictions."""

    regularizer: float = 3.0  # lambda, weight of the pull
    target_decay: float = 0.7  # beta: share of the running average that stays at each look

    search: ClassVar[dict] = {
        **Settings.search,
        "regularizer": (0.5, 10.0, "log"),
        "target_decay": (0.5, 0.99),
    }
    family: ClassVar[str] = "a loss"

    def __post_init__(self):
        super().__post_init__()
        refuse(self.regularizer < 0, f"regularizer {self.regularizer} is not allowed: 0 or more")
        refuse(not 0 <= self.target_decay < 1, f"target_decay {self.target_decay} is outside [0, 1)")


def train_elr(data: NoisyData, settings: ELR, run: Run) -> None:
    """Cross-entropy and the pull, batch by batch; the targets carry no gradient."""
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    targets = torch.zeros(
        len(data), data.num_classes, device=run.device
    )  # t, the running average of the predictions
    state = run.state(
        network=network, optimizer=optimizer, schedule=schedule, targets=targets, tested="network"
    )
    forward = run.compiled(network)
    for epoch in run.epochs(state, settings.epochs):
        for x, y, idx in data.batches(epoch, views=settings.view):
            with run.autocast():
                logits = forward(x)
            p = logits.float().softmax(1).clamp(SMALLEST, 1 - SMALLEST)
            targets[idx] = updated(targets[idx], p.detach(), settings.target_decay)
            pull = settings.regularizer * regularization(p, targets[idx]).mean()
            optimizer.zero_grad()
            run.total(labels=losses.cross_entropy(logits, y).mean(), pull=pull).backward()
            optimizer.step()
        schedule.step()
        run.log(clean_score=agreement(targets, data.y))


@dataclass(frozen=True, kw_only=True)
class ELRPlus(ELR):
    """ELR+: ELR with two networks, MixUp, and targets from the other network's averaged weights."""

    mixup: float = 1.0  # of Beta(mixup, mixup), the share of the first of a pair; its release
    decay: float = 0.997  # of the averaged weights, step by step; its release

    family: ClassVar[str] = "two networks"
    networks: ClassVar[int] = 2

    def __post_init__(self):
        super().__post_init__()
        refuse(not self.mixup > 0, f"mixup {self.mixup} is not allowed: above 0")
        refuse(not 0 <= self.decay < 1, f"decay {self.decay} is outside [0, 1)")


def train_elr_plus(data: NoisyData, settings: ELRPlus, run: Run) -> None:
    """Each network in turn: cross-entropy under MixUp, pulled towards the other's averaged targets."""
    nets = [run.network() for _ in range(2)]
    averages = [copy.deepcopy(net).requires_grad_(False) for net in nets]
    sgd = [run.sgd(net, settings) for net in nets]
    targets = torch.zeros(2, len(data), data.num_classes, device=run.device)
    state = run.state(
        network_1=nets[0],
        network_2=nets[1],
        average_1=averages[0],
        average_2=averages[1],
        optimizer_1=sgd[0][0],
        optimizer_2=sgd[1][0],
        schedule_1=sgd[0][1],
        schedule_2=sgd[1][1],
        targets=targets,
        tested=("network_1", "network_2"),
    )
    for epoch in run.epochs(state, settings.epochs):
        for i, (net, average, other) in enumerate(zip(nets, averages, averages[::-1])):
            forward, target = run.compiled(net), targets[i]
            for step, (x, y, idx) in enumerate(data.batches(2 * epoch + i, views=settings.view)):
                with torch.no_grad(), run.autocast():
                    seen = other(x).float().softmax(1).clamp(SMALLEST, 1 - SMALLEST)
                target[idx] = updated(target[idx], seen, settings.target_decay)
                mix = mixup.draw(len(x), settings.mixup, x.device, own_half=True)
                with run.autocast():
                    logits = forward(mix(x))
                p = logits.float().softmax(1).clamp(SMALLEST, 1 - SMALLEST)
                onehot = torch.nn.functional.one_hot(y, data.num_classes).float()
                sgd[i][0].zero_grad()
                run.total(
                    labels=losses.cross_entropy(logits, mix(onehot)).mean(),
                    pull=settings.regularizer * regularization(p, mix(target[idx])).mean(),
                ).backward()
                sgd[i][0].step()
                average_weights(
                    average, net, min(settings.decay, 1 - 1 / (epoch * (len(data) // len(x)) + step + 2))
                )
            sgd[i][1].step()
        run.log(clean_score=agreement(targets.mean(0), data.y), new_labels=targets.mean(0))


@torch.no_grad()
def average_weights(average, network: Classifier, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network, in place; BatchNorm's statistics stay its own."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


def agreement(targets: Tensor, y: Tensor) -> Tensor:
    """(N,) target (N, K) of the given label (N,), NaN where the image has not been seen."""
    return torch.where(targets.sum(1) > 0, targets.gather(1, y[:, None])[:, 0], float("nan"))


def updated(target: Tensor, p: Tensor, decay: float) -> Tensor:
    """The running average (B, K) after another prediction p (B, K), made to sum to 1."""
    return decay * target + (1 - decay) * p / p.sum(1, keepdim=True)


def regularization(p: Tensor, target: Tensor) -> Tensor:
    """log(1 - <p, t>), (B,): smaller where the prediction p (B, K) agrees with the target t (B, K)."""
    return torch.log(1 - (p * target).sum(1))


METHODS = {
    "elr": (train_elr, ELR),
    "elr_plus": (train_elr_plus, ELRPlus),
}
