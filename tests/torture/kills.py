"""Campaigns that end processes: at random moments, at each system call that writes; and calls that fail."""

import errno
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from cases import SENTENCES
from processes import COUNT, FAIL_FROM_THEN_ON, FAIL_ONCE, KILL_BEFORE, KILL_HALFWAY, Ended, forked
from tasks import Task, all_tasks, settle
from tqdm.auto import tqdm

SLOW = {"reproduce": 0.01, "compare": 0.06, "find-errors": 0.12}  # what share of the kills; else as many each
FAULTS = {  # by name: (what happens, errno)
    "killed before": (KILL_BEFORE, 0),
    "killed half-way": (KILL_HALFWAY, 0),
    "disk full from then on": (FAIL_FROM_THEN_ON, errno.ENOSPC),
    "one I/O error": (FAIL_ONCE, errno.EIO),
    "read-only from then on": (FAIL_FROM_THEN_ON, errno.EROFS),
}
AT_EACH_WRITE = (
    "train ce on images",
    "train pu_distill on images",
    "train cores_star on features",
    "find-errors, networks",
    "find-errors, features",
    "review and apply",
    "compare, 1 jobs",
    "features of a folder",
    "decoding a folder",
)
# One write in so many, else each. Most of pu_distill's are those of its ten filters.
EVERY = {"train pu_distill on images": 7, "one I/O error": 3, "read-only from then on": 3}


class Whole:
    """What uninterrupted commands leave, found once each."""

    def __init__(self):
        self.known: dict[str, tuple[str, float, int]] = {}
        self.warm = False

    def begin(self) -> None:
        """Import here what the commands import: each fork would do it anew, and take longer than they do."""
        if not self.warm:
            tqdm.monitor_interval = 0  # no thread that a fork could surprise while it holds a lock,
            tqdm.set_lock(threading.RLock())  # and none that forks share: a killed one would keep it for ever
            for name in AT_EACH_WRITE:
                with tempfile.TemporaryDirectory(prefix="torture-") as folder:
                    task = all_tasks()[name]
                    task.prepare(Path(folder))
                    settle(Path(folder))
                    assert task.act(Path(folder)) == 0, f"{name} fails by itself"
            self.warm = True

    def of(self, task: Task) -> tuple[str, float, int]:
        """(outcome, seconds, system calls that write)."""
        self.begin()
        if task.name not in self.known:
            with tempfile.TemporaryDirectory(prefix="torture-") as folder:
                root = Path(folder)
                task.prepare(root)
                ended = call(task, root, fault=(root / "kit", COUNT, 0, 0) if task.alone else None)
                assert ended.status == 0, f"{task.name} fails by itself: {ended.said[-2000:]}"
                self.known[task.name] = (task.outcome(root), ended.seconds, ended.points)
        return self.known[task.name]


def call(task: Task, root: Path, **how) -> Ended:
    """The command in a fork."""

    def act() -> int:
        try:
            settle(root)
            return task.act(root)
        except KeyboardInterrupt:  # from Python, or before the command had begun
            return 130
        except SENTENCES as error:  # from Python: one sentence too
            print(error, file=sys.stderr)
            return 2 if "[Errno" not in str(error) else 70

    return forked(act, **how)


def what_is_lost(task: Task, root: Path, whole: str) -> str:
    """The same command again: empty where it ends as if nothing had happened, else what is wrong."""
    again = call(task, root)
    if again.status != 0:
        return f"the same command again ended with {again.status}: {again.said[-1500:]}"
    try:
        found = task.outcome(root)
    except Exception as error:
        return f"what is there cannot be read: {type(error).__name__}: {error}"
    return "" if found == whole else "the outcome differs from that of an uninterrupted command"


def at_random_moments(first: int, whole: Whole) -> Iterator[tuple[str, dict | None, dict]]:
    """Case by case: (kind, fault or None, what to remember). A case is a number, which decides all."""
    tasks = list(all_tasks().values())
    while True:
        rng = random.Random(f"kill {first}")
        task = rng.choice(tasks)
        if rng.random() > SLOW.get(task.group, 1.0) * (10 if task.group in SLOW else 1):
            task = rng.choice(tasks[:-8])
        outcome, seconds, _ = whole.of(task)
        moment, blow = (
            rng.uniform(0, seconds),
            rng.choice((signal.SIGKILL,) * 8 + (signal.SIGTERM, signal.SIGINT)),
        )
        with tempfile.TemporaryDirectory(prefix="torture-") as folder:
            root = Path(folder)
            task.prepare(root)
            ended = call(task, root, kill_after=moment, with_signal=blow)
            wrong = what_is_lost(task, root, outcome)
            if blow == signal.SIGINT and "Traceback" in ended.said:
                wrong = wrong or f"Ctrl-C ends in a traceback: {ended.said[-1500:]}"
        fault = {
            "case": first,
            "task": task.name,
            "seconds": round(moment, 4),
            "wrong": wrong,
            "by": int(blow),
        }
        yield task.group, fault if wrong else None, {}
        first += 1


def at_each_write(done: dict, whole: Whole) -> Iterator[tuple[str, dict | None, dict]]:
    """Every (fault, task, n-th write), or one in so many (EVERY); done: {"task, fault": the next n}."""
    tasks = all_tasks()
    for what, (how, number) in FAULTS.items():
        for name in AT_EACH_WRITE:
            task, key = tasks[name], f"{name}, {what}"
            outcome, _, points = whole.of(task)
            step = EVERY.get(name, 1) * EVERY.get(what, 1)
            for n in range(done.get(key, 0), points, step):
                wrong = _one_fault(task, outcome, how, n, number)
                fault = {"task": name, "what": what, "point": n, "of": points, "wrong": wrong}
                yield what, fault if wrong else None, {key: n + step}


def some_writes(first: int, whole: Whole) -> Iterator[tuple[str, dict | None, dict]]:
    """Some of those, drawn from a seed."""
    tasks = all_tasks()
    while True:
        rng = random.Random(f"write {first}")
        task, what = tasks[rng.choice(AT_EACH_WRITE)], rng.choice(list(FAULTS))
        outcome, _, points = whole.of(task)
        n = rng.randrange(points)
        wrong = _one_fault(task, outcome, FAULTS[what][0], n, FAULTS[what][1])
        fault = {"case": first, "task": task.name, "what": what, "point": n, "of": points, "wrong": wrong}
        yield what, fault if wrong else None, {}
        first += 1


def _one_fault(task: Task, outcome: str, how: int, n: int, number: int) -> str:
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        root = Path(folder)
        task.prepare(root)
        ended = call(task, root, fault=(root / "kit", how, n, number))
        wrong = ""
        if how in (FAIL_ONCE, FAIL_FROM_THEN_ON):
            if ended.status not in (0, 1, 2):
                wrong = f"ended with {ended.status}: {ended.said[-1500:]}"
            elif "Traceback" in ended.said:
                wrong = f"a traceback: {ended.said[-1500:]}"
        elif ended.status not in (0, -signal.SIGKILL):
            wrong = f"ended with {ended.status} instead of being killed: {ended.said[-1500:]}"
        return wrong or what_is_lost(task, root, outcome)


def chunk(cases, until: float, most: int) -> tuple[Counter, list[dict], dict]:
    """Cases until the time or their number is reached."""
    counts, faults, more = Counter(), [], {}
    for kind, fault, remember in cases:
        counts[kind] += 1
        more |= remember
        if fault:
            faults.append(fault)
            print("FAULT", fault, flush=True)
        if time.monotonic() > until or sum(counts.values()) >= most:
            break
    return counts, faults, more


def free_space_is_enough() -> bool:
    """A fault of the machine's own would count as one of the kit's."""
    return shutil.disk_usage(tempfile.gettempdir()).free > 1 << 30
