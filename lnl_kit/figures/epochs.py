"""Runs by epoch, each group of them in a panel of its own with cross-entropy's beside."""

from __future__ import annotations

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..methods import BASELINE
from .boards import apart
from .style import AMBER, BLUE, GREEN, RED, TEXT, layout, sentence, words

COLUMNS = 3


def by_epoch(
    runs: dict[str, dict],
    groups: dict[str, tuple[str, ...]],
    metric: str = "test_accuracy",
    title: str = "",
    subtitle: str = "",
) -> go.Figure:
    """A panel for each group: the metric of its runs over the epochs, named at their ends; cross-entropy's is
    dotted, and a run that was cut short ends in an open circle. A group without runs is left out.

    runs: {name: {"epochs": rows of metrics, "ended": whether it did}}. groups: {panel: names of its runs}.
    """
    there = {g: [n for n in names if n in runs] for g, names in groups.items()}
    there = {g: names for g, names in there.items() if set(names) - {BASELINE}}
    columns = min(COLUMNS, len(there)) or 1
    fig = make_subplots(
        -(-len(there) // columns) or 1,
        columns,
        subplot_titles=[f"<b>{g}</b>" for g in there],
        shared_yaxes=True,
        horizontal_spacing=0.03,
        vertical_spacing=0.16,
    )
    last = max((e["epoch"] for run in runs.values() for e in run["epochs"]), default=1)
    for i, names in enumerate(there.values()):
        place = {"row": i // columns + 1, "col": i % columns + 1}
        _panel(fig, {n: runs[n] for n in names}, metric, last + 0.6, place)
    fig.update_traces(showlegend=False)
    # names need as much room as the curves
    fig.update_xaxes(range=[0.5, last * 2.2], tickvals=[1, *range(5, last + 1, 5)], title="epoch")
    fig.update_yaxes(tickformat=".0%").update_yaxes(title=words(metric), col=1)
    return layout(fig, title or f"{sentence(words(metric))} by epoch", subtitle, height=560, above=22)


def _panel(fig: go.Figure, runs: dict[str, dict], metric: str, names_at: float, place: dict) -> None:
    """The curves of one panel, with their ends marked and named."""
    ends: dict[str, tuple[float, str]] = {}
    for (name, run), color in zip(runs.items(), (TEXT, BLUE, RED, GREEN, AMBER)):
        points = [(e["epoch"], e[metric]) for e in run["epochs"] if e.get(metric) is not None]
        if not points:
            continue
        x, y = zip(*points)
        ends[name] = y[-1], color
        fig.add_scatter(
            x=x,
            y=y,
            mode="lines",
            line={"color": color, "width": 1.8, "dash": "dot" if name == BASELINE else "solid"},
            hovertemplate=f"{name}, epoch %{{x}}: %{{y:.3f}}<extra></extra>",
            **place,
        )
        mark = {"color": color, "size": 7, "symbol": "circle" if run["ended"] else "circle-open"}
        fig.add_scatter(x=x[-1:], y=y[-1:], mode="markers", marker=mark, hoverinfo="skip", **place)
    for name, height in apart({n: y for n, (y, _) in ends.items()}, 0.024).items():
        y_end, color = ends[name]
        fig.add_annotation(
            x=names_at,
            y=height,
            text=f"{name} {y_end:.1%}",
            showarrow=False,
            xanchor="left",
            font={"size": 10, "color": color},
            **place,
        )
