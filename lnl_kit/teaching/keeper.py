"""The process between the grader and a learner's: it ends all that a notebook has started when the notebook's
time is over or it takes too much. On Linux; elsewhere there is none.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

from .limits import Limits

PROCESSES = 64  # that a notebook may have at a time
TOO_MUCH, TOO_MANY = 98, 99  # exit statuses
LOOK = 0.2  # seconds between two looks
CHILD_SUBREAPER, PARENT_DEATH_SIGNAL = 36, 1  # linux/prctl.h


def keep(limits: Limits) -> None:
    """Return in a child of this process, which stays: the child's orphans become its own.

    It ends when the child has ended (with its status), when it is told to (SIGTERM), when all together have
    more memory than `limits.memory` (status TOO_MUCH), or when they are more than PROCESSES (TOO_MANY), and
    ends all of them before.
    """
    if sys.platform != "linux":
        return
    prctl = ctypes.CDLL(None).prctl
    prctl(CHILD_SUBREAPER, 1, 0, 0, 0)
    prctl(PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    waited = {signal.SIGCHLD, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    child = os.fork()
    if child == 0:
        prctl(PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited)
        os.setsid()
        return
    status = None
    while status is None:
        told = signal.sigtimedwait(waited, LOOK)
        if told and told.si_signo == signal.SIGTERM:
            status = 0
        elif (ended := _reaped(child)) is not None:
            status = ended
        elif len(pids := descendants()) > PROCESSES:
            status = TOO_MANY
        elif sum(map(memory_of, pids)) > limits.memory:
            status = TOO_MUCH
    _end_all()
    if status < 0:
        import resource  # only Unix has it

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(max(0, status))


def _reaped(child: int) -> int | None:
    """How the child ended, as `os.waitstatus_to_exitcode` says it; None while it runs. Reaps orphans too."""
    ended = None
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            if found[0] == child:
                ended = os.waitstatus_to_exitcode(found[1])
    return ended


def _end_all() -> None:
    """Kill what descends from this process until nothing does; by groups, so that none can start others."""
    while groups := set(descendants().values()):
        for group in groups:
            with contextlib.suppress(OSError):
                os.killpg(group, signal.SIGKILL)
        signal.sigtimedwait({signal.SIGCHLD}, 0.02)
        _reaped(0)


def descendants() -> dict[int, int]:
    """{process: its group} of those that this one, or one of them, has started or inherited."""
    children: dict[int, list[int]] = {}
    groups: dict[int, int] = {}
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError, ValueError):  # it has ended meanwhile
                _, parent, group = (place / "stat").read_bytes().rpartition(b")")[2].split()[:3]
                children.setdefault(int(parent), []).append(int(place.name))
                groups[int(place.name)] = int(group)
    found, todo = [], [os.getpid()]
    while todo:
        todo += (here := children.get(todo.pop(), []))
        found += here
    return {pid: groups[pid] for pid in found}


def memory_of(pid: int) -> int:
    """Bytes that a process has written to and that are in memory: of its own or shared without a file."""
    with contextlib.suppress(OSError):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon", "RssShmem")))
    return 0
