"""What `lnl grade` shows: a line a notebook, what was hard, every sentence, rows for a CSV."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from .grade import RIGHT, WRONG, Graded, mark


def table(rows: Sequence[Graded]) -> str:
    """One line a notebook, then what the class found hard."""
    lines = []
    width = max(len(r.learner) for r in rows)
    for row in rows:
        if row.problem:
            lines.append(f"{row.learner:<{width}}  {row.problem}")
            continue
        right = sum(m == RIGHT for m in row.marks.values())
        marks = ", ".join(f"{name.partition('.')[2]} {word}" for name, word in row.marks.items())
        more = [f"gaps {row.gaps}"] if row.gaps else []
        more += [f"{len(row.errors)} cell{'s' * (len(row.errors) > 1)} failed"] if row.errors else []
        lines.append(
            f"{row.learner:<{width}}  lesson {row.lesson or '-'}  {right} of {len(row.said)} right: {marks}"
            + "".join(f"; {m}" for m in more)
        )
    return "\n".join([*lines, "", *_class(rows)])


def _class(rows: Sequence[Graded]) -> Iterator[str]:
    """For each exercise how many have it right, and what was said most often to those who have not."""
    names = dict.fromkeys(name for row in rows for name in row.said)
    for name in names:
        said = [row.said[name] for row in rows if name in row.said]
        right = sum(mark(s) == RIGHT for s in said)
        wrong = Counter(s for s in said if mark(s) == WRONG).most_common(1)
        most = f"; most often: {wrong[0][0]} ({wrong[0][1]})" if wrong else ""
        yield f"{name}: {right} of {len(said)} right{most}"


def details(rows: Sequence[Graded]) -> str:
    """Every sentence and every error, by learner."""
    lines = []
    for row in rows:
        lines += [f"{row.learner} ({row.seconds:.0f} s)"]
        lines += [f"  {row.problem}"] * bool(row.problem)
        lines += [f"  {name}: {said}" for name, said in row.said.items()]
        lines += [f"  {error}" for error in row.errors]
    return "\n".join(lines)


def as_rows(rows: Sequence[Graded]) -> list[dict]:
    """For a CSV file: a row a notebook, a column an exercise."""
    return [
        {
            "learner": row.learner,
            "lesson": row.lesson or "",
            "right": sum(m == RIGHT for m in row.marks.values()),
            "exercises": len(row.said),
            "gaps": row.gaps,
            "failed_cells": len(row.errors),
            "seconds": round(row.seconds, 1),
            "problem": row.problem,
            **row.marks,
        }
        for row in rows
    ]
