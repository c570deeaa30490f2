"""Where the time of a training loop goes: a profiler's trace of 20 steps, and a short table of it."""

from __future__ import annotations

import gzip
import shutil
import tempfile
from pathlib import Path
from typing import Any

from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from ..methods import METHODS
from .loop import BenchRun, make_run, settings_for, synchronise

STEPS = 20
WAITS = (
    "aten::item",
    "aten::_local_scalar_dense",
    "aten::nonzero",
    "cudaStreamSynchronize",
    "cudaDeviceSynchronize",
    "cudaMemcpyAsync",
)  # what makes Python wait for the GPU, or can


class ProfiledRun(BenchRun):
    """A run whose second epoch is watched by the profiler, kept as `self.profiler`."""

    def epochs(self, state, total):
        """Yield two epochs."""
        activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self.device.type == "cuda" else [])]
        self.begin(state, 0)
        yield 0
        synchronise(self.device)
        self.begin(state, 1)
        with profile(activities=activities) as self.profiler:
            yield 1
            synchronise(self.device)


def profile_loop(
    method: str, model: str, size: int, batch: int, device, trace: str | None = None, steps: int = STEPS
) -> dict:
    """A summary of 20 steps of the method's loop; the whole trace goes to `trace` (.json.gz), for
    chrome://tracing.
    """
    with tempfile.TemporaryDirectory() as folder:
        run: Any = make_run(model, size, steps, device, "auto", "off", Path(folder), batch, ProfiledRun)
        METHODS[method][0](run.data, settings_for(method, size, 2, batch), run)
        if trace:
            run.profiler.export_chrome_trace(f"{folder}/trace.json")
            with open(f"{folder}/trace.json", "rb") as plain, gzip.open(trace, "wb") as packed:
                shutil.copyfileobj(plain, packed)
    return summary(run.profiler, steps) | {"trace": trace and Path(trace).name}


def summary(profiler, steps: int, top: int = 12) -> dict:
    """Microseconds a step, by kernel and by what runs on the CPU, the share of the time in which the GPU has
    nothing to do (None without one), and how often a step calls what may wait for it.
    """
    averages = profiler.key_averages()

    def largest(which: str) -> list:
        chosen = sorted(averages, key=lambda e: -getattr(e, which))[:top]
        return [
            [e.key[:80], round(e.count / steps, 2), round(getattr(e, which) / steps, 1)]
            for e in chosen
            if getattr(e, which) > 0
        ]

    kernels = [
        (e.time_range.start, e.time_range.end) for e in profiler.events() if e.device_type == DeviceType.CUDA
    ]
    return {
        "kernels": largest("self_device_time_total"),
        "cpu": largest("self_cpu_time_total"),
        "gpu_idle": idle(kernels),
        "kernels_a_step": round(len(kernels) / steps, 1),
        "waits": {e.key: round(e.count / steps, 2) for e in averages if e.key in WAITS},
    }


def idle(spans: list[tuple[float, float]]) -> float | None:
    """The share of the time from the first start to the last end in which none of the spans (start, end)
    runs.
    """
    if not spans:
        return None
    spans = sorted(spans)
    busy, until = 0.0, spans[0][0]
    for start, end in spans:
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return 1 - busy / max(until - spans[0][0], 1e-12)
