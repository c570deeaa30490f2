"""Sliders around figures in a live notebook; in a batch run the same lines give the figures."""

from __future__ import annotations

import html
import inspect
import os
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from ..figures.views import png_uri
from .names import Named


def live() -> bool:
    """Whether somebody is looking: a Jupyter server started this kernel and LNL_HEADLESS is not set."""
    return bool(os.environ.get("JPY_SESSION_NAME")) and not os.environ.get("LNL_HEADLESS")


def explore(fn: Callable[..., go.Figure] | Sequence[Callable[..., go.Figure]], **sliders: Sequence) -> object:
    """The figure `fn(**values)`, redrawn as sliders move, e.g. `explore(draw, rate=(0, 0.9, 0.1))`.

    fn: one function, or several that the same sliders move together; each is given those of the values that
        it takes.
    sliders: argument name -> (min, max, step), a slider over numbers (whole numbers if all three are), or a
        list of options (a menu where one of them is text). It starts at the first fn's own default where that
        is in range or an option, else at the first. Live, returns a box of the sliders and a FigureWidget for
        each fn; an error in fn is one line below, and the last figure stays. Headless, calls each fn once and
        returns its figure, of several the last, the others being shown before. (Sliders are observed:
        `interact` around a function that shows a plotly figure deadlocks when a notebook is executed.)
    Raises ValueError for a slider that is neither.
    """
    fns = [fn] if callable(fn) else list(fn)
    start = {
        name: _start(next((f for f in fns if name in _takes(f)), fns[0]), name, spec)
        for name, spec in sliders.items()
    }
    figures = [f(**_given(f, start)) for f in fns]
    if live():
        return _controls(fns, figures, sliders, start)
    from IPython.display import display

    for figure in figures[:-1]:
        display(figure)
    return figures[-1]


def _takes(fn: Callable) -> list[str]:
    return list(inspect.signature(fn).parameters)


def _given(fn: Callable, values: dict[str, object]) -> dict[str, object]:
    """Those of the values that fn takes."""
    return {name: value for name, value in values.items() if name in _takes(fn)}


def _start(fn: Callable, name: str, spec: Sequence) -> object:
    """The value a slider starts at. Raises ValueError for a slider we cannot draw."""
    parameter = inspect.signature(fn).parameters.get(name)
    default = None if parameter is None or parameter.default is parameter.empty else parameter.default
    if isinstance(spec, list) and spec:
        return default if default in spec else spec[0]
    if isinstance(spec, tuple) and len(spec) == 3 and all(isinstance(v, int | float) for v in spec):
        low, high, step = spec
        if low <= high and step > 0:
            return default if isinstance(default, int | float) and low <= default <= high else low
    raise ValueError(
        f"slider {name} is {spec!r}: give (min, max, step) with min <= max and step > 0, or a list of options"
    )


def _controls(
    fns: list[Callable], figures: list[go.Figure], sliders: dict[str, Sequence], start: dict[str, object]
) -> object:
    import ipywidgets

    shown = [go.FigureWidget(figure) for figure in figures]
    error = ipywidgets.HTML()

    def control(name: str, spec: Sequence) -> ipywidgets.Widget:
        common = dict(description=name.replace("_", " "), value=start[name])
        if isinstance(spec, list):
            if any(isinstance(option, str) for option in spec):
                return ipywidgets.Dropdown(options=spec, **common)
            return ipywidgets.SelectionSlider(options=spec, continuous_update=False, **common)
        kind = ipywidgets.IntSlider if all(isinstance(v, int) for v in spec) else ipywidgets.FloatSlider
        return kind(min=spec[0], max=spec[1], step=spec[2], continuous_update=False, **common)

    controls = {name: control(name, spec) for name, spec in sliders.items()}

    def redraw(change: dict | None = None) -> None:
        moved = next((name for name, c in controls.items() if change and c is change["owner"]), None)
        values, problems = {name: c.value for name, c in controls.items()}, []
        for fn, figure in zip(fns, shown):
            if moved and moved not in _takes(fn):
                continue
            try:
                _put(fn(**_given(fn, values)), figure)
            except Exception as problem:  # whatever fn raises is shown, not lost in the kernel's log
                problems.append(html.escape(f"{type(problem).__name__}: {problem}"))
        error.value = "".join(
            f"<span style='color:var(--jp-error-color1, #b3261e)'>{text}</span>" for text in problems[:1]
        )

    for c in controls.values():
        c.observe(redraw, "value")
    return ipywidgets.VBox(
        [ipywidgets.HBox(list(controls.values()), layout=dict(flex_flow="row wrap")), *shown, error, Named()]
    )


def _put(new: go.Figure, shown: go.FigureWidget) -> None:
    """Show a figure in place of the old one; of traces of the same kinds only the differences are sent."""
    with shown.batch_update():
        if [t.type for t in shown.data] == [t.type for t in new.data]:
            for old, trace in zip(shown.data, new.data):
                old.update(_changes(old, trace), overwrite=True)
        else:
            shown.data = []
            shown.add_traces(list(new.data))
        shown.layout.update(_changes(shown.layout, new.layout), overwrite=True)


def _changes(old: Any, new: Any) -> dict[str, Any]:
    """The properties of a trace or layout that differ in a new one; None for those that it lacks."""
    before, after = old.to_plotly_json(), new.to_plotly_json()
    same = type(old)._vals_equal
    return {
        key: after.get(key)
        for key in {**before, **after}
        if key not in ("uid", "type") and not same(before.get(key), after.get(key))
    }


def beside_image(figure: go.Figure, images, pixels: int = 128) -> object:
    """The figure, the image under the pointer beside it; customdata number the images (n, C, H, W).

    Live, returns a box of a FigureWidget and the picture, empty until a point is hovered over. Headless,
    returns the figure as it is.
    """
    if not live():
        return figure
    import ipywidgets

    shown, picture = go.FigureWidget(figure), ipywidgets.HTML()

    def show(trace: go.Scatter, points: Any, _state: object) -> None:
        if points.point_inds:
            i = points.point_inds[0]
            text = "" if trace.hovertext is None else trace.hovertext[i]
            picture.value = f"<img src='{png_uri(images[int(trace.customdata[i])], pixels)}'><br>{text}"

    for trace in shown.data:
        if trace.customdata is not None:
            trace.on_hover(show)
    return ipywidgets.HBox([shown, picture])
