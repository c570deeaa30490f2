"""Lessons: parts of the notebooks, picked by the tags of their cells, with gaps to fill.

Tags: `lesson-N`, the cell belongs to lesson N; `ask:EXERCISE`, that exercise follows the cell;
`gap:VARIABLE`, what the cell assigns to the variable is left to the learner.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import NamedTuple

from .. import __version__
from ..files import read_json, shipped
from ..notebook.exercises import EXERCISES, Exercise
from .gaps import Asked, asked, blank, filled
from .solutions import SOLUTIONS

NOTES = Path(__file__).parent  # lesson_N.md: what a teacher reads
MINUTES = 45  # the longest that a lesson may be


class Lesson(NamedTuple):
    """What the cells themselves do not say."""

    title: str
    about: str
    notebooks: tuple[str, ...]  # the first parts of their names, in the order of the lesson
    hints: dict[str, str]  # for each gap, what belongs there


LESSONS = {
    1: Lesson(
        "what label noise is, and why networks learn it by heart",
        "You make labels wrong on purpose, watch a network learn them by heart, and write a method that "
        "does not.",
        ("10", "00"),
        {
            "keep": "the share of the batch that is kept: 1 in epoch 0, half from epoch 10 on, falling "
            "evenly in between"
        },
    ),
    2: Lesson(
        "what a network still knows after learning wrong labels (NRD)",
        "A network that repeats wrong labels gives the right answer again for views it was never trained on. "
        "You make it do so, and write down the two formulas that turn this into a method.",
        ("20",),
        {
            "ensemble": "the mean over the views of "
            'ce.predict_views(ce.train_images(), "small_crop", n_views), of shape (views, images, classes)'
        },
    ),
    3: Lesson(
        "a few labels that are known to be right (PUDistill)",
        "Filters that never see a noisy label vote on every image. You decide what they may accept.",
        ("21",),
        {"taken": "which images have at least `needed` votes for class `of`: an array of True and False"},
    ),
    4: Lesson(
        "how far can a label be trusted? (LCI)",
        "A robust loss learns little from hard images, cross-entropy believes everything. You write the "
        "confidence that weighs one against the other, and see what a label costs.",
        ("22",),
        {
            "c": "the confidence of each label, by your function: from `robust` (the loss), mean, margin and "
            "slope (torch.exp for tensors; or method.label_confidence(robust, torch.tensor(mean), s))"
        },
    ),
    5: Lesson(
        "two questions that answer each other (LNL-flywheel)",
        "Which labels are right, and what should the others be? Knowing one, the other is easy. You write "
        "both steps, and judge an estimate against a guess.",
        ("23",),
        {
            "errors": "for each name and matrix in `tried`, the mean absolute difference from `made`, over "
            "the rows `some`: a dictionary"
        },
    ),
    6: Lesson(
        "what can be learned without any label (RFL)",
        "An image can teach a network by itself. You measure what two views of it say about each other, and "
        "how much of an image is restored.",
        ("24",),
        {
            "remaining": "the mean squared error of `restored` over that of `augmented`, both against x: a "
            "number"
        },
    ),
}


def of_text(text: str) -> list[int]:
    """The lessons that are meant: "2", "1,3", "1..6" or "all". Raises ValueError for others."""
    found: list[int] = []
    for part in text.replace("all", f"1..{len(LESSONS)}").split(","):
        first, dots, last = part.strip().partition("..")
        if not (first.isdecimal() and (last.isdecimal() or not dots)):
            raise ValueError(
                f"lesson {text!r}: give a number, such as 2, several, such as 1,3 or 1..6, or all"
            )
        found += range(int(first), int(last or first) + 1)
    if not found or not set(found) <= set(LESSONS):
        raise ValueError(f"lesson {text!r}: there are {', '.join(map(str, LESSONS))}")
    return sorted(set(found))


def make(number: int, solutions: bool = False) -> bytes:
    """A lesson as a notebook, its gaps open or, for the teacher, filled.

    Raises ValueError where a tag names an exercise or a gap that does not exist.
    """
    lesson = LESSONS[number]
    sources = [_notebook(name) for name in lesson.notebooks]
    exercises = {a.name: a for cells in sources for a in _exercises(cells)}
    picked = [cell for cells in sources for cell in cells if f"lesson-{number}" in _tags(cell)]
    picked.sort(key=lambda cell: "parameters" not in _tags(cell))  # they come first, all else as it stands
    made = [_text(f"lesson-{number}", _head(number, solutions))]
    for cell in picked:
        made.append(_cell(cell, lesson, solutions))
        for name in _named(cell, "ask:"):
            if name not in exercises:
                raise ValueError(f"lesson {number} asks for {name!r}, which none of its notebooks has")
            made += _exercise(exercises[name], EXERCISES[name], solutions)
    notebook = {
        "cells": made,
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
            "lnl": {"lesson": number, "kit": __version__, "solutions": solutions},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    return (json.dumps(notebook, indent=1, ensure_ascii=False) + "\n").encode()


def exercises_of(notebook: dict) -> list[str]:
    """The exercises that a lesson's notebook asks, in its order."""
    return [c["metadata"]["lnl"]["exercise"] for c in notebook["cells"] if "exercise" in noted(c)]


def notes(number: int) -> str:
    """A page for the teacher (Markdown): the plan, what to look for, every gap with its solution and the
    usual mistakes.
    """
    notebook = json.loads(make(number, solutions=True))
    parts = [
        (NOTES / f"lesson_{number}.md").read_text(encoding="utf-8").rstrip(),
        "",
        "## Gaps and solutions",
    ]
    for cell in notebook["cells"]:
        if name := noted(cell).get("exercise"):
            exercise = EXERCISES[name]
            parts += ["", f"**{name}** {exercise.question}", "", f"```python\n{_defined(cell)}\n```", ""]
            parts += [f"- usual mistake: {why}" for _, why in exercise.mistakes]
            parts += [f"- to take away: {exercise.right}"]
        for variable in noted(cell).get("gap", ()):
            parts += ["", f"**`{variable}`** {LESSONS[number].hints[variable]}", ""]
            parts += [f"```python\n{_line_of(''.join(cell['source']), variable)}\n```"]
    return "\n".join(parts) + "\n"


def _defined(cell: dict) -> str:
    """The code of an exercise without its import and its check."""
    lines = "".join(cell["source"]).splitlines()
    kept = [line for line in lines if not line.startswith(("from lnl_kit.exercises", "check("))]
    return "\n".join(kept).strip()


def _line_of(source: str, variable: str) -> str:
    """The statement that assigns to the variable."""
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Assign)]
    node = next(n for n in nodes if ast.unparse(n.targets[0]) == variable)
    return ast.get_source_segment(source, node) or ""


def _notebook(first: str) -> list[dict]:
    """The cells of the one notebook whose name begins so."""
    (path,) = shipped("notebooks").glob(f"{first}_*.ipynb")
    return read_json(path)["cells"]


def _exercises(cells: list[dict]) -> list[Asked]:
    sources = ["".join(c["source"]) for c in cells if c["cell_type"] == "code"]
    return [a for source in sources if "from lnl_kit.exercises import check" in source for a in asked(source)]


def _tags(cell: dict) -> list[str]:
    return cell["metadata"].get("tags", [])


def _named(cell: dict, start: str) -> list[str]:
    return [tag.removeprefix(start) for tag in _tags(cell) if tag.startswith(start)]


def noted(cell: dict) -> dict:
    """What the kit notes about a cell of a lesson; nothing where there is something else."""
    notes = cell.get("metadata", {}).get("lnl")
    return notes if isinstance(notes, dict) else {}


def _head(number: int, solutions: bool) -> str:
    lesson = LESSONS[number]
    how = (
        "This copy is the teacher's: the gaps are filled."
        if solutions
        else "Run the cells one after the other (Shift+Enter). Where there are dots, it is your turn: "
        "replace them and run the cell again. A wrong answer explains itself. What stands behind a gap may "
        "fail until it is filled."
    )
    return f"# Lesson {number}: {lesson.title}\n\n{lesson.about}\n\n{how} At most {MINUTES} minutes."


def _text(name: str, text: str) -> dict:
    return {"cell_type": "markdown", "id": name, "metadata": {}, "source": text.splitlines(keepends=True)}


def _code(name: str, source: str, notes: dict) -> dict:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": name,
        "metadata": notes,
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


def _cell(cell: dict, lesson: Lesson, solutions: bool) -> dict:
    """A cell of a notebook as the lesson has it."""
    source, gaps = "".join(cell["source"]), _named(cell, "gap:")
    if cell["cell_type"] == "markdown":
        return _text(cell["id"], source)
    for variable in gaps:
        opened = blank(source, variable, lesson.hints[variable])
        source = source if solutions else opened
    tags = [t for t in _tags(cell) if t == "parameters"]
    return _code(
        cell["id"], source, ({"tags": tags} if tags else {}) | ({"lnl": {"gap": gaps}} if gaps else {})
    )


def _exercise(found: Asked, exercise: Exercise, solutions: bool) -> list[dict]:
    """The question, and the cell to answer it in."""
    code = filled(found.skeleton, SOLUTIONS[found.name]) if solutions else found.skeleton
    space = "\n\n\n" if code.startswith("def ") else "\n\n"
    source = (
        f"from lnl_kit.exercises import check{space}{code}{space[:-1]}\n"
        f'check("{found.name}", {found.variable})'
    )
    name = found.name.replace(".", "-").replace("_", "-")
    return [
        _text(f"ask-{name}", f"### Your turn\n\n{exercise.question}"),
        _code(f"answer-{name}", source, {"lnl": {"exercise": found.name}}),
    ]
