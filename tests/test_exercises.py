"""The exercises: solutions pass, the usual mistakes are explained, and nothing a learner writes raises."""

import json
from pathlib import Path

import numpy as np
import pytest

from lnl_kit.exercises import EXERCISES, check, verdict
from lnl_kit.teaching.gaps import asked, filled
from lnl_kit.teaching.solutions import SOLUTIONS

ANSWERS = {
    a.name: a
    for path in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb")
    for cell in json.loads(path.read_text())["cells"]
    if "exercises import check" in "".join(cell["source"])
    for a in asked("".join(cell["source"]))
}


def solution(name):
    """What the teacher's copy of the notebook has in place of the dots."""
    names = {"np": np}
    exec(filled(ANSWERS[name].skeleton, SOLUTIONS[name]), names)
    return names[ANSWERS[name].variable]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_is_right(name, capsys):
    check(name, solution(name))
    assert capsys.readouterr().out.startswith(f"{name}: right. ")
    assert len(EXERCISES[name].right) > 20 and EXERCISES[name].question.endswith((".", "?"))


@pytest.mark.parametrize("name", EXERCISES)
def test_usual_mistakes_are_told_apart_and_explained(name):
    exercise = EXERCISES[name]
    assert exercise.mistakes
    for wrong, why in exercise.mistakes:
        said = verdict(exercise, wrong)
        assert said.startswith("not yet.") and any(said.endswith(text) for _, text in exercise.mistakes), (
            name,
            said,
        )
        assert why in {text for _, text in exercise.mistakes}
    told = [verdict(exercise, wrong).removeprefix("not yet. ") for wrong, _ in exercise.mistakes]
    assert told == [why for _, why in exercise.mistakes]


def test_nothing_a_learner_gives_raises():
    def fails(*_):
        raise KeyError("x")

    for exercise in EXERCISES.values():
        for answer, start in (
            (None, "not answered"),
            (..., "not answered"),
            ("text", ("a number is asked", "a function is asked")),
            (lambda *_: ..., ("not answered", "a number")),
        ):
            assert verdict(exercise, answer).startswith(start)
    assert "raises KeyError" in verdict(EXERCISES["nrd.teacher"], fails)
    assert "raises TypeError" in verdict(EXERCISES["nrd.teacher"], lambda only_one: 1)
    assert verdict(EXERCISES["nrd.teacher"], lambda t, s, d: 7.0).startswith(
        "not yet. For (1.0, 0.0, 0.9) it gives 7.0, and should give 0.9"
    )
    assert verdict(EXERCISES["nrd.teacher"], lambda t, s, d: "seven").startswith("not yet. For")
    assert "too large" in verdict(EXERCISES["noise.wrong"], 3)
    with pytest.raises(ValueError, match=r"exercise 'x' does not exist: noise.wrong"):
        check("x", 1)


def test_every_exercise_is_asked_in_a_notebook():
    text = "".join(p.read_text() for p in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
    for name in EXERCISES:
        assert text.count(f'check(\\"{name}\\"') == 1, name
