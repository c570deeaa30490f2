"""Faults of the machine other than a write: what cannot be read, what is damaged, memory, signals, the clock,
two processes at once. Each is drawn from the number of its case.
"""

import contextlib
import errno
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from cases import SENTENCES
from kills import AT_EACH_WRITE, Whole, call, what_is_lost
from processes import COUNT_READS, FAIL_READ, Ended, forked
from tasks import Task, all_tasks, settle

import lnl_kit
from lnl_kit.label_errors.findings import open_findings

BY_HAND = "review and apply"
SHORT = 0.05  # seconds between two signals, at most


def answered(ended: Ended) -> str:
    """Empty where it ended well or with a sentence, else what is wrong."""
    if "Traceback" in ended.said:
        return f"a traceback: {ended.said[-1500:]}"
    if ended.status not in (0, 1, 2, 130):
        return f"ended with {ended.status}: {ended.said[-1500:]}"
    return ""


def files_of(root: Path) -> list[Path]:
    """What the kit has written so far."""
    return sorted(
        p for p in (root / "kit").rglob("*") if p.is_file() and p.stat().st_size and p.name != ".lock"
    )


def an_error_when_reading(task: Task, root: Path, draw: random.Random, seconds: float) -> str:
    """EIO at the n-th read of anything, also of what the user has."""
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        task.prepare(Path(folder))
        reads = call(task, Path(folder), fault=(Path(folder), COUNT_READS, 0, 0)).points
    return answered(call(task, root, fault=(root, FAIL_READ, draw.randrange(max(1, reads)), errno.EIO)))


def a_damaged_file(task: Task, root: Path, draw: random.Random, seconds: float) -> str:
    """Killed at some moment; then one of the files is cut off, gone or, where it has checksums, changed.

    Of a run or a search that had ended the parts are read, and it is made again as if by --fresh. What was
    decided by hand cannot be made again: there a sentence is right.
    """
    call(task, root, kill_after=draw.uniform(0.3, 1) * seconds)
    if not (files := files_of(root)):
        return ""
    path = draw.choice(files)
    how = draw.choice(("cut", "gone", "changed") if path.suffix in (".pt", ".npz") else ("cut", "gone"))
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(content[: draw.randrange(len(content))])
    else:
        at = draw.randrange(len(content))
        path.write_bytes(content[:at] + bytes([content[at] ^ draw.randrange(1, 256)]) + content[at + 1 :])
    finished = next((p for p in path.parents if (p / "summary.json").exists()), None)
    if finished and path.name != "summary.json" and task.name != BY_HAND:
        if wrong := answered(forked(lambda: read_parts(root, finished))):
            return f"{path.name} {how}, read: {wrong}"
        shutil.rmtree(finished)
        (root / "kit" / "runs" / "table.csv").unlink(missing_ok=True)  # whose row would be enough
    ended = call(task, root)
    if wrong := answered(ended):
        return f"{path.name} {how}: {wrong}"
    if ended.status == 0:
        return ""
    return "" if len(ended.said.strip()) > 10 else f"{path.name} {how}: ended with {ended.status}, no word"


def read_parts(root: Path, folder: Path) -> int:
    """All of a finished run, or of findings: each is there or says a sentence."""
    settle(root)
    with contextlib.suppress(*SENTENCES):
        is_run = (folder / "settings.json").exists()
        opened = lnl_kit.open_run(folder) if is_run else open_findings(folder)
        for part in ("settings", "summary", "metrics", "arrays", "history", "labels", "table", "classes"):
            with contextlib.suppress(*SENTENCES):
                getattr(opened, part, None)
        with contextlib.suppress(*SENTENCES):
            _ = hasattr(opened, "networks") and opened.networks()
    return 0


def a_clock_that_jumps_back(task: Task, root: Path, draw: random.Random, seconds: float) -> str:
    """All that a killed one wrote is from the future."""
    call(task, root, kill_after=draw.uniform(0, seconds))
    later = time.time() + draw.choice((60, 3600, 86400, 10**9))
    for path in files_of(root):
        os.utime(path, (later, later))
    return ""


def two_at_once(task: Task, root: Path, draw: random.Random, seconds: float) -> str:
    """The same command twice: one may be told that the other is at work."""
    ended: list[Ended] = []

    def one(wait: float) -> None:
        time.sleep(wait)
        ended.append(call(task, root))

    threads = [threading.Thread(target=one, args=(draw.uniform(0, seconds / 2),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answered(ended[0]) or answered(ended[1])


def too_little_memory(task: Task, root: Path, draw: random.Random, seconds: float) -> str:
    """Of address space, so that libraries below Python may end the process: that is no traceback of ours."""
    ended = call(task, root, memory=draw.randrange(4, 400) << 20)
    return "" if ended.status < 0 else answered(ended)


def signals(task: Task, root: Path, draw: random.Random, seconds: float) -> str:
    """SIGTERM or SIGINT, and once more at once."""
    again = draw.uniform(0, SHORT)
    blow = draw.choice((signal.SIGTERM, signal.SIGINT))
    ended = call(task, root, kill_after=draw.uniform(0, seconds), with_signal=blow, again_after=again)
    return "" if ended.status == -blow else answered(ended)


def a_worker_that_is_killed(task: Task, root: Path, draw: random.Random, seconds: float) -> str:
    """One of the processes that the command started, if there is one."""

    def whom(child: int) -> int | None:
        others = []
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if int(place.name) != child and os.getsid(int(place.name)) == child:
                    others.append(int(place.name))
            except OSError:
                continue
        return draw.choice(others) if others else None

    return answered(call(task, root, kill_after=draw.uniform(0, seconds), whom=whom))


def a_gpu_without_memory(task: Task, root: Path, draw: random.Random, seconds: float) -> str:
    """As torch says it, at the n-th layer."""
    left = [draw.randrange(40)]

    def struck(self, *args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total")
        return original(self, *args, **kwargs)

    original = torch.nn.BatchNorm2d.forward
    torch.nn.BatchNorm2d.forward = struck  # type: ignore[method-assign]
    try:
        ended = call(task, root)
    finally:
        torch.nn.BatchNorm2d.forward = original  # type: ignore[method-assign]
    return answered(ended)


Fault = Callable[[Task, Path, random.Random, float], str]
FAULTS: dict[str, Fault] = {
    f.__name__.replace("_", " "): f
    for f in (
        an_error_when_reading,
        a_damaged_file,
        a_clock_that_jumps_back,
        two_at_once,
        too_little_memory,
        signals,
        a_worker_that_is_killed,
        a_gpu_without_memory,
    )
}


def cases(first: int, whole: Whole) -> Iterator[tuple[str, dict | None, dict[str, Any]]]:
    """Case by case: (kind, fault or None, nothing to remember)."""
    tasks = all_tasks()
    names = list(FAULTS)
    while True:
        draw, what = random.Random(f"machine {first}"), names[first % len(names)]
        name = draw.choice(AT_EACH_WRITE) if what != "a worker that is killed" else "compare, 2 jobs"
        task = tasks[name]
        outcome, seconds, _ = whole.of(task)
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            root = Path(folder)
            task.prepare(root)
            wrong = FAULTS[what](task, root, draw, seconds)
            undecided = what == "a damaged file" and name == BY_HAND  # what is lost then is lost
            wrong = wrong or ("" if undecided else what_is_lost(task, root, outcome))
        fault = {"case": first, "task": name, "what": what, "wrong": wrong}
        yield what, fault if wrong else None, {}
        first += 1
