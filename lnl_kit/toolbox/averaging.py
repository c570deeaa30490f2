"""Averages over time: weights of a teacher that follows its student, BatchNorm's statistics."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn


@torch.no_grad()
def update_teacher(
    teacher: nn.Module, student: nn.Module, decay: float, average_buffers: bool = False
) -> None:
    """Eq. (24) of NRD: teacher <- decay * teacher + (1 - decay) * student, in place, for all weights.

    BatchNorm's running statistics are the student's, or averaged likewise with `average_buffers`.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - decay)
    buffers = list(zip(teacher.buffers(), student.buffers()))
    # one launch a kind: a copy of each buffer alone is a seventh of the launches of a small network's step
    for floating in (True, False):
        pairs = [pair for pair in buffers if pair[0].is_floating_point() == floating]
        if not pairs:
            continue
        old, new = map(list, zip(*pairs))
        if average_buffers and floating:
            torch._foreach_lerp_(old, new, 1 - decay)
        else:
            torch._foreach_copy_(old, new)


@torch.no_grad()
def renew_statistics(
    network: nn.Module, images: Iterable[Tensor], autocast: Callable = contextlib.nullcontext
) -> None:
    """BatchNorm's statistics under the present weights: the plain mean over batches of images."""
    norms = [m for m in network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return
    momentum = norms[0].momentum
    for norm in norms:
        norm.reset_running_stats()
    with autocast():
        for i, x in enumerate(images):
            for norm in norms:
                norm.momentum = 1 / (i + 1)  # a plain mean; None, which asks for one, would wait for the GPU
            network(x)
    for norm in norms:
        norm.momentum = momentum
