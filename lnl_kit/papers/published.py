"""What the papers print, as data, under the kit's names and units.

`data/published/results.csv` holds every number the five papers print, `hyperparameters.csv` every setting.
This is the one place where the papers' names and units become the kit's: see NAMES.
"""

from __future__ import annotations

import csv
import functools
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "data" / "published"

# The papers' names -> ours, for every paper; (paper, name) where only one paper means it so.
NAMES: dict[str | tuple[str, str], str] = {
    # methods
    "bs": "bootstrap_soft",  # BS(beta): (1 - beta) one-hot + beta prediction
    ("robust_features", "bs"): "bootstrap",  # soft or hard is not said, so it joins with neither
    "ls": "label_smoothing",
    "lci": "label_confidence",
    "lnl_flywheel": "flywheel",
    "rfl": "robust_features",
    "joint_opt": "joint_optimization",
    # noise conventions
    "real": "none",  # the labels as they come with the data set
    ("robust_features", "symmetric"): "symmetric_exclusive",
    ("robust_features", "asymmetric"): "pair_flip",
    # settings
    "lr_gamma": "gamma",
    "lr_schedule": "schedule",
    "warmup_epochs": "warmup",
    "minibatches_per_epoch": "batches_per_epoch",
    ("label_confidence", "penalty"): "penalty_kind",
    ("label_confidence", "lambda"): "penalty",
    ("label_confidence", "rho"): "consistency",
    ("label_confidence", "m"): "margin",
    ("label_confidence", "gce_q"): "q",
    ("label_confidence", "noise_robust_loss"): "robust_loss",
    ("label_confidence", "mapping_slope"): "slope",
    ("label_confidence", "mu_decay"): "mean_decay",
    ("label_confidence", "label_correction_start_fraction"): "correct_after",
    ("robust_features", "weight_L_rec"): "restoration",
    ("robust_features", "weight_L_cluster"): "clustering",
    ("pu_distill", "student_mixup_entropy"): "pu_distill",  # Table VI's whole student
    ("pu_distill", "alpha"): "sure",
    ("pu_distill", "theta"): "votes",
    ("pu_distill", "N_ensemble"): "filters",
    ("pu_distill", "N_t_teachers"): "teachers",
    ("pu_distill", "K_iterations"): "iterations",
    ("pu_distill", "mixup_mu"): "mixup",
    ("pu_distill", "entropy_regularization_weight"): "entropy",
    ("pu_distill", "table_V_eta"): "threshold",
    ("pu_distill", "table_V_lambda"): "teacher_weight",
    ("pu_distill", "eta"): "threshold",
    ("pu_distill", "lambda"): "teacher_weight",
    (
        "pu_distill",
        "teacher_sampling",
    ): "teacher_sampling_words",  # a sentence there, not one of our setting's values
    ("flywheel", "lambda"): "confidence_regularizer",
    ("flywheel", "alpha"): "contrastive",
}
PERCENT = {"accuracy", "top5", "best", "last", "avg_last10", "teacher_accuracy", "accuracy_gain_points"}


def name(printed: str, paper: str = "") -> str:
    """Our name for a method, noise or setting as `paper` prints it; names we share come back unchanged."""
    return NAMES.get((paper, printed), NAMES.get(printed, printed))


@functools.cache
def read(file: str) -> tuple[dict[str, str], ...]:
    path = DATA / file
    if not path.exists():
        raise FileNotFoundError(
            f"the published numbers are not at {path}: work in a clone of the "
            "repository, installed with `pip install -e .`"
        )
    with open(path, newline="", encoding="utf-8") as lines:
        return tuple(csv.DictReader(lines))


@functools.cache
def results() -> tuple[dict, ...]:
    """results.csv with our names and units; one dictionary per printed number."""
    rows = []
    for r in read("results.csv"):
        scale = 0.01 if r["metric"] in PERCENT else 1.0
        rows.append(
            {
                "paper": r["paper"],
                "table": r["table"],
                "dataset": r["dataset"],
                "split": r["split"],
                "architecture": r["architecture"] or None,
                "method": name(r["method"], r["paper"]),
                "method_printed": r["method"],
                "noise": name(r["noise_type"], r["paper"]) or None,
                "noise_printed": r["noise_type"] or None,
                "rate": float(r["noise_rate"]) if r["noise_rate"] else None,
                "metric": r["metric"],
                "published": round(float(r["value"]) * scale, 6),
                "published_std": round(float(r["std"]) * scale, 6) if r["std"] else None,
                "n_runs": int(r["n_runs"]) if r["n_runs"] else None,
                "notes": r["notes"],
            }
        )
    return tuple(rows)


def papers() -> tuple[str, ...]:
    """The papers whose numbers are here."""
    return tuple(dict.fromkeys(r["paper"] for r in results()))


def tables(paper: str) -> tuple[str, ...]:
    """The tables of a paper. Raises ValueError for an unknown paper, naming those that exist."""
    if paper not in papers():
        raise ValueError(f"no numbers of a paper {paper!r}: there are {', '.join(papers())}")
    return tuple(dict.fromkeys(r["table"] for r in results() if r["paper"] == paper))


def rows_of(paper: str, table: str) -> list[dict]:
    if table not in tables(paper):
        raise ValueError(f"{paper} has no {table!r} here: there are {', '.join(tables(paper))}")
    return [r for r in results() if r["paper"] == paper and r["table"] == table]


def noise_key(noise: str | None, rate: float | None) -> tuple[str | None, float]:
    """What must be equal for two labellings to be comparable. Without noise the rate is 0, given or not."""
    return noise, 0.0 if noise == "none" or rate is None else round(float(rate), 9)


def parse(text: str) -> object:
    """A cell of hyperparameters.csv: int, float, bool, text, or a tuple of them ("0.5;0.75")."""
    if ";" in text:
        return tuple(parse(part) for part in text.split(";"))
    if text in ("yes", "no"):
        return text == "yes"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text
