"""What a finished run writes beside its metrics: summary.json and labels.csv."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ..files import csv_bytes, save_atomically
from ..toolbox import ranks
from .device import device_name
from .evaluate import COLUMNS
from .identity import versions
from .loop import Run

OUTSIDE = "(none of the classes)"


def summarise(run: Run, told: list[str]) -> dict:
    """The metric fields of summary.json."""
    accuracies = [r["test_accuracy"] for r in run.rows]
    last = run.rows[-1]
    seconds = sum(r["epoch_seconds"] + r["evaluation_seconds"] for r in run.rows) + run.saving_seconds
    summary = {
        "seconds": seconds,
        "stage_seconds": run.stage_seconds,
        "seconds_per_epoch": float(np.median([r["epoch_seconds"] for r in run.rows])),
        "images_per_second": float(np.median([r["images_per_second"] for r in run.rows])),
        "inference_seconds": run.inference_seconds,
        "device": device_name(run.device),
        "precision": run.precision,
        "threads": torch.get_num_threads(),
        "ranks": ranks.count(),
        "compile": run.compile,
        "versions": versions(),
        "uses": told,
        "test_accuracy_best": max(accuracies),
        "test_accuracy_mean_last10": float(np.mean(accuracies[-10:])),
        "test_accuracy_at_best_noisy_val": None,
    }
    if run.evaluator.noisy_val is not None:
        best = max(run.rows, key=lambda r: r["noisy_val_accuracy"])
        summary["test_accuracy_at_best_noisy_val"] = best["test_accuracy"]
    skip = {"epoch", "epoch_seconds", "evaluation_seconds", "images_per_second"}
    columns = dict.fromkeys([*COLUMNS, *last])
    return summary | {f"{c}_last": last.get(c) for c in columns if c not in skip}


def write_labels(path: Path, source, index, given, true, clean=None, outside=None) -> None:
    """labels.csv: index, path, given, true (class names), one row per training image, usable by --labels;
    with a clean subset also clean (1 or 0), with open-set noise outside (1 or 0) of the whole set (N,), whose
    true label is OUTSIDE.
    """
    names = (*source.classes, OUTSIDE)  # -1 is the last
    save_atomically(
        path,
        csv_bytes(
            [
                {
                    "index": int(i),
                    "path": source.paths[i] if source.paths else None,
                    "given": names[g],
                    "true": None if true is None else names[true[n]],
                }
                | ({} if clean is None else {"clean": int(clean[n])})
                | ({} if outside is None else {"outside": int(outside[i])})
                for n, (i, g) in enumerate(zip(index, given))
            ],
            ("index", "path", "given", "true"),
        ),
    )
