"""One line for every command that reads a folder: what it took, and what it left out."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import numpy as np

from .problems import Problem, counted, some

MOST = 12  # classes that are named with their counts

_said: ContextVar[set | None] = ContextVar("said", default=None)


def line(
    classes: Sequence[str], counts: np.ndarray, tested: int, notes: Sequence[str], skipped: Sequence[Problem]
) -> str:
    """`3 classes: cat 12, dog 12, emu 20; 6 test images; ...; left out by --skip-bad: unreadable images 2`.

    counts (K,): images of each class; tested: test images that are not among them; notes: what else there is
    to say; skipped: what was wrong and left out.
    """
    if len(classes) <= MOST:
        what = f": {', '.join(f'{name} {n}' for name, n in zip(classes, counts.tolist()))}"
    else:
        what = f" of {counts.min()} to {counts.max()} images, {counts.sum()} in all"
    parts = [f"{some(len(classes), 'class')}{what}"]
    if tested:
        parts.append(f"{some(tested, 'test image')} beside them")
    parts += notes
    if skipped:
        kinds = ", ".join(f"{kind} {n}" for kind, n in counted(list(skipped)).items())
        parts.append(f"left out by --skip-bad: {kinds}")
    return "; ".join(parts)


@contextlib.contextmanager
def once() -> Iterator[None]:
    """Within, the same line is printed once, however often a folder is read."""
    token = _said.set(set() if _said.get() is None else _said.get())
    try:
        yield
    finally:
        _said.reset(token)


def say(text: str) -> None:
    """Print a line on standard error."""
    said = _said.get()
    if said is None or text not in said:
        print(text, file=sys.stderr)
    if said is not None:
        said.add(text)
