"""The exercises: solutions pass, the usual mistakes are explained, and nothing a learner writes raises."""

import math

import numpy as np
import pytest

from lnl_kit.exercises import EXERCISES, check, verdict


def mixed(a, b, share):
    return share * np.asarray(a) + (1 - share) * np.asarray(b)


def jsd(pi, *ps):
    m = sum(w * p for w, p in zip(pi, ps))
    return sum(w * sum(a * math.log(a / b) for a, b in zip(p, m) if a) for w, p in zip(pi, ps))


def information(joint):
    rows, columns = joint.sum(1), joint.sum(0)
    return sum(
        joint[i, j] * math.log(joint[i, j] / rows[i] / columns[j])
        for i in range(2)
        for j in range(2)
        if joint[i, j]
    )


SOLUTIONS = {
    "noise.wrong": 0.36,
    "noise.memorised": 0.64,
    "noise.matrix": lambda rate, k: (1 - rate - rate / (k - 1)) * np.eye(k) + rate / (k - 1),
    "nrd.divergence": jsd,
    "nrd.teacher": lambda t, s, d: d * t + (1 - d) * s,
    "nrd.label_weight": 0.8,
    "pu.rate": 0.5,
    "pu.accept": lambda votes, needed: votes.argmax() if votes.max() >= needed else -1,
    "pu.target": lambda t, y, w, eta: mixed(t, y, w) if t.max() >= eta else y,
    "lci.confidence": lambda loss, mean, m, s: 1 / (1 + np.exp(s * (loss - mean - m))),
    "lci.gce": lambda p, q: (1 - p**q) / q,
    "lci.bound": 10 / 7,
    "flywheel.cleanness": lambda g, gamma, e: gamma * g / (gamma * g + (1 - gamma) * e),
    "flywheel.target": lambda q, f, y: mixed(np.eye(len(f))[y], f, q),
    "flywheel.right": 0.55,
    "rfl.information": information,
    "rfl.collapse": 0,
    "rfl.bootstrap": lambda y, p, a: mixed(y, p, a),
}


@pytest.mark.parametrize("name", EXERCISES)
def test_the_solution_is_right(name, capsys):
    check(name, SOLUTIONS[name])
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
    from pathlib import Path

    text = "".join(p.read_text() for p in (Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
    for name in EXERCISES:
        assert text.count(f'check(\\"{name}\\"') == 1, name
