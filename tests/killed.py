"""Kill a process at every write: each point where it opens a file for writing, writes, syncs, renames,
removes or makes a folder. The process is a fork, which ends without any clean-up, as by SIGKILL.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path

EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def killed_at(n: int, place: Path, action: Callable[[], object]) -> bool:
    """Run `action` in a fork that ends before the n-th write below `place` (within it, for appended rows).
    True where it was killed, False where it came to its end before; AssertionError where it failed.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        try:
            _die_at(n, str(place))
            action()
            os._exit(0)
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9), f"the process failed instead of being killed at point {n}"
    return code == 9


def _die_at(n: int, place: str) -> None:
    """In this process, and for good: end at the n-th write below `place`."""
    left = [n]

    def point(within=None) -> None:
        left[0] -= 1
        if left[0] < 0:
            if within:
                within()
            os._exit(9)

    def hook(event: str, details: tuple) -> None:
        if event == "open":
            path, _, flags = details
            if isinstance(path, (str, bytes)) and flags & WRITING and os.fsdecode(path).startswith(place):
                point()
        elif event in EVENTS and _path(details, event).startswith(place):
            point()

    real_write, real_sync = os.write, os.fsync

    def write(file: int, content: bytes) -> int:
        if file > 2:
            point(lambda: real_write(file, content[: len(content) // 2]))
        return real_write(file, content)

    def sync(file: int) -> None:
        point()
        real_sync(file)

    os.write, os.fsync = write, sync
    sys.addaudithook(hook)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115 (as long as the process lives)


def _path(details: tuple, event: str) -> str:
    """What an event is about, also where it is named from an open folder, as `shutil.rmtree` does."""
    path = os.fsdecode(details[0]) if isinstance(details[0], (str, bytes, os.PathLike)) else ""
    folder = details[-1] if event in ("os.remove", "os.rmdir", "os.mkdir") else -1
    return os.path.join(os.readlink(f"/proc/self/fd/{folder}"), path) if folder >= 0 else path


def every_point(
    place: Path, prepare: Callable[[], object], action: Callable[[], object], check, step: int = 1
) -> int:
    """Kill `action` at each `step`-th of its points, each time after `prepare`, and call check(n) after each.
    Returns how many there were; it ends with the first time that it was not killed.
    """
    n = 0
    while True:
        prepare()
        killed = killed_at(n, place, action)
        check(n)
        if not killed:
            return n
        n += step
