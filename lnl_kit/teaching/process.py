"""Runs a learner's cells in a process with limits, whatever becomes of them."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..files import data_root, installed, make_folder, runs_root, save_atomically, shipped
from .keeper import TOO_MANY, TOO_MUCH
from .limits import Limits

PACKAGE = Path(__file__).resolve().parents[1]
ANSWERS = 2**22  # bytes that a learner's process may tell
AGAIN = 3  # how often a notebook is run again without the cell that its process died in


def run(sources: list[str], limits: Limits, runs: Path | None) -> tuple[dict[str, dict], dict[int, str]]:
    """({exercise: its last answer}, {code cell: error}). A cell in which the process dies, or that does not
    end, is left out, and the notebook run again.
    """
    answers: dict[str, dict] = {}
    errors: dict[int, str] = {}
    deadly: dict[int, str] = {}
    for _ in range(1 + AGAIN):
        cells = [k for k in range(len(sources)) if k not in deadly]
        lines, ended = _process(sources, cells, limits, runs)
        answers |= {line["check"]: line for line in lines if isinstance(line.get("check"), str)}
        ends = {
            line["ends"]: str(line.get("error", ""))[:500]
            for line in lines
            if isinstance(line.get("ends"), int)
        }
        errors = {k: text for k, text in (ends | deadly).items() if text}
        if any("end" in line for line in lines):
            break
        begun = [line["begins"] for line in lines if isinstance(line.get("begins"), int)]
        if not begun or begun[-1] not in cells:
            errors[0] = f"its process did not start: {ended}"
            break
        deadly[begun[-1]] = ended
        errors |= deadly
    return answers, errors


def _process(
    sources: list[str], cells: list[int], limits: Limits, runs: Path | None, keep: Path | None = None
) -> tuple[list[dict], str]:
    """What a process told that ran these cells in a folder of its own, and how it ended before its end.

    keep: where the runs go that it trained; None: they go with its folder.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as place:
        own = Path(place).resolve() / "notebook"
        make_folder(own / "runs")
        if runs:
            shutil.copytree(runs, own / "runs", dirs_exist_ok=True)
        told = {
            "own": str(own),
            "limits": list(limits),
            "readable": _readable(),
            "cells": cells,
            "sources": sources,
        }
        with tempfile.TemporaryFile() as stdin:
            stdin.write(json.dumps(told).encode())
            stdin.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__}.learner"],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=_environment(own),
                cwd=own,
                start_new_session=True,
            )
        try:
            text, ended = _listen(process, limits.seconds)
        finally:
            _end(process)
        if keep:
            shutil.copytree(own / "runs", keep, dirs_exist_ok=True)
    return list(_lines(text)), ended or _how(process.returncode)


def _listen(process: subprocess.Popen, seconds: float) -> tuple[bytes, str]:
    """What the process writes until it ends, takes too long, or writes too much."""
    out, text, end = process.stdout, b"", time.monotonic() + seconds
    assert out is not None
    while (left := end - time.monotonic()) > 0:
        if not select.select([out], [], [], left)[0]:
            continue
        part = os.read(out.fileno(), 2**16)
        if not part:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=10)
            return text, ""
        text += part
        if len(text) > ANSWERS:
            return text, "its process told more than is read"
    return text, f"the notebook took longer than {seconds:g} s, and was ended in this cell"


def _end(process: subprocess.Popen) -> None:
    """End a learner's process and what it has started: its keeper does it, where it has one."""
    process.terminate()
    try:
        process.wait(timeout=10 if sys.platform == "linux" else 0.1)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process.stdout.close()  # type: ignore[union-attr]


def _lines(text: bytes) -> Iterator[dict]:
    """The lines that are JSON objects."""
    for line in text.splitlines():
        with contextlib.suppress(ValueError, RecursionError):
            if isinstance(found := json.loads(line), dict):
                yield found


def _how(code: int) -> str:
    if code in (TOO_MUCH, TOO_MANY):
        return "it took more memory than it may" if code == TOO_MUCH else "it started too many processes"
    if code >= 0:
        return "it ended the whole process"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
    of = {"SIGXCPU": ", for it computed too long", "SIGKILL": ", often for lack of memory"}
    return f"its process was ended by {name}{of.get(name, '')}"


def _readable() -> list[str]:
    """What a learner's process may read: Python with its packages, and the kit."""
    clone = str(PACKAGE.parent)
    places = [sys.prefix, sys.base_prefix, sys.exec_prefix, *(p for p in sys.path if p and p != clone)]
    places += [str(PACKAGE), *map(str, map(shipped, ("notebooks", "data/published", "data/measured")))]
    return [p for p in dict.fromkeys(os.path.realpath(p) for p in places) if os.path.exists(p)]


def _environment(own: Path) -> dict[str, str]:
    """Variables of the process: none of the user's secrets are among them."""
    kept = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "LNL_LANGUAGE", "OMP_NUM_THREADS")
    path = [] if installed() else [str(PACKAGE.parent)]
    path += filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    folders = {"HOME": "", "TMPDIR": "", "IPYTHONDIR": "ipython", "MPLCONFIGDIR": "mpl", "LNL_RUNS": "runs"}
    return {
        **{k: v for k, v in os.environ.items() if k in kept},
        **{k: str(own / name) for k, name in folders.items()},
        "LNL_DATA": str(data_root().absolute()),
        "LNL_HEADLESS": "1",
        "PLOTLY_RENDERER": "json",
        "PYTHONPATH": os.pathsep.join(path),
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def trained(name: str, sources: list[str]) -> Path:
    """The folder of the runs that these cells, of the kit itself, train: made when it is asked for first."""
    root = runs_root() / "lessons" / name
    done = root / ".done"
    if not done.exists():
        make_folder(root)
        _process(sources, list(range(len(sources))), Limits(3600, 1800), None, root)
        save_atomically(done, b"")
    return root
