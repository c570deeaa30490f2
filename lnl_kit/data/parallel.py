"""Work on many image files at once, on all cores that this process may use."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

CHUNK = 256  # images a task


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_parallel(fn, paths: list[Path]) -> Iterator:
    """`fn` of parts of the paths, in order, on all cores. Threads: Pillow decodes without Python's lock."""
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    pool = ThreadPoolExecutor(cores())
    bar = tqdm(
        desc="decoding images",
        total=sum(map(len, chunks)),
        unit=" images",
        disable=len(chunks) < 8,
        leave=False,
        mininterval=1,
        file=sys.stderr,
    )
    try:
        for chunk, result in zip(chunks, pool.map(fn, chunks)):
            bar.update(len(chunk))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)  # on Ctrl-C, do not decode the rest first
        bar.close()
