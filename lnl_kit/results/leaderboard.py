"""The leaderboard: what `lnl compare` measured for all methods, averaged over seeds.

The rows are those of data/measured/digits.csv, cifar10n.csv and memorise.csv: one network, epochs, batch,
schedule and view for every method; `last` is the headline, `best` (chosen by looking at the test set) stands
beside it. `python -m lnl_kit.results.leaderboard` prints the README's table of photographs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..methods import BASELINE, METHODS
from . import measured
from .controls import method_of, title

if TYPE_CHECKING:
    import pandas as pd

from ..methods import family

FILES = ("digits", "cifar10n", "memorise")  # of data/measured
MEMORISING = ("human, worst", "folder-cifar10-jpeg", "memorise")  # the README's: setting, data set, preset


def rows(*names: str, controls: bool = False) -> pd.DataFrame:
    """Every measured run, one row each: the fields of summary.json, `setting` ("symmetric 0.5"), `family` and
    `cost`, the seconds of all stages and epochs. names: files of data/measured (default FILES) or paths of
    CSV files that `lnl compare --csv` wrote. controls: with methods without their idea, as METHOD:CONTROL.
    """
    return as_table([row for name in names or FILES for row in measured.read(name)], controls)


def as_table(measured_in: list[dict], controls: bool = False) -> pd.DataFrame:
    """`rows` of rows that were read elsewhere."""
    import pandas as pd

    found = [row | {"method": title(row)} for row in measured_in]
    measured_rows = pd.DataFrame([row for row in found if controls or ":" not in row["method"]])
    if len(measured_rows):
        rate = measured_rows["rate"].astype(float)
        words = measured_rows["noise"].str.replace("labels-", "human, ").str.replace("_", " ")
        measured_rows["setting"] = [w if not r else f"{w} {r:g}" for w, r in zip(words, rate)]
        measured_rows["family"] = [family(method_of(m)) for m in measured_rows["method"]]
        stages = measured_rows["stage_seconds"] if "stage_seconds" in measured_rows else 0.0 * rate
        right, corrected = (
            measured_rows.get(f"train_accuracy_{labels}_last", np.nan) for labels in ("clean", "wrong")
        )
        wrong = measured_rows["actual_rate"].astype(float)
        measured_rows["own"] = (1 - wrong) * right + wrong * corrected
        measured_rows["cost"] = measured_rows["seconds"].astype(float) + stages.fillna(0).astype(float)
    return measured_rows


def board(rows: pd.DataFrame, setting: str, dataset: str = "digits", preset: str = "quick") -> pd.DataFrame:
    """One row a method at one setting, best `last` first: last, spread (standard deviation over seeds,
    missing for one), best, memorized, own (share of the training labels that its own predictions get right;
    of the given ones 1 - actual_rate are), ece, auc, cost (seconds), seeds, uses (what it was told), family.

    Raises ValueError where nothing was measured there, with the settings that are.
    """
    import pandas as pd

    chosen = (
        rows[(rows.dataset == dataset) & (rows.preset == preset) & (rows.setting == setting)]
        if len(rows)
        else rows
    )
    if not len(chosen):
        measured_settings = (
            "; ".join(sorted({f"{d} {p} {s}" for d, p, s in zip(rows.dataset, rows.preset, rows.setting)}))
            if len(rows)
            else "nothing yet"
        )
        raise ValueError(
            f"nothing was measured on {dataset} under {preset} at {setting}: there is {measured_settings}"
        )
    by = chosen.groupby("method")
    last = by["test_accuracy_last"]
    table = pd.DataFrame(
        {
            "last": last.mean(),
            "spread": last.std(),
            "best": by["test_accuracy_best"].mean(),
            "memorized": by["memorized_last"].mean(),
            "own": by["own"].mean(),
            "ece": by["test_ece_last"].mean(),
            "auc": by["selection_auc_last"].mean(),
            "cost": by["cost"].mean(),
            "seeds": by["seed"].nunique(),
            "uses": by["uses"].first(),
        }
    )
    table["uses"] = table["uses"].map(lambda told: ", ".join(told) if isinstance(told, list) else told or "")
    table["family"] = [family(method_of(m)) for m in table.index]
    return table.sort_values("last", ascending=False)


def ahead(rows: pd.DataFrame, name: str, other: str) -> tuple[float, float, int]:
    """(how far `name` ends above `other` in test accuracy, mean over the seeds that both have; its standard
    error; number of these seeds). The error is infinite for one seed. rows: of one setting.

    Raises ValueError where they have no seed in common.
    """
    last = rows.pivot_table(index="method", columns="seed", values="test_accuracy_last")
    last = last.reindex([name, other])
    differences = (last.loc[name] - last.loc[other]).dropna()
    if not len(differences):
        raise ValueError(f"{name} and {other} were not measured with the same seed")
    error = differences.std() / len(differences) ** 0.5 if len(differences) > 1 else np.inf
    return float(differences.mean()), float(error), len(differences)


def curves(rows: pd.DataFrame, metric: str, *names: str) -> dict[str, list[list[dict]]]:
    """{name: for each seed the values of a metric by epoch}, as `figures.curves` takes them; names that were
    not measured with curves are left out. rows: of one setting.
    """
    found: dict[str, list[list[dict]]] = {}
    for name in names:
        for kept in rows[rows.method == name].get("curves", []):
            if isinstance(kept, dict) and metric in kept:
                run = [{"epoch": e + 1, metric: v} for e, v in enumerate(kept[metric])]
                found.setdefault(name, []).append(run)
    return found


def settings_of(rows: pd.DataFrame, dataset: str = "digits", preset: str = "quick") -> list[str]:
    """The settings measured there, those with most methods first."""
    same_data = rows[(rows.dataset == dataset) & (rows.preset == preset)]
    return list(
        same_data.groupby("setting")["method"].nunique().sort_values(ascending=False, kind="stable").index
    )


def front(board: pd.DataFrame) -> list[str]:
    """The methods that no other one beats in both `last` and `cost`, cheapest first (Pareto front)."""
    chosen, best = [], -1.0
    for method, row in board.sort_values(["cost", "last"], ascending=[True, False]).iterrows():
        if row["last"] > best:
            chosen.append(method)
            best = row["last"]
    return chosen


def epoch_cost(rows: pd.DataFrame, dataset: str = "digits", preset: str = "quick") -> pd.Series:
    """How many times as long as cross-entropy's an epoch of each method takes, by method: the fastest epoch
    of each (the median within a run) on the device where most runs were made, since others had to share
    theirs.
    """
    same_data = rows[(rows.dataset == dataset) & (rows.preset == preset)]
    same_data = same_data[same_data.device == same_data.device.mode()[0]]
    fastest = same_data.groupby("method")["seconds_per_epoch"].min()
    return (fastest / fastest[BASELINE]).sort_values()


def passes() -> pd.Series:
    """What an epoch of each method costs in passes of the training set, cross-entropy's being 1: a pass with
    gradient counts 1, one without a third (forward and backward are about three times a forward). Counted by
    `bench.passes` over the epochs of `quick`, stages among them (data/measured/passes.csv).
    """
    import pandas as pd

    kept = measured.read("passes")
    found = {row["method"]: row["with_gradient"] + row["without"] / 3 for row in kept}
    return pd.Series(found, name="passes", dtype=float).sort_values()


def at_budget(
    rows: pd.DataFrame, setting: str, budget: float, dataset: str = "digits", preset: str = "quick"
) -> pd.DataFrame:
    """One row a method at equal compute, best first: accuracy after the last epoch within a budget of passes
    of the training set, spread over seeds, that epoch, what an epoch costs, and `last` beside it. Methods
    whose first epoch costs more, or whose curves or passes are not kept, are missing.

    It is read off the curves of whole runs: with that epoch the schedule was not through, so that a run made
    for the budget may end higher. budget: 60 is what cross-entropy costs under `quick`.
    """
    import pandas as pd

    cost, found = passes(), []
    chosen = rows[(rows.dataset == dataset) & (rows.preset == preset) & (rows.setting == setting)]
    for method, runs in chosen.groupby("method"):
        curve = [kept["test_accuracy"] for kept in runs["curves"] if isinstance(kept, dict)]
        price = cost.get(method_of(method))
        if price is None or not curve or (epoch := int(budget / price + 1e-9)) < 1:
            continue
        epoch = min(epoch, *map(len, curve))
        there = pd.Series([values[epoch - 1] for values in curve])
        found.append(
            {
                "method": method,
                "at budget": there.mean(),
                "spread": there.std(),
                "epoch": epoch,
                "passes": price,
                "last": runs["test_accuracy_last"].mean(),
                "seeds": len(curve),
            }
        )
    if not found:
        raise ValueError(f"nothing with curves and passes was measured on {dataset}, {preset}, {setting}")
    return pd.DataFrame(found).set_index("method").sort_values("at budget", ascending=False)


def unmeasured(rows: pd.DataFrame, setting: str, dataset: str = "digits", preset: str = "quick") -> list[str]:
    """The methods of the kit, but for those on features alone, without a row at this setting."""
    measured_methods = set(board(rows, setting, dataset, preset).index)
    return [m for m, (_, s) in METHODS.items() if m not in measured_methods and not s.needs_features]


def markdown(board: pd.DataFrame) -> str:
    """The README's table: a line a method, best `last` first."""
    head = "method last spread best memorised ECE AUC minutes seeds told".split()
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for method, row in board.iterrows():
        cells = [f"{row[k]:.3f}" if row[k] == row[k] else "" for k in ("last", "spread", "best", "memorized")]
        cells += [f"{row[k]:.3f}" if row[k] == row[k] else "" for k in ("ece", "auc")]
        cells += [f"{row['cost'] / 60:.1f}", f"{row['seeds']}", row["uses"]]
        lines.append("| " + " | ".join([str(method), *cells]) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown(board(rows(controls=True), *MEMORISING)))
