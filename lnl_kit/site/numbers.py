"""Tables of a method's numbers: its settings and those that papers print, what was measured and published."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..methods import BASELINE, METHODS
from ..papers import published
from ..results import leaderboard
from ..results import measured as measured_runs
from ..results.controls import method_of
from ..run.settings import Settings, field_help
from .prose import Markdown, escape, table

if TYPE_CHECKING:
    import pandas as pd

PRESETS = ("quick", "demo", "photographs", "memorise")  # what a settings class can change in each


def settings(method: str) -> str:
    """The settings of a method: its own, then those that every method has (Markdown)."""
    chosen, helps = METHODS[method][1], field_help(METHODS[method][1])
    shared = {f.name: f for f in dataclasses.fields(Settings)}
    fields = {f.name: f for f in dataclasses.fields(chosen)}
    own = {n: f for n, f in fields.items() if n not in shared or f.default != shared[n].default}
    rest = {n: f for n, f in fields.items() if n not in own}
    parts = [_fields(own, helps) if own else "The method has no setting of its own."]
    for preset in PRESETS:
        if changed := getattr(chosen, preset):
            told = ", ".join(f"`{name} = {value}`" for name, value in changed.items())
            parts.append(f"`--preset {preset}` changes {told}.")
    return "\n\n".join([*parts, "The recipe, which all methods share:", _fields(rest, helps)])


def _fields(fields: Mapping[str, dataclasses.Field], helps: dict[str, str]) -> str:
    rows = [(Markdown(f"`{n}`"), Markdown(f"`{f.default}`"), helps[n]) for n, f in fields.items()]
    return table(("setting", "default", "what it is, and its source"), rows)


def printed_settings(method: str) -> str:
    """What papers print for a method, cell by cell, or nothing (Markdown)."""
    found: dict[tuple, list[str]] = {}
    for row in published.read("hyperparameters.csv"):
        if published.name(row["method"], row["paper"]) == method and row["value"] != "not given":
            noise = _noise(published.name(row["noise_type"], row["paper"]), row["noise_rate"])
            cell = (row["paper"], row["dataset"], noise, row["source"])
            found.setdefault(cell, []).append(f"`{row['name']} = {row['value']}`")
    rows = [(*cell[:3], Markdown(", ".join(values)), cell[3]) for cell, values in found.items()]
    return table(("paper", "data", "noise", "settings as printed", "source"), rows) if rows else ""


def published_results(method: str) -> str:
    """Every number that the papers print for a method, or nothing (Markdown)."""
    rows = []
    for row in published.results():
        if row["method"] == method:
            percent = row["metric"] in published.PERCENT
            scale, digits, unit = (100, 2, " %") if percent else (1, 4, "")
            spread = row["published_std"]
            value = f"{scale * row['published']:.{digits}f}".rstrip("0").rstrip(".") + (
                f" ± {scale * spread:.{digits}f}".rstrip("0").rstrip(".") if spread is not None else ""
            )
            rate = "" if row["rate"] is None else f"{row['rate']:g}"
            what = row["metric"] if row["split"] == "test" else f"{row['metric']}, {row['split']}"
            data = f"{row['dataset']}, {row['architecture']}" if row["architecture"] else row["dataset"]
            noise = _noise(row["noise"] or "", rate)
            rows.append((row["paper"], row["table"], data, noise, what, value + unit))
    return table(("paper", "table", "data", "noise", "what", "printed"), rows, ("printed",)) if rows else ""


def measured(method: str) -> str:
    """What was measured of a method and of its controls, or nothing (Markdown).

    One row a data set, preset and noise; means over seeds, the spread is the standard deviation over them.
    """
    rows = _rows()
    mine = rows[[method_of(name) == method for name in rows["method"]]] if len(rows) else rows
    if not len(mine):
        return ""
    lines = []
    for (dataset, preset, setting), cell in mine.groupby(["dataset", "preset", "setting"], sort=False):
        board = _board(setting, dataset, preset)
        same = rows[(rows.dataset == dataset) & (rows.preset == preset) & (rows.setting == setting)]
        for name in sorted(cell["method"].unique(), key=lambda name: (":" in name, name)):
            at = board.loc[name]
            what = (f"{dataset.removeprefix('folder-')}, {preset}", setting, Markdown(f"`{name}`"))
            accuracy = (_percent(at["last"], at["spread"]), _percent(at["best"]), _ahead(same, name))
            rest = (_percent(at["memorized"]), f"{at['cost']:.0f}", int(at["seeds"]))
            lines.append((*what, *accuracy, *rest))
    head = ["data, preset", "noise", "method", "last", "best", "ahead", "memorised", "seconds", "seeds"]
    devices = ", ".join(sorted({str(device) for device in mine["device"].dropna()}))
    return f"{table(head, lines, head[3:])}\n\nOn {escape(devices)}."


@functools.cache
def _rows() -> pd.DataFrame:
    """The leaderboard's rows, and those of controls, some of which are kept for a method's notebook."""
    import pandas as pd

    names = [p.stem for p in sorted(measured_runs.FOLDER.glob("2*_*.csv"))]
    rows = leaderboard.rows(controls=True)
    more = leaderboard.rows(*names, controls=True)
    more = more[[_is_control(*pair) for pair in zip(more["method"], more["asked"])]]
    both = pd.concat([rows, more], ignore_index=True)
    return both.drop_duplicates(["method", "dataset", "preset", "setting", "seed"])


def _is_control(title: str, asked: str) -> bool:
    """Whether a row is a control and differs from the method in nothing else."""
    method, _, control = title.partition(":")
    if not control:
        return False
    usual = {"method", "dataset", "noise", "rate", "seed", "preset", "cell"}
    return set(json.loads(asked)) - usual == set(METHODS[method][1].controls[control])


@functools.cache
def _board(setting: str, dataset: str, preset: str) -> pd.DataFrame:
    return leaderboard.board(_rows(), setting, dataset, preset)


def _percent(value: float | None, spread: float | None = None) -> str:
    """A fraction as people read it, 97.0 ± 0.4 %."""
    if value is None or value != value:  # NaN differs from itself
        return ""
    around = f"\u00a0±\u00a0{100 * spread:.1f}" if spread is not None and spread == spread else ""
    return f"{100 * value:.1f}{around}\u00a0%"


def _ahead(rows: pd.DataFrame, name: str) -> str:
    """By how many points a method ends above cross-entropy with the same seeds, ± the standard error."""
    if name == BASELINE:
        return ""
    try:
        mean, error, seeds = leaderboard.ahead(rows, name, BASELINE)
    except ValueError:  # no seed in common
        return ""
    return f"{100 * mean:+.1f}" + (f"\u00a0±\u00a0{100 * error:.1f}" if seeds > 1 else "")


def _noise(kind: str, rate: str) -> str:
    return " ".join(part for part in (kind.replace("_", " "), rate) if part)
