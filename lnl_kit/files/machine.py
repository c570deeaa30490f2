"""What the machine says of itself, without torch."""

from __future__ import annotations

import contextlib
import os
import platform
import re
from pathlib import Path


def free_memory() -> int:
    """Bytes of memory that are free: the system's, or less where a container has a limit; 4 GB where nothing
    tells.
    """
    free = []
    with contextlib.suppress(AttributeError, OSError, ValueError):  # Windows has none of these
        free.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    with contextlib.suppress(OSError):
        if line := re.search(r"MemAvailable:\s*(\d+)", Path("/proc/meminfo").read_text()):
            free.append(1024 * int(line[1]))
    with contextlib.suppress(OSError, ValueError):  # "max": no limit
        free.append(int(Path("/sys/fs/cgroup/memory.max").read_text()))
    return min(free, default=2**32)


def cpu_name() -> str:
    """What the processor is called."""
    return _of_cpu("model name") or platform.processor() or platform.machine()


def bf16_in_cpu() -> bool | None:
    """Whether the processor computes in bfloat16 (AVX512-BF16), as `run.device.supports_bf16` has it from
    torch; None where the system does not tell.
    """
    flags = _of_cpu("flags")
    return None if flags is None else "avx512_bf16" in flags.split()


def _of_cpu(name: str) -> str | None:
    with contextlib.suppress(OSError):
        if line := re.search(rf"^{name}\s*: (.+)", Path("/proc/cpuinfo").read_text(), re.M):
            return line[1]
    return None
