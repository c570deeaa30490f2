"""The papers' claims on real photographs: tables and curves of kept rows, for the notebooks of the five.

Two settings, both CIFAR-10N `worst` (40 % of the labels wrong) on all 50,000 images. Learnt by heart: a
hidden layer on stored features (`lnl compare NAME --preset memorise`), where cross-entropy ends with every
wrong label repeated. End to end: a small network on the images for 20 epochs, too few to learn them by heart,
measured on a GPU (`python -m lnl_kit.bench.gpu`). A name is a method, or METHOD:CONTROL, the method without
its idea.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from .. import figures
from ..results import gpu, leaderboard

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler

COLUMNS = ["last", "spread", "best", "memorized", "own", "ece", "auc", "seeds"]
NOISE = "worst"  # of the runs end to end


def learnt_by_heart(*names: str, file: str = "memorise") -> tuple[pd.DataFrame, Styler, go.Figure | None]:
    """(rows, table, test accuracy by epoch) of methods and controls. rows: as `leaderboard.ahead` takes them.

    file: of data/measured. table: `own` is the share of the training labels that a network's own predictions
    get right, of the given ones .598 are. Names that were not measured are left out, and the caption says so.
    """
    setting, dataset, preset = leaderboard.MEMORISING
    rows = leaderboard.rows(file, controls=True)
    rows = rows[(rows.setting == setting) & (rows.dataset == dataset) & (rows.preset == preset)]
    board = leaderboard.board(rows, setting, dataset, preset)
    there = [name for name in names if name in board.index]
    lacking = "; not measured: " + ", ".join(n for n in names if n not in there)
    caption = "learnt by heart: features of all images, 40 epochs" + lacking * (len(there) < len(names))
    table = figures.table_of(board.loc[there, COLUMNS], caption, missing="–")
    curves = leaderboard.curves(rows, "test_accuracy", *names)
    curves = {name.rpartition(":")[2]: runs for name, runs in curves.items()}  # the legend fits one line
    title, subtitle = (
        "Real photographs, learnt by heart",
        "kept: CIFAR-10N worst, memorise; ○ best, ● last epoch",
    )
    drawn = figures.curves(curves, "test_accuracy", title=title, subtitle=subtitle) if curves else None
    return rows, table, drawn


def ahead(rows: pd.DataFrame, name: str, *others: str) -> pd.DataFrame:
    """How far `name` ends above each of the others: one row each, columns ahead (mean over the seeds that
    both have), error (standard error of that mean, infinite for one seed) and seeds; see `leaderboard.ahead`.
    """
    import pandas as pd

    gaps = [leaderboard.ahead(rows, name, other) for other in others]
    return pd.DataFrame(gaps, index=list(others), columns=["ahead", "error", "seeds"])


def end_to_end(*labels: str) -> tuple[Styler, go.Figure]:
    """(table, test accuracy by epoch) of runs on the images themselves, one seed; labels: those of the GPU's
    runs (`gpu.ORDER`). `refurbished`: of the labels that the method trains on, how many are right.
    """
    measured = gpu.read()
    found = {r["label"]: r for r in gpu.runs(measured) if r["noise"] == NOISE and r["label"] in labels}
    columns = ["last", "best", "memorised", "own", "refurbished", "ece", "auc", "epochs"]
    rows = [{"run": label} | {k: found[label][k] for k in columns} for label in labels if label in found]
    table = figures.table_of(rows, "end to end: airbench, 20 epochs, seed 0, one GPU", missing="–")
    curves = gpu.curves(measured, NOISE)
    runs = {label: [curves[label]["epochs"]] for label in labels if label in curves}
    subtitle = "kept: CIFAR-10N worst, 20 epochs, seed 0; ○ best, ● last epoch"
    return table, figures.curves(
        runs, "test_accuracy", title="Real photographs, end to end", subtitle=subtitle
    )
