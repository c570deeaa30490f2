"""Finding label errors: which labels of one's own images are probably wrong, and what they should be.

Networks that were never shown an image's label say what they see there (cross-validation). From their answers a transition matrix
and the number of errors are estimated (`error_estimates`); images are ranked by these answers together with those of the networks
that were trained on the image, on a loss that gives in to few wrong labels (their geometric mean). What the methods of the kit
believe can stand beside it or in its place (`method`), and each single score can rank instead (`score`).
"""

from __future__ import annotations

import csv
import functools
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from . import data, folders
from .cross_validation import CrossValidation, cross_validation
from .error_estimates import Estimate, disagreement, estimate
from .methods import METHODS
from .presets import resolve
from .run import csv_bytes, save_atomically
from .streams import Stream
from .train import default_noise, json_bytes, runs_root, safe, train, versions
from .vicinal import vicinal_ensemble

RECIPE = ("cross_validation",)  # chosen by measurement: see notebook 40
SCORES = ("recipe", "probability", "clean_score", "trajectory", "vicinal")
EVERY = sys.maxsize  # images: all that there are


@dataclass(frozen=True, eq=False)
class Findings:
    """A folder with errors.csv and summary.json, as `find_errors` writes it.

    table: one row an image, most suspicious first, the columns of errors.csv and `image`, the path or else the index.
    """

    folder: Path
    table: pd.DataFrame
    summary: dict

    @property
    def classes(self) -> list[str]:
        """The class names."""
        return self.summary["classes"]

    @property
    def images_folder(self) -> Path | None:
        """Where the images lie; None for a built-in set."""
        kind, _, path = self.summary["asked"]["dataset"].partition(":")
        return Path(path) if kind == "folder" else None

    @functools.lru_cache(maxsize=1)
    def dataset(self) -> data.Dataset:
        """The images as they were when this or `changed` was first asked, and their labels as they came."""
        return load(**self.summary["asked"], skip_bad=True)

    def pixels(self, image: str) -> np.ndarray | None:
        """uint8 (C, H, W) of an image, called as in the table; None where it is not there any more."""
        return np.asarray(self.dataset().x[self._rows()[image]]) if image in self._rows() else None

    @functools.lru_cache(maxsize=1)
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.dataset().names)}

    def changed(self) -> dict[str, list[str]]:
        """{"changed": images that look different now, "removed": ..., "new": ...}; all empty where nothing happened."""
        Findings.dataset.cache_clear()
        Findings._rows.cache_clear()
        source = self.dataset()
        before, now = dict(zip(self.table["image"], self.table["digest"])), dict(zip(source.names, digests_of(source)))
        new = [] if self.summary["asked"]["train_size"] else [i for i in now if i not in before]
        return {"changed": [i for i in before if i in now and now[i] != before[i]],
                "removed": [i for i in before if i not in now], "new": new}


def find_errors(dataset: str = "digits", method: str | list[str] | tuple[str, ...] = RECIPE, *, labels: str | None = None,
                label_column: str | None = None, true_column: str | None = None, noise: str | None = None, rate: float | None = None,
                preset: str = "demo", seed: int = 0, train_size: int | None = None, image_size: int | None = None, like: str | None = None,
                score: str = "recipe", to: str | Path | None = None, out: str | Path | None = None, skip_bad: bool = False,
                report: bool = True, **ask) -> pd.DataFrame:
    """Every training image with the suspicion that its label is wrong, most suspicious first.

    dataset: `folder:PATH` (or PATH), a built-in set, or one with a synthetic `noise` at a `rate` to try it on (the table then has a
        column `true`). A folder without `test/` is searched whole. labels, label_column, true_column, like, skip_bad: see `data.load`.
    method: names of methods, one or several, whose predictions are combined (geometric mean); `cross_validation`, which is not in
        `lnl methods`, makes the estimates honest: without it, as many labels count as wrong as the methods disagree with.
    score: recipe, or one score of the first method that ranks the images instead: probability (of the given label), clean_score
        (the method's own), trajectory (the probability's mean over the epochs kept), vicinal (its mean over unseen AutoAugment views).
    train_size: at most so many images; None = all. out: root of the run folders; the same call again loads what is finished and
        goes on with what is not. to: folder of errors.csv, summary.json, labels_before.csv and report.html; None = `errors/...` under that root.
    ask: further arguments of `train`, such as epochs, device, model.

    Columns: rank (1, 2, ...), index, path (None for built-in sets), given, suggested (the most probable other class), suspicion
    (estimated probability that the label is wrong; their sum is the estimated number of errors), because (what spoke against the
    label), a column `suspicion_<method>` for each method, digest (of the pixels). `attrs["folder"]` is the folder, and
    `open_findings(folder).summary` the estimates. Raises ValueError or FileNotFoundError with one sentence.
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
    asked = {"dataset": dataset, "labels": labels and str(Path(labels).expanduser().absolute()), "label_column": label_column,
             "true_column": true_column, "image_size": image_size, "like": like, "train_size": train_size}
    plan = resolve(preset, chosen[0], CrossValidation, dataset=like or dataset.partition(":")[0], noise=noise, rate=rate)
    asked["image_size"] = image_size = image_size or plan.image_size  # as in training: every image is decoded once
    source = load(**asked, skip_bad=skip_bad)
    require_images(source, chosen)
    require_own(to, dataset)
    root = runs_root(out)
    runs = {}
    for name in chosen:
        own = {"settings_class": CrossValidation} if name == "cross_validation" else {}
        runs[name] = train(cross_validation if own else name, dataset, noise, rate, preset, seed, labels=labels, label_column=label_column,
                           true_column=true_column, image_size=image_size, like=like, train_size=train_size or EVERY, skip_bad=skip_bad,
                           split=False, out=root, **own, **ask)
        if runs[name].summary is None:
            raise KeyboardInterrupt  # stopped; the same call goes on
    first = next(iter(runs.values()))
    found, given = first.labels, first.labels["given"]
    n, classes = len(given), list(first.classes)
    probs = {name: run.arrays["train_probs"].astype(np.float64) for name, run in runs.items()}
    ranking = geometric_mean([*probs.values(), *(run.arrays["fitted_probs"] for run in runs.values() if "fitted_probs" in run.arrays)])
    held_out = probs.get("cross_validation")
    estimates = disagreement(ranking, given) if held_out is None else estimate(held_out, given, ranking, seed)
    suspicion = estimates.suspicion
    if score != "recipe":  # the same values, in the order of that score
        order = np.argsort(-single_score(first, score), kind="stable")
        suspicion = suspicion.copy()
        suspicion[order] = np.sort(estimates.suspicion)[::-1]
    images, digests = np.array(source.names)[found["index"]], np.array(digests_of(source))[found["index"]]
    groups = conflicting(digests, given, None if source.paths is None else lambda i: folders.whole_digest(Path(dataset[7:]) / images[i]))
    suspicion = np.maximum(suspicion, at_least(groups, given, n))
    table = ranked(images, given, suspicion, estimates.posterior, classes)
    table.insert(1, "index", (found["index"] if source.paths is not None else images.astype(int))[table["at"]])  # as label files count
    table.insert(2, "path", None if source.paths is None else table["image"])
    table["because"] = np.array(reasons(probs, given, classes, groups), dtype=object)[table["at"]]
    if found["true"] is not None:
        table["true"] = np.array(classes, dtype=object)[found["true"][table["at"]]]
    for name, p in probs.items():
        table[f"suspicion_{name}"] = (1 - p[np.arange(n), given])[table["at"]].round(6)
    table["digest"] = digests[table.pop("at")]
    table["image"] = table.pop("image")  # last: not in errors.csv
    own = [*([] if tuple(chosen) == RECIPE else chosen), *([] if score == "recipe" else [score])]
    folder = Path(to) if to else root / "errors" / safe(source.slug) / first.folder.parent.name / "-".join([first.folder.name, *own])
    duplicates = [[(images[i], classes[given[i]]) for i in group] for group in groups]
    summary = {
        "dataset": re.sub(r"^folder:.*[/\\]", "", dataset), "images": n, "asked": asked, "noise": noise, "rate": rate,
        "preset": preset, "seed": seed, "recipe": ", ".join([*chosen, *([score] if score != "recipe" else [])]),
        **numbers(estimates, given, suspicion, classes), "conflicting_duplicates": duplicates, "runs": [str(run.folder) for run in runs.values()],
        "seconds": sum(run.summary["seconds"] for run in runs.values()), "device": first.summary["device"], "versions": versions(),
    }
    findings = Findings(folder, table, summary)
    write(findings, labels_before(source, dict(zip(table["image"], table["given"]))))
    if report:
        from .error_report import write_report
        from .review import picture
        write_report(findings, picture)
    table.attrs["folder"] = str(folder)
    return table


def ranked(images: np.ndarray, given: np.ndarray, suspicion: np.ndarray, posterior: np.ndarray, classes: list[str]) -> pd.DataFrame:
    """One row an image, the most suspicious first: rank, given, suggested (the most probable other class), suspicion, at, image."""
    other = posterior.copy()
    other[np.arange(len(given)), given] = -1
    at = np.argsort(-suspicion, kind="stable")
    names = np.array(classes, dtype=object)
    return pd.DataFrame({"rank": np.arange(1, len(at) + 1), "given": names[given[at]], "suggested": names[other.argmax(1)[at]],
                         "suspicion": suspicion[at].round(6), "at": at, "image": images[at]})


def geometric_mean(probs) -> np.ndarray:
    """(N, K) of several (N, K), normalised: a class must be probable to all."""
    logs = np.mean([np.log(np.maximum(p, 1e-6)) for p in probs], axis=0)
    p = np.exp(logs - logs.max(1, keepdims=True))
    return p / p.sum(1, keepdims=True)


def single_score(run, score: str) -> np.ndarray:
    """(N,): how suspicious one score finds each label; larger is more. Raises ValueError where the run has not got it."""
    given, rows = run.labels["given"], np.arange(len(run.labels["given"]))
    if score == "vicinal":
        return -vicinal_ensemble(run, n_views=8)[rows, given]
    if score == "clean_score" and "clean_score" in run.arrays:
        return -np.nan_to_num(run.arrays["clean_score"].astype(np.float64), nan=-np.inf)
    if score == "trajectory" and len(run.history["index"]) == len(given):
        return -run.history["train_probs"].astype(np.float64).mean(0)[rows, given]
    if score == "probability":
        return -run.arrays["train_probs"][rows, given]
    raise ValueError(f"{run.settings['method']} has no {score} for all of these images: choose another of {', '.join(SCORES)}")


def load(dataset, labels, label_column, true_column, image_size, like, train_size, skip_bad) -> data.Dataset:
    """The data set with every image of a folder in its training part."""
    return data.load(dataset, labels=labels, label_column=label_column, true_column=true_column, image_size=image_size, like=like,
                     skip_bad=skip_bad, split=False)


def require_images(source: data.Dataset, methods: list[str]) -> None:
    """Refuse in one sentence what cannot be judged: classes too small for cross-validation."""
    labels = source.given_labels if source.given_labels is not None else source.true_labels
    count = np.bincount(labels.numpy(), minlength=len(source.classes))
    if "cross_validation" in methods and (small := [f"{source.classes[k]} ({count[k]})" for k in np.flatnonzero(count < 3)]):
        raise ValueError(f"{len(small)} of {len(count)} classes have fewer than 3 images, too few to judge their labels: "
                         f"{', '.join(small[:10])}; add images, or move these classes out of the folder")


def require_own(folder: str | Path | None, dataset: str) -> None:
    """Refuse in one sentence a folder with the review of other images: its decisions would be taken for decisions about these."""
    if folder is None or not (Path(folder) / "decisions.csv").exists() or not (Path(folder) / "summary.json").is_file():
        return
    if (other := json.loads((Path(folder) / "summary.json").read_text())["asked"]["dataset"]) != dataset:
        raise ValueError(f"{folder} holds the review of {other}: choose another folder for {dataset}")


def labels_before(source: data.Dataset, searched: dict[str, str]) -> list[dict]:
    """Rows of labels_before.csv: every training image with its label, also those that were not searched or are left out.

    searched: {image: label} of those that were, which may have been made wrong on purpose."""
    labels = source.given_labels if source.given_labels is not None else source.true_labels
    rows = [(name, source.classes[k], 0) for name, k in zip(source.names, labels.tolist())] + [(name, "", 1) for name in source.left_out]
    return [{"index": n if source.paths is not None else int(name), "path": name if source.paths is not None else None,
             "given": searched.get(name, given), "dropped": dropped} for n, (name, given, dropped) in enumerate(rows)]


def digests_of(source: data.Dataset) -> list[str]:
    """16 hexadecimal digits for the pixels of each image; "" where images are decoded only when they are used.

    A grey image has the same ones whether it is kept in one channel or in three, which other images decide."""
    if isinstance(source.x, Stream):
        return [""] * len(source.x)
    grey = (image[:1] if (image == image[:1]).all() else image for image in source.x.numpy())
    return [bytes(folders.image_digests(image[None])[0]).hex()[:16] for image in grey]


def conflicting(digests: np.ndarray, given: np.ndarray, whole: Callable[[int], str] | None = None) -> list[np.ndarray]:
    """Groups of images, as positions, that are the same picture and have not all the same label.

    digests (N,): of the pixels that were searched; whole: a digest of all that an image's file shows, asked where those are equal."""
    def groups(rows):
        rows = rows[(rows["digest"] != "") & rows["digest"].duplicated(keep=False)]
        return [g for _, g in rows.groupby("digest", sort=False) if g["given"].nunique() > 1]

    found = groups(pd.DataFrame({"digest": digests, "given": given, "at": np.arange(len(given))}))
    if whole is not None:
        found = [same for group in found for same in groups(group.assign(digest=[whole(i) for i in group["at"]]))]
    return [group["at"].to_numpy() for group in found]


def at_least(groups: list[np.ndarray], given: np.ndarray, n: int) -> np.ndarray:
    """(n,): how suspicious the labels of one picture are for that alone: each is as probable as it is frequent among its copies."""
    suspicion = np.zeros(n)
    for group in groups:
        suspicion[group] = [1 - (given[group] == given[i]).mean() for i in group]
    return suspicion


def reasons(probs: dict[str, np.ndarray], given: np.ndarray, classes: list[str], groups: list[np.ndarray]) -> list[str]:
    """For each image what spoke against its label, in words."""
    parts, rows = [[] for _ in given], np.arange(len(given))
    for name, p in probs.items():
        others = p.copy()
        others[rows, given] = -1
        who = "networks that never saw this label" if name == "cross_validation" else name
        for part, best, own, high in zip(parts, others.argmax(1), p[rows, given], others.max(1)):
            part.append(f"{who}: {classes[best]} {high:.0%}, the label {own:.0%}")
    for group in groups:
        for i in group:
            others = sorted({classes[k] for k in given[group]} - {classes[given[i]]})
            parts[i].insert(0, f"the same picture is also labelled {', '.join(others)}")
    return ["; ".join(part) for part in parts]


def numbers(estimates: Estimate, given: np.ndarray, suspicion: np.ndarray, classes: list[str]) -> dict:
    """What summary.json says about all labels together."""
    counts = estimates.posterior.T @ np.eye(len(classes))[given]  # (K, K): images probably of a class (row), by given label
    T = counts / np.maximum(counts.sum(1, keepdims=True), 1e-12)
    pairs = sorted(((counts[t, g], t, g) for t in range(len(classes)) for g in range(len(classes)) if t != g), reverse=True)
    added = suspicion.sum() - estimates.suspicion.sum()  # by copies of one picture
    return {
        "estimated_errors": float(suspicion.sum()), "estimated_errors_interval": [bound + added for bound in estimates.interval],
        "estimated_share": float(suspicion.mean()), "called_errors": int((suspicion >= 0.5).sum()), "temperature": estimates.temperature,
        "transition_matrix": T.round(6).tolist(), "classes": classes,
        "confused_pairs": [{"true": classes[t], "given": classes[g], "images": round(float(c), 2)} for c, t, g in pairs[:10] if c >= 0.5],
    }


def write(findings: Findings, before: list[dict]) -> None:
    """errors.csv, summary.json and labels_before.csv, each whole or not at all."""
    findings.folder.mkdir(parents=True, exist_ok=True)
    save_atomically(findings.folder / "errors.csv", csv_bytes(findings.table.drop(columns="image").to_dict("records"), ()))
    save_atomically(findings.folder / "summary.json", json_bytes(findings.summary))
    save_atomically(findings.folder / "labels_before.csv", csv_bytes(before, ()))


def open_findings(folder: str | Path) -> Findings:
    """What `find_errors` wrote into a folder. Raises FileNotFoundError with one sentence."""
    folder = Path(folder)
    if not (folder / "errors.csv").is_file() or not (folder / "summary.json").is_file():
        raise FileNotFoundError(f"{folder} holds no findings (errors.csv and summary.json): `lnl find-errors` prints the folder of its own")
    with open(folder / "errors.csv", newline="", encoding="utf-8") as file:
        table = pd.DataFrame(csv.DictReader(file))
    table = table.astype({"suspicion": float, "rank": int, "index": int})
    table["image"] = table["path"].where(table["path"] != "", table["index"].astype(str))
    return Findings(folder, table, json.loads((folder / "summary.json").read_text()))
