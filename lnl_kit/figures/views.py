"""Single images, and what a network makes of their views."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from .style import AMBER, BLUE, CLASSES, GREEN, GREY, GRID, LINE, RED, TEXT, band, fade, hover, layout, plain


def png_uri(image: np.ndarray, pixels: int = 128) -> str:
    """A data URI of one uint8 image (C, H, W) with 1 or 3 channels, its pixels enlarged but not smoothed."""
    image = np.asarray(image, np.uint8)
    picture = Image.fromarray(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    times = max(1, round(pixels / max(picture.size)))
    picture = picture.resize((picture.width * times, picture.height * times), Image.Resampling.NEAREST)
    file = io.BytesIO()
    picture.save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def image_row(
    images: np.ndarray | Sequence[np.ndarray | None],
    titles: Sequence[str],
    *,
    columns: int | None = None,
    title: str = "Images",
    subtitle: str = "",
    hovers: Sequence[str] | None = None,
    size: int = 104,
) -> go.Figure:
    """Small images (n, C, H, W) uint8 with a line above each, e.g. an image and its views.

    columns: images in a row. size: of one image, in screen pixels. hovers: see `hover`.
    Raises ValueError unless there is a title per image.
    """
    if len(titles) != len(images):
        raise ValueError(f"{len(images)} images but {len(titles)} titles: give one title per image")
    columns = min(columns or len(images), len(images))
    rows = -(-len(images) // columns)
    gap_x, gap_y = 0.12, 0.36  # of an image; the upper one holds the line of text
    x = np.arange(len(images)) % columns * (1 + gap_x)
    y = -(np.arange(len(images)) // columns) * (1 + gap_y)
    fig = go.Figure(
        go.Scatter(
            x=x + 0.5,
            y=y - 0.5,
            mode="markers",
            hoverinfo="text",
            hovertext=hovers or list(titles),
            marker=dict(size=size * 0.8, symbol="square", opacity=0),
            showlegend=False,
        )
    )
    fig.update_layout(  # all at once: added one by one, each would have the ones before it validated again
        images=[
            dict(source=png_uri(image), x=left, y=top, xref="x", yref="y", sizex=1, sizey=1, layer="below")
            for image, left, top in zip(images, x, y)
        ],
        annotations=[
            dict(x=left + 0.5, y=top, text=text, showarrow=False, yanchor="bottom", font_size=12)
            for text, left, top in zip(titles, x, y)
        ],
    )
    width, height = columns * (1 + gap_x) - gap_x, rows * (1 + gap_y)
    fig.update_xaxes(visible=False, range=[0, width], constrain="domain")
    fig.update_yaxes(visible=False, range=[-height + gap_y, gap_y], scaleanchor="x", constrain="domain")
    return layout(
        fig,
        title,
        subtitle,
        width=int(width * size) + 40,
        height=int(height * size),
        below=14,
        margin_l=20,
        margin_r=20,
    )


def equiradial(probs: np.ndarray) -> np.ndarray:
    """sum_k p_k (cos 2πk/K, sin 2πk/K), NRD Fig 2a: probs (..., K) to points (..., 2) in the K-gon."""
    angle = 2 * np.pi * np.arange(np.shape(probs)[-1]) / np.shape(probs)[-1]
    return np.asarray(probs, np.float64) @ np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _polygon(classes: Sequence[str], given: int | None, true: int | None) -> list[go.Scatter]:
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
            *_polygon(classes, given[i], true[i]),
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
    n, last = len(given), len(epochs) - 1
    index = np.arange(n) if index is None else np.asarray(index)
    fig = make_subplots(n, 2, column_widths=[0.58, 0.42], horizontal_spacing=0.06, vertical_spacing=0.22 / n)
    moving: list[int] = []  # traces that a step of the slider redraws
    texts = [hover([index[i]], [given[i]], [true[i]], classes)[0] for i in range(n)]

    def at(e: int) -> list[go.Scatter]:
        """Per image: the epoch's line, the blue and the red cloud."""
        return [
            t
            for i in range(n)
            for t in (
                go.Scatter(
                    x=[epochs[e]] * 2,
                    y=[0, 1],
                    mode="lines",
                    line=dict(color=GREY, width=1.5, dash="dot"),
                    showlegend=False,
                    hoverinfo="skip",
                ),
                _cloud(unseen[e, i], False, texts[i], False, classes),
                _cloud(seen[e, i], True, texts[i], False, classes),
            )
        ]

    for i in range(n):
        for probs, color, name in ((seen, RED, "views as trained on"), (unseen, BLUE, "unseen views")):
            p = probs[:, i, :, true[i]]
            low, high = np.quantile(p, (0.25, 0.75), axis=1)
            area, line = band(list(epochs), p.mean(1), low, high, name, color, legend=i == 0)
            fig.add_traces([area, line], rows=[i + 1] * 2, cols=[1] * 2)
        fig.add_traces(
            polygon := _polygon(classes, given[i], true[i]),
            rows=[i + 1] * len(polygon),
            cols=[2] * len(polygon),
        )
        moving += range(len(fig.data), len(fig.data) + 3)
        fig.add_traces(at(last)[3 * i : 3 * i + 3], rows=[i + 1] * 3, cols=[1, 2, 2])
        fig.update_yaxes(
            title=f"given <b>{plain(classes[given[i]])}</b><br>true <b>{plain(classes[true[i]])}</b>",
            range=[0, 1.02],
            tickformat=".0%",
            row=i + 1,
            col=1,
        )
        fig.update_xaxes(title="epoch" if i == n - 1 else None, row=i + 1, col=1)
        _square(fig, i + 1, 2, classes, None if images is None else images[i])
    fig.frames = [go.Frame(name=str(e), data=at(k), traces=moving) for k, e in enumerate(epochs)]
    at_once = dict(mode="immediate", frame=dict(duration=0), transition=dict(duration=0))
    steps = [dict(method="animate", label=str(e), args=[[str(e)], at_once]) for e in epochs]
    slider = dict(
        active=last,
        steps=steps,
        currentvalue=dict(prefix="epoch ", font=dict(size=14)),
        pad=dict(t=56),
        bgcolor=GRID,
        bordercolor=LINE,
        activebgcolor=BLUE,
        tickcolor=LINE,
    )
    subtitle = subtitle or "confidence in the true class (left), all classes (right)"
    return layout(fig, title, subtitle, height=235 * n, below=132, margin_l=92, sliders=[slider])


def embedding(
    points: Mapping[str, np.ndarray],
    labels: Sequence[int] | Mapping[str, Sequence[int]],
    classes: Sequence[str],
    *,
    texts: Mapping[str, Sequence[str]] | None = None,
    title: str = "Features of the test images (t-SNE)",
    subtitle: str = "",
) -> go.Figure:
    """Flywheel Fig 4: maps of the same images under several networks, side by side, one colour per class.

    points: name of the panel -> (n, 2), from `embedding.tsne`. labels (n,): classes that give the colours; a
        mapping gives each panel its own.
    texts: name -> hover text per image (see `hover`). Each point carries the number of its image as
        customdata.
    """
    if not isinstance(labels, Mapping):
        labels = dict.fromkeys(points, labels)
    fig = make_subplots(
        1, len(points), subplot_titles=[f"<b>{n}</b>" for n in points], horizontal_spacing=0.03
    )
    for col, (name, xy) in enumerate(points.items(), 1):
        for k in range(len(classes)):
            own = np.flatnonzero(np.asarray(labels[name]) == k)
            fig.add_scatter(
                x=np.asarray(xy)[own, 0],
                y=np.asarray(xy)[own, 1],
                mode="markers",
                name=plain(classes[k]),
                legendgroup=str(k),
                showlegend=col == 1 and k < 20,
                customdata=own,
                hovertext=None if texts is None else [texts[name][i] for i in own.tolist()],
                hoverinfo="text" if texts else None,
                row=1,
                col=col,
                marker=dict(
                    size=5,
                    color=CLASSES[k % len(CLASSES)],
                    opacity=0.8,
                    line_width=0,
                    symbol=("circle", "diamond")[k // len(CLASSES) % 2],
                ),
            )
    fig.update_xaxes(showticklabels=False, ticks="", showgrid=False, linecolor=LINE, mirror=True)
    fig.update_yaxes(showticklabels=False, ticks="", showgrid=False, linecolor=LINE, mirror=True)
    fig.update_annotations(font_size=13)
    return layout(
        fig,
        title,
        subtitle or "distances between groups mean little; whether groups mix does",
        height=330,
        above=22,
        below=14,
        margin_l=16,
        margin_r=16,
        legend_itemsizing="constant",
    )
