"""Histograms, curves, bars, calibration and tables."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ..toolbox import metrics
from .style import (
    BLUE,
    GRID,
    LINE,
    PALETTE,
    RED,
    TEXT,
    band,
    colors,
    fade,
    is_fraction,
    layout,
    plain,
    sentence,
    words,
)

if TYPE_CHECKING:
    import pandas as pd


def memorization_histogram(
    losses: Mapping[str, np.ndarray],
    *,
    bins: int = 40,
    log: bool = True,
    floor: float = 1e-3,
    num_classes: int | None = None,
    marks: Mapping[str, float] | None = None,
    title: str = "Loss on the true class, over the training images",
    subtitle: str = "",
) -> go.Figure:
    """NRD Fig 1: histogram of the cross-entropy to the *true* class of each image.

    losses: label -> (N,) nats; the first is drawn red (standard prediction), the second blue (vicinal
        ensemble).
    log: bins evenly spaced in log loss; losses under `floor` count in the first bin, so every image counts.
    num_classes: also marks ln K, the loss of a uniform guess.
    marks: text -> loss of an example image, in the order of `losses`, e.g. {"1": 7.2, "2": 0.3}.
    """
    values = {k: np.nan_to_num(np.asarray(v, np.float64), posinf=1e3) for k, v in losses.items()}
    top = max(v.max() for v in values.values())
    edges = np.geomspace(floor, max(top, 10 * floor), bins + 1) if log else np.linspace(0, top or 1, bins + 1)
    fig = go.Figure()
    for (label, loss), color in zip(values.items(), (RED, BLUE, *PALETTE[2:])):
        count, _ = np.histogram(np.clip(loss, edges[0], edges[-1]), edges)
        spans = [
            f"{'under' if log and i == 0 else f'{a:.3g} to'} {b:.3g}"
            for i, (a, b) in enumerate(itertools.pairwise(edges))
        ]
        fig.add_scatter(
            x=edges,
            y=[*count, count[-1]],
            name=label,
            mode="lines",
            line=dict(color=color, width=2, shape="hv"),
            fill="tozeroy",
            fillcolor=fade(color, 0.22),
            customdata=[*spans, spans[-1]],
            hovertemplate="%{y} images<br>loss %{customdata}",
        )
    place = np.log10 if log else float  # annotations on a log axis are placed by the exponent
    if num_classes:
        guess = np.log(num_classes)
        fig.add_vline(x=guess, line=dict(color=LINE, dash="dot"))
        fig.add_annotation(
            x=place(guess),
            y=1,
            yref="paper",
            text="uniform guess",
            showarrow=False,
            xanchor="left",
            yanchor="top",
            xshift=4,
            font_size=11,
        )
    for (text, marked), color in zip((marks or {}).items(), (RED, BLUE)):
        within = min(max(marked, edges[0]), edges[-1])
        fig.add_annotation(
            x=place(within),
            y=0,
            text=f"<b>{text}</b>",
            ax=0,
            ay=-52,
            arrowhead=2,
            arrowcolor=color,
            font=dict(color="white", size=13),
            bgcolor=color,
            borderpad=4,
        )
    axis = dict(type="log", dtick=1, exponentformat="none") if log else {}
    fig.update_xaxes(title="cross-entropy to the true class (nats" + (", log scale)" if log else ")"), **axis)
    fig.update_yaxes(title="training images", rangemode="tozero")
    return layout(fig, title, subtitle)


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
        color = paint[str(name)]
        by_epoch: dict[int, list[float]] = {}
        for row in rows if rows and isinstance(rows[0], Mapping) else [r for seed in rows for r in seed]:
            if row.get(metric) is not None:
                by_epoch.setdefault(int(row["epoch"]), []).append(float(row[metric]))
        if not by_epoch:
            continue
        x = sorted(by_epoch)
        y, low, high = (np.array([f(by_epoch[e]) for e in x]) for f in (np.mean, np.min, np.max))
        fig.add_traces(band(x, y, low, high, name, color, percent=is_fraction(metric)))
        spans += [low.min(), high.max()]
        if mark:
            best = int(np.argmin(y) if metric.split("_")[-1] in ("ece", "loss", "error") else np.argmax(y))
            ends.append((x[-1], y[-1], color, name))
            fig.add_scatter(
                x=[x[best]],
                y=[y[best]],
                mode="markers",
                legendgroup=name,
                showlegend=False,
                marker=dict(size=11, color="rgba(0,0,0,0)", line=dict(color=color, width=2.2)),
                hovertemplate="best: epoch %{x}, %{y:.4f}<extra>" + name + "</extra>",
            )
    places = apart([y for _, y, _, _ in ends], 0.075 * (max(spans) - min(spans)) if spans else 0)
    for (end, y, color, name), place in zip(ends, places):
        style = dict(showlegend=False, legendgroup=name, hoverinfo="skip", cliponaxis=False)
        fig.add_scatter(x=[end], y=[y], mode="markers", marker=dict(size=7, color=color), **style)
        fig.add_scatter(
            x=[end],
            y=[place],
            mode="text",
            text=[f"<b>  {y:.1%}</b>" if is_fraction(metric) else f"<b>  {y:.3g}</b>"],
            textposition="middle right",
            textfont=dict(color=color, size=13),
            **style,
        )
    if not fig.data:
        raise ValueError(
            f"none of the runs has the metric {metric!r}: name a column of their metrics.csv "
            "that is not empty"
        )
    fig.update_xaxes(title="epoch")
    fig.update_yaxes(title=words(metric), tickformat=".0%" if is_fraction(metric) else None)
    note = "○ best epoch, ● last" if mark else ""
    return layout(
        fig,
        title or f"{sentence(words(metric))} by epoch",
        subtitle or note,
        margin_r=72,
        hovermode="x unified",
    )


def apart(heights: Sequence[float], gap: float) -> np.ndarray:
    """The places (n,) nearest to the heights, in their order, that are at least `gap` from each other: for
    labels that would overlap.
    """
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
        own = [row for v in values for row in rows if row[x] == v and row.get(color) == group]
        spread = [row.get(error) for row in own] if error else None
        text = [f"{row[y]:.1%}" if percent else f"{row[y]:.3g}" for row in own]
        if error:  # the number stands in the bar, where it fits
            text = [t if row[y] > 0.1 * tallest else "" for t, row in zip(text, own)]
        fig.add_bar(
            x=[names[row[x]] for row in own],
            y=[row[y] for row in own],
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
    fig = make_subplots(2, 1, shared_xaxes=True, row_heights=[0.78, 0.22], vertical_spacing=0.05)
    fig.add_scatter(
        x=[0, 1],
        y=[0, 1],
        mode="lines",
        line=dict(color=LINE, dash="dash"),
        name="perfectly calibrated",
        hoverinfo="skip",
        row=1,
        col=1,
    )
    for (name, (probs, labels)), color in zip(predictions.items(), (RED, BLUE, *PALETTE[2:])):
        r = metrics.reliability(probs, labels, bins)
        full, error = r["count"] > 0, metrics.ece(probs, labels, bins)
        share = r["count"] / r["count"].sum()
        marker = dict(size=7 + 9 * np.sqrt(share[full]), opacity=1, line_width=0)
        fig.add_scatter(
            x=r["confidence"][full],
            y=r["accuracy"][full],
            mode="lines+markers",
            marker=marker,
            name=f"{name} (ECE {error:.1%})",
            line=dict(color=color, width=2),
            legendgroup=name,
            customdata=r["count"][full],
            row=1,
            col=1,
            hovertemplate="confidence %{x:.1%}, accuracy %{y:.1%}<br>%{customdata} images",
        )
        fig.add_bar(
            x=(r["edges"][:-1] + r["edges"][1:]) / 2,
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
    fig.update_xaxes(title="confidence of the prediction", row=2, col=1)
    fig.update_yaxes(title="accuracy", range=[-0.02, 1.04], tickformat=".0%", row=1, col=1)
    fig.update_yaxes(title="images", tickformat=".0%", nticks=3, rangemode="tozero", row=2, col=1)
    return layout(fig, title, subtitle, height=420, bargap=0.1)


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


def score_slider(
    epochs: Sequence[int],
    scores: np.ndarray,
    right: np.ndarray,
    *,
    bins: int = 40,
    span: tuple[float, float] = (0, 1),
    name: str = "clean score",
    title: str = "Clean score by epoch",
    subtitle: str = "",
) -> go.Figure:
    """Histograms of a score in [0, 1] for right (blue) and wrong (red) given labels, with a slider over the
    epochs.

    scores (E, n), one row per entry of epochs (E,); right (n,) bool; span: what the axis shows. NaN scores
    are left out. The legend's numbers, the share of either kind above one half, and the selection AUC in the
    title follow the slider.
    """
    scores, right, edges = (
        np.asarray(scores, np.float64),
        np.asarray(right, bool),
        np.linspace(*span, bins + 1),
    )
    if len(epochs) != len(scores):
        raise ValueError(f"{len(epochs)} epochs, but scores of {len(scores)}: give one row per epoch")
    middles = (edges[:-1] + edges[1:]) / 2

    def at(e: int) -> list[go.Bar]:
        both = []
        for kind, mask, color in (("right labels", right, BLUE), ("wrong labels", ~right, RED)):
            values = scores[e, mask]
            values = values[~np.isnan(values)]
            above = f"{(values > 0.5).mean():.0%} above ½" if len(values) else "none"
            both.append(
                go.Bar(
                    x=middles,
                    y=np.histogram(values, edges)[0],
                    name=f"{kind} ({above})",
                    width=edges[1] - edges[0],
                    marker=dict(color=fade(color, 0.6), line_width=0),
                    hovertemplate="%{y} images, " + name + " %{x:.3g}<extra>" + kind + "</extra>",
                )
            )
        return both

    def heading(e: int) -> str:
        auc = metrics.selection_auc(scores[e], right)
        return (
            f"<b>{title}: epoch {epochs[e]}" + ("" if auc is None else f", selection AUC {auc:.3f}") + "</b>"
        )

    last = len(epochs) - 1
    fig = go.Figure(at(last))
    fig.frames = [
        go.Frame(name=str(e), data=at(i), layout=dict(title_text=heading(i))) for i, e in enumerate(epochs)
    ]
    at_once = dict(mode="immediate", frame=dict(duration=0), transition=dict(duration=0))
    slider = dict(
        active=last,
        currentvalue=dict(prefix="epoch ", font=dict(size=14)),
        pad=dict(t=56),
        bgcolor=GRID,
        bordercolor=LINE,
        activebgcolor=BLUE,
        tickcolor=LINE,
        steps=[dict(method="animate", label=str(e), args=[[str(e)], at_once]) for e in epochs],
    )
    fig.update_xaxes(
        title=name, range=[span[0] - 0.01 * (span[1] - span[0]), span[1] + 0.01 * (span[1] - span[0])]
    )
    fig.update_yaxes(
        title="training images (log scale)", type="log", range=[-0.3, np.log10(len(right)) + 0.1], dtick=1
    )
    layout(fig, title, subtitle, below=132, barmode="overlay", sliders=[slider])
    return fig.update_layout(title_text=heading(last))


def beside_table(
    table: pd.DataFrame, *, title: str = "Published beside measured", subtitle: str = ""
) -> go.Figure:
    """The rows of `published.beside` as a table; fractions as percent, with the spread over seeds after ±."""
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
