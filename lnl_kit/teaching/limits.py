"""What a process may do that runs a learner's code: time, memory, size of files, and where it may write.

Two fences. Landlock, of the Linux kernel (5.13 and newer, no root needed), holds whatever the code does: it
may write in its own folder alone, read what Python needs and nothing else, and, where the kernel is new
enough, open no TCP connection (6.7) and signal no other process (6.12). Everywhere, a hook of Python refuses
the same things by a sentence: it stops mistakes, not somebody who means to get round it. README, "Teaching",
says what is not limited.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

# linux/landlock.h: what can be done with files, one bit each, and the version of the kernel's Landlock
# that knows the first so many of them
READ = 0b1101  # execute, read a file, list a folder; bit 1 is to write a file
DEVICE = 0b110  # read and write a file
KNOWN = {1: 13, 2: 14, 3: 15, 5: 16}
TCP, ABSTRACT_SOCKETS_AND_SIGNALS = 0b11, 0b11
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446  # system calls, the same on every processor
PATH_BENEATH, NO_NEW_PRIVILEGES = 1, 38
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/sbin", "/etc", "/opt", "/proc", "/sys", "/nix/store")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random", "/dev/full")

WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
PATHS = {  # events of Python: how many of their first arguments are paths that are changed
    "os.remove": 1,
    "os.rmdir": 1,
    "os.mkdir": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.truncate": 1,
    "os.chmod": 1,
    "os.chown": 1,
    "os.utime": 1,
    "shutil.rmtree": 1,
}
NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo")
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn")
SIGNALS = ("os.kill", "os.killpg")


class Limits(NamedTuple):
    """Of one notebook."""

    seconds: int = 600
    cell_seconds: int = 120
    memory: int = 4 * 2**30  # bytes that it may write to
    file: int = 2**28  # bytes of a file


def restrict(limits: Limits, own: Path, readable: Iterable[Path]) -> int:
    """Limit this process and what it starts, for good; to be called before it has threads.

    own: the folder that may be written; readable: what may be read beside the system's folders. Returns the
    version of Landlock that holds, 0 where there is none.
    """
    import resource  # only Unix has it

    kinds = {
        "RLIMIT_CPU": limits.seconds * 2,
        "RLIMIT_DATA": limits.memory,
        "RLIMIT_FSIZE": limits.file,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": 512,
    }
    for name, value in kinds.items():
        kind = getattr(resource, name)
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    held = _landlock(own, readable) if sys.platform == "linux" else 0
    _watch(own)
    return held


def _landlock(own: Path, readable: Iterable[Path]) -> int:
    """Version of Landlock that now holds for this process; 0 where the kernel has none."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return 0
    files = (1 << max(n for known, n in KNOWN.items() if known <= version)) - 1
    told = struct.pack(
        "=QQQ", files, TCP if version >= 4 else 0, ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
    )
    told = told[: 8 if version < 4 else 16 if version < 6 else 24]
    rules = libc.syscall(CREATE_RULESET, told, ctypes.c_size_t(len(told)), 0)
    if rules < 0:
        return 0
    allowed: list[tuple[Path, int]] = [(own, files), *((Path(p), DEVICE) for p in DEVICES)]
    allowed += [(Path(p), READ) for p in SYSTEM] + [(p, READ) for p in readable]
    for path, what in allowed:
        try:
            place = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:  # a system without it
            continue
        what = what if path.is_dir() else what & 0b110  # of a file: read and write
        rule = struct.pack("=Qi", what & files, place)
        libc.syscall(ADD_RULE, rules, PATH_BENEATH, rule, 0)
        os.close(place)
    libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    done = libc.syscall(RESTRICT_SELF, rules, 0)
    os.close(rules)
    return version if done == 0 else 0


def _watch(own: Path) -> None:
    """Python's own hook: refuses by a sentence what the code should not do."""
    inside, this = os.path.realpath(own), os.getpid()

    def refuse(path: object) -> None:
        if isinstance(path, int) or path is None:  # opened before, and judged then
            return
        place = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
        if place != inside and not place.startswith(inside + os.sep) and place not in DEVICES:
            raise PermissionError(
                f"while it is graded, a notebook writes in its own folder only, not {place}"
            )

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            if arguments[2] is not None and arguments[2] & WRITES:
                refuse(arguments[0])
        elif event in PATHS:
            for path in arguments[: PATHS[event]]:
                refuse(path)
        elif event == "os.symlink":
            refuse(arguments[1])
        elif event in NETWORK:
            raise PermissionError("while it is graded, a notebook has no network")
        elif event in PROGRAMS:
            raise PermissionError("while it is graded, a notebook starts no other program")
        elif event in SIGNALS and arguments[0] != this:
            raise PermissionError("while it is graded, a notebook signals no other process")

    sys.addaudithook(hook)
