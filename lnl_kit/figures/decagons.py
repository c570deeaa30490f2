"""What a network makes of many views of single images: softmax vectors projected on a polygon."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from .style import (
    AMBER,
    BLUE,
    GREEN,
    GREY,
    GRID,
    LINE,
    RED,
    TEXT,
    band,
    epoch_slider,
    fade,
    hover,
    layout,
    plain,
)
from .views import png_uri


def equiradial(probs: np.ndarray) -> np.ndarray:
    """sum_k p_k (cos 2πk/K, sin 2πk/K), NRD Fig 2a: probs (..., K) to points (..., 2) in the K-gon."""
    angle = 2 * np.pi * np.arange(np.shape(probs)[-1]) / np.shape(probs)[-1]
    return np.asarray(probs, np.float64) @ np.stack([np.cos(angle), np.sin(angle)], axis=1)


def polygon_traces(classes: Sequence[str], given: int | None, true: int | None) -> list[go.Scatter]:
    """The outline with class names at its vertices; the true class ringed green, a wrong given one amber."""
    k = len(classes)
    corner = equiradial(np.eye(k))
    outline = np.vstack([corner, corner[:1]])
    side = np.select([corner[:, 0] > 0.5, corner[:, 0] < -0.5], ["right", "left"], "center")
    height = np.select([corner[:, 1] > 0.9, corner[:, 1] < -0.9], ["top", "bottom"], "middle")
    shown = [plain(n) if k <= 20 or i in (given, true) else "" for i, n in enumerate(classes)]
    color, names = [TEXT] * k, list(shown)
    for which, paint in ((given, AMBER), (true, GREEN)):
        if which is not None:
            color[which], names[which] = paint, f"<b>{shown[which]}</b>"
    spokes = [v for c in corner for v in ((0, 0), c, (None, None))]
    common = dict(showlegend=False, hoverinfo="skip")
    return [
        go.Scatter(
            x=[s[0] for s in spokes],
            y=[s[1] for s in spokes],
            mode="lines",
            line=dict(color=GRID, width=1),
            **common,
        ),
        go.Scatter(
            x=outline[:, 0], y=outline[:, 1], mode="lines", line=dict(color=LINE, width=1.2), **common
        ),
        go.Scatter(
            x=1.13 * corner[:, 0],
            y=1.13 * corner[:, 1],
            mode="text",
            text=names,
            cliponaxis=False,
            textposition=[f"{h} {s}" for h, s in zip(height, side)],
            textfont=dict(size=11, color=color),
            **common,
        ),
        go.Scatter(
            x=corner[:, 0],
            y=corner[:, 1],
            mode="markers",
            cliponaxis=False,
            **common,
            marker=dict(
                size=[11 if i in (given, true) else 4 for i in range(k)],
                color="rgba(0,0,0,0)",
                line=dict(width=[2.5 if i in (given, true) else 1 for i in range(k)], color=color),
            ),
        ),
    ]


def _cloud(probs: np.ndarray, seen: bool, text: str, legend: bool, classes: Sequence[str]) -> go.Scatter:
    """The views of one image: red + for the policy trained on, blue dots for the unseen one."""
    xy = equiradial(probs).round(3)
    best = [
        f"{text}<br>predicted: {plain(classes[p.argmax()])} ({p.max():.0%})" for p in np.atleast_2d(probs)
    ]
    marker = (
        dict(symbol="cross-thin", size=9, line=dict(width=1.8, color=RED))
        if seen
        else dict(symbol="circle", size=6, color=fade(BLUE, 0.6), line=dict(width=0))
    )
    return go.Scatter(
        x=xy[:, 0],
        y=xy[:, 1],
        mode="markers",
        marker=marker,
        hovertext=best,
        hoverinfo="text",
        name="views as trained on" if seen else "unseen views",
        showlegend=legend,
        legendgroup="seen" if seen else "unseen",
    )


def _square(fig: go.Figure, row: int, col: int, classes: Sequence[str], image: np.ndarray | None) -> None:
    """Equal scales with room for the class names at the vertices, and the image in the upper left corner."""
    edge = 1.85 if max(map(len, classes)) > 3 else 1.35
    axis = next(fig.select_xaxes(row=row, col=col)).plotly_name.replace("axis", "")
    fig.update_xaxes(visible=False, range=[-edge, edge], row=row, col=col, constrain="domain")
    fig.update_yaxes(visible=False, range=[-1.3, 1.3], scaleanchor=axis, row=row, col=col, constrain="domain")
    if image is not None:
        fig.add_layout_image(
            source=png_uri(image, 64), x=-edge, y=1.3, sizex=0.52, sizey=0.52, row=row, col=col
        )


def decagon(
    probs_seen: np.ndarray,
    probs_unseen: np.ndarray,
    classes: Sequence[str],
    *,
    given: np.ndarray,
    true: np.ndarray,
    index: np.ndarray | None = None,
    images: np.ndarray | None = None,
    title: str = "Predictions for many views of single training images",
    subtitle: str = "",
) -> go.Figure:
    """NRD Fig 2a: softmax vectors of single images under many perturbations, projected on the K-gon.

    probs_seen (n, V, K): views of the policy trained on, red +. probs_unseen (n, W, K): views of an unseen
    policy, blue dots. given, true (n,): classes; images whose given label is right make the top row, the
    mislabeled ones the bottom row. images (n, C, H, W) uint8: shown beside their polygon.
    """
    given, true = np.asarray(given), np.asarray(true)
    index = np.arange(len(given)) if index is None else np.asarray(index)
    rows = [r for r in (np.flatnonzero(given == true), np.flatnonzero(given != true)) if len(r)]
    columns = max(map(len, rows))
    order = [i for r in rows for i in [*r, *[None] * (columns - len(r))]]
    heads = [
        ""
        if i is None
        else f"given <b>{plain(classes[given[i]])}</b>"
        + (" (right)" if given[i] == true[i] else f", true <b>{plain(classes[true[i]])}</b>")
        for i in order
    ]
    fig = make_subplots(
        len(rows),
        columns,
        subplot_titles=heads,
        horizontal_spacing=0.02,
        vertical_spacing=0.14 if len(rows) > 1 else 0,
    )
    for place, i in enumerate(order):
        if i is None:
            continue
        row, col = place // columns + 1, place % columns + 1
        text = hover([index[i]], [given[i]], [true[i]], classes)[0]
        traces = [
            *polygon_traces(classes, given[i], true[i]),
            _cloud(probs_unseen[i], False, text, place == 0, classes),
            _cloud(probs_seen[i], True, text, place == 0, classes),
        ]
        fig.add_traces(traces, rows=[row] * len(traces), cols=[col] * len(traces))
        _square(fig, row, col, classes, None if images is None else images[i])
    fig.update_xaxes(visible=False)  # also where there is no image
    fig.update_yaxes(visible=False)
    fig.update_annotations(font_size=12.5, yshift=4)
    height = 205 if max(map(len, classes)) > 3 else 240
    return layout(
        fig, title, subtitle, height=height * len(rows), above=26, below=12, margin_l=16, margin_r=16
    )


def decagon_slider(
    epochs: Sequence[int],
    probs_seen: np.ndarray,
    probs_unseen: np.ndarray,
    classes: Sequence[str],
    *,
    given: np.ndarray,
    true: np.ndarray,
    index: np.ndarray | None = None,
    images: np.ndarray | None = None,
    title: str = "How single training images are memorized",
    subtitle: str = "",
) -> go.Figure:
    """NRD appendix, "Table 6": the K-gon of each image at every epoch, with a slider over the epochs.

    epochs (E,); probs_seen (E, n, V, K), probs_unseen (E, n, W, K), or without n for one image; given and
    true (n,).
    Left: confidence in the true class by epoch, mean over the views and the middle half of them as a band.
    Raises ValueError where the number of epochs does not agree.
    """
    given, true = np.atleast_1d(given), np.atleast_1d(true)
    seen, unseen = (np.asarray(p) for p in (probs_seen, probs_unseen))
    if seen.ndim == 3:
        seen, unseen = seen[:, None], unseen[:, None]
    if not len(epochs) == len(seen) == len(unseen):
        raise ValueError(
            f"{len(epochs)} epochs, but probabilities of {len(seen)} and {len(unseen)}: "
            "give one entry per epoch"
        )
    n = len(given)
    index = np.arange(n) if index is None else np.asarray(index)
    texts = hover(list(index), list(given), list(true), classes)
    fig = make_subplots(n, 2, column_widths=[0.58, 0.42], horizontal_spacing=0.06, vertical_spacing=0.22 / n)
    moving: list[int] = []  # traces that a step of the slider redraws

    def at(e: int, i: int) -> list[go.Scatter]:
        """Image i: the epoch's line, the blue and the red cloud."""
        return [
            _epoch_line(epochs[e]),
            _cloud(unseen[e, i], False, texts[i], False, classes),
            _cloud(seen[e, i], True, texts[i], False, classes),
        ]

    for i in range(n):
        _confidences(fig, i + 1, epochs, seen[:, i, :, true[i]], unseen[:, i, :, true[i]])
        polygon = polygon_traces(classes, given[i], true[i])
        fig.add_traces(polygon, rows=[i + 1] * len(polygon), cols=[2] * len(polygon))
        moving += range(len(fig.data), len(fig.data) + 3)
        fig.add_traces(at(-1, i), rows=[i + 1] * 3, cols=[1, 2, 2])
        label = f"given <b>{plain(classes[given[i]])}</b><br>true <b>{plain(classes[true[i]])}</b>"
        fig.update_yaxes(title=label, range=[0, 1.02], tickformat=".0%", row=i + 1, col=1)
        fig.update_xaxes(title="epoch" if i == n - 1 else None, row=i + 1, col=1)
        _square(fig, i + 1, 2, classes, None if images is None else images[i])
    fig.frames = [
        go.Frame(name=str(epoch), data=[trace for i in range(n) for trace in at(e, i)], traces=moving)
        for e, epoch in enumerate(epochs)
    ]
    subtitle = subtitle or "confidence in the true class (left), all classes (right)"
    sliders = [epoch_slider(epochs)]
    return layout(fig, title, subtitle, height=235 * n, below=132, margin_l=92, sliders=sliders)


def _epoch_line(epoch: int) -> go.Scatter:
    """The dotted line at the epoch that the slider shows."""
    return go.Scatter(
        x=[epoch] * 2,
        y=[0, 1],
        mode="lines",
        line=dict(color=GREY, width=1.5, dash="dot"),
        showlegend=False,
        hoverinfo="skip",
    )


def _confidences(
    fig: go.Figure, row: int, epochs: Sequence[int], seen: np.ndarray, unseen: np.ndarray
) -> None:
    """Confidence in the true class by epoch, left in a row; seen (E, V) and unseen (E, W): of each view."""
    for p, color, name in ((seen, RED, "views as trained on"), (unseen, BLUE, "unseen views")):
        low, high = np.quantile(p, (0.25, 0.75), axis=1)
        area, line = band(list(epochs), p.mean(1), low, high, name, color, legend=row == 1)
        fig.add_traces([area, line], rows=[row] * 2, cols=[1] * 2)
