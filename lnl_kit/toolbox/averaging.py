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
    for old, new in zip(teacher.buffers(), student.buffers()):
        if average_buffers and old.is_floating_point():
            old.lerp_(new, 1 - decay)
        else:
            old.copy_(new)
