"""How fast a bag of stacked networks trains, beside its members one after the other."""

from __future__ import annotations

import statistics
import time

import torch

from ..toolbox import losses, models
from ..toolbox.stacked import Stacked
from .bound import synchronise


def stacked_against_sequential(
    name: str, *, channels: int, size: int, members: int = 20, batch: int = 16, device="cpu", rounds: int = 7
) -> dict:
    """One row: seconds of a training step of all members, stacked and one after the other, in turns.

    batch: images of each member. On CUDA also under bf16 autocast, as in training. memory: the most held so
        far, in MB.
    """
    device = torch.device(device)
    torch.manual_seed(0)
    alone = [models.make(name, 2, channels).to(device) for _ in range(members)]
    for network in alone:
        network.to(memory_format=torch.channels_last)
    stacked = Stacked(alone)
    x = torch.randn(members, batch, channels, size, size, device=device)
    y = torch.randint(0, 2, (members, batch), device=device)
    batches = [v.contiguous(memory_format=torch.channels_last) for v in x]

    together, each = (
        training_step(stacked, x, y),
        [training_step(net, images, labels) for net, images, labels in zip(alone, batches, y)],
    )

    def seconds(steps):
        synchronise(device)
        started = time.perf_counter()
        for step in steps:
            step()
        synchronise(device)
        return time.perf_counter() - started

    times = [(seconds([together] * 3) / 3, seconds(each * 3) / 3) for _ in range(rounds + 1)][1:]
    ratios = [b / a for a, b in times]
    memory = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_memory()
    return {
        "case": f"stacked {name} {size}x{size}, {members} of them",
        "batch": batch,
        "stacked_seconds": statistics.median(t[0] for t in times),
        "sequential_seconds": statistics.median(t[1] for t in times),
        "ratio": statistics.median(ratios),
        "ratio_min": min(ratios),
        "ratio_max": max(ratios),
        "memory_megabytes": memory / 1e6,
    }


def training_step(net: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor):
    """A function that trains a network, or a stack of them, for one step on these images."""
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    device = images.device.type

    def step():
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            logits = net(images)
        losses.cross_entropy(logits.flatten(0, -2), labels.flatten()).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def peak_memory() -> int:
    """Bytes of memory that this process has had at most; 0 where the system does not tell (Windows)."""
    try:
        import resource
    except ImportError:
        return 0
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
