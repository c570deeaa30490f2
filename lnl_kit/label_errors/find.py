"""Finding label errors: which labels of one's own images are probably wrong, and what they should be.

1. Someone who never saw an image's label says what is there: heads on the features of a pretrained network
   (`label_errors.heads`, the default), networks trained on the images (`method`), or out-of-sample
   probabilities of one's own (`probs`).
2. From these answers a transition matrix and the number of wrong labels are estimated (`estimates`).
3. Images are ranked by the odds against their labels; pictures that occur twice under two labels, and images
   with other faults (`faults`), are named beside them.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import data
from ..data import decode, taken
from ..data.labelling import default_noise
from ..data.streams import Stream
from ..features import DEFAULT
from ..files import make_folder, runs_root, safe
from ..methods import METHODS
from ..papers.presets import resolve
from ..run.identity import versions
from ..train import HOW, train
from . import faults
from .cross_validation import CrossValidation, cross_validation
from .estimates import disagreement, estimate
from .evidence import Evidence, of_features, of_probs
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
from .searched import absolute_labels, by_split, complete, parts_of, require_images, require_own

RECIPE = ("cross_validation",)  # of networks trained on the images: see notebook 40
OF_HEADS = {"device", *HOW}  # of the arguments of `train`, those that do not ask for networks


@taken.once()
def find_errors(
    dataset: str | Path = "digits",
    method: str | list[str] | tuple[str, ...] | None = None,
    *,
    features: str | None = None,
    probs=None,
    labels=None,
    path_column: str | None = None,
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
    splits: str | Sequence[str] | None = None,
    recursive: bool = True,
    max_pixels: int | None = None,
    report: bool = True,
    **ask,
) -> pd.DataFrame:
    """Every training image with the suspicion that its label is wrong, most suspicious first.

    dataset: `folder:PATH` (or PATH), a built-in set, or one with a synthetic `noise` at a `rate` to try it on
        (the table then has a column `true`). labels, path_column, label_column, true_column, like, skip_bad,
        recursive, max_pixels: see `data.load`.
    splits: the parts of a folder that are searched, of train, val and test; None = all of them.
    features: the pretrained network that looks at the images, by default `efficientnet_lite0`, which needs no
        network (see `features.KINDS`); several, separated by commas, look side by side; `npz:PATH` are
        features of one's own; `none` trains networks on the images, as a `method` or a setting of training
        (epochs, model, ...) does.
    probs: out-of-sample probabilities of one's own, an array (N, K) or a file .npz (`probs`), .npy, .csv or
        .parquet: nothing is trained.
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
    class), split (of a folder: the part it lies in), suspicion (estimated probability that the label is
    wrong; their sum is the estimated number of errors), because (what spoke against the label), kind (what
    else is wrong with the image, "" = nothing), a column `suspicion_<method>` for each method, digest (of the
    pixels). `attrs["folder"]` is the folder, and `open_findings(folder).summary` the estimates. Raises
    ValueError or FileNotFoundError with one sentence.
    """
    features, chosen = who_judges(features, probs, method, score, ask)
    dataset, labels = complete(dataset), absolute_labels(labels)
    parts = parts_of(splits, dataset)
    noise, rate = default_noise(noise or "none", rate, labels, dataset)
    plan = resolve(
        preset,
        (chosen or RECIPE)[0],
        CrossValidation,
        dataset=like or dataset.partition(":")[0],
        noise=noise,
        rate=rate,
    )
    asked = {
        "dataset": dataset,
        "labels": labels,
        "path_column": path_column,
        "label_column": label_column,
        "true_column": true_column,
        "image_size": image_size or plan.image_size,  # as in training: every image is decoded once
        "like": like,
        "train_size": train_size,
        "recursive": recursive,
        "max_pixels": max_pixels,
        "splits": list(parts) if parts else None,
    }
    source = load(**asked, skip_bad=skip_bad)
    require_images(source, chosen, train_size, seed)
    require_own(to, dataset, source.fingerprint)
    if to:
        make_folder(Path(to))  # not after hours of training
    root = runs_root(out)
    labelling: dict[str, Any] = {"label_column": label_column, "train_size": train_size}
    if probs is not None:
        evidence = of_probs(source, probs, noise, rate, seed, **labelling)
    elif features:
        how = {k: ask[k] for k in ("device", "progress") if k in ask}
        evidence = of_features(source, features, noise, rate, seed, size=image_size, **labelling, **how)
    else:
        more = {"preset": preset, "score": score, "skip_bad": skip_bad, "out": root, **ask}
        evidence = of_networks(chosen, asked, noise, rate, seed, more)
    place = Path(to) if to else root / "errors" / safe(source.slug) / evidence.folder[0] / evidence.folder[1]
    told = {"noise": noise, "rate": rate, "preset": preset, "seed": seed}
    findings = findings_of(source, evidence, place, asked, told)
    write(findings, labels_before(source, dict(zip(findings.table["image"], findings.table["given"]))))
    if report:
        write_report(findings, picture)
    findings.table.attrs["folder"] = str(place)
    return findings.table


def who_judges(features, probs, method, score: str, ask: dict) -> tuple[str | None, list[str]]:
    """(features or None, methods): which of the three ways to judge labels is asked for; contradictions are
    refused in one sentence.
    """
    if score not in SCORES:
        raise ValueError(f"score {score!r} does not exist: {', '.join(SCORES)}")
    chosen = [m.strip() for m in method.split(",")] if isinstance(method, str) else list(method or ())
    if unknown := [m for m in chosen if m != "cross_validation" and m not in METHODS]:
        raise ValueError(f"method {unknown[0]!r} does not exist: cross_validation, {', '.join(METHODS)}")
    training = [k for k, v in ask.items() if k not in OF_HEADS and v is not None]
    training += ["score"] if score != "recipe" else []
    if probs is not None or features not in (None, "none"):
        if chosen or training:
            raise ValueError(
                f"{'probabilities' if probs is not None else 'features'} beside {(chosen or training)[0]}, "
                "which is for networks trained on the images: drop one of them"
            )
        if probs is not None and features not in (None, "none"):
            raise ValueError("probabilities beside features: only one can judge; drop one of them")
        return (None if probs is not None else features), []
    if features == "none" or chosen:
        return None, chosen or list(RECIPE)
    if training:
        print(
            f"{training[0]} is for networks trained on the images: these judge, as with features none; "
            f"without it the pretrained {DEFAULT} does",
            file=sys.stderr,
        )
        return None, list(RECIPE)
    return DEFAULT, []


def of_networks(chosen: list[str], asked: dict, noise: str, rate: float, seed: int, more: dict) -> Evidence:
    """Networks trained on the images: by cross-validation, by methods, or both."""
    preset, score = more.pop("preset"), more.pop("score")
    places = {k: v for k, v in asked.items() if k not in ("dataset", "train_size", "splits")}
    runs = {}
    for name in chosen:
        own: dict[str, Any] = {"settings_class": CrossValidation} if name == "cross_validation" else {}
        runs[name] = train(
            cross_validation if own else name,
            asked["dataset"],
            noise,
            rate,
            preset,
            seed,
            train_size=asked["train_size"] or EVERY,
            split=tuple(asked["splits"]) if asked["splits"] else False,
            **places,
            **own,
            **more,
        )
        if runs[name].summary is None:
            raise KeyboardInterrupt  # stopped; the same call goes on
    first = next(iter(runs.values()))
    found, given = first.labels, first.labels["given"]
    probs = {name: run.arrays["train_probs"].astype(np.float64) for name, run in runs.items()}
    fitted = [run.arrays["fitted_probs"] for run in runs.values() if "fitted_probs" in run.arrays]
    ranking = geometric_mean([*probs.values(), *fitted])
    held_out = probs.get("cross_validation")
    estimates = disagreement(ranking, given) if held_out is None else estimate(held_out, given, ranking, seed)
    if score != "recipe":  # the same values, in the order of that score
        order = np.argsort(-single_score(first, score), kind="stable")
        suspicion = estimates.suspicion.copy()
        suspicion[order] = np.sort(estimates.suspicion)[::-1]
        estimates = estimates._replace(suspicion=suspicion)
    parts = [*([] if tuple(chosen) == RECIPE else chosen), *([] if score == "recipe" else [score])]
    return Evidence(
        found["index"],
        given,
        found["true"],
        list(first.classes),
        probs,
        estimates,
        (first.folder.parent.name, "-".join([first.folder.name, *parts])),
        first.summary["device"] if first.summary else "",
        sum(run.summary["seconds"] for run in runs.values() if run.summary),
        [str(run.folder) for run in runs.values()],
        about={"recipe": ", ".join([*chosen, *([score] if score != "recipe" else [])])},
    )


def findings_of(source: data.Dataset, evidence: Evidence, place: Path, asked: dict, told: dict) -> Findings:
    """The table and the summary of what was found; nothing is written yet."""
    given, classes, estimates = evidence.given, evidence.classes, evidence.estimates
    n, dataset = len(given), asked["dataset"]
    images = np.array(source.names)[evidence.index]
    digests = np.array(digests_of(source))[evidence.index]
    groups = conflicting(
        digests,
        given,
        None if source.paths is None else lambda i: decode.whole_digest(source.folder / images[i]),
    )
    files = None if source.paths is None else [source.folder / i for i in images]
    kinds, pairs = (
        ([[] for _ in range(n)], [])
        if isinstance(source.x, Stream)
        else faults.kinds(np.asarray(source.x[evidence.index]), evidence.features, given, files)
    )
    suspicion = np.maximum(estimates.suspicion, at_least(groups, given, n))
    for pair in pairs:  # nearly one picture, two labels: one of them is wrong
        if given[pair[0]] != given[pair[1]]:
            suspicion[list(pair)] = np.maximum(suspicion[list(pair)], 0.5)
    posterior = estimates.posterior
    for i, (suspected, other) in evidence.few.items():
        suspicion[i] = suspected
        posterior[i] = np.eye(len(classes))[other]
    table = ranked(images, given, suspicion, posterior, classes)
    table.insert(
        1, "index", (evidence.index if source.paths is not None else images.astype(int))[table["at"]]
    )  # as label files count
    table.insert(2, "path", None if source.paths is None else table["image"])
    if source.parts:
        table.insert(3, "split", np.array(source.parts)[evidence.index][table["at"]])
    because = np.array(reasons(evidence.probs, given, classes, groups), dtype=object)
    for i, (_, other) in evidence.few.items():
        because[i] = (
            f"too few images of {classes[given[i]]} for heads; images that look like it are {classes[other]}"
        )
    for i, j in pairs:
        for a, b in ((i, j), (j, i)):
            because[a] += f"; looks like {images[b]}" + (
                f", labelled {classes[given[b]]}" if given[a] != given[b] else ""
            )
    table["because"] = because[table["at"]]
    table["kind"] = np.array(["; ".join(k) for k in kinds], dtype=object)[table["at"]]
    if evidence.true is not None:
        table["true"] = np.array(classes, dtype=object)[evidence.true[table["at"]]]
    for name, p in evidence.probs.items():
        table[f"suspicion_{name}"] = (1 - p[np.arange(n), given])[table["at"]].round(6)
    table["digest"] = digests[table.pop("at")]
    table["image"] = table.pop("image")  # last: not in errors.csv
    summary = {
        "dataset": re.sub(r"^folder:.*[/\\]", "", dataset),
        "images": n,
        "asked": asked,
        "fingerprint": source.fingerprint,
        "taken": source.taken,
        "skipped": source.skipped_kinds,
        **by_split(source, evidence.index, suspicion, images, digests),
        **told,
        "recipe": evidence.about.get("eye") or evidence.about.get("recipe") or "probabilities",
        **numbers(estimates, given, suspicion, classes),
        "conflicting_duplicates": [[(images[i], classes[given[i]]) for i in group] for group in groups],
        "kinds": dict(Counter(k for found in kinds for k in found)),
        "runs": evidence.runs,
        "seconds": evidence.seconds,
        "device": evidence.device,
        "versions": versions(),
        **evidence.about,
    }
    return Findings(place, table, summary)
