"""The leaderboard's figures, from the tables of `results.leaderboard`."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import plotly.graph_objects as go

from ..methods import BASELINE, FAMILIES
from ..results.leaderboard import front
from .style import AMBER, BLUE, GREEN, PURPLE, RED, TEXT, fade, layout

if TYPE_CHECKING:
    import pandas as pd

TINT = dict(zip(FAMILIES, (BLUE, RED, AMBER, GREEN, PURPLE)))  # a colour for each family
ERROR = {
    "type": "log",
    "tickformat": ".0%",
    "tickvals": [0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.3, 0.5, 0.9],
}  # an axis of test errors
NAMES = {
    "ece": "expected calibration error",
    "auc": "AUC of telling right labels from wrong ones",
    "cost": "seconds of training",
    "last": "last test accuracy",
    "best": "best test accuracy (chosen on the test set)",
    "memorized": "share of wrong labels memorised",
}


def ranking(board: pd.DataFrame, metric: str = "last", title: str = "", subtitle: str = "") -> go.Figure:
    """A bar a method, largest on top, spread over seeds at its end; with `last`, best as an open circle."""
    board = board.dropna(subset=[metric]).sort_values(metric)
    fig = go.Figure()
    for name, color in {**TINT, **{f: TEXT for f in board.family if f not in TINT}}.items():
        members = board[board.family == name]
        if len(members):
            spread = (
                {"type": "data", "array": members.spread, "color": TEXT, "thickness": 1.2}
                if metric == "last"
                else None
            )
            fig.add_bar(
                y=members.index,
                x=members[metric],
                orientation="h",
                name=name,
                marker_color=fade(color, 0.75),
                error_x=spread,
                hovertemplate="%{y}: %{x:.3f}",
            )
    if metric == "last":
        fig.add_scatter(
            y=board.index,
            x=board.best,
            mode="markers",
            name="best epoch",
            hovertemplate="%{y}: best %{x:.3f}",
            marker={"symbol": "circle-open", "color": TEXT, "size": 7},
        )
    fig.update_yaxes(categoryorder="array", categoryarray=list(board.index), tickfont_size=11.5, dtick=1)
    fig.update_xaxes(title=NAMES[metric], tickformat=None if metric == "cost" else ".0%")
    return layout(
        fig, title or NAMES[metric].capitalize(), subtitle, height=60 + 19 * len(board), bargap=0.25
    )


def last_against_best(
    board: pd.DataFrame, title: str = "Who memorises? Last against best", subtitle: str = ""
) -> go.Figure:
    """A point for each method, by its test error (log scale): on the diagonal the last epoch is the best one,
    above it the network got worse.
    """
    ends = [0.9 * _error(board.best).min(), 1.1 * _error(board["last"]).max()]
    fig = go.Figure(
        go.Scatter(
            x=ends,
            y=ends,
            mode="lines",
            line={"dash": "dot", "color": TEXT, "width": 1},
            showlegend=False,
            hoverinfo="skip",
        )
    )
    _points(fig, board, _error(board.best), _error(board["last"]))
    fig.update_xaxes(title="test error of the best epoch (chosen on the test set)", **ERROR).update_yaxes(
        title="test error of the last epoch", **ERROR
    )
    return layout(fig, title, subtitle, height=460)


def cost(board: pd.DataFrame, title: str = "What accuracy costs", subtitle: str = "") -> go.Figure:
    """Last test error over seconds, log scales; a line joins the methods that none beats in both."""
    best = board.loc[front(board)]
    fig = go.Figure(
        go.Scatter(
            x=best.cost,
            y=_error(best["last"]),
            mode="lines",
            name="Pareto front",
            hoverinfo="skip",
            line={"color": TEXT, "width": 1.5, "shape": "hv"},
        )
    )
    _points(fig, board, board.cost, _error(board["last"]))
    fig.update_xaxes(
        title=NAMES["cost"], type="log", tickvals=[10, 20, 30, 50, 100, 200, 300, 500, 1000, 2000, 5000]
    )
    fig.update_yaxes(title="test error of the last epoch", **ERROR)
    return layout(fig, title, subtitle, height=460)


def _error(accuracy: pd.Series) -> pd.Series:
    """1 - accuracy, at least 0.1 % (a log scale has no 0)."""
    return (1 - accuracy).clip(lower=0.001)


def _points(fig: go.Figure, board: pd.DataFrame, x: pd.Series, y: pd.Series) -> None:
    """A named point for each method, coloured by family; neighbours have their names on different sides."""
    sides = dict(zip(y.sort_values().index, itertools.cycle(("middle right", "middle left"))))
    for name, color in TINT.items():
        members = board.index[board.family == name]
        if len(members):
            fig.add_scatter(
                x=x[members],
                y=y[members],
                mode="markers+text",
                name=name,
                text=members,
                textposition=[sides[m] for m in members],
                textfont_size=10,
                marker={"color": color, "size": 9},
                hoverinfo="text",
                cliponaxis=False,
                hovertext=[
                    f"{m}: last {board['last'][m]:.3f}, best {board.best[m]:.3f}, {board.cost[m]:.0f} s"
                    for m in members
                ],
            )


def by_rate(
    rows: pd.DataFrame,
    title: str = "Accuracy against the noise rate",
    subtitle: str = "",
    noise: str = "symmetric",
) -> go.Figure:
    """A panel a family: its methods' mean accuracy over the noise rate, cross-entropy's dotted."""
    from plotly.subplots import make_subplots

    rows = rows[(rows.noise == noise) | (rows.noise == "none")]
    mean = rows.groupby(["method", "rate"])["test_accuracy_last"].mean()
    families = [name for name in TINT if (rows.family == name).any()]
    fig = make_subplots(
        1,
        len(families),
        subplot_titles=[f"<b>{f}</b>" for f in families],
        shared_yaxes=True,
        horizontal_spacing=0.02,
    )
    for col, name in enumerate(families, 1):
        if BASELINE in mean:
            fig.add_scatter(
                x=mean[BASELINE].index,
                y=mean[BASELINE],
                mode="lines",
                line={"dash": "dot", "color": TEXT},
                hoverinfo="skip",
                row=1,
                col=col,
            )
        _family_curves(fig, col, {m: mean[m] for m in FAMILIES[name] if m in mean}, TINT[name])
    fig.update_traces(showlegend=False).update_xaxes(
        tickformat=".0%", tickvals=[0, 0.2, 0.5, 0.8], tickangle=0, tickfont_size=10, range=[-0.04, 1.42]
    )
    fig.update_xaxes(title="noise rate", col=(len(families) + 1) // 2, row=1)
    fig.update_yaxes(tickformat=".0%", range=[0, 1.06]).update_yaxes(title=NAMES["last"], row=1, col=1)
    return layout(fig, title, subtitle, height=400, above=22)


def _family_curves(fig: go.Figure, col: int, curves: dict[str, pd.Series], color: str) -> None:
    """A family's panel: the curve of each method over the rates, with its name at the end."""
    for method, curve in curves.items():
        fig.add_scatter(
            x=curve.index,
            y=curve,
            mode="lines+markers",
            line={"color": color, "width": 1.3},
            opacity=0.8,
            hovertemplate=f"{method}, rate %{{x:.0%}}: %{{y:.3f}}<extra></extra>",
            row=1,
            col=col,
        )
    for method, y in apart({m: curve.iloc[-1] for m, curve in curves.items()}).items():
        fig.add_annotation(
            x=curves[method].index[-1] + 0.03,
            y=y,
            text=method,
            showarrow=False,
            xanchor="left",
            font_size=9.5,
            row=1,
            col=col,
        )


def apart(heights: dict[str, float], gap: float = 0.038) -> dict[str, float]:
    """The heights, moved down where they would come nearer than `gap` to the next one above."""
    moved, above = {}, float("inf")
    for name, y in sorted(heights.items(), key=lambda pair: -pair[1]):
        above = moved[name] = min(y, above - gap)
    return moved
