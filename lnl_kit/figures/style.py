"""What all figures share: colours, the template "lnl", words, hover text, and writing PNGs."""

from __future__ import annotations

import html
import importlib.util
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio

from ..files import save_atomically
from ..methods import METHODS

if "ipykernel" in sys.modules:  # the first figure that is shown would import it slowly
    from . import nbformat_quickly as nbformat_quickly

# Found by search: no two closer than 10 (the ten of CLASSES: 8) in CIEDE2000, for people with protanopia,
# deuteranopia or tritanopia too, and each readable on white and on JupyterLab's dark ground
# (tests/test_figures.py measures both).
RED, BLUE, GREEN, AMBER, PURPLE, GREY = "#c64f32", "#4090fa", "#16a175", "#c1890e", "#8a56c4", "#818c91"
PALETTE = (BLUE, RED, GREEN, PURPLE, AMBER, "#a05172", "#3d7e94", GREY)
CLASSES = (
    "#3880b7",
    "#e44e19",
    "#179c71",
    "#ac62eb",
    "#dc9d00",
    "#d05f91",
    "#42b3c7",
    "#71767b",
    "#8a6139",
    "#a5bf60",
)  # ten classes in one picture
NAMED = {"red": RED, "blue": BLUE, "green": GREEN, "amber": AMBER, "purple": PURPLE, "grey": GREY}
TEXT = "#787f87"  # 4:1 or more, on white and on JupyterLab's #111
GRID, LINE = "rgba(128,128,128,0.18)", "rgba(128,128,128,0.55)"
FONT = "Inter, 'Helvetica Neue', 'Liberation Sans', Arial, sans-serif"
FRACTIONS = (
    "accuracy",
    "memorized",
    "ece",
    "auc",
    "top5",
    "confidence",
    "transition_error",
)  # drawn as percent


def _template() -> go.layout.Template:
    axis = dict(
        gridcolor=GRID,
        linecolor=LINE,
        zeroline=False,
        ticks="outside",
        tickcolor=LINE,
        ticklen=4,
        title=dict(standoff=8, font=dict(size=13)),
        automargin=True,
    )
    return go.layout.Template(
        layout=dict(
            font=dict(family=FONT, size=12.5, color=TEXT),
            colorway=PALETTE,
            paper_bgcolor="rgba(0,0,0,0)",
            plot_bgcolor="rgba(0,0,0,0)",
            title=dict(
                x=0,
                xref="paper",
                xanchor="left",
                y=1,
                yref="paper",
                yanchor="bottom",
                font=dict(size=17),
                subtitle=dict(font=dict(size=12.5, color=TEXT)),
            ),
            margin=dict(l=64, r=24, b=56),
            height=420,
            hovermode="closest",
            hoverlabel=dict(
                bgcolor="#2b3036", bordercolor="#2b3036", font=dict(color="#f2f4f6", family=FONT)
            ),
            legend=dict(bgcolor="rgba(0,0,0,0)", orientation="h", x=0, xanchor="left", yanchor="bottom"),
            xaxis=axis,
            yaxis=axis,
            bargap=0.25,
            bargroupgap=0.08,
        )
    )


pio.templates["lnl"] = _template()


def layout(
    fig: go.Figure,
    title: str,
    subtitle: str = "",
    *,
    height: int = 320,
    above: int = 0,
    below: int = 56,
    **more: object,
) -> go.Figure:
    """Puts a figure into the template: title (what is shown), subtitle (for a caption), legend, plot.

    height: of the plot itself, in pixels; above, below: kept free for what is written over and under it.
    """
    legend = any(trace.name and trace.showlegend is not False for trace in fig.data)
    first = above + 8
    pad = first + 32 * legend + 24 * bool(subtitle)
    fig.update_layout(
        template="lnl",
        height=height + below + pad + 40,
        margin=dict(t=pad + 40, b=below),
        showlegend=legend,
        legend_y=1 + first / height,
        title=dict(text=f"<b>{title}</b>", subtitle=dict(text=subtitle), pad=dict(b=pad)),
    )
    fig.update_layout(**more)
    return fig


def fade(color: str, alpha: float) -> str:
    """ "#rrggbb" as "rgba(r,g,b,alpha)"."""
    return f"rgba({int(color[1:3], 16)},{int(color[3:5], 16)},{int(color[5:7], 16)},{alpha})"


def colors(names: Iterable[str]) -> dict[str, str]:
    """A colour for each name: a method's own, else the next that no method here has."""
    names = [str(n) for n in names]
    chosen = {n: METHODS[n.lower()][1].color for n in names if n.lower() in METHODS}
    fixed = {n: NAMED[color] for n, color in chosen.items() if color}
    free = [c for c in PALETTE if c not in fixed.values()]
    others = [n for n in names if n not in fixed]
    return {**fixed, **{n: free[k % len(free)] for k, n in enumerate(others)}}


def hover(
    index: Sequence[int], given: Sequence[int], true: Sequence[int] | None, classes: Sequence[str]
) -> list[str]:
    """One hover text per image: index, given label and, where known, true label."""
    truth = [None] * len(given) if true is None else true
    return [
        f"image {i}<br>given: {plain(classes[g])}" + ("" if t is None else f"<br>true: {plain(classes[t])}")
        for i, g, t in zip(index, given, truth)
    ]


def plain(name: object) -> str:
    """A class name or label as text inside a figure, where <b> and the like are markup."""
    return html.escape(str(name), quote=False)


def is_fraction(metric: str) -> bool:
    """Whether a metric is drawn as percent."""
    return any(part in metric for part in FRACTIONS)


def words(metric: str) -> str:
    """ "test_accuracy" as "test accuracy", "test_ece" as "test ECE", "rate" as "noise rate"."""
    return " ".join({"ece": "ECE", "auc": "AUC", "rate": "noise rate"}.get(w, w) for w in metric.split("_"))


def sentence(text: str) -> str:
    """The text with its first letter large."""
    return text[:1].upper() + text[1:]


def band(
    x: list,
    y: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    name: str,
    color: str,
    legend: bool = True,
    percent: bool = True,
) -> tuple[go.Scatter, go.Scatter]:
    """A line over epochs and the band around it, as two traces of one legend entry."""
    area = go.Scatter(
        x=[*x, *x[::-1]],
        y=[*high, *low[::-1]],
        fill="toself",
        fillcolor=fade(color, 0.18),
        mode="lines",
        line=dict(width=0),
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )
    line = go.Scatter(
        x=x,
        y=y,
        mode="lines",
        line=dict(color=color, width=2.2),
        name=name,
        legendgroup=name,
        showlegend=legend,
        hovertemplate="epoch %{x}: %{y:" + (".1%" if percent else ".4g") + "}",
    )
    return area, line


def epoch_slider(epochs: Sequence[int]) -> dict:
    """A slider under the figure with a step for each epoch, at the last one; the frames bear the same names.

    Leave 132 pixels below the plot for it.
    """
    at_once = dict(mode="immediate", frame=dict(duration=0), transition=dict(duration=0))
    return dict(
        active=len(epochs) - 1,
        steps=[dict(method="animate", label=str(e), args=[[str(e)], at_once]) for e in epochs],
        currentvalue=dict(prefix="epoch ", font=dict(size=14)),
        pad=dict(t=56),
        bgcolor=GRID,
        bordercolor=LINE,
        activebgcolor=BLUE,
        tickcolor=LINE,
    )


def save_png(fig: go.Figure, path: str | Path, *, scale: float = 2, width: int | None = None) -> bool:
    """Writes the figure on white paper, its text darker. False where no Chrome or Chromium can draw it."""
    return save_pngs({Path(path): fig}, scale=scale, width=width)


def save_pngs(figs: Mapping[Path, go.Figure], *, scale: float = 2, width: int | None = None) -> bool:
    """Like `save_png` for several files, starting the browser once."""
    if not figs or importlib.util.find_spec("kaleido") is None:
        return False
    pages = [
        go.Figure(fig).update_layout(paper_bgcolor="white", font_color="#3a4046") for fig in figs.values()
    ]
    for path in figs:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        drawn = [Path(folder) / f"{n}.png" for n in range(len(pages))]
        try:
            pio.write_images(
                pages,
                [str(path) for path in drawn],
                format="png",
                scale=scale,
                width=[width or fig.layout.width or 900 for fig in pages],
                height=[fig.layout.height or 420 for fig in pages],
            )
        except RuntimeError:  # no browser, or one that does not start
            return False
        for path, picture in zip(figs, drawn):
            save_atomically(Path(path), picture.read_bytes())
    return True
