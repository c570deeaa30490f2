"""Plain supervised training: the optimiser of the shared recipe, and an epoch whose step holds no idea."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from .settings import Settings

if TYPE_CHECKING:
    from .loop import Run


def fit_epoch(
    run: Run,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    batches: Iterable,
    loss: Callable[[Tensor, Tensor, Tensor], Tensor],
    term: str = "labels",
) -> None:
    """One step a batch on the mean of `loss(logits (B, K), given labels (B,), indices (B,)) -> (B,)`.

    run: a run or a stage. batches: of `NoisyData.batches`, one view. term: what the loss is called where it
        diverges.
    """
    forward = run.compiled(network)
    for x, y, idx in batches:
        with run.autocast():
            logits = forward(x)
        optimizer.zero_grad()
        run.total(**{term: loss(logits, y, idx).mean()}).backward()
        optimizer.step()


@contextlib.contextmanager
def slowed(optimizer: torch.optim.Optimizer, divisor: float) -> Iterator[None]:
    """Within it the learning rates are divided by `divisor`; afterwards they are what they were."""
    rates = [group["lr"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["lr"] /= divisor
    yield
    for group, rate in zip(optimizer.param_groups, rates):
        group["lr"] = rate


def sgd(networks: Sequence[nn.Module], settings: Settings, device: torch.device):
    """(SGD, schedule) by the recipe in `settings`, a parameter group for each network."""
    groups = [{"params": list(net.parameters())} for net in networks]
    optimizer = torch.optim.SGD(
        groups,
        lr=settings.learning_rate,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        nesterov=settings.nesterov,
        fused=device.type in ("cuda", "cpu"),
    )
    schedule: torch.optim.lr_scheduler.LRScheduler
    if settings.schedule == "cosine":
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.epochs)
    else:
        drops = [max(1, round(m * settings.epochs)) for m in settings.milestones]
        schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, drops, gamma=settings.gamma)
    return optimizer, schedule
