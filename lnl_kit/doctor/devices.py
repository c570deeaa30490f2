"""The processor and the GPUs: as the system describes them, at once, or as torch does, after its import."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from ..files.machine import bf16_in_cpu, cpu_name, free_memory

PATIENT = 2  # seconds that nvidia-smi may take
NEW_TORCH = "pip install --force-reinstall torch torchvision"


def without_torch(needed: list) -> list[dict]:
    """The processor and the GPUs, as the system describes them; torch is loaded as far as its libraries."""
    if reason := torch_problem():
        needed.append({"what": f"a torch that can be imported ({reason})", "get": NEW_TORCH})
        return []
    cpu = {"name": "cpu", "model": cpu_name(), "free_gb": round(free_memory() / 1e9, 1)}
    bf16 = bf16_in_cpu()
    devices = [cpu if bf16 is None else cpu | {"bf16_in_hardware": bf16}, *gpus_without_torch()]
    if (platform.system(), platform.machine()) == ("Darwin", "arm64"):
        devices.append({"name": "mps", "model": "taken when asked for, untested"})
    return devices


def torch_problem() -> str:
    """Why torch cannot be imported, as far as can be told without importing it whole; empty if it can."""
    if sys.modules.get("torch"):
        return ""
    try:
        spec = importlib.util.find_spec("torch")
        if spec is None or spec.origin is None:
            return "there is none"
        library = Path(spec.origin).with_name("lib") / "libtorch_python.so"
        if library.exists():
            ctypes.CDLL(str(library))
    except OSError:  # torch has ways of its own to find its libraries
        return imported()
    return ""


def imported() -> str:
    """Why torch cannot be imported; empty if it can."""
    try:
        import torch  # noqa: F401
    except Exception as error:  # a broken torch is what a doctor is asked about
        return f"{type(error).__name__}: {error}".splitlines()[0]
    return ""


def gpus_without_torch() -> list[dict]:
    """NVIDIA's GPUs that this process may use, as nvidia-smi describes them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if not (program := shutil.which("nvidia-smi")) or visible in ("", "-1"):
        return []
    asked = [
        program,
        "--query-gpu=name,memory.free,memory.total,compute_cap",
        "--format=csv,noheader,nounits",
    ]
    if visible:
        asked.append(f"--id={visible}")
    try:
        told = subprocess.run(asked, capture_output=True, text=True, timeout=PATIENT, check=True).stdout
        gpus = [[cell.strip() for cell in line.split(",")] for line in told.splitlines()]
        return [
            {
                "name": f"cuda:{number}",
                "model": name if built_for_cuda() else f"{name} (torch here is built without CUDA)",
                "free_gb": round(int(free) / 1024, 1),
                "total_gb": round(int(total) / 1024, 1),
                "bf16_in_hardware": float(capability) >= 8,
            }
            for number, (name, free, total, capability) in enumerate(gpus)
        ]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def built_for_cuda() -> bool:
    """What torch/version.py says, which is read as text."""
    spec = importlib.util.find_spec("torch")
    try:
        text = Path(spec.origin or "").with_name("version.py").read_text("utf-8") if spec else ""
    except OSError:
        return True
    return not re.search(r"^cuda\b[^=\n]*= None", text, re.M)


def of_torch(needed: list) -> list[dict]:
    """Each device that torch computes on, as torch sees it; the CPU first."""
    if reason := imported():
        needed.append({"what": f"a torch that can be imported ({reason})", "get": NEW_TORCH})
        return []
    import torch

    from ..run.device import device_name, supports_bf16

    cpu = torch.device("cpu")
    devices: list[dict] = [
        {
            "name": "cpu",
            "model": device_name(cpu).rpartition(",")[0],
            "free_gb": round(free_memory() / 1e9, 1),
            "bf16_in_hardware": supports_bf16(cpu),
        }
    ]
    if supports_bf16(cpu):  # where it is computed by rounding, measuring would take a while
        devices[0]["bf16_times_as_fast"] = bf16_speed()
    for number in range(torch.cuda.device_count()):
        gpu = torch.device("cuda", number)
        free, total = torch.cuda.mem_get_info(gpu)
        devices.append(
            {
                "name": f"cuda:{number}",
                "model": device_name(gpu),
                "free_gb": round(free / 1e9, 1),
                "total_gb": round(total / 1e9, 1),
                "bf16_in_hardware": supports_bf16(gpu),
            }
        )
    for kind in ("mps", "xpu"):
        backend = getattr(torch.backends, kind, None) or getattr(torch, kind, None)
        if backend is not None and backend.is_available():
            devices.append({"name": kind, "model": "taken when asked for, untested"})
    return devices


def bf16_speed() -> float:
    """How many times as fast the CPU multiplies matrices in bfloat16 as in float32, the best of three."""
    import torch

    def seconds(dtype) -> float:
        a = torch.ones(512, 512, dtype=dtype)
        times = []
        for _ in range(4):  # the first warms up
            started = time.perf_counter()
            a @ a
            times.append(time.perf_counter() - started)
        return min(times[1:])

    return round(seconds(torch.float32) / seconds(torch.bfloat16), 2)
