"""`lnl grade`: a class's notebooks, each run by a process with limits, their answers checked, one table."""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from ..files import read_json
from ..notebook.exercises import EXERCISES, Exercise, verdict
from .gaps import is_open
from .lessons import LESSONS, exercises_of, make, noted
from .limits import Limits
from .process import run, trained

NOTEBOOK = 2**25  # bytes of a notebook that is read
RIGHT, WRONG, OPEN, MISSING = "right", "not yet", "open", "missing"


class Graded(NamedTuple):
    """What became of one learner's notebook."""

    learner: str  # the notebook's path in the class's folder, without its ending
    lesson: int  # 0: none that the kit made
    said: dict[str, str]  # exercise: the sentence that `check` says
    gaps: str  # gaps of the code that are closed, and how many there are: "1 of 1"
    errors: tuple[str, ...]  # "cell 7: TypeError: ..."
    seconds: float
    problem: str = ""  # why there is nothing else

    @property
    def marks(self) -> dict[str, str]:
        """Each exercise's sentence in a word."""
        return {name: mark(text) for name, text in self.said.items()}


def mark(said: str) -> str:
    """A sentence of `check` in a word."""
    starts = {"right.": RIGHT, "not answered": OPEN, "not checked": MISSING}
    return next((word for start, word in starts.items() if said.startswith(start)), WRONG)


def notebooks_in(folder: Path) -> list[Path]:
    """The notebooks of a class, by path: at any depth, without copies that Jupyter keeps and without links.

    Raises ValueError where there is none.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder: give the one that has the class's notebooks")
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        paths = (Path(place) / f for f in sorted(files) if f.endswith(".ipynb") and f[0] != ".")
        found += [p for p in paths if p.is_file() and not p.is_symlink()]
    if not found:
        raise ValueError(f"{folder} has no notebook (*.ipynb), at any depth")
    return found


def grade(folder: Path, limits: Limits, warm: bool = True) -> Iterator[Graded]:
    """Grade each notebook under a folder. No notebook, whatever is in it, keeps the others from being graded.

    warm: runs that a lesson trains are trained once, by the kit's own copy of the lesson, and each learner's
    notebook is given a copy of them; else each trains its own.
    """
    for path in notebooks_in(folder):
        learner = path.relative_to(folder).with_suffix("").as_posix()
        start = time.monotonic()
        try:
            yield _graded(path, learner, limits, warm)
        except Exception as problem:  # a notebook that is none, a disk that is full
            said = f"{type(problem).__name__}: {problem}"
            yield Graded(learner, 0, {}, "", (), time.monotonic() - start, said)


def _graded(path: Path, learner: str, limits: Limits, warm: bool) -> Graded:
    start = time.monotonic()
    try:
        notebook = read_json(path, NOTEBOOK)
        code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
        sources = ["".join(c["source"]) for c in code]
    except (ValueError, KeyError, TypeError, RecursionError) as problem:
        return Graded(learner, 0, {}, "", (), 0.0, f"this is no notebook: {problem}")
    lesson, wanted = _lesson(notebook, sources)
    if not wanted:
        return Graded(learner, lesson, {}, "", (), 0.0, "it has none of the kit's exercises")
    runs = _warm(lesson) if warm and lesson else None
    answers, errors = run(sources, limits, runs)
    said = {name: judged(EXERCISES[name], answers.get(name)) for name in wanted}
    gaps = [k for k, c in enumerate(code) if "gap" in noted(c)]
    closed = [k for k in gaps if not is_open(sources[k]) and k not in errors]
    return Graded(
        learner,
        lesson,
        said,
        f"{len(closed)} of {len(gaps)}" if gaps else "",
        tuple(f"cell {k + 1}: {text}" for k, text in sorted(errors.items())),
        time.monotonic() - start,
    )


def _lesson(notebook: dict, sources: list[str]) -> tuple[int, list[str]]:
    """The lesson that a notebook is (0: none), and the exercises it should answer: those of the lesson, and
    what else it checks.
    """
    notes = notebook.get("metadata", {}).get("lnl")
    number = notes.get("lesson") if isinstance(notes, dict) else 0
    number = number if number in LESSONS else 0
    checked = re.findall(r"""check\(\s*["']([\w.]+)["']""", "\n".join(sources))
    if not number:  # a service that keeps no metadata
        for known in LESSONS:
            if set(checked) & set(_asked(known)):
                number = known
    wanted = dict.fromkeys([*(_asked(number) if number else ()), *(c for c in checked if c in EXERCISES)])
    return number, list(wanted)


def _asked(lesson: int) -> list[str]:
    return exercises_of(json.loads(make(lesson)))


def _warm(lesson: int) -> Path:
    """The folder of the runs that a lesson trains, made by the kit's own copy of it."""
    whole = make(lesson, solutions=True)
    code = [c for c in json.loads(whole)["cells"] if c["cell_type"] == "code"]
    name = f"lesson_{lesson}-{hashlib.blake2b(whole, digest_size=4).hexdigest()}"
    return trained(name, ["".join(c["source"]) for c in code])


def judged(exercise: Exercise, told: dict | None) -> str:
    """What `check` says about an answer that a learner's process told (None: it told nothing).

    The process is not believed more than what it told: a value, or what a function gave for each case.
    """
    if told is None:
        return "not checked: the notebook did not get as far as its check, or it is gone"
    try:
        return verdict(exercise, _answer(exercise, told))
    except Exception as problem:  # told in a form that no process of the kit tells
        return f"not checked: {type(problem).__name__}"


def _answer(exercise: Exercise, told: dict) -> Any:
    """What was answered, as `verdict` takes it."""
    if told["answer"] == "open":
        return None
    if told["answer"] == "number":
        return _value(told["value"])
    if told["answer"] == "other":
        return type(str(told["kind"])[:80] or "object", (), {})()
    outputs = iter(told["outputs"][: len(exercise.cases)])
    return lambda *_: _value(next(outputs))


def _value(told: dict) -> Any:
    """A value; raises what the learner's function raised."""
    if "raises" in told:
        raise type(str(told["raises"])[:80] or "Exception", (Exception,), {})(str(told["message"])[:300])
    if "open" in told:
        return None
    return told["value"] if "value" in told else _Looks(str(told["looks"])[:80])


class _Looks:
    """Something that is no number, known by its looks."""

    def __init__(self, looks: str):
        self.looks = looks

    def __repr__(self) -> str:
        return self.looks
