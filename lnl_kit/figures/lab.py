"""The noise lab's figures: what a noise does to labels, and what networks trained at many rates learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale

from ..toolbox.metrics import true_class_loss
from .charts import reliability
from .decagons import equiradial, polygon_traces
from .histograms import memorization_histogram
from .style import AMBER, BLUE, CLASSES, GREEN, GREY, PURPLE, RED, fade, layout, plain
from .transitions import transition_heatmap
from .views import image_row

if TYPE_CHECKING:
    from ..notebook.noise_lab import Lab

RISE = [[0, BLUE], [0.5, PURPLE], [1, RED]]  # of noise rates: blue without, red with much


def class_counts(given: np.ndarray, true: np.ndarray, classes: Sequence[str]) -> go.Figure:
    """Images of each class before and after the noise, right ones darker. given, true: (N,)."""
    k, classes = len(classes), [plain(c) for c in classes]
    before, after, right = (np.bincount(v, minlength=k) for v in (true, given, given[given == true]))
    fig = go.Figure(
        [
            go.Bar(
                x=classes, y=before, name="true classes", marker_color=fade(GREY, 0.55), offsetgroup="before"
            ),
            go.Bar(x=classes, y=right, name="given and right", marker_color=BLUE, offsetgroup="after"),
            go.Bar(
                x=classes,
                y=after - right,
                base=right,
                name="given and wrong",
                marker_color=RED,
                offsetgroup="after",
                customdata=after,
                hovertemplate="%{y} wrong of %{customdata}",
            ),
        ]
    )
    fig.update_xaxes(title="class", type="category").update_yaxes(title="training images")
    wrong = np.mean(given != true)
    return layout(
        fig, "Labels by class, before and after", f"{wrong:.1%} of the labels are wrong", height=260
    )


def open_counts(given: np.ndarray, true: np.ndarray, classes: Sequence[str]) -> go.Figure:
    """Images by given label: right, wrong, and of no class at all. given, true: (N,), true -1 = no class."""
    parts = {
        "right": (given == true, BLUE),
        "wrong": ((given != true) & (true >= 0), RED),
        "of no class": (true < 0, AMBER),
    }
    names = [plain(c) for c in classes]
    fig = go.Figure(
        [
            go.Bar(x=names, y=np.bincount(given[which], minlength=len(names)), name=name, marker_color=color)
            for name, (which, color) in parts.items()
        ]
    )
    fig.update_layout(barmode="stack")
    fig.update_xaxes(title="given label", type="category").update_yaxes(title="training images")
    inside = true >= 0
    wrong = np.mean((given != true)[inside]) if inside.any() else 0.0
    told = (
        f"{np.mean(~inside):.1%} of {len(true):,} images show no class; of the others {wrong:.1%} are wrong"
    )
    return layout(fig, "Labels by class", told, height=260)


def label_wall(
    images: np.ndarray, given: np.ndarray, true: np.ndarray, classes: Sequence[str], *, columns: int = 12
) -> go.Figure:
    """Images (n, C, H, W) with given labels, wrong ones in red with the truth. given, true: (n,)."""
    names = [plain(c) for c in classes]
    heads = [
        names[g] if g == t else f"<span style='color:{RED}'><b>{names[g]}</b> (is {names[t]})</span>"
        for g, t in zip(given, true)
    ]
    return image_row(
        images,
        heads,
        columns=columns,
        size=64,
        title="Images as they are labelled",
        subtitle=f"{np.sum(given != true)} of these {len(given)} labels are wrong",
    )


def lab_curves(lab: Lab) -> go.Figure:
    """Test accuracy by epoch, a curve for each noise rate, blue at low and red at high rates."""
    epochs, top = np.arange(1, len(lab.test_accuracy) + 1), max(lab.rates) or 1
    fig = go.Figure(
        [
            go.Scatter(
                x=epochs,
                y=lab.test_accuracy[:, r],
                mode="lines",
                name=f"{rate:.0%}",
                line_color=sample_colorscale(RISE, [rate / top])[0],
                hovertemplate="epoch %{x}: %{y:.1%}",
            )
            for r, rate in enumerate(lab.rates)
        ]
    )
    fig.update_xaxes(title="epoch").update_yaxes(title="test accuracy", tickformat=".0%", range=[0, 1.02])
    done = f"{lab.seconds:.0f} s" if lab.seconds else ""
    return layout(
        fig,
        f"{lab.method} at {len(lab.rates)} noise rates, trained at once",
        f"{lab.noise} noise; {done}".rstrip("; "),
        height=300,
    )


def lab_accuracy(lab: Lab, rate: float) -> go.Figure:
    """Test accuracy and memorised labels by epoch at one rate, best and last marked, other rates faint."""
    r, epochs = lab.at(rate), np.arange(1, len(lab.test_accuracy) + 1)
    by_epoch, best = lab.test_accuracy[:, r], int(lab.test_accuracy[:, r].argmax())
    fig = go.Figure(
        [
            go.Scatter(
                x=epochs,
                y=lab.test_accuracy[:, other],
                mode="lines",
                line={"color": fade(GREY, 0.35), "width": 1},
                showlegend=False,
                hoverinfo="skip",
            )
            for other in range(len(lab.rates))
        ]
    )
    for y, name, line in (
        (by_epoch, "test accuracy", {"color": BLUE, "width": 2.5}),
        (lab.memorized[:, r], "wrong labels memorised", {"color": RED, "width": 2.5, "dash": "dot"}),
    ):
        fig.add_scatter(
            x=epochs, y=y, mode="lines", name=name, line=line, hovertemplate="epoch %{x}: %{y:.1%}"
        )
    fig.add_scatter(
        x=[epochs[best], epochs[-1]],
        y=[by_epoch[best], by_epoch[-1]],
        mode="markers+text",
        showlegend=False,
        name="best and last",
        text=[f"best {by_epoch[best]:.1%}", f"last {by_epoch[-1]:.1%}"],
        textposition=["top center", "bottom left"],
        marker={"color": BLUE, "size": 9, "symbol": ["circle-open", "circle"]},
    )
    fig.update_xaxes(title="epoch").update_yaxes(title="share", tickformat=".0%", range=[0, 1.08])
    wrong = (
        f"{lab.method}, {lab.noise} noise at {rate:.0%}: {lab.actual_rate(rate):.1%} of the labels are wrong"
    )
    return layout(fig, "Learned, then memorised", wrong, height=300)


def lab_histogram(lab: Lab, rate: float) -> go.Figure:
    """Loss on the true class of the training images at one rate, those with wrong given labels red."""
    r = lab.at(rate)
    return split_histogram(
        lab.train_probs[r], lab.given[r], lab.true, subtitle=f"{lab.method}, {lab.noise} noise at {rate:.0%}"
    )


def split_histogram(probs: np.ndarray, given: np.ndarray, true: np.ndarray, subtitle: str = "") -> go.Figure:
    """Loss on the true class of images with wrong labels, red, and right ones, blue. probs (n, K)."""
    loss, wrong = true_class_loss(probs, true), given != true
    parts = ({"wrong labels": loss[wrong]} if wrong.any() else {}) | {"right labels": loss[~wrong]}
    fig = memorization_histogram(parts, num_classes=probs.shape[1], subtitle=subtitle)
    if not wrong.any():
        fig.data[0].update(line_color=BLUE, fillcolor=fade(BLUE, 0.22))
    return fig


def lab_decagon(lab: Lab, rate: float, most: int = 500) -> go.Figure:
    """The test images' predictions at one rate on the K-gon, by true class; at most so many."""
    probs, true = lab.test_probs[lab.at(rate)][:most], lab.test_true[:most]
    what = (
        f"{len(true)} test images, coloured by true class; sure predictions in the corners, "
        f"{lab.noise} noise at {rate:.0%}"
    )
    return gon(probs, true, true, lab.classes, subtitle=what)


def gon(
    probs: np.ndarray,
    given: np.ndarray,
    true: np.ndarray,
    classes: Sequence[str],
    subtitle: str = "",
    most: int = 1000,
) -> go.Figure:
    """Predictions (n, K) on the K-gon by true class, wrong given labels as rings; at most so many."""
    points, given, true = equiradial(probs[:most]), given[:most], true[:most]
    fig = go.Figure(polygon_traces(classes, None, None))
    for k, name in enumerate(classes):
        of_class = true == k
        fig.add_scatter(
            x=points[of_class, 0],
            y=points[of_class, 1],
            mode="markers",
            showlegend=False,
            name=plain(name),
            hovertemplate=f"true {plain(name)}",
            marker={
                "size": 5,
                "opacity": 0.75,
                "color": CLASSES[k % len(CLASSES)],
                "symbol": np.where(given[of_class] == k, "circle", "circle-open"),
            },
        )
    fig.update_xaxes(visible=False, range=[-1.3, 1.3]).update_yaxes(
        visible=False, range=[-1.25, 1.25], scaleanchor="x"
    )
    return layout(fig, "Where the predictions lie", subtitle, height=380, below=12)


def opinion(
    probs: np.ndarray,
    given: int,
    classes: Sequence[str],
    true: int | None = None,
    score: float | None = None,
    votes: np.ndarray | None = None,
) -> go.Figure:
    """What a run thinks of one image: probabilities (K,) of all classes, the given one amber, the true one
    green where known; with votes (K,) of filters, those as numbers above the bars.
    """
    color, names = (
        [GREEN if k == true else AMBER if k == given else GREY for k in range(len(classes))],
        [plain(c) for c in classes],
    )
    fig = go.Figure(
        go.Bar(
            x=names,
            y=probs,
            marker_color=color,
            text=None if votes is None else [f"{v} votes" for v in votes],
        )
    )
    fig.update_xaxes(title="class", type="category").update_yaxes(
        title="probability", tickformat=".0%", range=[0, 1.05]
    )
    words = [
        f"given <b>{names[given]}</b>",
        f"predicted <b>{names[int(np.argmax(probs))]}</b>",
        *([f"true <b>{names[true]}</b>"] if true is not None else []),
        *([f"clean score {score:.3g}"] if score is not None else []),
    ]
    return layout(fig, "What the run thinks of it", ", ".join(words), height=240)


def nothing(why: str) -> go.Figure:
    """An empty figure that says why it is empty."""
    fig = go.Figure(go.Scatter(x=[None], y=[None], showlegend=False))
    fig.add_annotation(text=why, showarrow=False, font_size=14)
    return layout(fig.update_xaxes(visible=False).update_yaxes(visible=False), "Nothing to show", height=120)


def lab_reliability(lab: Lab, rate: float) -> go.Figure:
    """Confidence against accuracy on the test images at one rate."""
    return reliability(
        {"test images": (lab.test_probs[lab.at(rate)], lab.test_true)},
        subtitle=f"{lab.method}, {lab.noise} noise at {rate:.0%}",
    )


def lab_confusion(lab: Lab, rate: float) -> go.Figure:
    """Confusion matrix of the test images at one rate, as percent of each true class."""
    fig = transition_heatmap(
        lab.confusion(rate),
        lab.classes,
        title="What the network takes for what",
        subtitle=f"test images, percent of each true class; {lab.noise} noise at {rate:.0%}",
    )
    return fig.update_xaxes(title="predicted class")


def gap(lab: Lab) -> go.Figure:
    """Best and last test accuracy, and the share of wrong labels memorised, over the noise rate."""
    curves = (
        (lab.test_accuracy.max(0), "best epoch", {"color": BLUE, "dash": "dot"}),
        (lab.test_accuracy[-1], "last epoch", {"color": BLUE}),
        (lab.memorized[-1], "wrong labels memorised", {"color": RED}),
    )
    fig = go.Figure(
        [
            go.Scatter(
                x=lab.rates,
                y=y,
                mode="lines+markers",
                name=name,
                line=line,
                hovertemplate="rate %{x:.0%}: %{y:.1%}",
            )
            for y, name, line in curves
        ]
    )
    fig.update_xaxes(title="noise rate", tickformat=".0%").update_yaxes(
        title="share", tickformat=".0%", range=[0, 1.04]
    )
    return layout(fig, "What the noise costs", f"{lab.method}, {lab.noise} noise", height=280)
