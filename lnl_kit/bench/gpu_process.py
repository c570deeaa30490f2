"""The clock, the ledger and the child processes of `lnl_kit.bench.gpu`."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

from . import gpu_jobs


class Clock:
    """What is left of the budget, counted from the start of this process."""

    def __init__(self, minutes: float):
        self.began = time.monotonic() - since_start()
        self.end = self.began + 60 * minutes

    def now(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.began

    def left(self) -> float:
        """Seconds until the end of the budget, at least 0."""
        return max(0.0, self.end - time.monotonic())


def since_start() -> float:
    """Seconds since this process was started: importing torch has taken some of them. 0 where the system does
    not say.
    """
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(0.0, float(Path("/proc/uptime").read_text().split()[0]) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, ValueError, IndexError):
        return 0.0


class Ledger:
    """gpu.jsonl: one row a job, appended and on disk before the next begins."""

    def __init__(self, path: Path):
        self.path, self.lock = path, threading.Lock()
        text = path.read_bytes() if path.exists() else b""
        self.rows = read_lines(text)
        if text and not text.endswith(b"\n"):  # a line that a kill cut short
            with open(path, "ab") as file:
                file.write(b"\n")
        self.ended = {row["job"] for row in self.rows if row.get("ended")}

    def add(self, row: dict) -> None:
        """Append a row."""
        with self.lock:
            self.rows.append(row)
            if row.get("ended"):
                self.ended.add(row["job"])
            with open(self.path, "ab") as file:
                file.write(json.dumps(row).encode() + b"\n")
                file.flush()
                os.fsync(file.fileno())


def read_lines(text: bytes) -> list[dict]:
    """The rows of a ledger; a line that a kill cut short is left out."""
    rows = []
    for line in text.splitlines():
        try:
            rows.append(json.loads(line))
        except ValueError:
            continue
    return rows


class Worker:
    """A child process in a group of its own, that does one job at a time (see `gpu_jobs`)."""

    process: subprocess.Popen[bytes]
    asking: IO[bytes]
    answering: IO[bytes]
    buffer: bytes

    def __init__(self, log, environment: dict):
        self.log, self.environment = log, environment
        self.start()

    def start(self) -> None:
        """Start the process (again)."""
        self.buffer = b""
        self.process = subprocess.Popen(
            [sys.executable, "-m", gpu_jobs.__name__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env=self.environment,
            start_new_session=True,
        )
        assert self.process.stdin and self.process.stdout
        self.asking, self.answering = self.process.stdin, self.process.stdout

    def ask(self, kind: str, args: dict, seconds: float) -> dict:
        """The answer to a job; {"error": ...} where it failed, died or took longer than `seconds`: the
        process is then ended.
        """
        try:
            self.asking.write(json.dumps({"kind": kind, "args": args}).encode() + b"\n")
            self.asking.flush()
            answer = json.loads(self.line(seconds))
        except TimeoutError:
            answer = {"error": f"ended after {seconds:.0f} s", "late": True}
        except (OSError, ValueError):
            answer = {"error": f"the process died ({self.process.poll()}); log.txt may say why"}
        if "error" in answer:
            self.end()
        return answer

    def line(self, seconds: float) -> bytes:
        """The next line that the process writes. Raises TimeoutError, or ValueError where it has ended."""
        until = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            if select.select([self.answering], [], [], left)[0]:
                part = os.read(self.answering.fileno(), 1 << 16)
                if not part:
                    raise ValueError
                self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line

    def end(self) -> None:
        """End the process and its children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
