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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .. import data
from ..data import taken
from ..data.labelling import default_noise
from ..features import DEFAULT
from ..files import make_folder, runs_root
from ..methods import BASELINE, METHODS
from ..papers.presets import resolve
from ..run.asked import WHOLE, share, whole
from ..run.identity import versions
from ..toolbox.detectors import DYNAMICS
from ..train import HOW, train
from .allowed import require_images, require_own, usual_place
from .cross_validation import CrossValidation, cross_validation
from .estimates import disagreement, estimate
from .evidence import Evidence, of_features, of_probs
from .findings import Findings, digests_of, labels_before, load, write
from .inspection import inspect, raised, why
from .pictures import picture
from .ranking import (
    EVERY,
    NEIGHBOURS,
    SCORES,
    geometric_mean,
    in_order_of,
    numbers,
    ranked,
    single_score,
)
from .report import report_bytes
from .searched import absolute_labels, by_split, complete, parts_of

RECIPE = ("cross_validation",)  # of networks trained on the images: see notebook 40
PLACES = (
    "labels path_column label_column true_column image_size like train_size recursive max_pixels "
    "follow_links image_column hf_split splits"
).split()
OF_HEADS = {"device", *HOW}  # of the arguments of `train`, those that do not ask for networks


@taken.once()
def find_errors(
    dataset: str | Path = "digits",
    method: str | list[str] | tuple[str, ...] | None = None,
    *,
    features: str | None = None,
    probs=None,
    noise: str | None = None,
    rate: float | None = None,
    seed: int = 0,
    score: str = "recipe",
    to: str | Path | None = None,
    report: bool = True,
    **ask,
) -> pd.DataFrame:
    """Every training image with the suspicion that its label is wrong, most suspicious first.

    dataset: `folder:PATH` (or PATH), a built-in set, or one with a synthetic `noise` at a `rate` to try it on
        (the table then has a column `true`).
    features: the pretrained network that looks at the images, by default `efficientnet_lite0`, which needs
        no connection (see `features.KINDS`); several, separated by commas, look side by side; `npz:PATH` are
        features of one's own; `none` trains networks on the images, as a `method`, a `score` or a setting of
        training (epochs, model, ...) does.
    probs: out-of-sample probabilities of one's own, an array (N, K) or a file .npz (`probs`), .npy, .csv or
        .parquet: nothing is trained.
    method: names of methods, one or several, whose predictions are combined (geometric mean);
        without `cross_validation`, which is not in `lnl methods`, labels they disagree with count as wrong.
    score: recipe, or one score of the first method that ranks the images instead: probability (of the given
        label), clean_score (the method's own), trajectory (the probability's mean over the epochs kept),
        vicinal (its mean over unseen AutoAugment views), aum, mean_margin, data_maps, data_variability (of
        the margins it logs, see `toolbox.detectors`; without a method those of cross-entropy), and simifeat
        (votes of neighbours on the features, or those of the method's network).
    to: folder of errors.csv, summary.json, labels_before.csv and report.html; None = `errors/...` in `out`.
    ask: labels, path_column, label_column, true_column, like, image_size, recursive, max_pixels, skip_bad,
        follow_links (see `data.load`), splits (parts of a folder that are searched, of train, val and test;
        None = all), train_size (at most so many images), out (root of the runs), preset, and what else
        `train` takes.

    Columns: rank (1, 2, ...), index, path (None for built-in sets), given, suggested (the most probable other
    class), split (of a folder: the part it lies in), suspicion (estimated probability that the label is
    wrong; their sum is the estimated number of errors), because, kind (what else is wrong with the image, ""
    = nothing), `suspicion_<who>`, digest (of the pixels). `attrs["folder"]` is the folder. Raises ValueError
    or FileNotFoundError with one sentence.
    """
    search = Search.of(dataset, features, probs, method, noise, rate, seed, score, ask)
    source = load(**search.asked, skip_bad=search.skip_bad)
    require_images(source, search.chosen, search.asked["train_size"], seed)
    require_own(to, search.asked["dataset"], source.fingerprint)
    if to:
        make_folder(Path(to))  # not after hours of training
    evidence = search.judge(source)
    place = Path(to) if to else usual_place(search.root, source, search.asked["dataset"], evidence.folder)
    findings = findings_of(source, evidence, place, search)
    before = labels_before(source, dict(zip(findings.table["image"], findings.table["given"])))
    write(findings, before, report_bytes(findings, picture) if report else None)
    findings.table.attrs["folder"] = str(place)
    return findings.table


@dataclass(frozen=True)
class Search:
    """What is searched, and who judges."""

    asked: dict  # of `load`, as summary.json keeps it
    features: str | None
    probs: Any
    chosen: list[str]  # methods, where networks judge
    told: dict  # noise, rate, preset and seed
    size: int | None  # pixels a side, where it was asked for
    score: str
    skip_bad: bool
    root: Path
    ask: dict  # further arguments of `train`

    @classmethod
    def of(cls, dataset, features, probs, method, noise, rate, seed: int, score: str, ask: dict) -> Search:
        """From the arguments of `find_errors`; what contradicts is refused in one sentence."""
        places = {k: ask.pop(k, None) for k in PLACES}
        places |= {k: whole(k, places[k]) for k in WHOLE}
        rate, seed = share("rate", rate), whole("seed", seed) or 0
        if (n := places["train_size"]) is not None and n < 2:
            raise ValueError(f"train_size {n} is not allowed: at least 2 images")
        preset, skip_bad = ask.pop("preset", "demo"), ask.pop("skip_bad", False)
        root = runs_root(ask.pop("out", None))
        features, chosen = who_judges(features, probs, method, score, ask)
        dataset, labels, size = complete(dataset), absolute_labels(places["labels"]), places["image_size"]
        parts, deep = parts_of(places["splits"], dataset), places["recursive"]
        noise, rate = default_noise(noise or "none", rate, labels, dataset)
        name = places["like"] or dataset.partition(":")[0]
        first = (chosen or RECIPE)[0]
        plan = resolve(preset, first, CrossValidation, dataset=name, noise=noise, rate=rate)
        asked = places | {
            "dataset": dataset,
            "labels": labels,
            "recursive": True if deep is None else deep,
            "follow_links": bool(places["follow_links"]),
            "splits": list(parts) if parts else None,
            "image_size": size or plan.image_size,  # as in training: every image is decoded once
        }
        told = {"noise": noise, "rate": rate, "preset": preset, "seed": seed}
        return cls(asked, features, probs, chosen, told, size, score, skip_bad, root, ask)

    def judge(self, source: data.Dataset) -> Evidence:
        """Ask whoever judges."""
        noise, rate, seed = (self.told[k] for k in ("noise", "rate", "seed"))
        labelling: dict[str, Any] = {k: self.asked[k] for k in ("label_column", "train_size")}
        if self.probs is not None:
            return of_probs(source, self.probs, noise, rate, seed, **labelling)
        if self.features:
            told = {k: self.ask[k] for k in ("device", "progress") if k in self.ask} | {"score": self.score}
            return of_features(source, self.features, noise, rate, seed, size=self.size, **labelling, **told)
        more = {
            "preset": self.told["preset"],
            "score": self.score,
            "skip_bad": self.skip_bad,
            "out": self.root,
        }
        return of_networks(self.chosen, self.asked, noise, rate, seed, more | self.ask)


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
    training += ["score"] if score not in ("recipe", NEIGHBOURS) else []
    if score in DYNAMICS and "cross_validation" in chosen:
        raise ValueError(
            f"score {score} is of one network's training, not of cross_validation: name a method"
        )
    if score == NEIGHBOURS and probs is not None:
        raise ValueError(f"score {score} beside probabilities: neighbours need features; drop one of them")
    if probs is not None or features not in (None, "none"):
        if chosen or training:
            raise ValueError(
                f"{'probabilities' if probs is not None else 'features'} beside {(chosen or training)[0]}, "
                "which is for networks trained on the images: drop one of them"
            )
        if probs is not None and features not in (None, "none"):
            raise ValueError("probabilities beside features: only one can judge; drop one of them")
        return (None if probs is not None else features), []
    chosen = chosen or ([BASELINE] if score in DYNAMICS else [])
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
    if kept := "margins" if score in DYNAMICS else "features" if score == NEIGHBOURS else None:
        more["keep"] = (*more.get("keep", ()), kept)
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
    if score != "recipe":
        estimates = in_order_of(estimates, single_score(first, score))
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


def findings_of(source: data.Dataset, evidence: Evidence, place: Path, search: Search) -> Findings:
    """The table and the summary of what was found; nothing is written yet."""
    given, classes, estimates = evidence.given, evidence.classes, evidence.estimates
    n = len(given)
    images = np.array(source.names)[evidence.index]
    digests = np.array(digests_of(source))[evidence.index]
    inspection = inspect(source, evidence, images, digests)
    suspicion = raised(estimates.suspicion, inspection, given)
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
    table["because"] = why(evidence, inspection, images)[table["at"]]
    table["kind"] = np.array(["; ".join(k) for k in inspection.kinds], dtype=object)[table["at"]]
    if evidence.true is not None:
        table["true"] = np.array(classes, dtype=object)[evidence.true[table["at"]]]
    for name, p in evidence.probs.items():
        table[f"suspicion_{name}"] = (1 - p[np.arange(n), given])[table["at"]].round(6)
    table["digest"] = digests[table.pop("at")]
    table["image"] = table.pop("image")  # last: not in errors.csv
    summary = {
        "dataset": re.sub(r"^\w+:.*[/\\]", "", search.asked["dataset"]),
        "images": n,
        "asked": search.asked,
        "fingerprint": source.fingerprint,
        "taken": source.taken,
        "skipped": source.skipped_kinds,
        **by_split(source, evidence.index, suspicion, images, inspection.across),
        **search.told,
        "recipe": evidence.about.get("eye") or evidence.about.get("recipe") or "probabilities",
        **numbers(estimates, given, suspicion, classes),
        "conflicting_duplicates": [
            [(images[i], classes[given[i]]) for i in group] for group in inspection.same
        ],
        "kinds": dict(Counter(k for found in inspection.kinds for k in found)),
        "alike": [images[group].tolist() for group in inspection.alike()],
        "runs": evidence.runs,
        "seconds": evidence.seconds,
        "device": evidence.device,
        "versions": versions(),
        **evidence.about,
    }
    return Findings(place, table, summary)
