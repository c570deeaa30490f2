"""Tables: of a notebook's rows, with every text escaped, and of published numbers beside measured ones."""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from .style import BLUE, GRID, TEXT, layout, words

if TYPE_CHECKING:
    import pandas as pd
    from pandas.io.formats.style import Styler


def table_of(
    rows: pd.DataFrame | pd.Series | list[dict],
    caption: str = "",
    digits: int = 3,
    formats: Mapping[str, str | Callable] | None = None,
    missing: str = "",
) -> Styler:
    """A table as notebooks show it. Class names, paths and what else is text is shown as text, never as HTML.

    rows: dictionaries, or a DataFrame; its row names are shown unless they only count. digits: decimals of
    fractions. formats: {column: format} where that does not fit, such as {"seconds": "{:.0f}"}; with columns
    of several levels, the name at any of them. missing: what stands for None and NaN.

    Raises ValueError for a format of a column that does not exist. The result takes pandas' further styles,
    `table_of(rows).bar(["last"])`.
    """
    import pandas as pd

    table = rows.to_frame() if isinstance(rows, pd.Series) else pd.DataFrame(rows)
    styled = table.style.format(precision=digits, na_rep=missing, escape="html")
    for name, form in (formats or {}).items():
        columns = [c for c in table.columns if c == name or (isinstance(c, tuple) and name in c)]
        if not columns:
            raise ValueError(f"a format for column {name!r}, but there are {', '.join(map(str, table))}")
        styled = styled.format(form, subset=columns, na_rep=missing, escape="html")
    for axis in (0, 1):
        styled = styled.format_index(_short, axis=axis, escape="html")
    if isinstance(table.index, pd.RangeIndex):
        styled = styled.hide()
    return styled.set_caption(html.escape(caption)) if caption else styled


def _short(value: Any) -> Any:
    """A rate as 0.4, not 0.400000."""
    return f"{value:g}" if isinstance(value, float) else value


def beside_table(
    table: pd.DataFrame, *, title: str = "Published beside measured", subtitle: str = ""
) -> go.Figure:
    """The rows of `comparison.beside` as a table; fractions as percent, ± the spread over seeds."""
    rows = table.to_dict("records")

    def known(v: object) -> bool:
        return v is not None and v == v  # NaN differs from itself

    def percent(row: dict, value: str, spread: str) -> str:
        if not known(row[value]):
            return "–"
        return f"{100 * row[value]:.2f}" + (f" ± {100 * row[spread]:.2f}" if known(row.get(spread)) else "")

    columns = {
        "method": [r["method"] for r in rows],
        "published on": [r["dataset"] for r in rows],
        "noise": [r["noise"] + (f" {r['rate']:.0%}" if known(r["rate"]) else "") for r in rows],
        "metric": [r["metric"] for r in rows],
        "published %": [percent(r, "published", "published_std") for r in rows],
        "last %": [percent(r, "last", "spread") for r in rows],
        "best %": [percent(r, "best", "") for r in rows],
    }
    for field, form in (
        ("measured_on", ""),
        ("preset", ""),
        ("seeds", ".0f"),
        ("device", ""),
        ("minutes", ".1f"),
    ):
        columns[words(field)] = [format(r[field], form) if known(r.get(field)) else "–" for r in rows]
    if len(set(columns["metric"])) < 2:
        del columns["metric"]
    same = []  # what is the same in every measured row is said once, above the table
    for field in ("published on", "measured on", "device"):
        values = {v for v in columns[field] if v != "–"}
        if len(values) == 1:
            same.append(f"{'' if field == 'device' else field + ' '}{values.pop()}")
            del columns[field]
    number = ["right" if "%" in h or h in ("seeds", "minutes") else "left" for h in columns]
    widths = [max(map(len, (head, *column))) + 3 for head, column in columns.items()]
    paint = [BLUE if head == "last %" else TEXT for head in columns]  # what was measured stands out
    fig = go.Figure(
        go.Table(
            columnwidth=widths,
            header=dict(
                values=list(columns), align=number, fill_color=GRID, line_color="rgba(0,0,0,0)", height=30
            ),
            cells=dict(
                values=list(columns.values()),
                align=number,
                fill_color="rgba(0,0,0,0)",
                line_color=GRID,
                height=27,
                font_color=paint,
            ),
        )
    )
    subtitle = subtitle or "; ".join(["accuracies in percent, mean ± standard deviation over seeds", *same])
    return layout(fig, title, subtitle, height=40 + 27 * len(rows), below=8, margin_l=4, margin_r=4)
