"""Curves, bars and calibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..toolbox import metrics
from .style import (
    BLUE,
    LINE,
    PALETTE,
    RED,
    TEXT,
    band,
    colors,
    fade,
    is_fraction,
    layout,
    sentence,
    words,
)

if TYPE_CHECKING:
    import pandas as pd

BESIDE = 3  # curves above which the legend of a calibration stands beside them


def curves(
    runs: Mapping[str, Sequence],
    metric: str = "test_accuracy",
    *,
    mark: bool = True,
    title: str = "",
    subtitle: str = "",
) -> go.Figure:
    """A metric by epoch: per name the mean over its runs, the range between its runs as a band.

    runs: name -> the rows of one run (a list of dictionaries as in `run.metrics`), or a list of such lists,
        one per seed. Missing values are left out.
    mark: circles the best epoch of the mean and labels its last value.
    Raises ValueError where no run has the metric.
    """
    fig = go.Figure()
    paint, ends, spans = colors(runs), [], []
    for name, rows in runs.items():
        color, by_epoch = paint[str(name)], _by_epoch(rows, metric)
        if not by_epoch:
            continue
        x = sorted(by_epoch)
        y, low, high = (np.array([f(by_epoch[e]) for e in x]) for f in (np.mean, np.min, np.max))
        fig.add_traces(band(x, y, low, high, name, color, percent=is_fraction(metric)))
        spans += [low.min(), high.max()]
        if mark:
            best = int(np.argmin(y) if metric.split("_")[-1] in ("ece", "loss", "error") else np.argmax(y))
            fig.add_trace(_best_epoch(x[best], y[best], name, color))
            ends.append((x[-1], y[-1], color, name))
    if not fig.data:
        raise ValueError(
            f"none of the runs has the metric {metric!r}: name a column of their metrics.csv "
            "that is not empty"
        )
    _label_ends(fig, ends, 0.075 * (max(spans) - min(spans)), is_fraction(metric))
    fig.update_xaxes(title="epoch")
    fig.update_yaxes(title=words(metric), tickformat=".0%" if is_fraction(metric) else None)
    title = title or f"{sentence(words(metric))} by epoch"
    subtitle = subtitle or ("○ best epoch, ● last" if mark else "")
    return layout(fig, title, subtitle, margin_r=72, hovermode="x unified")


def _by_epoch(rows: Sequence, metric: str) -> dict[int, list[float]]:
    """The values of a metric at each epoch, from the rows of one run or of several."""
    values: dict[int, list[float]] = {}
    for row in rows if rows and isinstance(rows[0], Mapping) else [r for seed in rows for r in seed]:
        if row.get(metric) is not None:
            values.setdefault(int(row["epoch"]), []).append(float(row[metric]))
    return values


def _best_epoch(epoch: int, value: float, name: str, color: str) -> go.Scatter:
    """An open circle at the best epoch."""
    return go.Scatter(
        x=[epoch],
        y=[value],
        mode="markers",
        legendgroup=name,
        showlegend=False,
        marker=dict(size=11, color="rgba(0,0,0,0)", line=dict(color=color, width=2.2)),
        hovertemplate="best: epoch %{x}, %{y:.4f}<extra>" + name + "</extra>",
    )


def _label_ends(fig: go.Figure, ends: Sequence[tuple], gap: float, percent: bool) -> None:
    """A dot at the last epoch of each curve and its value beside it. ends: (epoch, value, color, name)."""
    for (end, y, color, name), place in zip(ends, apart([y for _, y, _, _ in ends], gap)):
        style = dict(showlegend=False, legendgroup=name, hoverinfo="skip", cliponaxis=False)
        fig.add_scatter(x=[end], y=[y], mode="markers", marker=dict(size=7, color=color), **style)
        fig.add_scatter(
            x=[end],
            y=[place],
            mode="text",
            text=[f"<b>  {y:.1%}</b>" if percent else f"<b>  {y:.3g}</b>"],
            textposition="middle right",
            textfont=dict(color=color, size=13),
            **style,
        )


def apart(heights: Sequence[float], gap: float) -> np.ndarray:
    """The places (n,) nearest to the heights, in order and at least `gap` apart, for labels."""
    from sklearn.isotonic import isotonic_regression

    values = np.asarray(heights, float)
    order, steps = np.argsort(values, kind="stable"), gap * np.arange(len(values))
    places = np.empty_like(values)
    if len(values):
        places[order] = isotonic_regression(values[order] - steps) + steps
    return places


def bars(
    table: pd.DataFrame | list[dict],
    x: str,
    y: str,
    color: str | None = None,
    error: str | None = None,
    *,
    title: str = "",
    subtitle: str = "",
    axis: str = "",
) -> go.Figure:
    """Grouped bars, e.g. NRD Fig 5: bars(rows, x="rate", y="test_ece", color="method").

    table: a DataFrame or a list of dictionaries with these columns. x: categories, in order of appearance
        (numbers: sorted; "rate": as percent). y: fractions are drawn as percent. error: ± the spread.
    """
    rows = table.to_dict("records") if hasattr(table, "to_dict") else list(table)
    values = list(dict.fromkeys(row[x] for row in rows))
    if all(isinstance(v, int | float) for v in values):
        values.sort()
    names = {v: f"{v:.0%}" if x == "rate" else str(v) for v in values}
    percent, tallest = is_fraction(y), max(row[y] for row in rows)
    fig = go.Figure()
    paint = colors(dict.fromkeys(row.get(color) for row in rows))
    for group in dict.fromkeys(row.get(color) for row in rows):
        of_group = [row for v in values for row in rows if row[x] == v and row.get(color) == group]
        spread = [row.get(error) for row in of_group] if error else None
        text = [f"{row[y]:.1%}" if percent else f"{row[y]:.3g}" for row in of_group]
        if error:  # the number stands in the bar, where it fits
            text = [t if row[y] > 0.1 * tallest else "" for t, row in zip(text, of_group)]
        fig.add_bar(
            x=[names[row[x]] for row in of_group],
            y=[row[y] for row in of_group],
            text=text,
            error_y=dict(type="data", array=spread, color=TEXT, thickness=1.4),
            name="" if group is None else str(group),
            showlegend=color is not None,
            cliponaxis=False,
            marker=dict(color=paint[str(group)], cornerradius=3),
            textfont_size=11.5,
            textposition="inside" if error else "outside",
            insidetextanchor="middle",
            textangle=0,
            hovertemplate="%{x}: %{y:" + (".2%" if percent else ".4g") + "}",
        )
    fig.update_xaxes(
        title=words(x),
        type="category",
        showgrid=False,
        categoryorder="array",
        categoryarray=list(names.values()),
    )
    fig.update_yaxes(title=axis or words(y), tickformat=".0%" if percent else None, rangemode="tozero")
    return layout(fig, title or sentence(f"{words(y)} by {words(x)}"), subtitle)


def reliability(
    predictions: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    bins: int = 15,
    title: str = "Confidence against accuracy",
    subtitle: str = "",
) -> go.Figure:
    """NRD Fig 2b: accuracy by confidence, the diagonal of perfect calibration, and below the images per bin.

    predictions: name -> (probs (N, K), labels (N,)); the first is drawn red (the model itself), the second
    blue (its view ensemble). The legend gives the expected calibration error over `bins` equal-width bins.
    """
    found = {name: metrics.reliability(*prediction, bins) for name, prediction in predictions.items()}
    return calibration(found, title=title, subtitle=subtitle)


def calibration(
    found: Mapping[str, Mapping[str, Any]],
    *,
    x: str = "confidence of the prediction",
    y: str = "accuracy",
    title: str = "Confidence against accuracy",
    subtitle: str = "",
) -> go.Figure:
    """The same of bins that are known: name -> what `metrics.binned` returns, or lists of the same names.

    x, y: what the axes say, the probability and how often it came true.
    """
    fig = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.78, 0.22], vertical_spacing=0.05)
    perfect = dict(name="perfectly calibrated", mode="lines", line=dict(color=LINE, dash="dash"))
    fig.add_scatter(x=[0, 1], y=[0, 1], hoverinfo="skip", row=1, col=1, **perfect)
    for (name, bins), color in zip(found.items(), (RED, BLUE, *PALETTE[2:])):
        r = {key: np.asarray(bins[key], float) for key in ("confidence", "accuracy", "count")}
        full, edges = r["count"] > 0, np.linspace(0, 1, len(r["count"]) + 1)
        share = r["count"] / r["count"].sum()
        marker = dict(size=7 + 9 * np.sqrt(share[full]), opacity=1, line_width=0)
        fig.add_scatter(
            x=r["confidence"][full],
            y=r["accuracy"][full],
            mode="lines+markers",
            marker=marker,
            name=f"{name} (ECE {metrics.calibration_error(r):.1%})",
            line=dict(color=color, width=2),
            legendgroup=name,
            customdata=r["count"][full],
            row=1,
            col=1,
            hovertemplate=f"{x} %{{x:.1%}}, {y} %{{y:.1%}}<br>%{{customdata}} images",
        )
        fig.add_bar(
            x=(edges[:-1] + edges[1:]) / 2,
            y=share,
            marker_color=fade(color, 0.55),
            legendgroup=name,
            showlegend=False,
            name=name,
            customdata=r["count"],
            row=2,
            col=1,
            hovertemplate="%{customdata} images (%{y:.1%})",
        )
    fig.update_xaxes(range=[-0.01, 1.02], tickformat=".0%")
    fig.update_xaxes(title=x, row=2, col=1)
    fig.update_yaxes(title=y, range=[-0.02, 1.04], tickformat=".0%", row=1, col=1)
    fig.update_yaxes(title="images", tickformat=".0%", nticks=3, rangemode="tozero", row=2, col=1)
    beside = dict(orientation="v", x=1.02, xanchor="left", y=1, yanchor="top")
    more: dict[str, Any] = {"legend": beside} if len(found) > BESIDE else {}
    return layout(fig, title, subtitle, height=420, bargap=0.1, **more)
