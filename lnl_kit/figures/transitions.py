"""Transition matrices: which given labels the true classes get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import layout, plain


def transition_heatmap(
    T: np.ndarray,
    classes: Sequence[str],
    *,
    title: str = "From true classes to given labels",
    subtitle: str = "",
) -> go.Figure:
    """A transition matrix T (K, K), row = true class, column = given label, entries as percent."""
    T, k, classes = np.asarray(T, np.float64), len(classes), [plain(c) for c in classes]
    shown = np.where(T >= 0.0005, T, np.nan)  # what does not happen stays empty
    fig = go.Figure(
        go.Heatmap(
            z=shown,
            x=list(classes),
            y=list(classes),
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            colorscale=[[0, "#dce8f3"], [0.5, "#7fb0dc"], [1, "#1d5f9e"]],
            showscale=k > 20,
            colorbar=dict(tickformat=".0%", outlinewidth=0, thickness=12),
            hovertemplate="true %{y}, given %{x}: %{z:.2%}<extra></extra>",
        )
    )
    if k <= 20:
        row, col = np.nonzero(T >= 0.0005)
        values = T[row, col]
        fig.add_scatter(
            x=[classes[c] for c in col],
            y=[classes[r] for r in row],
            mode="text",
            text=[f"{100 * v:.0f}" if v >= 0.005 else "<1" for v in values],
            textfont=dict(size=12, color=["white" if v > 0.6 else "#23292f" for v in values]),
            hoverinfo="skip",
            showlegend=False,
        )
    axis = dict(
        type="category",
        categoryorder="array",
        categoryarray=list(classes),
        ticks="",
        showgrid=False,
        constrain="domain",
    )
    fig.update_xaxes(title="given label", **axis)
    fig.update_yaxes(title="true class", autorange="reversed", scaleanchor="x", **axis)
    return layout(fig, title, subtitle or "percent of each true class", height=470, width=600)


def transition_pairs(
    pairs: Mapping[str, tuple[np.ndarray, np.ndarray]],
    classes: Sequence[str],
    *,
    title: str = "Which wrong label does each class get?",
    subtitle: str = "",
) -> go.Figure:
    """Flywheel Fig 3: label corruption matrices, upper row true, lower row estimated, one column per noise.

    pairs: name -> (true, estimated), each (K, K) with row = true class. As in the paper a *column* of the
    picture is a true class and the colour ends at 0.9; a class without wrong labels (a NaN row) stays empty.
    """
    classes = [plain(c) for c in classes]
    fig = make_subplots(
        2,
        len(pairs),
        row_titles=["true", "estimated"],
        horizontal_spacing=0.05,
        column_titles=[f"<b>{n}</b>" for n in pairs],
        vertical_spacing=0.08,
    )
    for col, (name, both) in enumerate(pairs.items(), 1):
        for row, T in enumerate(both, 1):
            fig.add_heatmap(
                z=np.asarray(T, np.float64).T,
                x=list(classes),
                y=list(classes),
                coloraxis="coloraxis",
                xgap=1,
                ygap=1,
                hovertemplate="true %{x}, given %{y}: %{z:.1%}<extra>" + name + "</extra>",
                row=row,
                col=col,
            )
    axis = dict(type="category", ticks="", showgrid=False, constrain="domain", tickfont_size=10)
    fig.update_xaxes(**axis)
    fig.update_xaxes(title="true class", row=2)
    fig.update_yaxes(autorange="reversed", **axis)
    fig.update_yaxes(title="given label", col=1)
    for i, trace in enumerate(fig.data):  # square cells
        fig.update_yaxes(scaleanchor=trace.xaxis, row=i % 2 + 1, col=i // 2 + 1)
    fig.update_annotations(font_size=13)
    return layout(
        fig,
        title,
        subtitle or "share of each class's wrong labels; column = true class",
        height=500,
        above=24,
        coloraxis=dict(
            cmin=0,
            cmax=0.9,
            colorscale=[[0, "rgba(127,176,220,0.12)"], [0.5, "#5f9bd1"], [1, "#143f6b"]],
            colorbar=dict(tickformat=".0%", outlinewidth=0, thickness=12),
        ),
    )
