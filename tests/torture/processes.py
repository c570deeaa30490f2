"""Processes to be killed: forks of one in which torch is imported already, limited, watched from outside."""

import contextlib
import ctypes
import faulthandler
import os
import pickle
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).parent
COUNT, KILL_BEFORE, KILL_HALFWAY, FAIL_ONCE, FAIL_FROM_THEN_ON, COUNT_READS, FAIL_READ = range(
    1, 8
)  # see faults.c


class Ended(NamedTuple):
    """How a process ended."""

    status: int  # its exit status, or minus the signal that ended it
    said: str  # its standard error
    result: Any  # what the action returned; None where it did not come to that
    seconds: float
    points: int  # system calls that write below the folder watched, where it came to its end


def forked(
    action: Callable[[], Any],
    kill_after: float | None = None,
    at_most: float = 300,
    memory: int | None = None,
    fault: tuple[Path, int, int, int] | None = None,
    with_signal: int = signal.SIGKILL,
    again_after: float | None = None,
    whom: Callable[[int], int | None] = lambda child: child,
) -> Ended:
    """Run `action` in a fork.

    kill_after: seconds until `with_signal` ends it. at_most: seconds after which it counts as hanging
        (killed, status -SIGALRM). memory: bytes of address space beyond what it has. fault: (folder, what, n,
        errno): what happens to the n-th system call that writes, or reads, below a folder (needs
        `with_faults`). again_after: seconds until the signal comes once more. whom: the process that it ends
        instead of the fork, None for none.
    """
    with tempfile.TemporaryDirectory() as folder:
        said, result = Path(folder, "said"), Path(folder, "result")
        sys.stdout.flush()
        sys.stderr.flush()
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            _child(action, said, result, memory, fault)
        status = _wait(child, started, kill_after, at_most, with_signal, again_after, whom)
        took = time.monotonic() - started
        whole = pickle.loads(result.read_bytes()) if result.exists() else (None, 0)
        text = said.read_text(errors="replace") if said.exists() else ""
        return Ended(status, text, whole[0], took, whole[1])


def _child(action, said: Path, result: Path, memory, fault) -> None:
    """Never returns."""
    try:
        os.setsid()  # it and all that it starts can be ended together
        out = os.open(said, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(out, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        faulthandler.register(signal.SIGUSR1, sys.stderr)  # where it hangs, if it does
        if memory:
            now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (now + memory, now + memory))
        library = ctypes.CDLL(None)
        if fault:
            library.faults_arm(os.fsencode(fault[0]), fault[1], ctypes.c_long(fault[2]), fault[3])
        value = action()
        points = library.faults_seen() if fault else 0
        if fault:
            library.faults_arm(b"/nowhere", 0, ctypes.c_long(0), 0)
        sys.stderr.flush()
        whole = result.with_name("whole")
        whole.write_bytes(pickle.dumps((value, points)))
        whole.rename(result)
        os._exit(value if isinstance(value, int) else 0)
    except BaseException:
        import traceback

        sys.__stderr__ = sys.stderr
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(70)


def _wait(child: int, started: float, kill_after, at_most: float, with_signal: int, again_after, whom) -> int:
    while True:
        done, code = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(code)
        now = time.monotonic() - started
        if kill_after is not None and now >= kill_after:
            with contextlib.suppress(ProcessLookupError):
                if (process := whom(child)) is not None:
                    os.kill(process, with_signal)
            kill_after, again_after = again_after and now + again_after, None
        if now > at_most:
            os.kill(child, signal.SIGUSR1)
            time.sleep(0.5)
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return -signal.SIGALRM
        left = at_most - now if kill_after is None else kill_after - now
        time.sleep(min(max(left, 0.0002), 0.01))


def with_faults() -> bool:
    """Start this program again with the wrapper of faults.c loaded; False where there is no C compiler."""
    if "faults" in os.environ.get("LD_PRELOAD", ""):
        return True
    library = Path(tempfile.gettempdir()) / f"lnl-faults-{os.getuid()}-{os.getpid()}.so"
    try:
        subprocess.run(
            ["cc", "-O2", "-shared", "-fPIC", "-o", str(library), str(HERE / "faults.c"), "-ldl"], check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    os.environ["LD_PRELOAD"] = str(library)
    os.execv(sys.executable, [sys.executable, *sys.argv])
