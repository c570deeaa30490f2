"""Histograms of what a network makes of its training images: losses, clean scores."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from ..toolbox import metrics
from .style import BLUE, LINE, PALETTE, RED, epoch_slider, fade, layout


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
    spans = [
        f"{'under' if log and i == 0 else f'{a:.3g} to'} {b:.3g}"
        for i, (a, b) in enumerate(itertools.pairwise(edges))
    ]
    fig = go.Figure()
    for (label, loss), color in zip(values.items(), (RED, BLUE, *PALETTE[2:])):
        fig.add_trace(_steps(label, np.clip(loss, edges[0], edges[-1]), edges, spans, color))
    place = np.log10 if log else float  # annotations on a log axis are placed by the exponent
    if num_classes:
        _mark_guess(fig, np.log(num_classes), place)
    for (text, marked), color in zip((marks or {}).items(), (RED, BLUE)):
        _mark_image(fig, text, place(min(max(marked, edges[0]), edges[-1])), color)
    axis = dict(type="log", dtick=1, exponentformat="none") if log else {}
    fig.update_xaxes(title="cross-entropy to the true class (nats" + (", log scale)" if log else ")"), **axis)
    fig.update_yaxes(title="training images", rangemode="tozero")
    return layout(fig, title, subtitle)


def _steps(name: str, values: np.ndarray, edges: np.ndarray, spans: list[str], color: str) -> go.Scatter:
    """A histogram as a filled step line; spans: what the hover says of each bin."""
    count, _ = np.histogram(values, edges)
    return go.Scatter(
        x=edges,
        y=[*count, count[-1]],
        name=name,
        mode="lines",
        line=dict(color=color, width=2, shape="hv"),
        fill="tozeroy",
        fillcolor=fade(color, 0.22),
        customdata=[*spans, spans[-1]],
        hovertemplate="%{y} images<br>loss %{customdata}",
    )


def _mark_guess(fig: go.Figure, guess: float, place) -> None:
    """A dotted line at the loss of a uniform guess; place(loss): where on the axis to annotate it."""
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


def _mark_image(fig: go.Figure, text: str, x: float, color: str) -> None:
    """An arrow to an example image's loss."""
    fig.add_annotation(
        x=x,
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
    """Histograms of a score in [0, 1] for right (blue) and wrong (red) labels, a slider over the epochs.

    scores (E, n), one row per entry of epochs (E,); right (n,) bool; span: what the axis shows. NaN scores
    are left out. The legend's numbers, the share of either kind above one half, and the selection AUC in the
    title follow the slider.
    """
    scores, right = np.asarray(scores, np.float64), np.asarray(right, bool)
    edges = np.linspace(*span, bins + 1)
    if len(epochs) != len(scores):
        raise ValueError(f"{len(epochs)} epochs, but scores of {len(scores)}: give one row per epoch")

    def heading(e: int) -> str:
        auc = metrics.selection_auc(scores[e], right)
        told = "" if auc is None else f", selection AUC {auc:.3f}"
        return f"<b>{title}: epoch {epochs[e]}{told}</b>"

    drawn = [_right_and_wrong(row, right, edges, name) for row in scores]
    fig = go.Figure(drawn[-1])
    fig.frames = [
        go.Frame(name=str(e), data=drawn[i], layout=dict(title_text=heading(i))) for i, e in enumerate(epochs)
    ]
    margin = 0.01 * (span[1] - span[0])
    fig.update_xaxes(title=name, range=[span[0] - margin, span[1] + margin])
    fig.update_yaxes(
        title="training images (log scale)", type="log", range=[-0.3, np.log10(len(right)) + 0.1], dtick=1
    )
    layout(fig, title, subtitle, below=132, barmode="overlay", sliders=[epoch_slider(epochs)])
    return fig.update_layout(title_text=heading(len(epochs) - 1))


def _right_and_wrong(scores: np.ndarray, right: np.ndarray, edges: np.ndarray, name: str) -> list[go.Bar]:
    """The histogram of the right labels' scores and that of the wrong ones'."""
    both = []
    for kind, mask, color in (("right labels", right, BLUE), ("wrong labels", ~right, RED)):
        values = scores[mask]
        values = values[~np.isnan(values)]
        above = f"{(values > 0.5).mean():.0%} above ½" if len(values) else "none"
        both.append(
            go.Bar(
                x=(edges[:-1] + edges[1:]) / 2,
                y=np.histogram(values, edges)[0],
                name=f"{kind} ({above})",
                width=edges[1] - edges[0],
                marker=dict(color=fade(color, 0.6), line_width=0),
                hovertemplate="%{y} images, " + name + " %{x:.3g}<extra>" + kind + "</extra>",
            )
        )
    return both
