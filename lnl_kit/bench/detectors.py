"""How well detectors that need no training of their own find label errors, beside the recipe of find-errors.

    python -m lnl_kit.bench.detectors digits
    python -m lnl_kit.bench.detectors data/cifar10-jpeg      # 5,000 images with human labels, on features

Of digits, cross-entropy is trained on the images and its margins are kept, of CIFAR-10N on the features
that the recipe sees (`mlp_head`). simifeat sees those features, `simifeat of the network` those of the
network that was trained. Rows go to `data/measured/detectors.csv`; those that it has are not measured again.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np

from ..features import DEFAULT
from ..label_errors.evidence import of_features
from ..label_errors.findings import load
from ..label_errors.ranking import detector_aucs
from ..methods import BASELINE
from ..results import measured
from ..toolbox import detectors, metrics
from ..train import train
from .label_errors import HUMAN, SEEDS, SIZE

FILE = "detectors"
NOISES = (("symmetric", 0.2), ("symmetric", 0.5), ("asymmetric", 0.4))


def measure(dataset: str, noise: str, rate: float | None, seed: int, labels: str | None = None) -> None:
    """Add the rows of one cell: noise is that of digits, or a column of human labels in the file `labels`."""
    label = {"dataset": "cifar10n" if labels else dataset, "labels": noise, "rate": rate, "seed": seed}
    if any(row["asked"] == measured.asked(label) for row in measured.read(FILE)):
        return
    size = SIZE if labels else None
    where: dict[str, Any] = (
        {"label_column": noise, "true_column": "clean", "image_size": 32} if labels else {}
    )
    kind, share = ("none", 0.0) if labels else (noise, rate or 0.0)
    source = load(
        dataset,
        labels,
        train_size=size,
        skip_bad=False,
        **{"label_column": None, "like": None, "true_column": None, "image_size": None} | where,
    )
    started = time.process_time()
    column = noise if labels else None
    found = of_features(source, DEFAULT, kind, share, seed, label_column=column, train_size=size)
    assert found.true is not None and found.features is not None  # measured where the truth is known
    right = found.given == found.true
    scores = {"recipe": -found.estimates.suspicion}
    took = {"recipe": time.process_time() - started}
    started = time.process_time()
    scores["simifeat"] = detectors.simifeat(found.features, found.given, len(source.classes))
    took["simifeat"] = time.process_time() - started
    run = train(
        BASELINE,
        dataset,
        seed=seed,
        train_size=size,
        labels=labels,
        features=DEFAULT if labels else None,
        keep=("margins", "features"),
        progress=False,
        split=not labels,
        noise=kind,
        rate=share,
        **where,
    )
    aucs = {name: metrics.selection_auc(score, right) for name, score in scores.items()}
    ours = detector_aucs(run)
    aucs |= {"simifeat of the network": ours.pop("simifeat"), **ours}
    trained = run.summary or {}
    for name, auc in aucs.items():
        row = {"method": name, "asked": measured.asked(label), "auc": auc, "device": found.device}
        row |= {
            "share_wrong": float(np.mean(~right)),
            "train_images": len(right),
            "cpu_seconds": took.get(name),
        }
        measured.add(FILE, label | row | {"epochs": None if name in took else trained["epochs"]})
        print(label, name, auc, flush=True)


def main(argv: list[str]) -> int:
    """Measure digits, or a folder of CIFAR-10 as JPEG with cifar10n.csv in it."""
    if len(argv) != 1:
        print(__doc__)
        return 2
    for seed in SEEDS:
        if argv == ["digits"]:
            for noise, rate in NOISES:
                measure("digits", noise, rate, seed)
        else:
            for column in HUMAN:
                measure(f"folder:{argv[0]}", column, None, seed, f"{argv[0]}/cifar10n.csv")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
