"""The widest floating-point numbers of a device."""

from __future__ import annotations

import torch

WITHOUT_FLOAT64 = ("mps", "xpu")  # Apple's GPUs have none, of Intel's only some


def wide(device: torch.device) -> torch.dtype:
    """float64, or float32 on devices that lack it."""
    return torch.float32 if device.type in WITHOUT_FLOAT64 else torch.float64
