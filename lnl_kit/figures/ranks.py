"""Average ranks of methods over data sets and noises, with the critical difference of the Nemenyi test."""

from __future__ import annotations

from typing import TYPE_CHECKING

import plotly.graph_objects as go

from .style import BLUE, RED, TEXT, fade, layout

if TYPE_CHECKING:
    from ..results.significance import Critical


def critical_difference(critical: Critical, title: str = "", subtitle: str = "") -> go.Figure:
    """A point for each method at its average rank, best on top, with a bar of one critical difference around
    it: two methods are told apart where their bars do not overlap. The band is the bar of the best.
    """
    ranks, half = critical.ranks[::-1], critical.difference / 2
    best = float(critical.ranks.iloc[0])
    apart = ranks - best > critical.difference
    fig = go.Figure()
    fig.add_vrect(x0=best - half, x1=best + half, fillcolor=fade(BLUE, 0.12), line_width=0, layer="below")
    for chosen, name, color in (
        (~apart, "not told apart from the best", BLUE),
        (apart, "told apart from the best", RED),
    ):
        if chosen.any():
            fig.add_scatter(
                x=ranks[chosen],
                y=ranks.index[chosen],
                mode="markers",
                name=name,
                marker={"color": color, "size": 10},
                error_x={"type": "constant", "value": half, "color": TEXT, "thickness": 1},
                hovertemplate="%{y}: average rank %{x:.2f}<extra></extra>",
            )
    fig.update_yaxes(categoryorder="array", categoryarray=list(ranks.index), dtick=1, tickfont_size=11.5)
    fig.update_xaxes(title="average rank over data sets and noises (1 = best)")
    return layout(fig, title or "Who is ahead of whom?", subtitle, height=120 + 22 * len(ranks))
