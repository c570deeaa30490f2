"""Moving averages of a network's weights: a teacher that follows its student."""

from __future__ import annotations

import torch
from torch import nn


@torch.no_grad()
def update_teacher(
    teacher: nn.Module, student: nn.Module, decay: float, average_buffers: bool = False
) -> None:
    """Eq. (24) of NRD: teacher <- decay * teacher + (1 - decay) * student, in place, for all weights.

    BatchNorm's running statistics are the student's, or averaged likewise with `average_buffers`.
    """
    torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - decay)
    buffers = list(zip(teacher.buffers(), student.buffers()))
    for floating in (
        True,
        False,
    ):  # one launch a kind: a copy a buffer costs a GPU's step a tenth of its time
        pairs = [pair for pair in buffers if pair[0].is_floating_point() == floating]
        if not pairs:
            continue
        old, new = map(list, zip(*pairs))
        if average_buffers and floating:
            torch._foreach_lerp_(old, new, 1 - decay)
        else:
            torch._foreach_copy_(old, new)
