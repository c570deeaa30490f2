"""What is wrong with images or labels: gathered, counted by kind, and said in one sentence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sized
from typing import NamedTuple


class Problem(NamedTuple):
    """Something wrong with an image or a row; all are reported together."""

    kind: str  # in the plural: "unreadable images"
    path: str
    detail: str


def some(what: Sized | int, noun: str) -> str:
    """`1 image`, `2 images`."""
    n = what if isinstance(what, int) else len(what)
    return f"{n} {noun}{'' if n == 1 else 'es' if noun.endswith('s') else 's'}"


def counted(problems: list[Problem]) -> dict[str, int]:
    """How many problems there are of each kind."""
    return dict(Counter(p.kind for p in problems))


def report(problems: list[Problem], where: str, hint: str = "") -> ValueError:
    """One error that counts the problems by kind and names the first ten; hint: their likely cause."""
    kinds = ", ".join(f"{kind}: {n}" for kind, n in counted(problems).items())
    alike: dict[str, list[str]] = {}
    for problem in problems[:10]:
        alike.setdefault(problem.detail, []).append(problem.path)
    first = "; ".join(f"{', '.join(paths)} ({detail})" for detail, paths in alike.items())
    rest = f"; and {len(problems) - 10} more" if len(problems) > 10 else ""
    hint = f" ({hint})" if hint else ""
    return ValueError(
        f"{where} has {kinds}{hint}; mend these or leave them out with --skip-bad: {first}{rest}"
    )
