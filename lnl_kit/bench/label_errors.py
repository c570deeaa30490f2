"""How well label errors are found where the truth is known, beside cleanlab (measured/find_errors.csv).

    python -m lnl_kit.bench.label_errors digits
    python -m lnl_kit.bench.label_errors data/cifar10-jpeg          # needs cleanlab: pip install -e .[bench]

Rows that the file has are not measured again.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np

from ..label_errors.cross_validation import CrossValidation, cross_validation
from ..label_errors.find import find_errors
from ..label_errors.findings import open_findings
from ..results import measured
from ..run.opened import open_run
from ..train import train

NOISES = (("none", None), ("symmetric", 0.2), ("symmetric", 0.5), ("asymmetric", 0.4))
SEEDS = (0, 1, 2)
HUMAN = ("aggre", "random1", "worst")
SIZE = 5000  # images of CIFAR-10N, as many as `--preset demo` takes
# cross-entropy, five folds; a few more images trained on than ours
CLEANLAB: dict[str, Any] = {"folds": 5, "q": 0.0, "views": 0, "epochs": 28}


def quality(wrong: np.ndarray, suspicion: np.ndarray) -> dict[str, float]:
    """AUC, average precision and precision among the first n (n = the number of errors) of a suspicion (N,)
    for wrong (N,) bool labels, the true and the estimated share of errors, and the share that is called an
    error (suspicion of a half or more). NaN without errors.
    """
    from sklearn.metrics import average_precision_score, roc_auc_score

    n = int(wrong.sum())
    ranked = wrong[np.argsort(-suspicion, kind="stable")]
    some = 0 < n < len(wrong)
    return {
        "auc": float(roc_auc_score(wrong, suspicion)) if some else float("nan"),
        "average_precision": float(average_precision_score(wrong, suspicion)) if some else float("nan"),
        "precision_at_n": float(ranked[:n].mean()) if some else float("nan"),
        "share_wrong": float(wrong.mean()),
        "estimated_share": float(suspicion.mean()),
        "called_share": float((suspicion >= 0.5).mean()),
    }


def cleanlab_suspicions(probs: np.ndarray, given: np.ndarray) -> dict[str, tuple[np.ndarray, float]]:
    """{name: (suspicion (N,), share called errors)} by cleanlab, from out-of-sample probabilities (N, K).

    Its self-confidence ranking, and `find_label_issues`: what that finds comes first, each part ranked by
    self-confidence.
    """
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    self_confidence = 1 - get_label_quality_scores(given, probs, method="self_confidence")
    issues = find_label_issues(given, probs)
    return {
        "cleanlab self-confidence": (self_confidence, float(issues.mean())),
        "cleanlab find_label_issues": ((self_confidence + issues) / 2, float(issues.mean())),
    }


def measure(cell: dict, beside_cleanlab: bool) -> None:
    """Add the rows of one cell: ours and, where asked, cleanlab's."""
    label = {
        "dataset": "cifar10n" if cell.get("labels") else cell["dataset"],
        "labels": cell.get("label_column") or f"{cell['noise']} {cell['rate'] or 0:g}",
        "noise": cell.get("noise"),
        "rate": cell.get("rate"),
        "seed": cell["seed"],
        "preset": cell["preset"],
        "train_images": cell.get("train_size"),
    }
    table = find_errors(**cell)
    summary = open_findings(table.attrs["folder"]).summary
    low, high = summary["estimated_errors_interval"]
    row = {
        "recipe": "lnl-kit",
        "minutes": summary["seconds"] / 60,
        "steps": steps(summary["runs"][0]),
        "device": summary["device"],
        "low_share": low / len(table),
        "high_share": high / len(table),
    }
    save(
        label,
        cell,
        row | quality((table["true"] != table["given"]).to_numpy(), table["suspicion"].to_numpy()),
    )
    if not beside_cleanlab:
        return
    run = train(cross_validation, settings_class=CrossValidation, split=False, **cell, **CLEANLAB)
    given, summary = run.labels["given"], run.summary or {}
    cost = {
        "minutes": summary["seconds"] / 60,
        "steps": steps(run.folder),
        "device": summary["device"],
    }
    for name, (suspicion, called) in cleanlab_suspicions(run.arrays["train_probs"], given).items():
        qualities = quality(run.labels["true"] != given, suspicion) | {
            "estimated_share": called,
            "called_share": called,
        }
        save(label, cell, {"recipe": name} | cost | qualities)


def steps(folder) -> int:
    """Images that were trained on, all epochs and folds together."""
    s = open_run(folder).settings
    return s["settings"]["epochs"] * s["train_images"] * (s["settings"]["folds"] - 1)


def save(label: dict, cell: dict, row: dict) -> None:
    """A row of the file."""
    measured.add("find_errors", label | {"method": row["recipe"], "asked": asked(cell, row["recipe"])} | row)


def asked(cell: dict, recipe: str) -> str:
    """What a row answers; the place of the images does not count."""
    return json.dumps(
        {k: v for k, v in cell.items() if k not in ("dataset", "labels")} | {"recipe": recipe}, sort_keys=True
    )


def main(argv: list[str]) -> int:
    """Measure `digits`, or a folder of CIFAR-10 as JPEG with cifar10n.csv in it."""
    if argv[:1] == ["digits"]:
        cells = [
            {"dataset": "digits", "noise": noise, "rate": rate, "seed": seed, "preset": "demo"}
            for noise, rate in NOISES
            for seed in SEEDS
        ]
    elif argv:
        cells = [
            {
                "dataset": f"folder:{argv[0]}",
                "labels": f"{argv[0]}/cifar10n.csv",
                "label_column": column,
                "true_column": "clean",
                "seed": seed,
                "preset": "demo",
                "train_size": SIZE,
            }
            for seed in SEEDS
            for column in HUMAN
        ]
    else:
        print(__doc__)
        return 2
    for cell in cells:
        recipes = ["lnl-kit"] + (
            ["cleanlab self-confidence", "cleanlab find_label_issues"] if cell.get("labels") else []
        )
        already_measured = {row["asked"] for row in measured.read("find_errors")}
        if not all(asked(cell, recipe) in already_measured for recipe in recipes):
            measure(cell, bool(cell.get("labels")))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
