"""Sliders around a figure in a live notebook; in a batch run the same line gives the figure at its start."""

from __future__ import annotations

import html
import inspect
import os
from collections.abc import Callable, Sequence

import plotly.graph_objects as go


def live() -> bool:
    """Whether somebody is looking: a Jupyter server started this kernel and LNL_HEADLESS is not set."""
    return bool(os.environ.get("JPY_SESSION_NAME")) and not os.environ.get("LNL_HEADLESS")


def explore(fn: Callable[..., go.Figure], **sliders: Sequence) -> object:
    """The figure `fn(**values)`, redrawn as sliders move, e.g. `explore(draw, rate=(0, 0.9, 0.1))`.

    sliders: argument name -> (min, max, step), a slider over numbers (whole numbers if all three are), or a
        list of options. It starts at fn's own default where that is in range or an option, else at the first.
    Live, returns a box of the sliders and a FigureWidget; an error in fn is one line below, and the last
    figure stays. Headless, calls fn once and returns its figure. (Sliders are observed: `interact` around a
    function that shows a plotly figure deadlocks when a notebook is executed.)
    Raises ValueError for a slider that is neither.
    """
    start = {name: _start(fn, name, spec) for name, spec in sliders.items()}
    figure = fn(**start)
    return _controls(fn, figure, sliders, start) if live() else figure


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
    raise ValueError(f"slider {name} is {spec!r}: give (min, max, step) with min <= max and step > 0, "
                     "or a list of options")


def _controls(fn: Callable, figure: go.Figure,
              sliders: dict[str, Sequence], start: dict[str, object]) -> object:
    import ipywidgets

    shown = go.FigureWidget(figure)
    error = ipywidgets.HTML()

    def control(name: str, spec: Sequence) -> ipywidgets.Widget:
        common = dict(description=name.replace("_", " "), value=start[name], continuous_update=False)
        if isinstance(spec, list):
            return ipywidgets.SelectionSlider(options=spec, **common)
        kind = ipywidgets.IntSlider if all(isinstance(v, int) for v in spec) else ipywidgets.FloatSlider
        return kind(min=spec[0], max=spec[1], step=spec[2], **common)

    controls = {name: control(name, spec) for name, spec in sliders.items()}

    def redraw(change: object = None) -> None:
        try:
            new = fn(**{name: c.value for name, c in controls.items()})
        except Exception as problem:  # whatever fn raises is shown, not lost in the kernel's log
            text = html.escape(f"{type(problem).__name__}: {problem}")
            error.value = f"<span style='color:#d9542b'>{text}</span>"
            return
        error.value = ""
        with shown.batch_update():
            if [t.type for t in shown.data] == [t.type for t in new.data]:
                for old, trace in zip(shown.data, new.data):
                    old.update(trace.to_plotly_json(), overwrite=True)
            else:
                shown.data = []
                shown.add_traces(list(new.data))
            shown.layout = new.layout

    for c in controls.values():
        c.observe(redraw, "value")
    return ipywidgets.VBox([ipywidgets.HBox(list(controls.values()),
                           layout=dict(flex_flow="row wrap")), shown, error])


def beside_image(figure: go.Figure, images, pixels: int = 128) -> object:
    """The figure with the image under the pointer beside it; the traces' customdata number the images (n, C, H, W).

    Live, returns a box of a FigureWidget and the picture, empty until a point is hovered over. Headless, returns the
    figure as it is.
    """
    if not live():
        return figure
    import ipywidgets

    from .figures.views import png_uri
    shown, picture = go.FigureWidget(figure), ipywidgets.HTML()

    def show(trace: go.Scatter, points: object, _state: object) -> None:
        if points.point_inds:
            i = points.point_inds[0]
            text = "" if trace.hovertext is None else trace.hovertext[i]
            picture.value = f"<img src='{png_uri(images[int(trace.customdata[i])], pixels)}'><br>{text}"

    for trace in shown.data:
        if trace.customdata is not None:
            trace.on_hover(show)
    return ipywidgets.HBox([shown, picture])
