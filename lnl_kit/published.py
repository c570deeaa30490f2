"""What the papers print, as data: their tables, their settings, and our runs beside them.

`data/published/results.csv` holds every number the five papers print, `hyperparameters.csv` every setting.
This is the one place where the papers' names and units become the kit's: see NAMES.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

DATA = Path(__file__).resolve().parents[1] / "data" / "published"

# The papers' names -> ours, for every paper; (paper, name) where only one paper means it so.
NAMES: dict[str | tuple[str, str], str] = {
    # methods
    "bs": "bootstrap_soft",                       # BS(beta): (1 - beta) one-hot + beta prediction
    ("robust_features", "bs"): "bootstrap",       # soft or hard is not said, so it joins with neither
    "ls": "label_smoothing",
    "lci": "label_confidence",
    "lnl_flywheel": "flywheel",
    "rfl": "robust_features",
    "joint_opt": "joint_optimization",
    # noise conventions
    "real": "none",                               # the labels as they come with the data set
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
    ("pu_distill", "teacher_sampling"): "teacher_sampling_words",  # a sentence there, not one of our setting's values
    ("flywheel", "lambda"): "confidence_regularizer",
    ("flywheel", "alpha"): "contrastive",
}
PERCENT = {"accuracy", "top5", "best", "last", "avg_last10", "teacher_accuracy", "accuracy_gain_points"}
# Which column of summary.json stands beside a printed metric: (last, best). "best" is the paper's best epoch.
COLUMNS = {"accuracy": ("test_accuracy_last", "test_accuracy_best"),
           "best": ("test_accuracy_last", "test_accuracy_best"),
           "last": ("test_accuracy_last", "test_accuracy_best"),
           "avg_last10": ("test_accuracy_mean_last10", "test_accuracy_best"),
           "top5": ("test_top5_last", None)}
IMAGENET = {"accuracy": ("imagenet_accuracy_last", None), "top5": ("imagenet_top5_last", None)}  # of runs on WebVision


def name(printed: str, paper: str = "") -> str:
    """Our name for a method, noise or setting as `paper` prints it; names we share come back unchanged."""
    return NAMES.get((paper, printed), NAMES.get(printed, printed))


@functools.cache
def _read(file: str) -> tuple[dict[str, str], ...]:
    path = DATA / file
    if not path.exists():
        raise FileNotFoundError(f"the published numbers are not at {path}: work in a clone of the "
                                "repository, installed with `pip install -e .`")
    with open(path, newline="", encoding="utf-8") as lines:
        return tuple(csv.DictReader(lines))


@functools.cache
def _results() -> tuple[dict, ...]:
    """results.csv with our names and units; one dictionary per printed number."""
    rows = []
    for r in _read("results.csv"):
        scale = 0.01 if r["metric"] in PERCENT else 1.0
        rows.append({
            "paper": r["paper"], "table": r["table"], "dataset": r["dataset"], "split": r["split"],
            "architecture": r["architecture"] or None,
            "method": name(r["method"], r["paper"]), "method_printed": r["method"],
            "noise": name(r["noise_type"], r["paper"]) or None, "noise_printed": r["noise_type"] or None,
            "rate": float(r["noise_rate"]) if r["noise_rate"] else None, "metric": r["metric"],
            "published": round(float(r["value"]) * scale, 6),
            "published_std": round(float(r["std"]) * scale, 6) if r["std"] else None,
            "n_runs": int(r["n_runs"]) if r["n_runs"] else None, "notes": r["notes"]})
    return tuple(rows)


def papers() -> tuple[str, ...]:
    """The papers whose numbers are here."""
    return tuple(dict.fromkeys(r["paper"] for r in _results()))


def tables(paper: str) -> tuple[str, ...]:
    """The tables of a paper. Raises ValueError for an unknown paper, naming those that exist."""
    if paper not in papers():
        raise ValueError(f"no numbers of a paper {paper!r}: there are {', '.join(papers())}")
    return tuple(dict.fromkeys(r["table"] for r in _results() if r["paper"] == paper))


def _rows(paper: str, table: str) -> list[dict]:
    if table not in tables(paper):
        raise ValueError(f"{paper} has no {table!r} here: there are {', '.join(tables(paper))}")
    return [r for r in _results() if r["paper"] == paper and r["table"] == table]


def table(paper: str, table: str) -> pd.DataFrame:
    """A published table, tidy: one row per printed number, e.g. `table("nrd", "Table 2")`.

    Columns: paper, table, dataset, split, architecture, method and noise (our names; *_printed: the paper's),
    rate (a fraction; missing where the labels are the data set's own), metric, published and published_std
    (fractions where the paper prints percent), n_runs, notes; preset: with which `--preset` we train that cell ("paper:nrd"),
    "not given" where the paper says no settings for it, missing where the kit has no such method.
    Raises ValueError for an unknown paper or table, naming those that exist.
    """
    import pandas as pd

    rows = [{**row, "preset": preset_of(row)} for row in _rows(paper, table)]
    return pd.DataFrame(rows).astype({"rate": float, "published_std": float})


def preset_of(row: dict) -> str | None:
    """The `--preset` that trains a published row's cell, "not given" where the paper has no settings for it, None where the
    kit has no such method."""
    from .methods import METHODS

    if row["method"] not in METHODS:
        return None
    known = (row["dataset"], *_noise_key(row["noise"], row["rate"])) in cells(row["method"], row["paper"])
    return f"paper:{row['paper']}" if known else "not given"


def _noise_key(noise: str | None, rate: float | None) -> tuple[str | None, float]:
    """What must be equal for two labellings to be comparable. Without noise the rate is 0, given or not."""
    return noise, 0.0 if noise == "none" or rate is None else round(float(rate), 9)


def beside(runs: Iterable, paper: str, table: str, *, dataset_map: dict[str, str] | None = None,
           by: tuple[str, ...] = ("preset", "epochs", "model"), missing: bool = False) -> pd.DataFrame:
    """Measured runs beside the published cells they reproduce, averaged over seeds.

    runs: opened runs (`.summary`, `.settings`), or dictionaries with the fields of summary.json. Unfinished
        runs are left out. A dictionary may name a `split` (default: the test set) to stand beside such a
        cell, and a method as the paper prints it ("ce_no_transform").
    dataset_map: measured data set -> published one, e.g. {"digits": "cifar10"}. Without an entry, a data set
        joins only with itself; the column `measured_on` always names what was really measured.
    by: fields that keep runs apart; runs that agree on them and on the cell are averaged.
    missing: also keep the published cells nobody measured.

    A run and a cell join only where data set, method, noise convention and rate (as asked for) all agree; a
    run on given labels that are partly wrong stands beside no cell without noise.
    Columns: those of the cell (dataset, split, method, noise, rate, metric, published, published_std), then
    measured_on, `by`, last and best (means, fractions), spread (standard deviation of `last` over seeds,
    n - 1; missing for one seed), seeds, device, minutes (mean per run).
    Raises ValueError for an unknown paper or table, and where two runs of one group have the same seed.
    """
    import pandas as pd

    groups: dict[tuple, list[dict]] = {}
    for run in runs:
        row = _fields(run)
        if row is None:
            continue
        measured_on = row["dataset"]
        key = ((dataset_map or {}).get(measured_on, measured_on), row.get("split", "test"), row["method"],
               _noise_key(row["noise"], row["rate"]), measured_on, tuple(row.get(b) for b in by))
        groups.setdefault(key, []).append(row)
    out = []
    for cell in _rows(paper, table):
        if cell["metric"] not in COLUMNS:
            continue
        split = "test" if cell["split"] == "val" else cell["split"]
        tested_too = cell["dataset"] == "imagenet"  # a network trained on WebVision, tested on ImageNet as well
        wanted = ("webvision" if tested_too else cell["dataset"], split), _noise_key(cell["noise"], cell["rate"])
        pair = (IMAGENET if tested_too else COLUMNS)[cell["metric"]]
        first = {k: cell[k] for k in ("dataset", "split", "method", "noise", "rate", "metric", "published",
                                      "published_std")}
        found = [{**first, "measured_on": key[4], **dict(zip(by, key[5])), **_averaged(group, pair)}
                 for key, group in groups.items()
                 if (key[:2], key[3]) == wanted and key[2] in (cell["method"], cell["method_printed"])
                 and not (tested_too and all(row.get(pair[0]) is None for row in group))
                 and not (cell["noise_printed"] == "none" and group[0].get("actual_rate"))]
        out += found or ([first] if missing else [])
    columns = ["dataset", "split", "method", "noise", "rate", "metric", "published", "published_std",
               "measured_on", *by, "last", "best", "spread", "seeds", "device", "minutes"]
    return pd.DataFrame(out, columns=columns)


def _fields(run: object) -> dict | None:
    """A run's summary as one dictionary, with the network from its settings; None while it is unfinished."""
    if isinstance(run, dict):
        return run
    return {**(run.settings or {}), **run.summary} if run.summary else None


def _averaged(group: list[dict], pair: tuple[str | None, str | None]) -> dict:
    """Mean and spread over the seeds of one group of runs."""
    seeds = sorted(row.get("seed", 0) for row in group)
    if len(set(seeds)) < len(seeds):
        one = group[0]
        raise ValueError(f"several runs of {one['method']} on {one['dataset']} at {one['noise']} "
                         f"{one['rate']} have the same seed ({seeds}): pass runs of one setting, or name "
                         "what differs in `by`")
    last, best = ([row[c] for row in group if row.get(c) is not None] if c else [] for c in pair)
    seconds = [row["seconds"] + (row.get("stage_seconds") or 0) for row in group if row.get("seconds") is not None]
    average = _mean(last)
    spread = (sum((v - average) ** 2 for v in last) / (len(last) - 1)) ** 0.5 if len(last) > 1 else None
    return {"last": average, "best": _mean(best), "spread": spread, "seeds": len(seeds),
            "device": ", ".join(sorted({str(row["device"]) for row in group if row.get("device")})) or None,
            "minutes": _mean(seconds) / 60 if seconds else None}


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _value(text: str) -> object:
    """A cell of hyperparameters.csv: int, float, bool, text, or a tuple of them ("0.5;0.75")."""
    if ";" in text:
        return tuple(_value(part) for part in text.split(";"))
    if text in ("yes", "no"):
        return text == "yes"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text


def _settings_of(paper: str, method: str) -> list[dict]:
    """The rows of hyperparameters.csv for a method (our name) with our names, then those for all methods."""
    rows = [{**r, "method": name(r["method"], paper), "noise_type": name(r["noise_type"], paper)}
            for r in _read("hyperparameters.csv") if r["paper"] == paper]
    return [r for r in rows if r["method"] == "all"] + [r for r in rows if r["method"] == method]


def _key(row: dict) -> tuple[str | None, float]:
    return _noise_key(row["noise_type"], float(row["noise_rate"]) if row["noise_rate"] else None)


def cells(method: str, paper: str = "nrd") -> list[tuple[str, str, float]]:
    """The (dataset, noise, rate) for which `paper` states settings of `method`; rates as fractions.

    Labels as the data set brings them (WebVision, Clothing1M) are ("webvision", "none", 0.0).
    Raises ValueError for an unknown paper.
    """
    tables(paper)
    rows = [r for r in _settings_of(paper, method) if r["method"] == method]
    own = {(r["dataset"], *_key(r)) for r in rows if r["noise_type"] != "any"}
    specific, general = {c[0] for c in own}, {r["dataset"] for r in rows if r["noise_type"] == "any"}
    # Settings for "any" noise belong to the cells whose results are printed, and so does the cell without
    # noise where a method's settings are given for others.
    for r in _results():
        if r["paper"] == paper and r["method"] == method and r["noise"] and r["table"] != "text":
            stated = r["noise"] == "none" if r["dataset"] in specific else r["dataset"] in general
            if stated:
                own.add((r["dataset"], *_noise_key(r["noise"], r["rate"])))
    return sorted(own)


def paper_settings(method: str, dataset: str, noise: str, rate: float | None, paper: str = "nrd"
                   ) -> tuple[dict[str, object], list[str]]:
    """Exactly one cell's hyper-parameters: (name -> value, names that the paper does not give).

    Rows for all methods come first, then the method's own, the most specific last. Names and values are the
    paper's except `gamma` and `milestones`, a tuple of fractions of the epochs. Where learning rate and
    weight decay are not given without noise, they are those of the symmetric cells, still named not given.
    Raises ValueError where the paper has no such cell, with the list of those that exist.
    """
    wanted = _noise_key(noise, rate)
    exist = cells(method, paper)
    if (dataset, *wanted) not in exist:
        listed = "; ".join(f"{d} {n} {r:g}" for d, n, r in exist)
        raise ValueError(f"{paper} has no settings for {method} on {dataset} at {noise} {wanted[1]:g}: "
                         + (f"there are {listed}" if exist else f"it gives none for {method} at all"))
    rows = [r for r in _settings_of(paper, method) if r["dataset"] == dataset]
    chosen = [r for r in rows if r["noise_type"] == "any" and not r["noise_rate"]]
    chosen += [r for r in rows if r["noise_type"] != "any" and _key(r) == wanted]
    # A method's own row beats one for all methods, and a cell's row beats one for any noise.
    chosen.sort(key=lambda r: (r["method"] != "all", r["noise_type"] != "any"))
    raw = {name(r["name"], paper): r["value"] for r in chosen}
    not_given = [n for n, v in raw.items() if v == "not given"]
    values = {n: _value(v) for n, v in raw.items() if v != "not given"}
    if wanted[0] == "none":
        for field in ("learning_rate", "weight_decay"):
            symmetric = {r["value"] for r in rows if r["name"] == field and r["noise_type"] == "symmetric"}
            if field not in values and len(symmetric) == 1:
                values[field] = _value(symmetric.pop())
                not_given = list(dict.fromkeys([*not_given, field]))
    if str(values.get("schedule", "")).startswith("cosine"):
        values["schedule"] = "cosine"
    fractions, epochs = values.pop("lr_milestones_fraction", None), values.pop("lr_milestones_epochs", None)
    every, after = values.pop("lr_decay_every_epochs", None), values.pop("lr_decay_after_epoch", None)
    if every:  # the first drop comes as the stated epoch ends
        epochs, values["gamma"] = tuple(range(after, values["epochs"], every)), values.pop("lr_decay_factor")
    if epochs and not fractions:
        fractions = tuple(e / values["epochs"] for e in (epochs if isinstance(epochs, tuple) else (epochs,)))
    if fractions:
        values["milestones"] = fractions
    return values, not_given
