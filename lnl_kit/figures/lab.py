"""The noise lab's figures: what a noise does to labels, and what networks trained at many rates made of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from .charts import memorization_histogram, reliability, transition_heatmap
from .style import BLUE, CLASSES, GREY, RED, fade, layout
from .views import _polygon, equiradial, image_row

if TYPE_CHECKING:
    from ..lab import Lab

RISE = [[0, "#2f7fc4"], [0.5, "#9d68c2"], [1, "#d9542b"]]  # of noise rates: blue without, red with much


def class_counts(given: np.ndarray, true: np.ndarray, classes: Sequence[str]) -> go.Figure:
    """Images of each class before the noise and after it, the right ones among them darker. given, true: (N,)."""
    k = len(classes)
    before, after, right = (np.bincount(v, minlength=k) for v in (true, given, given[given == true]))
    fig = go.Figure([go.Bar(x=classes, y=before, name="true classes", marker_color=fade(GREY, 0.55), offsetgroup="before"),
                     go.Bar(x=classes, y=right, name="given and right", marker_color=BLUE, offsetgroup="after"),
                     go.Bar(x=classes, y=after - right, base=right, name="given and wrong", marker_color=RED, offsetgroup="after",
                            customdata=after, hovertemplate="%{y} wrong of %{customdata}")])
    fig.update_xaxes(title="class", type="category").update_yaxes(title="training images")
    wrong = np.mean(given != true)
    return layout(fig, "Labels by class, before and after", f"{wrong:.1%} of the labels are wrong", height=260)


def label_wall(images: np.ndarray, given: np.ndarray, true: np.ndarray, classes: Sequence[str], *, columns: int = 12) -> go.Figure:
    """Images (n, C, H, W) with their given labels; a wrong one is red and names the truth. given, true: (n,)."""
    heads = [f"{_safe(classes[g])}" if g == t else f"<span style='color:{RED}'><b>{_safe(classes[g])}</b> (is {_safe(classes[t])})</span>" for g, t in zip(given, true)]
    return image_row(images, heads, columns=columns, size=64, title="Images as they are labelled", subtitle=f"{np.sum(given != true)} of these {len(given)} labels are wrong")


def _safe(name: str) -> str:
    """A class name as text inside a figure's markup."""
    return name.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def lab_curves(lab: Lab) -> go.Figure:
    """Test accuracy by epoch, a curve for each noise rate, blue at low and red at high rates."""
    epochs, top = np.arange(1, len(lab.test_accuracy) + 1), max(lab.rates) or 1
    fig = go.Figure([go.Scatter(x=epochs, y=lab.test_accuracy[:, r], mode="lines", name=f"{rate:.0%}", line_color=sample_colorscale(RISE, [rate / top])[0],
                                hovertemplate="epoch %{x}: %{y:.1%}") for r, rate in enumerate(lab.rates)])
    fig.update_xaxes(title="epoch").update_yaxes(title="test accuracy", tickformat=".0%", range=[0, 1.02])
    done = f"{lab.seconds:.0f} s" if lab.seconds else ""
    return layout(fig, f"{lab.method} at {len(lab.rates)} noise rates, trained at once", f"{lab.noise} noise; {done}".rstrip("; "), height=300)


def lab_accuracy(lab: Lab, rate: float) -> go.Figure:
    """Test accuracy and memorised labels by epoch at one rate, best and last epoch marked; the other rates faint."""
    r, epochs = lab.at(rate), np.arange(1, len(lab.test_accuracy) + 1)
    own, best = lab.test_accuracy[:, r], int(lab.test_accuracy[:, r].argmax())
    fig = go.Figure([go.Scatter(x=epochs, y=lab.test_accuracy[:, other], mode="lines", line={"color": fade(GREY, 0.35), "width": 1}, showlegend=False, hoverinfo="skip")
                     for other in range(len(lab.rates))])
    fig.add_scatter(x=epochs, y=own, mode="lines", name="test accuracy", line={"color": BLUE, "width": 2.5}, hovertemplate="epoch %{x}: %{y:.1%}")
    fig.add_scatter(x=epochs, y=lab.memorized[:, r], mode="lines", name="wrong labels memorised", line={"color": RED, "width": 2.5, "dash": "dot"}, hovertemplate="epoch %{x}: %{y:.1%}")
    fig.add_scatter(x=[epochs[best], epochs[-1]], y=[own[best], own[-1]], mode="markers+text", text=[f"best {own[best]:.1%}", f"last {own[-1]:.1%}"],
                    textposition=["top center", "bottom left"], name="best and last", marker={"color": BLUE, "size": 9, "symbol": ["circle-open", "circle"]}, showlegend=False)
    fig.update_xaxes(title="epoch").update_yaxes(title="share", tickformat=".0%", range=[0, 1.08])
    return layout(fig, "Learned, then memorised", f"{lab.method}, {lab.noise} noise at {rate:.0%}: {lab.actual_rate(rate):.1%} of the labels are wrong", height=300)


def lab_histogram(lab: Lab, rate: float) -> go.Figure:
    """Loss on the true class of the training images at one rate, those with wrong given labels red."""
    r = lab.at(rate)
    loss = -np.log(np.maximum(lab.train_probs[r][np.arange(len(lab.true)), lab.true].astype(np.float64), 1e-7))
    wrong = lab.given[r] != lab.true
    parts = ({"wrong labels": loss[wrong]} if wrong.any() else {}) | {"right labels": loss[~wrong]}
    fig = memorization_histogram(parts, num_classes=len(lab.classes), subtitle=f"{lab.method}, {lab.noise} noise at {rate:.0%}")
    if not wrong.any():
        fig.data[0].update(line_color=BLUE, fillcolor=fade(BLUE, 0.22))
    return fig


def lab_decagon(lab: Lab, rate: float, most: int = 500) -> go.Figure:
    """The test images' predictions at one rate, projected on the K-gon, coloured by true class; at most so many."""
    r, some = lab.at(rate), slice(0, most)
    points, true = equiradial(lab.test_probs[r][some]), lab.test_true[some]
    fig = go.Figure(_polygon(lab.classes, None, None))
    for k, name in enumerate(lab.classes):
        own = true == k
        fig.add_scatter(x=points[own, 0], y=points[own, 1], mode="markers", showlegend=False, marker={"size": 5, "opacity": 0.7, "color": CLASSES[k % len(CLASSES)]},
                        name=_safe(name), hovertemplate=f"true {_safe(name)}")
    fig.update_xaxes(visible=False, range=[-1.3, 1.3]).update_yaxes(visible=False, range=[-1.25, 1.25], scaleanchor="x")
    return layout(fig, "Where the predictions lie", f"{len(true)} test images, coloured by true class; sure predictions in the corners, {lab.noise} noise at {rate:.0%}", height=380, below=12)


def lab_reliability(lab: Lab, rate: float) -> go.Figure:
    """Confidence against accuracy on the test images at one rate."""
    return reliability({"test images": (lab.test_probs[lab.at(rate)], lab.test_true)}, subtitle=f"{lab.method}, {lab.noise} noise at {rate:.0%}")


def lab_confusion(lab: Lab, rate: float) -> go.Figure:
    """Confusion matrix of the test images at one rate, as percent of each true class."""
    fig = transition_heatmap(lab.confusion(rate), [_safe(c) for c in lab.classes], title="What the network takes for what", subtitle=f"test images, percent of each true class; {lab.noise} noise at {rate:.0%}")
    return fig.update_xaxes(title="predicted class")
