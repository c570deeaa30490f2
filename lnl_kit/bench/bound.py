"""The net-only bound: the passes of a method's networks alone, on one resident batch."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable

import torch
from torch import Tensor

from ..methods import BASELINE, METHODS
from ..run.autocast import autocast
from ..run.device import supports_bf16
from ..run.loop import Run
from ..run.settings import Bound, make
from ..toolbox import losses
from ..toolbox.averaging import update_teacher


def synchronise(device) -> None:
    """Wait for the device's queue."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def net_only(run: Run, bound: Bound, precision: str, compile: str, captured: bool = False):
    """A function `steps(n)`: the bound's work on one resident batch, n times, and the seconds it took.

    captured: as one CUDA graph, in which the kernels follow each other without waiting for Python.
    """
    batch = run.data.batch_size
    x, y = run.data.normalise(run.data.x[:batch]), run.data.y[:batch]
    workers = [worker(run, bound, x, y, precision, compile, *network) for network in bound.networks]

    def once() -> None:
        for step in workers:
            step()

    if captured:
        once = replayed(once)

    def steps(n: int) -> float:
        synchronise(run.device)
        started = time.perf_counter()
        for _ in range(n):
            once()
        synchronise(run.device)
        return time.perf_counter() - started

    return steps


def worker(
    run: Run,
    bound: Bound,
    x: Tensor,
    y: Tensor,
    precision: str,
    compile: str,
    with_gradient: int,
    without: int,
    average: bool,
) -> Callable[[], None]:
    """A function that does one step's work on one network.

    x (B, C, H, W), y (B,): the batch. with_gradient, without: how often it passes the network with gradient,
    and a teacher without. average: whether the teacher is the network's moving average.
    """
    network = run.network()
    teacher = copy.deepcopy(network).requires_grad_(False)
    model = bound.heads(network, x.shape[1:], run.data.num_classes).to(x.device) if bound.heads else network
    optimizer, _ = run.sgd(model, make(METHODS[BASELINE][1]))
    forward, teacher_forward = (
        net if compile == "off" else torch.compile(net, mode=compile) for net in (model, teacher)
    )
    seen, labels = (
        (x,) * 2 if bound.heads else (torch.cat([x] * with_gradient),),
        y.repeat(with_gradient),
    )
    labelled = torch.cat([x] * without) if without else None

    def cast():
        return autocast(run.device, precision == "bf16")

    def step() -> None:
        if without:
            with torch.no_grad(), cast():
                teacher_forward(labelled)
        with cast():
            out = forward(*seen)
        logits, *others = out if bound.heads else (out,)
        loss = losses.cross_entropy(logits, labels).mean() + sum(o.float().square().mean() for o in others)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if average:
            update_teacher(teacher, network, 0.99)

    return step


def replayed(step):
    """A function that replays `step` as one CUDA graph."""
    beside = torch.cuda.Stream()
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):  # what is set up once (momentum, workspaces) must exist before
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(beside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def fastest(run: Run, bound: Bound, compiles, precisions=None) -> tuple[str, str, Callable[[int], float]]:
    """(precision, compile, steps) of the fastest setting on this machine."""
    tried = []
    for precision in precisions or (("fp32", "bf16") if supports_bf16(run.device) else ("fp32",)):
        for compile in compiles:
            steps = net_only(run, bound, precision, compile)
            steps(2)
            tried.append((min(steps(2) for _ in range(3)), precision, compile, steps))
    return min(tried, key=lambda t: t[0])[1:]
