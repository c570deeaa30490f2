"""Our runs beside the papers' numbers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

from .published import noise_key, rows_of

# Which column of summary.json stands beside a printed metric: (last, best). "best" is the paper's best epoch.
COLUMNS = {
    "accuracy": ("test_accuracy_last", "test_accuracy_best"),
    "best": ("test_accuracy_last", "test_accuracy_best"),
    "last": ("test_accuracy_last", "test_accuracy_best"),
    "avg_last10": ("test_accuracy_mean_last10", "test_accuracy_best"),
    "top5": ("test_top5_last", None),
}
IMAGENET = {
    "accuracy": ("imagenet_accuracy_last", None),
    "top5": ("imagenet_top5_last", None),
}  # of runs on WebVision

# columns of the table: those of a published cell, and those of the runs beside it
CELL = ("dataset", "split", "method", "noise", "rate", "metric", "published", "published_std")
MEASURED = ("last", "best", "spread", "seeds", "device", "minutes")


def beside(
    runs: Iterable,
    paper: str,
    table: str,
    *,
    dataset_map: dict[str, str] | None = None,
    by: tuple[str, ...] = ("preset", "epochs", "model"),
    missing: bool = False,
) -> pd.DataFrame:
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

    groups = _groups(runs, dataset_map or {}, by)
    rows: list[dict] = []
    for cell in rows_of(paper, table):
        if cell["metric"] in COLUMNS:
            printed = {k: cell[k] for k in CELL}
            measured = [printed | row for row in _measured(cell, groups, by)]
            rows += measured or ([printed] if missing else [])
    return pd.DataFrame(rows, columns=[*CELL, "measured_on", *by, *MEASURED])


class Group(NamedTuple):
    """What runs that are averaged have in common."""

    dataset: str  # the published one that it stands for
    split: str
    method: str
    noise: tuple
    measured_on: str
    by: tuple


def _groups(runs: Iterable, dataset_map: dict[str, str], by: tuple[str, ...]) -> dict[Group, list[dict]]:
    """The finished runs by what they have in common, as dictionaries."""
    groups: dict[Group, list[dict]] = {}
    for run in runs:
        row = _fields(run)
        if row is None:
            continue
        measured_on = row["dataset"]
        group = Group(
            dataset_map.get(measured_on, measured_on),
            row.get("split", "test"),
            row["method"],
            noise_key(row["noise"], row["rate"]),
            measured_on,
            tuple(row.get(b) for b in by),
        )
        groups.setdefault(group, []).append(row)
    return groups


def _measured(cell: dict, groups: dict[Group, list[dict]], by: tuple[str, ...]) -> Iterator[dict]:
    """What each group of runs that reproduces this cell measured."""
    tested_too = cell["dataset"] == "imagenet"  # a network trained on WebVision, tested on ImageNet as well
    dataset = "webvision" if tested_too else cell["dataset"]
    split = "test" if cell["split"] == "val" else cell["split"]
    noise = noise_key(cell["noise"], cell["rate"])
    last, best = (IMAGENET if tested_too else COLUMNS)[cell["metric"]]
    for group, rows in groups.items():
        same_data = (group.dataset, group.split, group.noise) == (dataset, split, noise)
        if not same_data or group.method not in (cell["method"], cell["method_printed"]):
            continue
        if tested_too and all(row.get(last) is None for row in rows):
            continue
        if cell["noise_printed"] == "none" and rows[0].get("actual_rate"):
            continue
        yield {"measured_on": group.measured_on, **dict(zip(by, group.by)), **_averaged(rows, (last, best))}


def _fields(run: dict | Any) -> dict | None:
    """A run's summary as one dictionary, with the network from its settings; None while it is unfinished."""
    if isinstance(run, dict):
        return run
    if not run.summary:
        return None
    settings = {
        k: v for k, v in (run.settings or {}).items() if k != "split"
    }  # there: how test images were found
    return {**settings, **run.summary}


def _averaged(group: list[dict], pair: tuple[str | None, str | None]) -> dict:
    """Mean and spread over the seeds of one group of runs."""
    seeds = sorted(row.get("seed", 0) for row in group)
    if len(set(seeds)) < len(seeds):
        one = group[0]
        raise ValueError(
            f"several runs of {one['method']} on {one['dataset']} at {one['noise']} "
            f"{one['rate']} have the same seed ({seeds}): pass runs of one setting, or name "
            "what differs in `by`"
        )
    last, best = ([row[c] for row in group if row.get(c) is not None] if c else [] for c in pair)
    seconds = [
        row["seconds"] + (row.get("stage_seconds") or 0) for row in group if row.get("seconds") is not None
    ]
    average = _mean(last)
    spread = (sum((v - average) ** 2 for v in last) / (len(last) - 1)) ** 0.5 if len(last) > 1 else None
    return {
        "last": average,
        "best": _mean(best),
        "spread": spread,
        "seeds": len(seeds),
        "device": ", ".join(sorted({str(row["device"]) for row in group if row.get("device")})) or None,
        "minutes": sum(seconds) / len(seconds) / 60 if seconds else None,
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
