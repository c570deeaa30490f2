"""What the papers print, as data, under the kit's names and units.

`data/published/results.csv` holds every number the five papers print, `hyperparameters.csv` every setting.
`names.csv` has the papers' names of methods, noises and settings beside ours: names and units become the
kit's here and nowhere else.
"""

from __future__ import annotations

import csv
import functools
from typing import Any

from ..files import shipped

DATA = shipped("data/published")

PERCENT = {"accuracy", "top5", "best", "last", "avg_last10", "teacher_accuracy", "accuracy_gain_points"}


def name(printed: str, paper: str = "") -> str:
    """Our name for a method, noise or setting as `paper` prints it; names we share come back unchanged."""
    known = names()
    return known.get((paper, printed), known.get(("", printed), printed))


@functools.cache
def names() -> dict[tuple[str, str], str]:
    """(paper, name as it prints it) -> our name; the paper is "" where every paper means it so."""
    return {(row["paper"], row["printed"]): row["ours"] for row in read("names.csv")}


@functools.cache
def read(file: str) -> tuple[dict[str, str], ...]:
    """The rows of a file in data/published. Raises FileNotFoundError where it is missing, with what to do."""
    path = DATA / file
    if not path.exists():
        raise FileNotFoundError(
            f"the published numbers are not at {path}: install the kit from its wheel (pip install lnl-kit), "
            "or work in a whole clone of the repository, installed with pip install -e ."
        )
    with open(path, newline="", encoding="utf-8") as lines:
        return tuple(csv.DictReader(lines))


@functools.cache
def results() -> tuple[dict, ...]:
    """results.csv with our names and units; one dictionary per printed number."""
    rows = []
    for r in read("results.csv"):
        scale = 0.01 if r["metric"] in PERCENT else 1.0
        rows.append(
            {
                "paper": r["paper"],
                "table": r["table"],
                "dataset": r["dataset"],
                "split": r["split"],
                "architecture": r["architecture"] or None,
                "method": name(r["method"], r["paper"]),
                "method_printed": r["method"],
                "noise": name(r["noise_type"], r["paper"]) or None,
                "noise_printed": r["noise_type"] or None,
                "rate": float(r["noise_rate"]) if r["noise_rate"] else None,
                "metric": r["metric"],
                "published": round(float(r["value"]) * scale, 6),
                "published_std": round(float(r["std"]) * scale, 6) if r["std"] else None,
                "n_runs": int(r["n_runs"]) if r["n_runs"] else None,
                "notes": r["notes"],
            }
        )
    return tuple(rows)


def papers() -> tuple[str, ...]:
    """The papers whose numbers are here."""
    return tuple(dict.fromkeys(r["paper"] for r in results()))


def tables(paper: str) -> tuple[str, ...]:
    """The tables of a paper. Raises ValueError for an unknown paper, naming those that exist."""
    if paper not in papers():
        raise ValueError(f"no numbers of a paper {paper!r}: there are {', '.join(papers())}")
    return tuple(dict.fromkeys(r["table"] for r in results() if r["paper"] == paper))


def rows_of(paper: str, table: str) -> list[dict]:
    """The rows of a table of a paper. Raises ValueError for an unknown one, naming those that exist."""
    if table not in tables(paper):
        raise ValueError(f"{paper} has no {table!r} here: there are {', '.join(tables(paper))}")
    return [r for r in results() if r["paper"] == paper and r["table"] == table]


def noise_key(noise: str, rate: float | None) -> tuple[str, float]:
    """What must be equal for two labellings to be comparable. Without noise the rate is 0, given or not."""
    return noise, 0.0 if noise == "none" or rate is None else round(float(rate), 9)


def parse(text: str) -> Any:
    """A cell of hyperparameters.csv: int, float, bool, text, or a tuple of them ("0.5;0.75")."""
    if ";" in text:
        return tuple(parse(part) for part in text.split(";"))
    if text in ("yes", "no"):
        return text == "yes"
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return text
