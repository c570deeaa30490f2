"""Exercises at the end of the notebooks, with checks that explain a wrong answer.

`check("nrd.teacher", my_function)` prints one sentence: right, not answered yet, or what is wrong. Solutions
are in teaching/solutions.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Exercise:
    """A question whose answer is a function (checked on `cases`) or, without cases, a number."""

    question: str
    answer: Any
    cases: Sequence[tuple] = ()
    mistakes: Sequence[tuple[Any, str]] = ()  # (a wrong answer, what is wrong with it)
    right: str = ""  # what to take away


def check(name: str, answer) -> None:
    """Print whether an answer is right, and what is wrong if not. `...` or None: not answered yet.

    Raises ValueError for an exercise that does not exist, naming those that do.
    """
    if name not in EXERCISES:
        raise ValueError(f"exercise {name!r} does not exist: {', '.join(EXERCISES)}")
    exercise = EXERCISES[name]
    print(f"{name}: {verdict(exercise, answer)}")


def verdict(exercise: Exercise, answer) -> str:
    """What `check` prints, without the name."""
    if answer is None or answer is ...:
        return "not answered yet. " + exercise.question
    if not exercise.cases:
        return _of_number(exercise, answer)
    if not callable(answer):
        return f"a function is asked for, this is a {type(answer).__name__}. " + exercise.question
    for case in exercise.cases:
        try:
            got = answer(*(np.array(a) if isinstance(a, list) else a for a in case))
        except Exception as error:  # a learner's function may fail in any way
            return f"called with {_shown(case)} it raises {type(error).__name__}: {error}"
        if got is None or got is ...:
            return "not answered yet. " + exercise.question
        if not _same(got, exercise.answer(*case)):
            for wrong, why in exercise.mistakes:
                if _same(got, wrong(*case)):
                    return f"not yet. {why}"
            right = _round(exercise.answer(*case))
            return f"not yet. For {_shown(case)} it gives {_round(got)}, and should give {right}."
    return "right. " + exercise.right


def _of_number(exercise: Exercise, answer) -> str:
    try:
        value = float(answer)
    except (TypeError, ValueError):
        return f"a number is asked for, this is {answer!r}. " + exercise.question
    if _same(value, exercise.answer):
        return "right. " + exercise.right
    for wrong, why in exercise.mistakes:
        if _same(value, wrong):
            return f"not yet. {why}"
    return (
        f"not yet: {value:g} is too {'large' if value > exercise.answer else 'small'}. " + exercise.question
    )


def _same(a, b) -> bool:
    try:
        a, b = np.asarray(a, float), np.asarray(b, float)
    except (TypeError, ValueError):
        return False
    return a.shape == b.shape and bool(np.allclose(a, b, atol=1e-4, equal_nan=True))


def _round(value) -> str:
    return str(np.round(np.asarray(value, float), 4).tolist()) if _same(value, value) else repr(value)


def _shown(case: tuple) -> str:
    return "(" + ", ".join(str(a) for a in case) + ")"


def _kl(p, q) -> float:
    return sum(a * math.log(a / max(b, 1e-7)) for a, b in zip(p, q) if a > 0)


def _mixture(pi, ps) -> list[float]:
    return [sum(w * p[k] for w, p in zip(pi, ps)) for k in range(len(ps[0]))]


def _jsd(pi, *ps) -> float:
    return sum(w * _kl(p, _mixture(pi, ps)) for w, p in zip(pi, ps))


def _information(joint) -> float:
    joint = np.asarray(joint, float)
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    some = joint > 0
    return float((joint[some] * np.log(joint[some] / outer[some])).sum())


def _entropy(p) -> float:
    return -sum(a * math.log(a) for a in p if a > 0)


def _one_hot(y, k) -> list[float]:
    return [float(i == y) for i in range(k)]


def _mixed(a, b, share) -> list[float]:
    return [share * x + (1 - share) * y for x, y in zip(a, b)]


_THREE = ((0.2, 0.6, 0.2), [1.0, 0.0, 0.0], [0.7, 0.2, 0.1], [0.3, 0.4, 0.3])

EXERCISES = {
    "noise.wrong": Exercise(
        "Symmetric noise redraws 40 % of the labels over all 10 classes. What share of labels is wrong?",
        0.36,
        mistakes=((0.4, "A redrawn label is right again in one case of ten: 0.4 x 9/10."),),
        right="0.4 x 9/10: the rate asked for is not the rate made.",
    ),
    "noise.matrix": Exercise(
        "Write T(rate, k): the (k, k) transition matrix of symmetric noise that is always wrong (exclusive).",
        lambda rate, k: [[1 - rate if i == j else rate / (k - 1) for j in range(k)] for i in range(k)],
        cases=((0.3, 4), (0.0, 3)),
        mistakes=(
            (
                lambda rate, k: [
                    [1 - rate + rate / k if i == j else rate / k for j in range(k)] for i in range(k)
                ],
                "That is the inclusive kind, over all k classes; the exclusive has 1 - rate on the diagonal.",
            ),
            (
                lambda rate, k: [[1 - rate if i == j else rate / k for j in range(k)] for i in range(k)],
                "Rows must sum to 1: the rate is shared by k - 1 classes.",
            ),
        ),
        right="Each row says where the labels of one true class go, and sums to 1.",
    ),
    "noise.memorised": Exercise(
        "A network predicts every given label of its training set, 36 % of them wrong. "
        "What share of the true labels does it predict?",
        0.64,
        mistakes=(
            (1.0, "It agrees with the labels it was given; the truth is another matter."),
            (0.36, "That is the share it gets wrong."),
        ),
        right="Fitting the labels perfectly is what makes it wrong.",
    ),
    "nrd.divergence": Exercise(
        "Write jsd(pi, label, student, teacher): the Jensen-Shannon divergence (19), weights pi, in nats.",
        lambda pi, *ps: _jsd(pi, *ps),
        cases=(_THREE, ((1 / 3, 1 / 3, 1 / 3), [0.5, 0.5], [0.5, 0.5], [0.5, 0.5])),
        mistakes=(
            (
                lambda pi, *ps: _jsd(pi, *ps) / math.log(2),
                "The logarithm is the natural one: the result is in nats, not bits.",
            ),
            (
                lambda pi, *ps: sum(w * _kl(p, ps[0]) for w, p in zip(pi, ps)),
                "Each distribution is compared with the mixture of all, not with the label.",
            ),
            (
                lambda pi, *ps: sum(
                    w * _kl(_mixture(pi, ps), p) if min(p) > 0 else 0 for w, p in zip(pi, ps)
                ),
                "KL(p || m), not KL(m || p): the mixture is the second argument.",
            ),
            (
                lambda pi, *ps: _jsd((1 / 3,) * 3, *ps),
                "The weights pi belong both in the mixture and in the sum.",
            ),
        ),
        right="It is zero where all three agree, whatever the weights, and never infinite.",
    ),
    "nrd.teacher": Exercise(
        "Write update(teacher, student, decay): the teacher's weight after one step (24).",
        lambda t, s, d: d * t + (1 - d) * s,
        cases=((1.0, 0.0, 0.9), (0.5, 2.0, 0.999)),
        mistakes=(
            (
                lambda t, s, d: d * s + (1 - d) * t,
                "The decay is the teacher's share: with 0.999 it should hardly move.",
            ),
        ),
        right="With decay 0.999 it averages the last thousand students or so.",
    ),
    "nrd.label_weight": Exercise(
        "pi = (0.2, 0.6, 0.2). The label is wrong, student and teacher agree on the truth: "
        "how much weight do those two have together?",
        0.8,
        mistakes=(
            (0.2, "That is the label's weight."),
            (0.6, "That is the student's alone; the teacher's comes on top."),
        ),
        right="Most of the pull is towards what views agree on, not towards the label.",
    ),
    "pu.rate": Exercise(
        "One label in ten is known to be right, the overall noise rate is 0.45. "
        "At what rate are the other nine tenths redrawn?",
        0.5,
        mistakes=(
            (0.45, "The tenth that is protected has no noise: the others must carry it, 0.45 / 0.9."),
            (0.405, "Divide by 0.9, do not multiply."),
        ),
        right="r / (1 - share): more than 1 - share is impossible.",
    ),
    "pu.accept": Exercise(
        "Write accept(votes, needed): the class that an image goes to, or -1; votes has one number a class.",
        lambda votes, needed: int(np.argmax(votes)) if max(votes) >= needed else -1,
        cases=(([3, 19, 17], 16), ([3, 12, 9], 16), ([16, 0, 0], 16)),
        mistakes=(
            (
                lambda votes, needed: (
                    next((k for k, v in enumerate(votes) if v >= needed), -1) if max(votes) > needed else -1
                ),
                "`needed` votes are enough, and of several classes the one with most votes wins.",
            ),
            (
                lambda votes, needed: int(np.argmax(votes)),
                "An image that no class has enough votes for is given to none: -1.",
            ),
        ),
        right="Rather no label than a doubtful one.",
    ),
    "pu.target": Exercise(
        "Write target(teacher, label, weight, eta): the student's label (4), (5). "
        "teacher and label are lists of probabilities.",
        lambda t, y, w, eta: _mixed(t, y, w) if max(t) >= eta else list(y),
        cases=(([0.7, 0.2, 0.1], [0.0, 1.0, 0.0], 0.9, 0.4), ([0.35, 0.35, 0.3], [0.0, 1.0, 0.0], 0.9, 0.4)),
        mistakes=(
            (
                lambda t, y, w, eta: _mixed(t, y, w),
                "Teachers that are less sure than eta leave the label as it stands.",
            ),
            (
                lambda t, y, w, eta: _mixed(y, t, w) if max(t) >= eta else list(y),
                "The weight is the teachers', not the label's.",
            ),
        ),
        right="With a weight of 0.9 a wrong label keeps a tenth of its say.",
    ),
    "lci.confidence": Exercise(
        "Write confidence(loss, mean, margin, slope): how far a label is trusted (6), from 0 to 1.",
        lambda loss, mean, m, s: 1 / (1 + math.exp(-s * (mean + m - loss))),
        cases=((0.2, 0.7, 0.0, 0.5), (1.4, 0.7, -1.0, 2.0)),
        mistakes=(
            (
                lambda loss, mean, m, s: 1 / (1 + math.exp(-s * (loss - mean - m))),
                "The sign: a small loss means a trustworthy label.",
            ),
            (
                lambda loss, mean, m, s: 1 / (1 + math.exp(-(mean + m - loss))),
                "The slope multiplies what is inside the sigmoid.",
            ),
        ),
        right="At the running mean, without margin, every label is trusted half.",
    ),
    "lci.gce": Exercise(
        "Write gce(p, q): the generalised cross-entropy of a label to which the network gives probability p.",
        lambda p, q: (1 - p**q) / q,
        cases=((0.5, 0.7), (0.01, 0.7), (0.3, 1.0)),
        mistakes=(
            (lambda p, q: -math.log(p), "That is cross-entropy, the limit q to 0."),
            (lambda p, q: 1 - p**q, "Divide by q, or the limit q to 0 is not cross-entropy."),
        ),
        right="At q = 1 it is 1 - p: a wrong label costs at most 1, however sure the network is.",
    ),
    "lci.bound": Exercise(
        "With q = 0.7, what is the largest GCE that any label can cost?",
        1 / 0.7,
        mistakes=((1.0, "That is for q = 1; here it is 1 / q."),),
        right="Bounded: one wrong label cannot dominate. Cross-entropy has no such bound.",
    ),
    "flywheel.cleanness": Exercise(
        "Write clean(g, gamma, epsilon): the probability (4) that a given label is right. "
        "g is the main network's probability of that label.",
        lambda g, gamma, e: gamma * g / (gamma * g + (1 - gamma) * e),
        cases=((0.9, 0.6, 0.1), (0.05, 0.6, 0.1)),
        mistakes=(
            (
                lambda g, gamma, e: g / (g + e),
                "How many labels are right in general, gamma, belongs in as well.",
            ),
            (lambda g, gamma, e: gamma * g, "Bayes' rule: divide by the sum of both explanations."),
        ),
        right="A label as probable under the network as under the outliers is right with probability gamma.",
    ),
    "flywheel.target": Exercise(
        "Write target(q, f, y): the soft label (11), a list; y: given label, q: how probably it is clean, "
        "f: the auxiliary network's probabilities.",
        lambda q, f, y: _mixed(_one_hot(y, len(f)), f, q),
        cases=((0.8, [0.2, 0.5, 0.3], 0), (0.0, [0.2, 0.5, 0.3], 0)),
        mistakes=(
            (
                lambda q, f, y: _mixed(f, _one_hot(y, len(f)), q),
                "The other way round: q is the share of the given label.",
            ),
        ),
        right="A doubtful label is not thrown away, it is replaced by as much as it is doubted.",
    ),
    "flywheel.right": Exercise(
        "Symmetric noise redraws 50 % of the labels over all 10 classes. What share of labels is right?",
        0.55,
        mistakes=(
            (0.5, "One redrawn label in ten is right by luck: 0.5 + 0.5 / 10."),
            (0.45, "That is the share of wrong ones."),
        ),
        right="A mixture fitted to the labels finds a smaller gamma: lucky redraws are in its uniform part.",
    ),
    "rfl.information": Exercise(
        "Write information(joint): the mutual information, in nats, of two cluster assignments; "
        "joint: their joint distribution, an array that sums to 1.",
        lambda joint: _information(joint),
        cases=(([[0.4, 0.1], [0.1, 0.4]],), ([[0.25, 0.25], [0.25, 0.25]],), ([[0.5, 0.0], [0.0, 0.5]],)),
        mistakes=(
            (lambda joint: _information(joint) / math.log(2), "In nats: the natural logarithm."),
            (
                lambda joint: _entropy(np.asarray(joint, float).flatten()),
                "That is the joint entropy; compare the joint with the product of its margins.",
            ),
        ),
        right="Zero where one view says nothing about the other, log 2 where two even clusters agree.",
    ),
    "rfl.collapse": Exercise(
        "Every image goes to one and the same cluster in both views. What is their mutual information?",
        0.0,
        mistakes=((1.0, "They agree, but agreement on a constant tells nothing."),),
        right="Which is why maximising it prevents the collapse that consistency alone would allow.",
    ),
    "rfl.bootstrap": Exercise(
        "Write target(label, prediction, alpha): what is learned while the given label has the share alpha; "
        "both are lists of probabilities.",
        lambda y, p, a: _mixed(y, p, a),
        cases=(([0.0, 1.0], [0.8, 0.2], 0.25), ([1.0, 0.0], [0.4, 0.6], 1.0)),
        mistakes=(
            (
                lambda y, p, a: _mixed(p, y, a),
                "The other way round: alpha is the given label's share, and falls from 1 to 0.",
            ),
        ),
        right="If alpha falls before the network is right, its mistakes become its labels.",
    ),
}
