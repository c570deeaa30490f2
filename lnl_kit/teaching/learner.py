"""The process that runs one learner's notebook: `python -m lnl_kit.teaching.learner`, started by `grade`.

It reads what to do as JSON from its standard input and writes a line of JSON for all that happens. It judges
nothing: of an answer it tells the number, or what the function gave for the exercise's cases.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from .keeper import keep
from .limits import Limits, restrict

VALUES = 10_000  # numbers in one output of a function; more than any exercise asks for


def main() -> None:
    """Limit this process, then run the cells that it is told, whatever becomes of each."""
    told = json.load(sys.stdin)
    limits = Limits(*told["limits"])
    keep(limits)
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):  # what the notebook prints
        os.dup2(nowhere, number)
    own = Path(told["own"])
    os.chdir(own)

    def tell(**what: object) -> None:
        out.write(json.dumps(what) + "\n")
        out.flush()

    tell(landlock=restrict(limits, own, [Path(p) for p in told["readable"]]))
    run = _shell(tell)
    for number in told["cells"]:
        tell(begins=number)
        tell(ends=number, error=_within(limits.cell_seconds, run, told["sources"][number]))
    tell(end=True)
    out.flush()
    os._exit(0)  # threads that the notebook left behind are not waited for


def _shell(tell: Callable) -> Callable[[str], str]:
    """What runs a cell, as a notebook does, and says what went wrong ("" = nothing)."""
    from IPython.core.history import HistoryManager
    from IPython.core.interactiveshell import InteractiveShell

    exercises = importlib.import_module("lnl_kit.notebook.exercises")
    short = importlib.import_module("lnl_kit.exercises")
    exercises.check = short.check = _recorder(exercises.EXERCISES, tell)  # type: ignore[attr-defined]
    HistoryManager.enabled = False  # type: ignore[assignment]
    shell = InteractiveShell.instance()

    def run(source: str) -> str:
        done = shell.run_cell(source)
        problem = done.error_before_exec or done.error_in_exec
        return "" if problem is None else f"{type(problem).__name__}: {problem}"[:500]

    return run


def _within(seconds: int, run: Callable[[str], str], source: str) -> str:
    """What run(source) returns, or that it took too long."""

    def stop(*_: object) -> None:
        raise TimeoutError(f"the cell took longer than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        return run(source)
    except BaseException as problem:  # whatever a learner's code raises, between two of its lines too
        return f"{type(problem).__name__}: {problem}"[:500]
    finally:
        signal.alarm(0)


def _recorder(exercises: dict, tell: Callable) -> Callable[[str, object], None]:
    """Stands for `check` in the learner's notebook: tells what was answered."""

    def check(name: str, answer: object) -> None:
        exercise = exercises[name]
        if answer is None or answer is ...:
            tell(check=str(name), answer="open")
        elif not exercise.cases:
            tell(check=str(name), answer="number", value=_plain(answer))
        elif not callable(answer):
            tell(check=str(name), answer="other", kind=type(answer).__name__[:80])
        else:
            tell(
                check=str(name), answer="function", outputs=[_output(answer, case) for case in exercise.cases]
            )

    return check


def _output(answer: Callable, case: tuple) -> dict:
    """What the function gives for a case: a value, or the exception that it raises."""
    import numpy as np

    try:
        return _plain(answer(*(np.array(a) if isinstance(a, list) else a for a in case)))
    except Exception as problem:
        return {"raises": type(problem).__name__[:80], "message": str(problem)[:300]}


def _plain(value: object) -> dict:
    """A value as JSON: numbers as they are, nothing at all, or what it looks like."""
    import numpy as np

    if value is None or value is ...:
        return {"open": True}
    try:
        array = np.asarray(value, float)
        if array.size <= VALUES:
            return {"value": array.tolist()}
    except Exception:  # it may be anything, with conversions of its own
        pass
    try:
        return {"looks": repr(value)[:80]}
    except Exception:
        return {"looks": type(value).__name__[:80]}


if __name__ == "__main__":
    main()
