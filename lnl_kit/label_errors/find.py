"""Finding label errors: which labels of one's own images are probably wrong, and what they should be.

1. Predict held out: networks that were never shown an image's label say what they see (cross-validation).
2. Estimate from these answers a transition matrix and the number of errors (`estimates`).
3. Rank the images by these answers together with those of the networks that were trained on the image, on a
   loss that gives in to few wrong labels (their geometric mean).

What the methods of the kit believe can stand beside it or in its place (`method`), and each single score can
rank instead (`score`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from .. import data
from ..data import copies, decode, taken
from ..data.labelling import choose
from ..data.streams import pick
from ..files import make_folder, runs_root, safe
from ..methods import METHODS
from ..run.identity import versions
from ..run.opened import OpenedRun
from ..run.settings import Settings
from ..train import HOW, Plan, carry_out
from .cross_validation import CrossValidation, cross_validation
from .estimates import Estimate, disagreement, estimate
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
from .searched import PARTS, absolute_labels, complete, parts_of

OWN = "cross_validation"  # not in `lnl methods`: trains networks that leave images out
RECIPE = (OWN,)  # chosen by measurement: see notebook 40


@taken.once()
def find_errors(
    dataset: str | Path = "digits",
    method: str | list[str] | tuple[str, ...] = RECIPE,
    *,
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
    wrong; their sum is the estimated number of errors), because (what spoke against the label), a column
    `suspicion_<method>` for each method, digest (of the pixels). `attrs["folder"]` is the folder, and
    `open_findings(folder).summary` the estimates. Raises ValueError or FileNotFoundError with one sentence.
    """
    chosen = check_methods(method, score)
    search = Search(
        dataset=complete(dataset),
        methods=chosen,
        score=score,
        plan=Plan(
            method=cross_validation,
            settings_class=CrossValidation,
            dataset=complete(dataset),
            noise=noise or "none",
            rate=rate,
            preset=preset,
            seed=seed,
            labels=absolute_labels(labels),
            path_column=path_column,
            label_column=label_column,
            true_column=true_column,
            like=like,
            train_size=train_size,
            image_size=image_size,
            skip_bad=skip_bad,
            split=parts_of(splits, complete(dataset)),
            recursive=recursive,
            max_pixels=max_pixels,
        ),
    )
    source = load(**search.asked, skip_bad=skip_bad)
    require_images(source, chosen, search.plan)
    require_own(to, search.dataset, source.fingerprint)
    if to:
        make_folder(Path(to))  # not after hours of training
    root = runs_root(out)
    runs = search.train(root, ask)
    verdict = judge(runs, source, search)
    table = verdict.table(runs, source)
    folder = Path(to) if to else root / "errors" / search.folder_of(next(iter(runs.values())), source)
    findings = Findings(folder, table, verdict.summary(runs, source, search))
    write(findings, labels_before(source, dict(zip(table["image"], table["given"]))))
    if report:
        write_report(findings, picture)
    table.attrs["folder"] = str(folder)
    return table


def check_methods(method: str | list[str] | tuple[str, ...], score: str) -> list[str]:
    """The names of methods asked for; unknown methods and scores are refused in one sentence."""
    chosen = [m.strip() for m in method.split(",")] if isinstance(method, str) else list(method)
    if unknown := [m for m in chosen if m != OWN and m not in METHODS]:
        raise ValueError(f"method {unknown[0]!r} does not exist: {OWN}, {', '.join(METHODS)}")
    if score not in SCORES:
        raise ValueError(f"score {score!r} does not exist: {', '.join(SCORES)}")
    return chosen


@dataclass(frozen=True)
class Search:
    """What is searched, and how: the plan of its trainings, the methods, the score that ranks."""

    dataset: str
    methods: list[str]
    score: str
    plan: Plan

    @property
    def asked(self) -> dict:
        """What `data.load` is asked for, as summary.json keeps it."""
        keys = ["labels", "path_column", "label_column", "true_column", "like", "train_size"]
        keys += ["recursive", "max_pixels"]
        size = self.plan.resolve().image_size  # as in training: every image is decoded once
        asked: dict[str, Any] = {"dataset": self.dataset} | {k: getattr(self.plan, k) for k in keys}
        return asked | {"image_size": size, "splits": list(self.plan.split) if self.plan.split else None}

    def train(self, root: Path, ask: dict) -> dict[str, OpenedRun]:
        """{method: its run over all images}, loaded where finished. Raises KeyboardInterrupt if stopped."""
        plan = replace(
            self.plan,
            image_size=self.plan.resolve().image_size,
            train_size=self.plan.train_size or EVERY,
        )
        runs = {}
        for name in self.methods:
            other: dict[str, Any] = {"method": name, "settings_class": Settings} if name != OWN else {}
            how = {k: v for k, v in ask.items() if k in HOW}
            asked = Plan.of(plan.method, **{k: v for k, v in ask.items() if k not in HOW})
            given = {k: getattr(asked, k) for k in ask if k in {f.name for f in fields(Plan)}}
            runs[name] = carry_out(replace(plan, **other, **given, settings=asked.settings), out=root, **how)
            if runs[name].summary is None:
                raise KeyboardInterrupt  # stopped; the same call goes on
        return runs

    def folder_of(self, first: OpenedRun, source: data.Dataset) -> Path:
        """Where the findings lie under the folder `errors` of the runs' root."""
        methods = [] if tuple(self.methods) == RECIPE else self.methods
        parts = [first.folder.name, *methods, *([] if self.score == "recipe" else [self.score])]
        return Path(safe(source.slug), first.folder.parent.name, "-".join(parts))


@dataclass(frozen=True)
class Verdict:
    """What the networks say: each method's probabilities (n, K), estimates, suspicion (n,), equal images."""

    probs: dict[str, np.ndarray]
    estimates: Estimate
    suspicion: np.ndarray
    images: np.ndarray  # (n,) names
    digests: np.ndarray  # (n,) of the pixels
    groups: list  # positions of equal pictures under different labels

    def table(self, runs: dict[str, OpenedRun], source: data.Dataset) -> pd.DataFrame:
        """The findings, most suspicious first; the columns are those of `find_errors`."""
        first = next(iter(runs.values()))
        labels, given, classes = first.labels, first.labels["given"], list(first.classes)
        table = ranked(self.images, given, self.suspicion, self.estimates.posterior, classes)
        at = table["at"]
        number = labels["index"] if source.paths is not None else self.images.astype(int)
        table.insert(1, "index", number[at])  # as label files count
        table.insert(2, "path", None if source.paths is None else table["image"])
        if source.parts:
            table.insert(3, "split", np.array(source.parts)[labels["index"]][at])
        table["because"] = np.array(reasons(self.probs, given, classes, self.groups), dtype=object)[at]
        if labels["true"] is not None:
            table["true"] = np.array(classes, dtype=object)[labels["true"][at]]
        for name, p in self.probs.items():
            table[f"suspicion_{name}"] = (1 - p[np.arange(len(given)), given])[at].round(6)
        table["digest"] = self.digests[table.pop("at")]
        table["image"] = table.pop("image")  # last: not in errors.csv
        return table

    def summary(self, runs: dict[str, OpenedRun], source: data.Dataset, search: Search) -> dict:
        """summary.json of the findings."""
        first = next(iter(runs.values()))
        given, classes, plan = first.labels["given"], list(first.classes), search.plan.resolve()
        score = [search.score] if search.score != "recipe" else []
        return {
            "dataset": re.sub(r"^folder:.*[/\\]", "", search.dataset),
            "images": len(given),
            "asked": search.asked,
            "fingerprint": source.fingerprint,
            "taken": source.taken,
            "skipped": source.skipped_kinds,
            **self.by_split(first, source),
            "noise": plan.noise,
            "rate": plan.rate,
            "preset": plan.preset,
            "seed": plan.seed,
            "recipe": ", ".join([*search.methods, *score]),
            **numbers(self.estimates, given, self.suspicion, classes),
            "conflicting_duplicates": [
                [(self.images[i], classes[given[i]]) for i in group] for group in self.groups
            ],
            "runs": [str(run.folder) for run in runs.values()],
            "seconds": sum(run.summary["seconds"] for run in runs.values() if run.summary),
            "device": first.summary and first.summary["device"],
            "versions": versions(),
        }

    def by_split(self, first: OpenedRun, source: data.Dataset) -> dict:
        """Where errors sit, and which pictures of val/ and test/ are in train/ too; empty for one part."""
        index = first.labels["index"]
        parts = np.array(source.parts)[index] if source.parts else np.array([])
        names = [part for part in PARTS if (parts == part).any()]
        if len(names) < 2:
            return {}
        counts = {
            part: {
                "images": int((parts == part).sum()),
                "estimated_errors": float(self.suspicion[parts == part].sum()),
            }
            for part in names
        }
        x = source.x if len(index) == len(source.x) else pick(source.x, torch.from_numpy(index))
        pairs = copies.leaks(parts, self.digests.tolist(), x)
        return {"splits": counts, "leaks": [(self.images[i], self.images[j]) for i, j in pairs]}


def judge(runs: dict[str, OpenedRun], source: data.Dataset, search: Search) -> Verdict:
    """Rank by all predictions together, estimate from the held-out ones, and look for equal pictures."""
    first = next(iter(runs.values()))
    labels, given = first.labels, first.labels["given"]
    probs = {name: run.arrays["train_probs"].astype(np.float64) for name, run in runs.items()}
    fitted = [run.arrays["fitted_probs"] for run in runs.values() if "fitted_probs" in run.arrays]
    ranking = geometric_mean([*probs.values(), *fitted])
    held_out = probs.get(OWN)
    if held_out is None:
        estimates = disagreement(ranking, given)
    else:
        estimates = estimate(held_out, given, ranking, search.plan.seed)
    suspicion = estimates.suspicion
    if search.score != "recipe":  # the same values, in the order of that score
        order = np.argsort(-single_score(first, search.score), kind="stable")
        suspicion = suspicion.copy()
        suspicion[order] = np.sort(estimates.suspicion)[::-1]
    images = np.array(source.names)[labels["index"]]
    digests = np.array(digests_of(source))[labels["index"]]
    folder = Path(search.dataset.removeprefix("folder:"))
    whole = None if source.paths is None else lambda i: decode.whole_digest(folder / images[i])
    groups = conflicting(digests, given, whole)
    suspicion = np.maximum(suspicion, at_least(groups, given, len(given)))
    return Verdict(probs, estimates, suspicion, images, digests, groups)


def require_images(source: data.Dataset, methods: list[str], plan: Plan) -> None:
    """Refuse in one sentence what cannot be judged: classes too small for cross-validation, in the images
    that are searched.
    """
    labels = np.asarray(source.given_labels if source.given_labels is not None else source.true_labels)
    count = np.bincount(labels, minlength=len(source.classes))
    least = np.bincount(labels[choose(labels, plan.train_size, plan.seed)], minlength=len(count))
    if OWN in methods and least.min() < 3 <= count.min():
        raise ValueError(
            f"train_size {plan.train_size} leaves {least.min()} images of class "
            f"{source.classes[least.argmin()]}, too few to judge their labels: at least "
            f"{3 * len(count)} images "
            "(--train-size), or all"
        )
    if OWN in methods and (small := [f"{source.classes[k]} ({count[k]})" for k in np.flatnonzero(count < 3)]):
        raise ValueError(
            f"{len(small)} of {len(count)} classes have fewer than 3 images, too few to judge their labels: "
            f"{', '.join(small[:10])}; add images, or move these classes out of the folder"
        )


def require_own(folder: str | Path | None, dataset: str, fingerprint: str) -> None:
    """Refuse in one sentence a folder with the review of other images: its decisions would be taken for
    decisions about these. A folder of the same content that was moved is the same.
    """
    if (
        folder is None
        or not (Path(folder) / "decisions.csv").exists()
        or not (Path(folder) / "summary.json").is_file()
    ):
        return
    summary = json.loads((Path(folder) / "summary.json").read_text())
    if (other := summary["asked"]["dataset"]) != dataset and summary.get("fingerprint") != fingerprint:
        raise ValueError(f"{folder} holds the review of {other}: choose another folder for {dataset}")
