"""Single images, and what a network makes of their views."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go
from PIL import Image
from plotly.subplots import make_subplots

from .style import CLASSES, LINE, layout, plain


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
            of_class = np.flatnonzero(np.asarray(labels[name]) == k)
            fig.add_scatter(
                x=np.asarray(xy)[of_class, 0],
                y=np.asarray(xy)[of_class, 1],
                mode="markers",
                name=plain(classes[k]),
                legendgroup=str(k),
                showlegend=col == 1 and k < 20,
                customdata=of_class,
                hovertext=None if texts is None else [texts[name][i] for i in of_class.tolist()],
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
