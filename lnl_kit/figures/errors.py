"""Figures about suspicious labels."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from .style import BLUE, GREY, RED, fade, layout


def suspicion_histogram(suspicion: np.ndarray, wrong: np.ndarray | None = None, bins: int = 40) -> go.Figure:
    """How many images are how suspicious, and what share of those right of each threshold is estimated to be
    mislabeled.

    suspicion (N,) in [0, 1], the probability that the label is wrong; wrong (N,) bool where the truth is
    known: the bars then tell right and wrong labels apart, and a second line is the true share.
    """
    edges = np.linspace(0, 1, bins + 1)
    middles, width = (edges[1:] + edges[:-1]) / 2, 1 / bins
    groups = (
        {"label right": (~wrong, BLUE), "label wrong": (wrong, RED)}
        if wrong is not None
        else {"images": (np.ones(len(suspicion), bool), GREY)}
    )
    fig = go.Figure(
        [
            go.Bar(
                x=middles,
                y=np.histogram(suspicion[members], edges)[0],
                width=width * 0.94,
                name=name,
                marker_color=fade(color, 0.75),
                hovertemplate="suspicion %{x:.1%}: %{y} images",
            )
            for name, (members, color) in groups.items()
        ]
    )
    order = np.argsort(-suspicion, kind="stable")
    reach = np.arange(1, len(order) + 1)
    at = np.unique(np.round(np.linspace(0, len(order) - 1, min(len(order), 400))).astype(int))
    shares = {
        "estimated share of errors to the right": (
            np.cumsum(suspicion[order]) / reach,
            dict(color=GREY, width=2.2),
        )
    }
    if wrong is not None:
        shares["true share to the right"] = (
            np.cumsum(wrong[order]) / reach,
            dict(color=RED, width=1.8, dash="dot"),
        )
    for name, (share, line) in shares.items():
        fig.add_scatter(
            x=suspicion[order][at],
            y=share[at],
            name=name,
            mode="lines",
            line=line,
            yaxis="y2",
            customdata=reach[at],
            hovertemplate="threshold %{x:.1%}: %{y:.1%} of %{customdata} images",
        )
    fig.update_xaxes(title="suspicion", tickformat=".0%", range=[0, 1]).update_yaxes(
        title="images (log scale)", type="log"
    )
    errors, share = suspicion.sum(), suspicion.mean()
    about = f"about {errors:.0f} of {len(suspicion)} labels are estimated to be wrong ({share:.1%})"
    return layout(
        fig,
        "How suspicious are the labels?",
        about,
        height=320,
        barmode="stack",
        margin_r=70,
        yaxis2=dict(
            title="share of errors",
            tickformat=".0%",
            range=[0, 1.02],
            tickvals=[0, 0.25, 0.5, 0.75, 1],
            overlaying="y",
            side="right",
            showgrid=False,
        ),
    )
