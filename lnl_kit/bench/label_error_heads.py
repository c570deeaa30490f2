"""How well heads on frozen features find label errors, beside cleanlab with the same features and
probabilities.

    python -m lnl_kit.bench.label_error_heads digits
    python -m lnl_kit.bench.label_error_heads data/cifar10-jpeg [all]   # needs cleanlab: pip install -e
    .[bench]
    python -m lnl_kit.bench.label_error_heads probs FILE.npz ...        # `probs`, `given`, `true`
    python -m lnl_kit.bench.label_error_heads ablation data/cifar10-jpeg

Rows go to `data/measured/find_errors_heads.csv`, and how often a suspicion came true to
`find_errors_reliability.csv`; those that the files have are not measured again. `minutes` are those of the
search itself, features included where they were not kept from before; `cpu_seconds` count all threads;
`peak_bytes` is what the process has had at most until then, what it measured before included.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

from ..data.labelling import default_noise
from ..features import DEFAULT
from ..features.heads import principal
from ..features.of_dataset import features_of
from ..label_errors import heads
from ..label_errors.estimates import with_odds, wrong_share
from ..label_errors.evidence import labels_of, of_features
from ..label_errors.findings import load
from ..methods import linear_probe
from ..results import measured
from ..toolbox import metrics
from .label_errors import HUMAN, NOISES, SEEDS, SIZE, cleanlab_suspicions, quality
from .stacked import peak_memory

RECIPE = "lnl-kit heads"
RANKED, CALIBRATED = "find_errors_heads", "find_errors_reliability"  # the files
BINS = 10  # of the suspicion


def rows_of(
    label: dict,
    probs: np.ndarray,
    features: np.ndarray | None,
    given: np.ndarray,
    true: np.ndarray,
    suspicion: np.ndarray,
    interval: tuple[float, float],
    cost: dict,
) -> None:
    """Add the rows of one cell that are not there: ours, and cleanlab's where it is installed, from the same
    probabilities (and features).
    """
    wrong, n = given != true, len(given)
    if not there(label, CALIBRATED):
        found = metrics.binned(suspicion, wrong, BINS)
        bins = {key: found[key].tolist() for key in ("confidence", "accuracy", "count")}
        save(
            label,
            {"recipe": RECIPE, "calibration_error": metrics.calibration_error(found)} | bins,
            CALIBRATED,
        )
    if there(label, RANKED):
        return
    ours = {"low_share": interval[0] / n, "high_share": interval[1] / n} | cost | quality(wrong, suspicion)
    save(label, {"recipe": RECIPE} | ours)
    print(label, {k: round(v, 4) for k, v in ours.items() if isinstance(v, float)}, flush=True)
    if not wrong.any():
        return
    for name, (theirs, called) in cleanlab_scores(probs, features, given).items():
        save(
            label,
            {"recipe": f"{name}, same probabilities"}
            | quality(wrong, theirs)
            | {"estimated_share": called, "called_share": called},
        )


def cleanlab_scores(
    probs: np.ndarray, features: np.ndarray | None, given: np.ndarray
) -> dict[str, tuple[np.ndarray, float]]:
    """{name: (suspicion (N,), share called errors)}: self-confidence, find_label_issues, and Datalab, which
    sees the features too.
    """
    found = cleanlab_suspicions(probs, given)
    if features is not None:
        from cleanlab import Datalab

        lab = Datalab(data={"label": given.tolist()}, label_name="label", verbosity=0)
        lab.find_issues(features=features, pred_probs=probs, issue_types={"label": {}})
        issues = lab.get_issues("label")
        found["cleanlab Datalab"] = (
            1 - issues["label_score"].to_numpy(),
            float(issues["is_label_issue"].mean()),
        )
    return found


def save(label: dict, row: dict, file: str = RANKED) -> None:
    """A row of a file; the place of the images does not count."""
    asked = json.dumps({"recipe": row["recipe"]} | label, sort_keys=True)
    measured.add(file, label | {"method": row["recipe"], "asked": asked} | row)


def there(label: dict, *files: str) -> bool:
    """Whether these files (none named: both) have our row of a cell."""
    wanted = json.dumps({"recipe": RECIPE} | label, sort_keys=True)
    return all(
        any(row["asked"] == wanted for row in measured.read(file)) for file in files or (RANKED, CALIBRATED)
    )


def measure(
    dataset: str,
    labels: str | None,
    column: str | None,
    noise: str | None,
    rate: float | None,
    seed: int,
    size: int | None,
) -> None:
    """One cell on features."""
    label = {
        "dataset": "cifar10n" if labels else dataset,
        "labels": column or f"{noise} {rate or 0:g}",
        "noise": noise,
        "rate": rate,
        "seed": seed,
        "train_images": size,
    }
    if there(label):
        return
    where = {
        "label_column": column,
        "true_column": "clean" if labels else None,
        "image_size": 32 if labels else None,
        "like": None,
    }
    source = load(dataset, labels, train_size=size, skip_bad=False, **where)
    noise, rate = default_noise(noise or "none", rate, labels, dataset)
    cpu = time.process_time()
    found = of_features(source, DEFAULT, noise, rate, seed, label_column=column, train_size=size)
    cost = {
        "minutes": found.seconds / 60,
        "cpu_seconds": time.process_time() - cpu,
        "peak_bytes": peak_memory(),
        "device": found.device,
    }
    (probs,) = found.probs.values()
    assert found.true is not None  # measured where the truth is known
    rows_of(
        label,
        probs,
        found.features,
        found.given,
        found.true,
        found.estimates.suspicion,
        found.estimates.interval,
        cost,
    )


def measure_probs(path: Path) -> None:
    """One file of public probabilities."""
    arrays = np.load(path)
    probs, given, true = (
        arrays["probs"].astype(np.float64),
        arrays["given"].astype(np.int64),
        arrays["true"].astype(np.int64),
    )
    label = {"dataset": "public probabilities", "labels": path.stem, "seed": 0, "train_images": len(given)}
    if there(label):
        return
    probs /= probs.sum(1, keepdims=True)
    posterior = heads.posterior_of(probs, given)
    found = with_odds(probs, posterior, heads.log_odds(probs, posterior, given), given)
    share, _ = wrong_share(probs, given)
    rows_of(label, probs, None, given, true, found.suspicion, found.interval, {"share": share})


def ablation(folder: str) -> None:
    """What each part of the recipe adds, and what was tried and left out:
    `data/measured/find_errors_ablation.csv`.
    """
    for seed in SEEDS[:2]:
        for column in HUMAN:
            done = {(row["labels"], row["seed"]) for row in measured.read("find_errors_ablation")}
            if (column, seed) in done:
                continue
            where = {"label_column": column, "true_column": "clean", "image_size": 32, "like": None}
            source = load(
                f"folder:{folder}", f"{folder}/cifar10n.csv", train_size=SIZE, skip_bad=False, **where
            )
            index, given, true = labels_of(source, "none", 0.0, seed, column, SIZE)
            z = principal(features_of(source, DEFAULT, index))
            label = {"dataset": "cifar10n", "labels": column, "seed": seed, "train_images": SIZE}
            found = list(parts_of(z, given, len(source.classes), seed))  # all of a cell, or none
            for part, odds in found:
                row = {"method": RECIPE, "asked": f"{column} {part}", "part": part}
                measured.add("find_errors_ablation", label | row | quality_of_order(given != true, odds))


def quality_of_order(wrong: np.ndarray, odds: np.ndarray) -> dict[str, float]:
    """What only the order decides."""
    return {
        k: v
        for k, v in quality(wrong, odds).items()
        if k in ("auc", "average_precision", "precision_at_n", "share_wrong")
    }


def parts_of(z: torch.Tensor, given: np.ndarray, classes: int, seed: int):
    """Yield (name, log odds (N,) against the labels)."""
    y, rows = torch.from_numpy(given), np.arange(len(given))
    judged = {n: heads.judge(z, given, classes, seed, rounds=n) for n in (1, 2, 3)}
    own = judged[1].held_out[rows, given]
    yield "head", np.log1p(-own) - np.log(np.maximum(own, 1e-9))
    votes, _ = linear_probe.votes(z, y, classes)
    near = votes[torch.arange(len(y)), y].numpy()
    neighbours = np.log1p(-np.minimum(near, 1 - 1e-6)) - np.log(near)
    yield "neighbours", neighbours
    yield "AUM of an MLP head", -margin_while_training(z, y, classes, seed)
    for n, found in judged.items():
        yield f"{n} round{'s' * (n > 1)}", found.odds
    yield "3 rounds and neighbours", judged[3].odds + neighbours


def margin_while_training(
    z: torch.Tensor, y: torch.Tensor, classes: int, seed: int, epochs: int = 10
) -> np.ndarray:
    """(N,): the given label's logit above the highest other, summed over the epochs of an MLP head (Pleiss et
    al. 2020).
    """
    torch.manual_seed(seed)
    net = torch.nn.Sequential(
        torch.nn.Linear(z.shape[1], 512), torch.nn.ReLU(), torch.nn.Linear(512, classes)
    )
    optimizer, total = (
        torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4),
        torch.zeros(len(y)),
    )
    for _ in range(epochs):
        for idx in torch.randperm(len(y)).split(128):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(z[idx]), y[idx]).backward()
            optimizer.step()
        with torch.no_grad():
            logits = net(z)
            own = logits.gather(1, y[:, None])[:, 0]
            total += own - logits.scatter(1, y[:, None], -1e9).max(1)[0]
    return total.numpy()


def main(argv: list[str]) -> int:
    """Measure digits, a folder of CIFAR-10 as JPEG with cifar10n.csv in it, or files of probabilities."""
    if argv[:1] == ["digits"]:
        for noise, rate in NOISES:
            for seed in SEEDS:
                measure("digits", None, None, noise, rate, seed, None)
    elif argv[:1] == ["probs"]:
        for path in argv[1:]:
            measure_probs(Path(path))
    elif argv[:1] == ["ablation"] and len(argv) == 2:
        ablation(argv[1])
    elif argv:
        size = None if argv[1:] == ["all"] else SIZE
        for seed in SEEDS if size else SEEDS[:1]:
            for column in HUMAN:
                measure(f"folder:{argv[0]}", f"{argv[0]}/cifar10n.csv", column, None, None, seed, size)
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
