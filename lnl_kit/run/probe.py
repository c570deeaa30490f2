"""How long a training takes and how much memory, from two batches: the method itself runs on a few images.

A method may do several things in turn: stages before it, epochs of a warm-up, epochs in which it looks at
all images again. So its own loop runs on two batches of images at the first epoch, the last, and some
between; the rest is arithmetic: costs grow with the number of images.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import tempfile
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.batches import NoisyData
from ..files import Hold, save_atomically
from .evaluate import Evaluator, history_epochs
from .loop import Run
from .state import State, torch_bytes

BUDGET = 0.25  # seconds after which no other epoch is looked at


class NoCompiler(types.ModuleType):
    """Stands in for torch._dynamo where nothing is compiled: optimisers import it at their first step, to
    tell a compiler what to leave out, and that takes as long as importing torch.
    """

    def __init__(self):
        super().__init__("torch._dynamo")
        self.told: list[Callable] = []

    def disable(self, function: Callable, *_, **__) -> Callable:
        """The function as it is."""
        self.told.append(function)
        return function

    def graph_break(self, *_, **__) -> None:
        """Nothing is compiled, so nothing is to be interrupted."""

    def __getattr__(self, name: str) -> Any:
        """Whatever else is asked of it is asked of the real one."""
        self.leave()
        return getattr(importlib.import_module("torch._dynamo"), name)

    def leave(self) -> None:
        """Make room for the real one, as if nothing had been."""
        if sys.modules.get("torch._dynamo") is self:
            del sys.modules["torch._dynamo"]
        while self.told:
            vars(self.told.pop()).pop("__dynamo_disable", None)


@contextlib.contextmanager
def without_compiler(compile: str) -> Iterator[None]:
    """Within: no import of torch's compiler, where it is neither there already nor asked for."""
    if compile != "off" or "torch._dynamo" in sys.modules:
        yield
        return
    stand_in = sys.modules["torch._dynamo"] = NoCompiler()
    try:
        yield
    finally:
        stand_in.leave()


@dataclass
class Costs:
    """What a probe has seen: seconds on the images of the probe, and what does not depend on their number."""

    training: float = 0.0  # of all epochs, and of stages outside their epochs
    testing: float = 0.0  # of all evaluations on the probe's test images
    looking: float = 0.0  # of all evaluations of the probe's training images
    saving: float = 0.0  # of all checkpoints
    checkpoint: int = 0  # bytes of the largest
    networks: list[tuple[str, int]] = field(default_factory=list)  # (name, weights) of those in the state


class ProbeRun(Run):
    """A run of which some epochs are timed, and stages one of each kind; nothing is kept."""

    pretrained = False

    def __init__(self, folder: Path, **more: Any):
        super().__init__(folder, **more)
        self.costs = Costs()
        self.in_epochs = 0.0
        self._known: dict[str, tuple[Any, Costs]] = {}

    def _seconds(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def epochs(self, state: State, total: int):
        """Yield the first epoch twice, as the first time warms up; then, while there is time, the last and
        some between.
        """
        began = self._seconds()
        seen: dict[int, float] = {}
        quarters = [total - 1, total - 1, total // 2, total // 4, 3 * total // 4, total // 8]
        for epoch in (0, 0, *quarters):
            started = self._seconds()
            if seen and started - began > BUDGET:
                break
            self.begin(state, epoch)
            yield epoch
            took = self._seconds() - started
            seen[epoch] = min(took, seen.get(epoch, took))
        epochs = sorted(seen)
        self.costs.training += float(np.interp(range(total), epochs, [seen[e] for e in epochs]).sum())
        self._evaluate(state, total)
        self.in_epochs += self._seconds() - began

    def _evaluate(self, state: State, total: int) -> None:
        """Time one evaluation and one checkpoint, of as many as there will be."""
        tested, times = [state[name] for name in state.tested], []
        for _ in range(2):
            started = self._seconds()
            self.evaluator.test(tested, self.autocast)
            times.append(self._seconds() - started)
        looks = len(history_epochs(total))
        self.costs.testing += total * min(times) + looks * len(state.also_tested) * min(times)
        self.costs.looking += looks * (1 + len(state.also_tested)) * min(times)
        started = self._seconds()
        content = torch_bytes(state.snapshot())
        save_atomically(self.folder / "state.pt", content, durable=True)
        self.costs.saving += total * (self._seconds() - started)
        self.costs.checkpoint = max(self.costs.checkpoint, len(content))
        self.costs.networks = [
            (
                getattr(net, "spec", {}).get("name", type(net).__name__),
                sum(p.numel() for p in net.parameters()),
            )
            for net in state.networks()
        ]

    def stage(self, name: str, fn: Callable[[Run], Any], depends: dict | None = None) -> Any:
        """One stage of each kind (`bag-0-1` is a bag) is carried out; the others cost as much and return
        the same.
        """
        kind = name.partition("-")[0]
        if kind not in self._known:
            child, started = self._child(self.folder, self.seed, name), self._seconds()
            result = fn(child)
            child.costs.training += max(0.0, self._seconds() - started - child.in_epochs)
            self._known[kind] = result, child.costs
        result, costs = self._known[kind]
        for part in ("training", "testing", "looking", "saving"):
            setattr(self.costs, part, getattr(self.costs, part) + getattr(costs, part))
        self.costs.checkpoint = max(self.costs.checkpoint, costs.checkpoint)
        return result

    def _child(self, folder: Path, seed: int, name: str, held: Hold | None = None) -> ProbeRun:
        child = super()._child(folder, seed, name)
        return ProbeRun(folder, **_arguments(child))


def _arguments(run: Run) -> dict[str, Any]:
    """What a run like this one is made with."""
    names = "data evaluator model seed precision compile progress root name images".split()
    return {name: getattr(run, name) for name in names}


def probe(
    train: Callable[[NoisyData, Any, Run], None],
    settings: Any,
    data: NoisyData,
    evaluator: Evaluator,
    **how: Any,
) -> Costs:
    """What the method costs on these few images; how: model, seed, precision and compile of `Run`.

    Nothing is said and nothing kept; the random numbers of the caller go on as if nothing had been. Raises
    what the method raises on so few images.
    """
    devices = [data.device] if data.device.type == "cuda" else []
    with (
        tempfile.TemporaryDirectory() as place,
        contextlib.redirect_stderr(io.StringIO()),
        torch.random.fork_rng(devices=devices),
        without_compiler(how["compile"]),
    ):
        run = ProbeRun(Path(place), data=data, evaluator=evaluator, progress=False, name="probe", **how)
        train(data, settings, run)
        return run.costs
