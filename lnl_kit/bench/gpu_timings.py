"""Steps a, c, d, e of `lnl_kit.bench.gpu`: what is timed, with nothing else beside it."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

import torch

from ..methods import METHODS
from ..run.device import device_name
from ..run.identity import versions
from ..toolbox import augment
from . import loop as bench
from .augment import throughput
from .bound import net_only
from .gpu_profile import profile_loop
from .stacked import stacked_against_sequential

GOAL = 0.90  # of the net-only bound: a loop below it is profiled


def warm(device: str) -> dict:
    """Set up the device and load the kernels of a training step, so that no later job is timed with it."""
    return {"name": device_name(torch.device(device))} | rate(device, 0.1, 32)


def device(device: str, matmul: int) -> dict:
    """What is there, and its peaks: products of bf16 matrices, memory copied, and the time to launch a
    kernel.
    """
    found: dict[str, Any] = {
        "name": device_name(torch.device(device)),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "versions": versions() | {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()},
    }
    if device.startswith("cuda"):
        p = torch.cuda.get_device_properties(device)
        found |= {
            "memory_gigabytes": p.total_memory / 1e9,
            "processors": p.multi_processor_count,
            "capability": f"{p.major}.{p.minor}",
            "driver": driver(),
        }
    a = torch.randn(matmul, matmul, device=device, dtype=torch.bfloat16)
    x = torch.zeros(matmul * matmul, device=device)
    seconds = best_of(lambda: a @ a, device)
    copied = best_of(lambda: x.clone(), device)
    tiny = torch.zeros(1, device=device)

    def launches():
        for _ in range(1000):
            tiny.add_(1)

    return found | {
        "bf16_teraflops": 2 * matmul**3 / seconds / 1e12,
        "gigabytes_per_second": 2 * 4 * x.numel() / copied / 1e9,
        "launch_microseconds": best_of(launches, device) * 1000,
    }


def driver() -> str | None:
    """The driver's version, as nvidia-smi says it; None where it does not."""
    try:
        asked = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return asked.stdout.strip() or None


def best_of(call, device: str, times: int = 10) -> float:
    """Seconds of the fastest call, after a warm-up."""
    found = []
    for _ in range(times + 1):
        bench.synchronise(torch.device(device))
        started = time.perf_counter()
        call()
        bench.synchronise(torch.device(device))
        found.append(time.perf_counter() - started)
    return min(found[1:])


def loop(
    device: str, method: str, model: str, batch: int, trace: str | None = None, profiled: int = 20, **asked
) -> dict:
    """The loop against its net-only bound; where it is below the goal, `profiled` steps are profiled if a
    `trace` is asked for.
    """
    row = bench.loop_over_bound(method, model, 32, device=torch.device(device), batch=batch, **asked)
    row |= {"method": method, "model": model}
    if row["ratio"] < GOAL and trace:
        try:
            row["profile"] = profile_loop(method, model, 32, batch, torch.device(device), trace, profiled)
        except Exception as error:  # the ratio is worth more
            traceback.print_exc()
            row["profile"] = {"error": f"{type(error).__name__}: {error}"}
    return row


def graph(device: str, method: str, model: str, batch: int, steps: int = 20) -> dict:
    """The bound as one CUDA graph, beside the same without: what waiting for Python costs."""
    with tempfile.TemporaryDirectory() as folder:
        run = bench.make_run(model, 32, 2, torch.device(device), "auto", "off", Path(folder), batch)
        found = {"case": f"{method} {model} 32x32", "batch": batch}
        for name, captured in (("eager", False), ("graph", True)):
            if captured and not device.startswith("cuda"):
                continue
            do = net_only(run, METHODS[method][1].bound, run.precision, "off", captured)
            do(steps)
            found[f"{name}_images_per_second"] = (
                steps * batch / statistics.median(do(steps) for _ in range(5))
            )
    return found


def augmentation(device: str, seconds: float) -> dict:
    """Images a second of the views that the methods use, drawn and applied on the device."""
    found = {}
    for name in ("crop", "randaugment", "augmix", "strong", "autoaugment"):
        view = augment.view(name)
        assert view is not None  # only "none" is none
        found[name] = throughput(view, seconds=seconds, device=device)
    return {"images_per_second": found}


def stacked(device: str, model: str, members: int, batch: int) -> dict:
    """PUDistill's filters, stacked and one after the other."""
    return stacked_against_sequential(
        model, channels=3, size=32, members=members, batch=batch, device=device, rounds=3
    )


class TimedRun(bench.BenchRun):
    """A run that yields epochs until `until`, and counts them."""

    until, counted = 0.0, 0

    def epochs(self, state, total):
        """Yield epochs; the first is a warm-up and not counted."""
        self.begin(state, 0)
        yield 0
        bench.synchronise(self.device)
        self.began = time.perf_counter()
        self.until += self.began
        while not self.counted or time.perf_counter() < self.until:
            self.begin(state, 1)
            yield 1
            bench.synchronise(self.device)
            self.counted += 1
        self.took = time.perf_counter() - self.began


def rate(device: str, seconds: float, batch: int) -> dict:
    """Images a second of cross-entropy's loop on the small network, for about so many seconds."""
    with tempfile.TemporaryDirectory() as folder:
        run = bench.make_run(
            "airbench",
            32,
            max(2, 8192 // batch) if device.startswith("cuda") else 2,
            torch.device(device),
            "auto",
            "off",
            Path(folder),
            batch,
            TimedRun,
        )
        run.until = seconds
        METHODS["ce"][0](run.data, bench.settings_for("ce", 32, 2, batch), run)
    return {"images_per_second": run.counted * len(run.data) / run.took}
