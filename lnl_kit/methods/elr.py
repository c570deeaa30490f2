"""ELR: Early-Learning Regularization Prevents Memorization of Noisy Labels (Liu, Niles-Weed, Razavian, Fernandez-Granda; 2020).

What a network predicts early, before it memorises, is kept as a running average per image, and the prediction is pulled
towards it.

Where this differs from the paper's release: predictions are kept away from 0 and 1 by 1e-4, as there, and before its first
update an image's target is 0, which leaves cross-entropy alone. lambda and beta are those of its CIFAR-10 experiments with
symmetric noise (Sec. 5 and its configuration); asymmetric: lambda 1, beta 0.9; CIFAR-100: lambda 7, beta 0.9.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import losses
from ..settings import Settings, refuse

SMALLEST = 1e-4  # predictions are kept in [SMALLEST, 1 - SMALLEST]


@dataclass(frozen=True, kw_only=True)
class ELR(Settings):
    """ELR: cross-entropy, and a pull towards a running average of the network's own predictions."""

    regularizer: float = 3.0  # lambda in (6), weight of the pull
    target_decay: float = 0.7  # beta in (9): share of the running average that stays at each look

    def __post_init__(self):
        super().__post_init__()
        refuse(self.regularizer < 0, f"regularizer {self.regularizer} is not allowed: 0 or more")
        refuse(not 0 <= self.target_decay < 1, f"target_decay {self.target_decay} is outside [0, 1)")


def train_elr(data, settings, run) -> None:
    """Eq. (6), batch by batch; the targets (9) carry no gradient."""
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    targets = torch.zeros(len(data), data.num_classes, device=run.device)  # t, the running average of the predictions
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, targets=targets, tested="network")
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
        seen = targets.sum(1) > 0
        run.log(clean_score=torch.where(seen, targets[torch.arange(len(data), device=run.device), data.y], float("nan")))


def updated(target: Tensor, p: Tensor, decay: float) -> Tensor:
    """Eq. (9): the running average (B, K) after another prediction p (B, K), made to sum to 1."""
    return decay * target + (1 - decay) * p / p.sum(1, keepdim=True)


def regularization(p: Tensor, target: Tensor) -> Tensor:
    """log(1 - <p, t>), (B,): the smaller, the more the prediction p (B, K) agrees with the target t (B, K); Eq. (6)."""
    return torch.log(1 - (p * target).sum(1))
