"""Which differences of a leaderboard are real: paired tests, average ranks, the critical difference.

A *cell* is a data set, a preset and a noise; two runs are a *pair* where they share the cell and the seed,
hence images, wrong labels and initial draws. Few pairs can show nothing, whatever they say: the smallest
p-value of Wilcoxon's test of n pairs is 2 / 2^n, .25 for the three seeds of one cell. After J. Demsar,
Statistical Comparisons of Classifiers over Multiple Data Sets, JMLR 7 (2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .controls import title

if TYPE_CHECKING:
    import pandas as pd

CELL = ["dataset", "preset", "setting"]
LEVEL = 0.05  # of all statements of a table together
BEST, TIED, BEHIND, FEW = "best", "tied with the best", "behind", "too few pairs"


def differences(rows: pd.DataFrame, name: str, other: str) -> np.ndarray:
    """float64 (n,): test accuracy in the last epoch of `name` less that of `other`, a number for each pair.

    rows: as `leaderboard.rows` gives them, of one cell or of many.
    """
    last = rows.pivot_table(index=[*CELL, "seed"], columns="method", values="test_accuracy_last")
    return last.reindex(columns=[name, other]).dropna().pipe(lambda t: (t[name] - t[other]).to_numpy())


def wilcoxon(pairs: np.ndarray) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test of differences (n,); 1 where there are none."""
    from scipy.stats import wilcoxon as test

    pairs = np.round(pairs, 9)  # accuracies are counts: differences that are equal shall be equal
    if not len(pairs) or not pairs.any():
        return 1.0
    return float(test(pairs, zero_method="zsplit", method="exact" if _no_ties(pairs) else "auto").pvalue)


def _no_ties(pairs: np.ndarray) -> bool:
    """Whether the exact distribution holds: no difference is zero, no two are equally large."""
    return bool(pairs.all()) and len(np.unique(np.abs(pairs))) == len(pairs)


def holm(p: Sequence[float]) -> np.ndarray:
    """Adjusted p-values (n,) of n tests, after S. Holm (1979): below LEVEL all together with that chance."""
    found = np.asarray(p, dtype=float)
    order = np.argsort(found, kind="stable")
    raised = np.maximum.accumulate(found[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    adjusted = np.empty(len(p))
    adjusted[order] = raised
    return adjusted


def against_best(rows: pd.DataFrame) -> pd.DataFrame:
    """One row a method, best average rank first: rank, last (mean over the cells), cells, behind (how far it
    ends below the best, mean over the pairs), pairs, p (Wilcoxon, by Holm), verdict.

    Methods that lack a cell or a seed that others have are compared where they and the best have both, but
    only those of all cells are ranked (rank missing elsewhere). The best is the one of them with the lowest
    rank. verdict: best, tied with the best, behind, or too few pairs: no outcome of so many could reach
    LEVEL among so many tests. Raises ValueError where no method has all cells.
    """
    import pandas as pd

    ranked = ranks(rows)
    best = str(ranked.index[0])
    others = [m for m in rows["method"].unique() if m != best]
    gaps = {m: differences(rows, best, m) for m in others}
    adjusted = dict(zip(others, holm([wilcoxon(gaps[m]) for m in others])))
    mean = rows.groupby(["method", *CELL])["test_accuracy_last"].mean().groupby("method")
    table = []
    for m in [best, *others]:
        pairs, p = gaps.get(m, np.zeros(0)), adjusted.get(m)
        if p is None:
            verdict = BEST
        elif len(others) * 2.0 ** (1 - len(pairs)) >= LEVEL:
            verdict = FEW
        else:
            verdict = BEHIND if p < LEVEL else TIED
        table.append(
            {
                "method": m,
                "rank": ranked.get(m, np.nan),
                "last": mean.mean()[m],
                "cells": int(mean.count()[m]),
                "behind": pairs.mean() if len(pairs) else np.nan,
                "pairs": len(pairs),
                "p": np.nan if p is None else p,
                "verdict": verdict,
            }
        )
    return pd.DataFrame(table).set_index("method").sort_values(["rank", "behind"], na_position="last")


def in_words(rows: Sequence[dict]) -> list[str]:
    """What `against_best` says of measured rows (dictionaries, as `lnl compare` keeps them), in sentences;
    none where fewer than two methods share a cell.
    """
    import pandas as pd

    frame = pd.DataFrame([row | {"method": title(row)} for row in rows])
    if not len(frame) or frame["method"].nunique() < 2:
        return []
    frame["setting"] = frame["noise"].astype(str) + " " + frame["rate"].astype(str)
    try:
        table = against_best(frame)
    except ValueError:  # no method has all cells
        return []
    said = [f"best average rank: {table.index[0]}"]
    for verdict in (TIED, BEHIND, FEW):
        if names := list(table.index[table.verdict == verdict]):
            said.append(f"{verdict}: {', '.join(names)}")
    pairs = table.pairs.iloc[1:]
    said.append(f"({pairs.min()} to {pairs.max()} pairs of runs; Wilcoxon's test, Holm's correction)")
    return said


def ranks(rows: pd.DataFrame) -> pd.Series:
    """Average rank over the cells of each method that has all of them, lowest (best) first; in a cell methods
    are ranked by their mean over seeds, equal ones share their ranks. Raises ValueError where none has all.
    """
    means = rows.pivot_table(index=CELL, columns="method", values="test_accuracy_last").dropna(axis=1)
    if not means.shape[1]:
        raise ValueError("no method was measured in all of these cells: choose fewer data sets or noises")
    return means.rank(axis=1, ascending=False).mean().sort_values()


class Critical(NamedTuple):
    """Average ranks of methods over cells, and by how much two must differ."""

    ranks: pd.Series  # of each method, lowest (best) first
    difference: float  # Nemenyi's: average ranks closer than this are not told apart
    p: float  # Friedman's: the chance of ranks as uneven where all methods are alike
    cells: int


def critical_difference(rows: pd.DataFrame, methods: Sequence[str] | None = None) -> Critical:
    """The Friedman test of the methods' ranks over the cells, and Nemenyi's critical difference at LEVEL.

    methods: by default all that were measured in every cell. Raises ValueError for fewer than three methods
    or two cells, of which these tests can say nothing.
    """
    from scipy.stats import friedmanchisquare, studentized_range

    chosen = rows if methods is None else rows[rows["method"].isin(methods)]
    found = ranks(chosen)
    means = chosen.pivot_table(index=CELL, columns="method", values="test_accuracy_last")[found.index]
    n, k = means.shape
    if k < 3 or n < 2:
        raise ValueError(f"{k} methods in {n} cells cannot be ranked: at least 3 methods in 2 cells")
    q = studentized_range.ppf(1 - LEVEL, k, np.inf) / np.sqrt(2)
    p = friedmanchisquare(*(means[m] for m in means)).pvalue
    return Critical(found, float(q * np.sqrt(k * (k + 1) / (6 * n))), float(p), n)
