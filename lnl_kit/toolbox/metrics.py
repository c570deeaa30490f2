"""Metrics: numpy arrays in, floats out, fractions all. What cannot be measured is None, never zero.

N images, K classes; probs (N, K) floats of any precision; labels, given, true (N,) integers.
Where a prediction is asked for, `probs` may also be (N,) predicted classes.
"""

from __future__ import annotations

import numpy as np


def accuracy(probs: np.ndarray, labels: np.ndarray) -> float | None:
    """Share of images whose most probable class is the label; None without images."""
    return _mean(_predicted(probs) == labels)


def top_k(probs: np.ndarray, labels: np.ndarray, k: int = 5) -> float | None:
    """Share of images whose label is among the k most probable classes (ties: the lower class first)."""
    best = np.argsort(-np.asarray(probs, np.float64), axis=1, kind="stable")[:, :k]
    return _mean((best == np.asarray(labels)[:, None]).any(1))


def ece(probs: np.ndarray, labels: np.ndarray, bins: int = 15) -> float | None:
    """Expected calibration error over equal-width bins of the confidence (Guo et al. 2017, Eq. 3).

    Σ_b n_b/N |accuracy_b − confidence_b|, the confidence being the largest probability.
    """
    return calibration_error(reliability(probs, labels, bins))


def calibration_error(r: dict[str, np.ndarray]) -> float | None:
    """The expected calibration error of the bins of `reliability` or `binned`; None without images."""
    total = np.sum(r["count"])
    if total == 0:
        return None
    return float(np.nansum(r["count"] * np.abs(np.subtract(r["accuracy"], r["confidence"]))) / total)


def reliability(probs: np.ndarray, labels: np.ndarray, bins: int = 15) -> dict[str, np.ndarray]:
    """What a reliability diagram shows: per bin (lower, upper] of the confidence, in order.

    confidence and accuracy (bins,): means, NaN in an empty bin; count (bins,) images; edges (bins + 1,).
    """
    probs = np.asarray(probs, np.float64)
    return binned(probs.max(1), probs.argmax(1) == labels, bins)


def binned(confidence: np.ndarray, correct: np.ndarray, bins: int = 15) -> dict[str, np.ndarray]:
    """The same of any probability (N,) of an event, and whether it came about (N,) bool: per bin the mean
    probability (`confidence`) and how often it came about (`accuracy`).
    """
    edges = np.linspace(0, 1, bins + 1)
    which = np.digitize(confidence, edges[1:-1], right=True)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):  # 0/0 in an empty bin is NaN, as promised
        return {
            "confidence": np.bincount(which, confidence, bins) / count,
            "accuracy": np.bincount(which, correct, bins) / count,
            "count": count,
            "edges": edges,
        }


def true_class_loss(probs: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(N,) cross-entropy to the true class in nats, probabilities clamped at 1e-7 (NRD, Fig. 1)."""
    return -np.log(np.maximum(probs[np.arange(len(true)), true].astype(np.float64), 1e-7))


def selection_auc(clean_score: np.ndarray, is_clean: np.ndarray) -> float | None:
    """Area under the ROC curve of `clean_score` (N,) as a detector of right labels: the chance that an image
    with a right label scores above one with a wrong label, ties counting half.

    Images whose score is NaN have none and are left out. None unless labels of both kinds remain.
    """
    from scipy.stats import rankdata

    clean_score, is_clean = np.asarray(clean_score, np.float64), np.asarray(is_clean, bool)
    scored = ~np.isnan(clean_score)
    ranks, is_clean = rankdata(clean_score[scored]), is_clean[scored]
    right, wrong = int(is_clean.sum()), int((~is_clean).sum())
    if right == 0 or wrong == 0:
        return None
    return float((ranks[is_clean].sum() - right * (right + 1) / 2) / (right * wrong))


def outside_auroc(outside_score: np.ndarray, outside: np.ndarray) -> float | None:
    """Area under the ROC curve of `outside_score` (N,), larger = rather of no class, as a detector of images
    that are (bool (N,)): out-of-distribution against in-distribution. As `selection_auc` otherwise.
    """
    return selection_auc(outside_score, outside)


def selection_precision_recall(
    selected: np.ndarray, is_clean: np.ndarray
) -> tuple[float | None, float | None]:
    """The share of right labels among the selected images, and the share of right labels that are selected.

    None where there is nothing to divide by.
    """
    selected, is_clean = np.asarray(selected, bool), np.asarray(is_clean, bool)
    return _mean(is_clean[selected]), _mean(selected[is_clean])


def accepted_precision_share(accepted: np.ndarray, true: np.ndarray) -> tuple[float | None, float]:
    """(share of the accepted images that are right, share accepted); accepted (N,): a class, or -1."""
    accepted, true = np.asarray(accepted), np.asarray(true)
    chosen = accepted >= 0
    return _mean(accepted[chosen] == true[chosen]), float(chosen.mean())


def refurbished_accuracy(new_labels: np.ndarray, true: np.ndarray) -> float | None:
    """Share of `new_labels`, classes (N,) or probabilities (N, K), that are the true class."""
    return _mean(_predicted(new_labels) == true)


def empirical_transition(
    true: np.ndarray, given: np.ndarray, num_classes: int, corrupted: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """The transition matrix (K, K) that was made, row = true class, and the images behind each row (K,).

    `corrupted` counts wrong labels only, so the diagonal is zero. A row without images is NaN.
    """
    true, given = np.asarray(true), np.asarray(given)
    if corrupted:
        true, given = true[given != true], given[given != true]
    counts = np.bincount(true * num_classes + given, minlength=num_classes**2).reshape(-1, num_classes)
    mass = counts.sum(1)
    with np.errstate(invalid="ignore"):
        return counts / mass[:, None], mass


def transition_error(
    estimate: np.ndarray, true: np.ndarray, given: np.ndarray, kind: str = "all"
) -> float | None:
    """Mean absolute error of a transition matrix estimate (K, K) against the one that was made.

    The mean goes over all K entries of the rows whose true class has images of that kind: "all", or
    "corrupted" (wrong labels only; the truth then has a zero diagonal). None where no row has any.
    Raises ValueError for another kind or a matrix that is not square.
    """
    if kind not in ("all", "corrupted"):
        raise ValueError(f'a transition matrix is of "all" or of "corrupted" labels, not {kind!r}')
    estimate = np.asarray(estimate, np.float64)
    if estimate.ndim != 2 or estimate.shape[0] != estimate.shape[1]:
        raise ValueError(f"a transition matrix has the shape (K, K), not {estimate.shape}")
    made, mass = empirical_transition(true, given, len(estimate), corrupted=kind == "corrupted")
    rows = mass > 0
    return _mean(np.abs(estimate - made)[rows])


def train_metrics(probs: np.ndarray, given: np.ndarray, true: np.ndarray | None) -> dict[str, float | None]:
    """What a network makes of its training images; None where none are of the kind or no truth is known.

    train_accuracy_clean and train_accuracy_wrong: accuracy against the *truth* over the images whose given
    label is right, and wrong. memorized: share of the wrong given labels that are predicted.
    """
    names = ("train_accuracy_clean", "train_accuracy_wrong", "memorized")
    if true is None:
        return dict.fromkeys(names)
    predicted, given, true = _predicted(probs), np.asarray(given), np.asarray(true)
    wrong = given != true
    return dict(
        zip(
            names,
            (
                _mean((predicted == true)[~wrong]),
                _mean((predicted == true)[wrong]),
                _mean((predicted == given)[wrong]),
            ),
        )
    )


def _predicted(probs: np.ndarray) -> np.ndarray:
    """The most probable class of each row (the first of equals); classes (N,) pass through."""
    probs = np.asarray(probs)
    return probs if probs.ndim == 1 else probs.argmax(1)


def _mean(values: np.ndarray) -> float | None:
    return float(np.mean(values)) if np.size(values) else None
