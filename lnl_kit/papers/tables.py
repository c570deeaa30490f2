"""A published table as a DataFrame, with the preset that trains each of its cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..methods import METHODS
from .cells import cells
from .published import noise_key, rows_of

if TYPE_CHECKING:
    import pandas as pd


def table(paper: str, table: str) -> pd.DataFrame:
    """A published table, tidy: one row per printed number, e.g. `table("nrd", "Table 2")`.

    Columns: paper, table, dataset, split, architecture, method and noise (our names; *_printed: the paper's),
    rate (a fraction; missing where the labels are the data set's own), metric, published and published_std
    (fractions where the paper prints percent), n_runs, notes; preset: with which `--preset` we train that
    cell ("paper:nrd"), "not given" where the paper says no settings for it, missing where the kit has no such
    method.
    Raises ValueError for an unknown paper or table, naming those that exist.
    """
    import pandas as pd

    rows = [{**row, "preset": preset_of(row)} for row in rows_of(paper, table)]
    return pd.DataFrame(rows).astype({"rate": float, "published_std": float})


def preset_of(row: dict) -> str | None:
    """The `--preset` that trains a published row's cell, "not given" where the paper has no settings for it,
    None where the kit has no such method.
    """
    if row["method"] not in METHODS:
        return None
    known = (row["dataset"], *noise_key(row["noise"], row["rate"])) in cells(row["method"], row["paper"])
    return f"paper:{row['paper']}" if known else "not given"
