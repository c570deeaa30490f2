"""Finding label errors: which labels of one's own images are probably wrong, and what they should be.

Networks that were never shown an image's label say what they see there (cross-validation). From their answers
a transition matrix and the number of errors are estimated (`error_estimates`); images are ranked by these
answers together with those of the networks that were trained on the image, on a loss that gives in to few
wrong labels (their geometric mean). What the methods of the kit believe can stand beside it or in its place
(`method`), and each single score can rank instead (`score`).
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from .. import data
from ..data import decode
from ..data.labelling import default_noise
from ..files import runs_root, safe
from ..methods import METHODS
from ..papers.presets import resolve
from ..run.identity import versions
from ..train import train
from .cross_validation import CrossValidation, cross_validation
from .estimates import disagreement, estimate
from .findings import Findings, digests_of, labels_before, load, write
from .pictures import picture
from .ranking import (
    EVERY,
    SCORES,
    at_least,
    conflicting,
    geometric_mean,
    numbers,
    ranked,
    reasons,
    single_score,
)
from .report import write_report

RECIPE = ("cross_validation",)  # chosen by measurement: see notebook 40


def find_errors(
    dataset: str = "digits",
    method: str | list[str] | tuple[str, ...] = RECIPE,
    *,
    labels: str | None = None,
    label_column: str | None = None,
    true_column: str | None = None,
    noise: str | None = None,
    rate: float | None = None,
    preset: str = "demo",
    seed: int = 0,
    train_size: int | None = None,
    image_size: int | None = None,
    like: str | None = None,
    score: str = "recipe",
    to: str | Path | None = None,
    out: str | Path | None = None,
    skip_bad: bool = False,
    report: bool = True,
    **ask,
) -> pd.DataFrame:
    """Every training image with the suspicion that its label is wrong, most suspicious first.

    dataset: `folder:PATH` (or PATH), a built-in set, or one with a synthetic `noise` at a `rate` to try it on
        (the table then has a column `true`). A folder without `test/` is searched whole. labels,
        label_column, true_column, like, skip_bad: see `data.load`.
    method: names of methods, one or several, whose predictions are combined (geometric mean);
        `cross_validation`, which is not in `lnl methods`, makes the estimates honest: without it, as many
        labels count as wrong as the methods disagree with.
    score: recipe, or one score of the first method that ranks the images instead: probability (of the given
        label), clean_score (the method's own), trajectory (the probability's mean over the epochs kept),
        vicinal (its mean over unseen AutoAugment views).
    train_size: at most so many images; None = all. out: root of the run folders; the same call again loads
        what is finished and goes on with what is not. to: folder of errors.csv, summary.json,
        labels_before.csv and report.html; None = `errors/...` under that root.
    ask: further arguments of `train`, such as epochs, device, model.

    Columns: rank (1, 2, ...), index, path (None for built-in sets), given, suggested (the most probable other
    class), suspicion (estimated probability that the label is wrong; their sum is the estimated number of
    errors), because (what spoke against the label), a column `suspicion_<method>` for each method, digest (of
    the pixels). `attrs["folder"]` is the folder, and `open_findings(folder).summary` the estimates. Raises
    ValueError or FileNotFoundError with one sentence.
    """
    chosen = [m.strip() for m in method.split(",")] if isinstance(method, str) else list(method)
    if unknown := [m for m in chosen if m != "cross_validation" and m not in METHODS]:
        raise ValueError(f"method {unknown[0]!r} does not exist: cross_validation, {', '.join(METHODS)}")
    if score not in SCORES:
        raise ValueError(f"score {score!r} does not exist: {', '.join(SCORES)}")
    if ":" not in dataset and dataset not in data.NAMES:
        dataset = f"folder:{dataset}"
    if dataset.startswith("folder:"):
        dataset = f"folder:{Path(dataset[7:]).expanduser().absolute()}"
    noise, rate = default_noise(noise or "none", rate, labels, dataset)
    asked = {
        "dataset": dataset,
        "labels": labels and str(Path(labels).expanduser().absolute()),
        "label_column": label_column,
        "true_column": true_column,
        "image_size": image_size,
        "like": like,
        "train_size": train_size,
    }
    plan = resolve(
        preset, chosen[0], CrossValidation, dataset=like or dataset.partition(":")[0], noise=noise, rate=rate
    )
    asked["image_size"] = image_size = (
        image_size or plan.image_size
    )  # as in training: every image is decoded once
    source = load(**asked, skip_bad=skip_bad)
    require_images(source, chosen)
    require_own(to, dataset)
    root = runs_root(out)
    runs = {}
    for name in chosen:
        own = {"settings_class": CrossValidation} if name == "cross_validation" else {}
        runs[name] = train(
            cross_validation if own else name,
            dataset,
            noise,
            rate,
            preset,
            seed,
            labels=labels,
            label_column=label_column,
            true_column=true_column,
            image_size=image_size,
            like=like,
            train_size=train_size or EVERY,
            skip_bad=skip_bad,
            split=False,
            out=root,
            **own,
            **ask,
        )
        if runs[name].summary is None:
            raise KeyboardInterrupt  # stopped; the same call goes on
    first = next(iter(runs.values()))
    found, given = first.labels, first.labels["given"]
    n, classes = len(given), list(first.classes)
    probs = {name: run.arrays["train_probs"].astype(np.float64) for name, run in runs.items()}
    ranking = geometric_mean(
        [
            *probs.values(),
            *(run.arrays["fitted_probs"] for run in runs.values() if "fitted_probs" in run.arrays),
        ]
    )
    held_out = probs.get("cross_validation")
    estimates = disagreement(ranking, given) if held_out is None else estimate(held_out, given, ranking, seed)
    suspicion = estimates.suspicion
    if score != "recipe":  # the same values, in the order of that score
        order = np.argsort(-single_score(first, score), kind="stable")
        suspicion = suspicion.copy()
        suspicion[order] = np.sort(estimates.suspicion)[::-1]
    images, digests = np.array(source.names)[found["index"]], np.array(digests_of(source))[found["index"]]
    groups = conflicting(
        digests,
        given,
        None if source.paths is None else lambda i: decode.whole_digest(Path(dataset[7:]) / images[i]),
    )
    suspicion = np.maximum(suspicion, at_least(groups, given, n))
    table = ranked(images, given, suspicion, estimates.posterior, classes)
    table.insert(
        1, "index", (found["index"] if source.paths is not None else images.astype(int))[table["at"]]
    )  # as label files count
    table.insert(2, "path", None if source.paths is None else table["image"])
    table["because"] = np.array(reasons(probs, given, classes, groups), dtype=object)[table["at"]]
    if found["true"] is not None:
        table["true"] = np.array(classes, dtype=object)[found["true"][table["at"]]]
    for name, p in probs.items():
        table[f"suspicion_{name}"] = (1 - p[np.arange(n), given])[table["at"]].round(6)
    table["digest"] = digests[table.pop("at")]
    table["image"] = table.pop("image")  # last: not in errors.csv
    own = [*([] if tuple(chosen) == RECIPE else chosen), *([] if score == "recipe" else [score])]
    folder = (
        Path(to)
        if to
        else root
        / "errors"
        / safe(source.slug)
        / first.folder.parent.name
        / "-".join([first.folder.name, *own])
    )
    duplicates = [[(images[i], classes[given[i]]) for i in group] for group in groups]
    summary = {
        "dataset": re.sub(r"^folder:.*[/\\]", "", dataset),
        "images": n,
        "asked": asked,
        "noise": noise,
        "rate": rate,
        "preset": preset,
        "seed": seed,
        "recipe": ", ".join([*chosen, *([score] if score != "recipe" else [])]),
        **numbers(estimates, given, suspicion, classes),
        "conflicting_duplicates": duplicates,
        "runs": [str(run.folder) for run in runs.values()],
        "seconds": sum(run.summary["seconds"] for run in runs.values()),
        "device": first.summary["device"],
        "versions": versions(),
    }
    findings = Findings(folder, table, summary)
    write(findings, labels_before(source, dict(zip(table["image"], table["given"]))))
    if report:
        write_report(findings, picture)
    table.attrs["folder"] = str(folder)
    return table


def require_images(source: data.Dataset, methods: list[str]) -> None:
    """Refuse in one sentence what cannot be judged: classes too small for cross-validation."""
    labels = source.given_labels if source.given_labels is not None else source.true_labels
    count = np.bincount(labels.numpy(), minlength=len(source.classes))
    if "cross_validation" in methods and (
        small := [f"{source.classes[k]} ({count[k]})" for k in np.flatnonzero(count < 3)]
    ):
        raise ValueError(
            f"{len(small)} of {len(count)} classes have fewer than 3 images, too few to judge their labels: "
            f"{', '.join(small[:10])}; add images, or move these classes out of the folder"
        )


def require_own(folder: str | Path | None, dataset: str) -> None:
    """Refuse in one sentence a folder with the review of other images: its decisions would be taken for
    decisions about these.
    """
    if (
        folder is None
        or not (Path(folder) / "decisions.csv").exists()
        or not (Path(folder) / "summary.json").is_file()
    ):
        return
    if (other := json.loads((Path(folder) / "summary.json").read_text())["asked"]["dataset"]) != dataset:
        raise ValueError(f"{folder} holds the review of {other}: choose another folder for {dataset}")
