"""Figures about suspicious labels."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from ..texts import of
from .style import BLUE, GREY, RED, fade, layout

TEXTS = "report.histogram"


def suspicion_histogram(
    suspicion: np.ndarray, wrong: np.ndarray | None = None, bins: int = 40, language: str | None = None
) -> go.Figure:
    """How many images are how suspicious, and the share right of each threshold that is mislabeled.

    suspicion (N,) in [0, 1], the probability that the label is wrong; wrong (N,) bool where the truth is
    known: the bars then tell right and wrong labels apart, and a second line is the true share. language: see
    `lnl_kit.texts`.
    """
    say = of(language)
    groups = (
        {say(f"{TEXTS}_right"): (~wrong, BLUE), say(f"{TEXTS}_wrong"): (wrong, RED)}
        if wrong is not None
        else {say(f"{TEXTS}_images"): (np.ones(len(suspicion), bool), GREY)}
    )
    fig = go.Figure(
        [_counts(suspicion[members], bins, name, color) for name, (members, color) in groups.items()]
    )
    order = np.argsort(-suspicion, kind="stable")
    line = dict(color=GREY, width=2.2)
    fig.add_trace(_share_to_the_right(say(f"{TEXTS}_estimated"), suspicion, suspicion[order], line))
    if wrong is not None:
        line = dict(color=RED, width=1.8, dash="dot")
        fig.add_trace(_share_to_the_right(say(f"{TEXTS}_true"), suspicion, wrong[order], line))
    fig.update_xaxes(title=say(f"{TEXTS}_suspicion"), tickformat=".0%", range=[0, 1])
    fig.update_yaxes(title=say(f"{TEXTS}_count"), type="log")
    errors, share = suspicion.sum(), suspicion.mean()
    about = say(f"{TEXTS}_long", errors=f"{errors:.0f}", images=len(suspicion), share=f"{share:.1%}")
    axis = dict(
        title=say(f"{TEXTS}_share"),
        tickformat=".0%",
        range=[0, 1.02],
        tickvals=[0, 0.25, 0.5, 0.75, 1],
        overlaying="y",
        side="right",
        showgrid=False,
    )
    return layout(fig, say(TEXTS), about, height=320, barmode="stack", margin_r=70, yaxis2=axis)


def _counts(suspicion: np.ndarray, bins: int, name: str, color: str) -> go.Bar:
    """How many images have each suspicion."""
    edges = np.linspace(0, 1, bins + 1)
    return go.Bar(
        x=(edges[1:] + edges[:-1]) / 2,
        y=np.histogram(suspicion, edges)[0],
        width=1 / bins * 0.94,
        name=name,
        marker_color=fade(color, 0.75),
        hovertemplate="suspicion %{x:.1%}: %{y} images",
    )


def _share_to_the_right(name: str, suspicion: np.ndarray, wrong: np.ndarray, line: dict) -> go.Scatter:
    """The share of errors among the images at least as suspicious, at up to 400 of them.

    wrong (N,): whether each image's label is wrong, or how probably; the most suspicious image first.
    """
    reach = np.arange(1, len(wrong) + 1)
    at = np.unique(np.round(np.linspace(0, len(wrong) - 1, min(len(wrong), 400))).astype(int))
    return go.Scatter(
        x=-np.sort(-suspicion)[at],
        y=(np.cumsum(wrong) / reach)[at],
        name=name,
        mode="lines",
        line=line,
        yaxis="y2",
        customdata=reach[at],
        hovertemplate="threshold %{x:.1%}: %{y:.1%} of %{customdata} images",
    )
