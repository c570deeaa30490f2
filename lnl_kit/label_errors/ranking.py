"""Which labels look wrong, in what order, and why."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import pandas as pd

from ..toolbox import detectors, metrics
from .estimates import Estimate

NEIGHBOURS = "simifeat"  # the score that needs features and no training
SCORES = ("recipe", "probability", "clean_score", "trajectory", "vicinal", *detectors.DYNAMICS, NEIGHBOURS)
EVERY = sys.maxsize  # images: all that there are


def ranked(
    images: np.ndarray, given: np.ndarray, suspicion: np.ndarray, posterior: np.ndarray, classes: list[str]
) -> pd.DataFrame:
    """One row an image, most suspicious first: rank, given, suggested (best other), suspicion, at, image."""
    other = posterior.copy()
    other[np.arange(len(given)), given] = -1
    at = np.argsort(-suspicion, kind="stable")
    names = np.array(classes, dtype=object)
    return pd.DataFrame(
        {
            "rank": np.arange(1, len(at) + 1),
            "given": names[given[at]],
            "suggested": names[other.argmax(1)[at]],
            "suspicion": suspicion[at].round(6),
            "at": at,
            "image": images[at],
        }
    )


def geometric_mean(probs) -> np.ndarray:
    """(N, K) of several (N, K), normalised: a class must be probable to all."""
    logs = np.mean([np.log(np.maximum(p, 1e-6)) for p in probs], axis=0)
    p = np.exp(logs - logs.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def single_score(run, score: str) -> np.ndarray:
    """(N,): how suspicious one score finds each label, larger is more. ValueError if the run lacks it."""
    given, rows = run.labels["given"], np.arange(len(run.labels["given"]))
    if score == "vicinal":
        views = run.predict_views(run.train_images(), "autoaugment", n_views=8)  # of a policy it never saw
        return -views.mean(0)[rows, given]
    if score == "clean_score" and "clean_score" in run.arrays:
        return -np.nan_to_num(run.arrays["clean_score"].astype(np.float64), nan=-np.inf)
    if score == "trajectory" and len(run.history["index"]) == len(given):
        return -run.history["train_probs"].astype(np.float64).mean(0)[rows, given]
    if score in detectors.DYNAMICS and "margins" in run.history:
        rates = [row["learning_rate"] for row in run.metrics]
        kept = run.history["margins"], run.history["given_probs"]
        return -detectors.DYNAMICS[score](*kept, rates)
    if score == NEIGHBOURS and "features" in run.arrays:
        return -detectors.simifeat(run.arrays["features"], given, len(run.classes))
    if score == "probability":
        return -run.arrays["train_probs"][rows, given]
    raise ValueError(
        f"{run.settings['method']} has no {score} for all of these images: choose another, "
        f"of {', '.join(SCORES)}"
    )


def in_order_of(estimates: Estimate, suspicious: np.ndarray) -> Estimate:
    """The same values of the suspicion, in the order of another score (N,), larger = more suspicious."""
    order = np.argsort(-suspicious, kind="stable")
    suspicion = estimates.suspicion.copy()
    suspicion[order] = np.sort(estimates.suspicion)[::-1]
    return estimates._replace(suspicion=suspicion)


def detector_aucs(run) -> dict[str, float | None]:
    """{score: selection AUC} of what a run kept by keep=("margins", "features"); empty without the truth."""
    given, true = run.labels["given"], run.labels["true"]
    there = [*detectors.DYNAMICS] if "margins" in run.history else []
    there += [NEIGHBOURS] if "features" in run.arrays else []
    if true is None:
        return {}
    return {score: metrics.selection_auc(-single_score(run, score), given == true) for score in there}


def conflicting(
    digests: np.ndarray, given: np.ndarray, whole: Callable[[int], str] | None = None
) -> list[np.ndarray]:
    """Groups of images, as positions, that are the same picture and have not all the same label.

    digests (N,): of the pixels that were searched; whole: a digest of all that an image's file shows, asked
    where those are equal.
    """

    def groups(rows):
        rows = rows[(rows["digest"] != "") & rows["digest"].duplicated(keep=False)]
        return [g for _, g in rows.groupby("digest", sort=False) if g["given"].nunique() > 1]

    found = groups(pd.DataFrame({"digest": digests, "given": given, "at": np.arange(len(given))}))
    if whole is not None:
        found = [
            same for group in found for same in groups(group.assign(digest=[whole(i) for i in group["at"]]))
        ]
    return [group["at"].to_numpy() for group in found]


def at_least(groups: list[np.ndarray], given: np.ndarray, n: int) -> np.ndarray:
    """(n,): suspicion of one picture's labels by themselves: each as probable as frequent there."""
    suspicion = np.zeros(n)
    for group in groups:
        suspicion[group] = [1 - (given[group] == given[i]).mean() for i in group]
    return suspicion


def reasons(
    probs: dict[str, np.ndarray], given: np.ndarray, classes: list[str], groups: list[np.ndarray]
) -> list[str]:
    """For each image what spoke against its label, in words."""
    parts: list[list[str]] = [[] for _ in given]
    rows = np.arange(len(given))
    for name, p in probs.items():
        others = p.copy()
        others[rows, given] = -1
        who = "networks that never saw this label" if name == "cross_validation" else name
        for part, best, of_label, high in zip(parts, others.argmax(1), p[rows, given], others.max(1)):
            part.append(f"{who}: {classes[best]} {high:.0%}, the label {of_label:.0%}")
    for group in groups:
        for i in group:
            other_labels = sorted({classes[k] for k in given[group]} - {classes[given[i]]})
            parts[i].insert(0, f"the same picture is also labelled {', '.join(other_labels)}")
    return ["; ".join(part) for part in parts]


def numbers(estimates: Estimate, given: np.ndarray, suspicion: np.ndarray, classes: list[str]) -> dict:
    """What summary.json says about all labels together."""
    counts = (
        estimates.posterior.T @ np.eye(len(classes))[given]
    )  # (K, K): images probably of a class (row), by given label
    T = counts / np.maximum(counts.sum(1, keepdims=True), 1e-12)
    pairs = sorted(
        ((counts[t, g], t, g) for t in range(len(classes)) for g in range(len(classes)) if t != g),
        reverse=True,
    )
    added = suspicion.sum() - estimates.suspicion.sum()  # by copies of one picture
    return {
        "estimated_errors": float(suspicion.sum()),
        "estimated_errors_interval": [bound + added for bound in estimates.interval],
        "estimated_share": float(suspicion.mean()),
        "called_errors": int((suspicion >= 0.5).sum()),
        "temperature": estimates.temperature,
        "transition_matrix": T.round(6).tolist(),
        "classes": classes,
        "confused_pairs": [
            {"true": classes[t], "given": classes[g], "images": round(float(c), 2)}
            for c, t, g in pairs[:10]
            if c >= 0.5
        ],
    }
