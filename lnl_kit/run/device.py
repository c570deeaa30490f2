"""Devices: which there are, what they are called, whether bfloat16 is fast there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import platform

import torch

from ..files.machine import cpu_name

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # glibc's malloc.h


def supports_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is fast there: CUDA from Ampere on, CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        probe = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        return bool(probe())
    return False


def choose_precision(asked: str, device: torch.device, model: str, image_size: int) -> str:
    """bf16 or fp32, from `--precision` ("auto", "bf16" or "fp32").

    auto is bf16 where the hardware makes it fast, but fp32 on a CPU for networks that gain less than 1.5
    times by it (small_cnn at 16x16: 1.45 times on two idle cores with AMX, and a sixth of that beside a busy
    neighbour), so that the teaching runs have the same numbers on every CPU. What is chosen is in the run's
    hash. $LNL_PRECISION, if set, is what auto means (the tests run under both).
    """
    if asked != "auto":
        return asked
    if forced := os.environ.get("LNL_PRECISION"):
        return forced
    gains_little = device.type == "cpu" and (model, image_size <= 16) == ("small_cnn", True)
    return "bf16" if supports_bf16(device) and not gains_little else "fp32"


def keep_freed_memory() -> None:
    """Let this process keep the memory that tensors free. By default glibc returns large blocks to the system
    at once and gets them back as zeroed pages: about a tenth of a training step on a CPU. Does nothing
    without glibc.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            mallopt(option, value)


def device_name(device: torch.device) -> str:
    """A readable name of the device: the GPU's, or the CPU's with its number of threads in use."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xpu":
        return torch.xpu.get_device_name(device)
    if device.type == "mps":
        return f"{platform.processor() or platform.machine()}, mps"
    return f"{cpu_name()}, {torch.get_num_threads()} threads"


def find_device(name: str) -> torch.device:
    """The device asked for, or a sentence that says which are there.

    auto: CUDA if there is one, else the CPU. "mps" (Apple) and "xpu" (Intel) are taken where torch has them
    and when they are asked for; the kit is not tested on them.
    """
    there = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    if getattr(torch.backends, "mps", None) and torch.backends.mps.is_available():
        there.append("mps")
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        there += [f"xpu:{i}" for i in range(torch.xpu.device_count())]
    known = {*there, *(device.partition(":")[0] for device in there)}
    if name == "auto":
        return torch.device("cuda" if "cuda" in known else "cpu")
    if name not in known:
        raise ValueError(f"device {name!r} is not here: there are {', '.join(there)}")
    return torch.device(name)
