"""Leaderboard and curves of a root of runs, as one HTML page that works offline.

Whatever stands in run folders is shown as text: names of methods, data sets and settings are no markup on the
page, and a number that is none is missing.
"""

from __future__ import annotations

import html
import importlib.resources
import math
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from ..figures import curves, table_of
from ..figures.boards import ranking
from ..figures.page import document, figure_block, without_places
from ..figures.style import plain
from ..methods import BASELINE
from ..results import leaderboard
from ..results.collect import Index
from ..results.rows import Row, parse

if TYPE_CHECKING:
    import pandas as pd

SECTIONS = 8  # settings with a section of their own: those where a run ended last
CURVES = 8  # methods whose curves are drawn, the best
RUNNING = 50  # unfinished runs that are listed, those that were at work last
TEXTS = ("method", "dataset", "noise", "preset", "model", "asked")
NUMBERS = (
    "rate",
    "seed",
    "actual_rate",
    "test_accuracy_last",
    "test_accuracy_best",
    "memorized_last",
    "test_ece_last",
    "selection_auc_last",
    "train_accuracy_clean_last",
    "train_accuracy_wrong_last",
    "seconds",
    "stage_seconds",
)
KEY = ("dataset", "preset", "setting")
FORMATS = {"cost": "{:.0f}", "seeds": "{:.0f}"}
STYLE = """
.live { color: var(--good); font-weight: 600; }
td:nth-child(2), th:nth-child(2) { text-align: left; }
"""
RENEW = """
const wait = Number(document.querySelector("[data-renew]")?.dataset.renew);
if (wait > 0) setTimeout(() => location.reload(), 1000 * wait);
"""


def page(index: Index, every: float = 0.0) -> str:
    """The page of the runs that an index knows. every: seconds after which it loads itself again, 0 never."""
    import pandas as pd

    finished = _table(row for _, row in index.rows())
    now = time.strftime("%Y-%m-%d %H:%M:%S")
    counts = index.states()
    said = [f"{counts['finished']} finished runs", f"{counts['unfinished']} unfinished", f"as of {now}"]
    if counts["damaged"]:
        said.insert(2, f"{counts['damaged']} damaged folders")
    live = f'<span class="live" data-renew="{every:g}">renews itself</span> &middot; ' if every else ""
    body = [
        f"<h1>{_text(index.root.absolute().name)}</h1>",
        f'<p class="meta">{live}{" &middot; ".join(said)}</p>',
        _running(index),
    ]
    groups = [] if not len(finished) else [*finished.groupby(list(KEY), sort=False)]
    groups.sort(key=lambda pair: -pair[1].index.max())  # rows stand in the order in which the runs ended
    if groups:
        body += ["<nav>", *(_link(n, key, rows) for n, (key, rows) in enumerate(groups[:SECTIONS])), "</nav>"]
    for n, (key, rows) in enumerate(groups[:SECTIONS]):
        body.append(_section(n, key, pd.DataFrame(rows)))
    if more := groups[SECTIONS:]:
        runs = sum(len(rows) for _, rows in more)
        names = "; ".join(_text(", ".join(map(str, key))) for key, _ in more[:SECTIONS])
        body.append(f'<p class="meta">not shown: {len(more)} other settings with {runs} runs ({names})</p>')
    script = importlib.resources.files("plotly") / "package_data" / "plotly.min.js"
    plotly = script.read_text("utf-8") if groups else ""
    return document("lnl-kit: board", "\n".join(body), style=STYLE, plotly=plotly, script=RENEW)


def _text(value: object) -> str:
    return html.escape(without_places(str(value)))


def _table(rows: Iterable[Row]) -> pd.DataFrame:
    """The rows with what the leaderboard needs; a number that is none is missing."""
    found = []
    for row in rows:
        told: dict[str, Any] = {name: row.value(name) for name in TEXTS}
        told |= {name: _number(row.value(name)) for name in NUMBERS}
        uses, curves_of = parse(row.value("uses")), row.value("curves")
        told |= {"uses": [str(u) for u in uses] if isinstance(uses, list) else [], "curves": curves_of}
        if row.value("tuned"):
            told["tuned"] = True
        found.append(told)
    return leaderboard.as_table(found, controls=True)


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan


def _link(number: int, key: tuple, rows: pd.DataFrame) -> str:
    dataset, preset, setting = map(_text, key)
    said = f"{dataset}, preset {preset}: {len(rows)} runs, {rows.method.nunique()} methods"
    return f'<a href="#s{number}"><b>{setting}</b><span class="meta">{said}</span></a>'


def _section(number: int, key: tuple, rows: pd.DataFrame) -> str:
    """The leaderboard of a setting, as a table and a figure, and the curves of the best."""
    dataset, preset, setting = key
    board = leaderboard.board(rows, setting, dataset, preset)
    shown = board.reset_index()[["method", "family", *(c for c in board if c not in ("family", "uses"))]]
    shown["method"], shown["family"] = map(without_places, (list(shown["method"]), list(shown["family"])))
    parts = [
        f'<section id="s{number}"><h2>{_text(setting)}</h2>',
        f'<p class="meta">{_text(dataset)}, preset {_text(preset)}; last and best test accuracy, mean over '
        "seeds; cost in seconds</p>",
        f'<div class="card"><div class="html">{table_of(shown, formats=FORMATS).to_html()}</div></div>',
    ]
    names = {name: plain(without_places(name)) for name in board.index}
    figure = ranking(board.rename(index=names), title="Last test accuracy")
    parts.append(f"<figure><div class='plot'>{figure_block(figure)}</div></figure>")
    best = list(dict.fromkeys([*board.index[:CURVES], *(n for n in board.index if n == BASELINE)]))
    by_epoch = {names[name]: _curves(rows[rows.method == name]) for name in best}
    if any(by_epoch.values()):
        subtitle = f"the {len(best)} of {len(board)} shown are the best" if len(best) < len(board) else ""
        figure = curves({n: runs for n, runs in by_epoch.items() if runs}, subtitle=subtitle)
        parts.append(f"<figure><div class='plot'>{figure_block(figure)}</div></figure>")
    return "\n".join([*parts, "</section>"])


def _curves(rows: pd.DataFrame) -> list[list[dict]]:
    """For each run its test accuracies by epoch, as `figures.curves` takes them."""
    runs = [_points(text) for text in rows["curves"]]
    return [run for run in runs if run]


def _points(text: str) -> list[dict]:
    told = parse(text)
    values = told.get("test_accuracy") if isinstance(told, dict) else None
    found = [(e, v) for e, v in enumerate(values if isinstance(values, list) else [], 1)]
    return [{"epoch": e, "test_accuracy": v} for e, v in found if isinstance(v, int | float) and v == v]


def _running(index: Index) -> str:
    """A table of the unfinished runs, the one that was at work last on top."""
    found = []
    for folder, row in index.rows("unfinished"):
        points, epochs = _points(row.value("curves")), _number(row.value("epochs"))
        try:
            at_work = (index.root / folder).stat().st_mtime
        except OSError:
            continue  # gone meanwhile
        found.append((at_work, folder, row, points, epochs))
    if not found:
        return ""
    found.sort(key=lambda f: -f[0])
    head = ("method", "data", "seed", "epoch", "test accuracy", "last at work")
    lines = ["<h2>Unfinished</h2><div class='card'><table><thead><tr>"]
    lines += [f"<th>{name}</th>" for name in head] + ["</tr></thead><tbody>"]
    for at_work, _, row, points, epochs in found[:RUNNING]:
        data = f"{row.value('dataset')}, {row.value('noise')} {row.value('rate')}"
        of = f" of {epochs:.0f}" if epochs == epochs else ""
        cells = [row.value("method"), data, row.value("seed"), f"{len(points)}{of}"]
        cells += [f"{points[-1]['test_accuracy']:.3f}" if points else "–"]
        cells += [time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_work))]
        lines.append("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in cells) + "</tr>")
    lines.append("</tbody></table></div>")
    if len(found) > RUNNING:
        lines.append(f'<p class="meta">and {len(found) - RUNNING} more</p>')
    return "\n".join(lines)
