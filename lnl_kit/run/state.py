"""The state of a run: the networks, optimisers and tensors that decide its future, saved and put back."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import torch
from torch import Tensor, nn

from ..files import RunError


def torch_bytes(value) -> memoryview:
    """`torch.save` into memory."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getbuffer()


def to_cpu(value):
    """The same nest of dictionaries and lists with every tensor detached on the CPU."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, dict):
        return {k: to_cpu(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(to_cpu(v) for v in value)
    return value


class State(dict):
    """The named parts of a run that decide its future: networks, optimisers, schedules, tensors."""

    tested: tuple[str, ...]
    also_tested: tuple[str, ...]
    done: int = 0

    def networks(self) -> list[nn.Module]:
        """The parts that are networks."""
        return [v for v in self.values() if isinstance(v, nn.Module)]

    def snapshot(self) -> dict:
        """Everything as plain tensors, numbers and dictionaries."""
        return {k: to_cpu(v if isinstance(v, Tensor) else v.state_dict()) for k, v in self.items()}

    def restore(self, saved: dict) -> None:
        """Put a snapshot back, in place."""
        for name, part in self.items():
            if isinstance(part, Tensor):
                with torch.no_grad():
                    part.copy_(saved[name])
            else:
                part.load_state_dict(saved[name])


def require_space(folder: Path, state: State, beside: int) -> None:
    """Refuse to start where the disk cannot hold the run: twice its state (the old and the new
    file, each with momentum still to come) and so many bytes beside.
    """
    need, free = 4 * len(torch_bytes(state.snapshot())) + beside, shutil.disk_usage(folder).free
    if free < need:
        raise RunError(
            f"{folder} has {free / 1e6:.0f} MB free and this run needs about {need / 1e6:.0f} MB: "
            "make room or choose another root with --out"
        )
