"""Leases: who may write a folder where a kernel lock does not reach, on NFS or in a store.

Each holder's term is a file, `leases/000001.json`, `000002.json`, ...: who holds it, on which host, since
when, after whom, its last sign of life, and when it ended. One process alone can make the next number
(exclusive creation, which NFS and object stores keep too), so that two never hold a folder at once; nothing
is removed, and the files are the log. The next term begins when the last one has ended, or its holder is
dead: its process is gone from this machine, or it gave no sign of life for SILENCE seconds of whoever waits
(clocks of two machines are not compared). A holder that was only slow finds out before it writes
(`Lease.require`).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import secrets
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from .contents import json_bytes
from .write import RunError, create, save_atomically

TERMS = "leases"  # the folder of the terms, beside what they guard
BEAT = 10.0  # seconds between signs of life
SILENCE = 60.0  # seconds without one after which a holder counts as dead
POLL = 0.2  # seconds between two looks of who waits, at first
POLL_MOST = 5.0


class Terms(Protocol):
    """Where terms are kept."""

    def last(self) -> int:
        """The highest number, 0 where there is none."""

    def read(self, number: int) -> bytes:
        """What a term says; empty where it cannot be read."""

    def make(self, number: int, content: bytes) -> bool:
        """Make a term; False where another process has made it."""

    def rewrite(self, number: int, content: bytes) -> None:
        """Write one's own term again."""


class OnDisk:
    """Terms in a folder's subfolder."""

    def __init__(self, folder: Path):
        self.place = folder / TERMS

    def __str__(self) -> str:
        return str(self.place.parent)

    def _path(self, number: int) -> Path:
        return self.place / f"{number:06d}.json"

    def last(self) -> int:
        """The highest number."""
        self.place.mkdir(exist_ok=True)
        return max((int(p.stem) for p in self.place.glob("[0-9]*.json")), default=0)

    def read(self, number: int) -> bytes:
        """What a term says."""
        try:
            return self._path(number).read_bytes()
        except OSError:
            return b""

    def make(self, number: int, content: bytes) -> bool:
        """Make a term."""
        try:
            with create(self._path(number)) as file:
                file.write(content)
        except FileExistsError:
            return False
        return True

    def rewrite(self, number: int, content: bytes) -> None:
        """Write one's own term again."""
        save_atomically(self._path(number), content)


def machine() -> str:
    """Names this machine, as long as it is up, and the space in which its process numbers count."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return platform.node()


def started(pid: int) -> str:
    """When a process of this machine was started, in the kernel's own count; empty where there is none, or
    where the system does not tell.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    state, *rest = stat[stat.rindex(")") + 2 :].split()
    return "" if state in "ZX" else rest[18]  # killed, and only not yet collected by its parent


def gone(term: dict[str, Any]) -> bool:
    """Whether the process of a term is known to be dead."""
    if term.get("machine") != machine() or os.name == "nt":
        return False
    if Path("/proc/self/stat").exists():
        return started(term["pid"]) != term["started"]
    try:
        os.kill(term["pid"], 0)  # asks only whether it is there
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def parsed(content: bytes) -> dict[str, Any]:
    """A term; empty where it is not whole yet."""
    with contextlib.suppress(ValueError, TypeError):
        term = json.loads(content)
        if isinstance(term, dict):
            return term
    return {}


class Lease:
    """A term that this process holds."""

    def __init__(self, terms: Terms, number: int, after: str):
        now = time.time()
        self.terms, self.number = terms, number
        self.told: dict[str, Any] = {
            "owner": secrets.token_hex(8),
            "host": platform.node(),
            "machine": machine(),
            "pid": os.getpid(),
            "started": started(os.getpid()),
            "after": after,  # how the term before came to its end
            "taken": now,
            "sign_of_life": now,
            "ended": None,
        }
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="lease")

    def content(self) -> bytes:
        """What the term says now."""
        return json_bytes(self.told)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            with contextlib.suppress(Exception):  # the next one may succeed; silence is noticed by others
                if self.terms.last() > self.number:
                    return
                self.told["sign_of_life"] = time.time()
                self.terms.rewrite(self.number, self.content())

    def require(self) -> None:
        """Raise RunError where another process has taken over, since this one seemed dead."""
        if (last := self.terms.last()) > self.number:
            by = parsed(self.terms.read(last))
            raise RunError(
                f"{self.terms} was taken over by process {by.get('pid')} on {by.get('host')}, since this one "
                f"gave no sign of life for {SILENCE:g} s; what was saved before is untouched"
            )

    def end(self) -> None:
        """Give the folder back."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.told["ended"] = time.time()
        with contextlib.suppress(RunError, OSError):  # whoever comes next sees that this process is gone
            self.terms.rewrite(self.number, self.content())

    def begin(self) -> None:
        """Give signs of life from now on."""
        self._thread.start()


@contextlib.contextmanager
def lease(terms: Terms) -> Iterator[Lease]:
    """Hold a folder, after waiting for whoever holds it. Raises RunError where terms cannot be written."""
    try:
        held = _taken(terms)
    except OSError as error:
        raise RunError(f"cannot write {terms}: {error.strerror or error}") from None
    held.begin()
    try:
        yield held
    finally:
        held.end()


def _taken(terms: Terms) -> Lease:
    seen, since, poll, said = b"", time.monotonic(), POLL, False
    while True:
        number = terms.last()
        content = terms.read(number) if number else b""
        before, silent = parsed(content), time.monotonic() - since
        ended = "no one before" if number == 0 else "ended" if before.get("ended") else ""
        if not ended and before and gone(before):
            ended = f"dead: its process {before['pid']} on {before['host']} is gone"
        if not ended and content == seen and silent > SILENCE:
            ended = f"dead: no sign of life for {silent:.0f} s"
        if ended:
            held = Lease(terms, number + 1, ended)
            if terms.make(number + 1, held.content()):
                return held
            continue
        if content != seen:
            seen, since = content, time.monotonic()
        if not said and before:
            what = f"process {before.get('pid')} on {before.get('host')}"
            print(f"{what} is at work in {terms}: waiting for it", file=sys.stderr)
            said = True
        time.sleep(poll)
        poll = min(1.5 * poll, POLL_MOST)
