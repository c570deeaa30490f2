"""Sliders around figures, and trainings to watch, in a live notebook; in a batch run the same lines give figures and results."""

from __future__ import annotations

import html
import inspect
import os
import threading
import time
from collections.abc import Callable, Sequence

import plotly.graph_objects as go


def live() -> bool:
    """Whether somebody is looking: a Jupyter server started this kernel and LNL_HEADLESS is not set."""
    return bool(os.environ.get("JPY_SESSION_NAME")) and not os.environ.get("LNL_HEADLESS")


def explore(fn: Callable[..., go.Figure] | Sequence[Callable[..., go.Figure]], **sliders: Sequence) -> object:
    """The figure `fn(**values)`, redrawn as sliders move, e.g. `explore(draw, rate=(0, 0.9, 0.1))`.

    fn: one function, or several that the same sliders move together; each is given those of the values that it takes.
    sliders: argument name -> (min, max, step), a slider over numbers (whole numbers if all three are), or a
        list of options (a menu where one of them is text). It starts at the first fn's own default where that is in range or
        an option, else at the first.
    Live, returns a box of the sliders and a FigureWidget for each fn; an error in fn is one line below, and the last
    figure stays. Headless, calls each fn once and returns its figure, of several the last, the others being shown before.
    (Sliders are observed: `interact` around a function that shows a plotly figure deadlocks when a notebook is executed.)
    Raises ValueError for a slider that is neither.
    """
    fns = [fn] if callable(fn) else list(fn)
    start = {name: _start(next((f for f in fns if name in _takes(f)), fns[0]), name, spec) for name, spec in sliders.items()}
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
    raise ValueError(f"slider {name} is {spec!r}: give (min, max, step) with min <= max and step > 0, "
                     "or a list of options")


def _controls(fns: list[Callable], figures: list[go.Figure],
              sliders: dict[str, Sequence], start: dict[str, object]) -> object:
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
        error.value = "".join(f"<span style='color:#d9542b'>{text}</span>" for text in problems[:1])

    for c in controls.values():
        c.observe(redraw, "value")
    return ipywidgets.VBox([ipywidgets.HBox(list(controls.values()),
                           layout=dict(flex_flow="row wrap")), *shown, error])


def _put(new: go.Figure, shown: go.FigureWidget) -> None:
    """Show the new figure in place of the old one, its traces in place where they are of the same kinds; only what differs is sent."""
    with shown.batch_update():
        if [t.type for t in shown.data] == [t.type for t in new.data]:
            for old, trace in zip(shown.data, new.data):
                old.update(_changes(old, trace), overwrite=True)
        else:
            shown.data = []
            shown.add_traces(list(new.data))
        shown.layout.update(_changes(shown.layout, new.layout), overwrite=True)


def _changes(old: object, new: object) -> dict[str, object]:
    """The properties of a trace or layout that are not the same in a new one; None for those that it has not."""
    before, after = old.to_plotly_json(), new.to_plotly_json()
    same = type(old)._vals_equal
    return {key: after.get(key) for key in {**before, **after} if key not in ("uid", "type") and not same(before.get(key), after.get(key))}


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


class Training:
    """A training that can be watched: a bar, curves that grow, a button that stops it, and then its result.

    Live it trains in the background, so that the notebook can be read and used meanwhile; headless it is finished when it is made.
    `result()` waits for it, and the notebook's buttons with it: while a cell waits, interrupting the kernel does what Stop does.
    Stopped, the result is that of the last finished epoch.
    """

    def __init__(self, work: Callable[[Callable], object], epochs: int, draw: Callable[[object], go.Figure],
                 so_far: Callable[[object], object] = lambda result: result, after: Callable[[object], None] | None = None):
        """work(on_epoch): trains, calls on_epoch(so far) after each epoch, and returns the result; a KeyboardInterrupt raised there
        ends it. draw(so far): the curves. so_far(result): what on_epoch would have been given last, of a result that was loaded.
        after(result): called at the end."""
        self._draw, self._epochs, self._stop, self._problem, self._last = draw, epochs, threading.Event(), None, None
        self._so_far, self._after, self._done, self._value, self._count = so_far, after, threading.Event(), None, 0
        if not live():
            self._train(work)
            self.result()  # raises what went wrong
            return
        self._make_box()
        threading.Thread(target=self._train, args=(work,), daemon=True).start()

    def result(self) -> object:
        """What the training returned; waits until it is finished. Raises what it raised."""
        try:
            while not self._done.wait(0.2):
                pass
        except KeyboardInterrupt:
            self._stop.set()
            self._done.wait()
        if self._problem:
            raise self._problem
        return self._value

    def stop(self) -> None:
        """End it after the epoch that is running."""
        self._stop.set()

    def _train(self, work: Callable) -> None:
        try:
            self._value = work(self._after_epoch)
            self._last = self._so_far(self._value)
        except Exception as problem:  # raised where the result is asked for
            self._problem = problem
        try:
            if live():
                self._finish()
            if self._after and not self._problem:
                self._after(self._value)
        finally:
            self._done.set()

    def _after_epoch(self, so_far: object) -> None:
        self._last, self._count = so_far, self._count + 1
        if live():
            self._show(so_far)
        if self._stop.is_set():
            raise KeyboardInterrupt

    def _make_box(self) -> None:
        import ipywidgets

        self._bar = ipywidgets.IntProgress(max=self._epochs, description="epochs")
        self._line = ipywidgets.Label("starting")
        self._button = ipywidgets.Button(description="Stop", icon="stop", tooltip="end after this epoch and keep the network")
        self._button.on_click(lambda _: self.stop())
        self._figure, self._started, self._drawn = go.FigureWidget(), time.monotonic(), 0.0
        self.box = ipywidgets.VBox([ipywidgets.HBox([self._bar, self._button, self._line]), self._figure])

    def _show(self, so_far: object) -> None:
        now = time.monotonic()
        self._bar.value = self._count
        left = (now - self._started) / self._count * (self._epochs - self._count)
        self._line.value = f"epoch {self._count} of {self._epochs}, {left:.0f} s left"
        if now - self._drawn > 0.3 or self._count == self._epochs:  # a browser draws a few times a second
            _put(self._draw(so_far), self._figure)
            self._drawn = now

    def _finish(self) -> None:
        if self._last is not None:
            _put(self._draw(self._last), self._figure)
        self._button.disabled = True
        if self._problem:
            self._line.value = f"{type(self._problem).__name__}: {self._problem}"
        elif self._count:
            early = self._stop.is_set() and self._count < self._epochs
            self._line.value = f"{'stopped' if early else 'finished'} after {self._count} epochs"
        else:
            self._line.value = "loaded"

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if live():
            display(self.box)
        elif self._last is not None:
            display(self._draw(self._last))


def train(method, epochs: int | None = None, **ask) -> Training:
    """`lnl_kit.train(method, ...)` as a Training: test accuracy and memorised labels as they come. A finished run is loaded."""
    from . import figures
    from .presets import resolve
    from .settings import Settings, make
    from .train import default_noise, find_method, train as train_run

    name, _, settings_class = find_method(method, ask.get("settings_class", Settings))
    dataset = ask.get("dataset", "digits")
    noise, rate = default_noise(ask.get("noise"), ask.get("rate"), ask.get("labels"), dataset)
    plan = resolve(ask.get("preset", "quick"), name, settings_class, dataset=ask.get("like") or dataset.partition(":")[0], noise=noise, rate=rate)
    total = epochs or make(settings_class, **plan.settings).epochs
    return Training(lambda on_epoch: train_run(method, epochs=total, progress=False, on_epoch=on_epoch, **ask), total,
                    lambda rows: figures.curves({name: [rows]}, title=f"{name}: test accuracy by epoch"), lambda run: run.metrics)


def train_rates(method: str = "ce", after: Callable[[object], None] | None = None, **ask) -> Training:
    """`lab.train_rates(method, ...)` as a Training: a growing curve for each noise rate. A finished lab is loaded.

    after: called with the lab at the end."""
    from . import figures, lab

    return Training(lambda on_epoch: lab.train_rates(method, on_epoch=on_epoch, **ask), ask.get("epochs", lab.EPOCHS), figures.lab_curves, after=after)


class NoiseLab:
    """Networks trained at many noise rates, and a slider through them; a menu of methods, each trained when it is chosen.

    `result()`: the `lab.Lab` of the method shown, when it is trained. ask: arguments of `lab.train_rates`.
    """

    def __init__(self, method: str = "ce", rate: float = 0.5, **ask):
        from . import figures, lab

        self._ask, self._labs = ask, {}
        self._draw = (figures.lab_accuracy, figures.lab_histogram, figures.lab_decagon, figures.lab_reliability, figures.lab_confusion)
        rates = [float(r) for r in ask.get("rates", lab.RATES)]
        self._rate = min(rates, key=lambda r: abs(r - rate))
        if live():
            self._make_box(method, rates, lab.LOSSES)
        self.training = self._start(method)

    def result(self):
        """The lab of the method shown; waits until it is trained."""
        return self.training.result()

    def _start(self, method: str) -> Training:
        return train_rates(method, after=lambda found: self._trained(method, found), **self._ask)

    def _trained(self, method: str, found) -> None:
        if len(found.test_accuracy):  # stopped within the first epoch, there is nothing to show
            self._labs[method] = found
        if live():
            self._menu.disabled = False
            self._redraw()

    def _make_box(self, method: str, rates: list[float], methods: Sequence[str]) -> None:
        import ipywidgets

        self._menu = ipywidgets.Dropdown(options=methods, value=method, description="method", disabled=True)
        self._slider = ipywidgets.SelectionSlider(options=[(f"{r:.0%}", r) for r in rates], value=self._rate, description="noise rate",
                                                  continuous_update=False)
        self._place, self._shown = ipywidgets.VBox(), [go.FigureWidget() for _ in self._draw]
        self._menu.observe(self._choose, "value")
        self._slider.observe(self._redraw, "value")
        self.box = ipywidgets.VBox([self._menu, self._place, self._slider, *self._shown])

    def _choose(self, change: dict) -> None:
        if change["new"] in self._labs:
            self._redraw()
        else:
            self._menu.disabled = True  # until this one is trained
            self.training = self._start(change["new"])
            self._place.children = [self.training.box]

    def _redraw(self, change: object = None) -> None:
        found = self._labs.get(self._menu.value)
        for draw, shown in zip(self._draw, self._shown) if found else ():
            _put(draw(found, self._slider.value), shown)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if live():
            self._place.children = [self.training.box]
            display(self.box)
        else:
            display(self.training)
            for draw in self._draw:
                display(draw(self.result(), self._rate))


# ---- explorers of any run folder ------------------------------------------------------------------------------


def pick_run(root=None, metrics: Sequence[str] = ("test_accuracy", "memorized", "train_accuracy_wrong", "test_ece", "selection_auc", "loss")) -> object:
    """A menu of the finished runs under a root (default: where `lnl train` writes) and one of their metrics, by epoch.

    Raises ValueError where no run is finished, with the command that makes one."""
    from . import figures
    from .results import finished_runs
    from .train import runs_root

    place = runs_root(root)
    runs = {str(r.folder.relative_to(place)): r for r in finished_runs(place)}
    if not runs:
        raise ValueError(f"no finished run in {place}: `lnl train ce` makes one")

    def curve(run=next(iter(runs)), metric=metrics[0]):
        rows = runs[run].metrics
        if all(row.get(metric) is None for row in rows):
            return figures.nothing(f"this run has no {metric}")
        return figures.curves({runs[run].settings["method"]: [rows]}, metric, subtitle=run)

    return explore(curve, run=list(runs), metric=list(metrics))


def histogram_by_epoch(run) -> object:
    """Loss on the true class of the training images, right and wrong labels apart, with a slider over the epochs that were kept."""
    from . import figures

    epochs, at = _kept_epochs(run)

    def histogram(epoch=epochs[-1]):
        probs, given, true = at(epoch)
        return figures.split_histogram(probs, given, true, subtitle=f"{run.settings['method']}, epoch {epoch}")

    return explore(histogram, epoch=epochs)


def decagon_by_epoch(run) -> object:
    """The training images' predictions on the K-gon, with a slider over the epochs that were kept; wrong labels are rings."""
    from . import figures

    epochs, at = _kept_epochs(run)

    def decagon(epoch=epochs[-1]):
        return figures.gon(*at(epoch), run.classes, subtitle=f"{run.settings['method']}, epoch {epoch}; rings: wrong given labels")

    return explore(decagon, epoch=epochs)


def _kept_epochs(run) -> tuple[list[int], Callable]:
    """The epochs of history.npz, counted from 1, and a function from an epoch to (probs, given, true) of its images."""
    history = run.history
    if not len(history):
        raise ValueError(f"{run.folder} has kept no epoch yet: train it first")
    epochs, index, labels = [int(e) + 1 for e in history["epochs"]], history["index"], run.labels
    true = labels["given"] if labels["true"] is None else labels["true"]
    return epochs, lambda epoch: (history["train_probs"][epochs.index(epoch)].astype("float32"), labels["given"][index], true[index])


def inspect_images(run, views: int = 5) -> object:
    """The training images, the most suspicious given label first: the image and views of it, and what the run thinks of it.

    Suspicious is a low clean score where the method gives one, else a low probability of the given label.
    """
    import numpy as np

    from . import figures

    given, probs = run.labels["given"], run.arrays["train_probs"]
    own = probs[np.arange(len(given)), given]
    score = np.asarray(run.arrays.get("clean_score", own), float)
    order, images = np.argsort(np.nan_to_num(score, nan=np.inf), kind="stable"), run.train_images()

    def pictures(rank=1):
        i = int(order[rank - 1])
        image = images[i:i + 1][:1]
        seen = [image, *run.views(image, run.settings["settings"].get("view", "crop"), views, seed=i)]
        return figures.image_row(np.concatenate([v.numpy() for v in seen]), ["image", *[f"view {k + 1}" for k in range(views)]], size=96,
                                 title=f"Image {int(run.labels['index'][i])}", subtitle=f"rank {rank} of {len(order)} by suspicion")

    def opinion(rank=1):
        i = int(order[rank - 1])
        votes = run.arrays["votes"][-1][:, i] if "votes" in run.arrays else None
        true = None if run.labels["true"] is None else run.labels["true"][i]
        return figures.opinion(probs[i], given[i], run.classes, true, score[i], votes)

    return explore([pictures, opinion], rank=(1, len(order), 1))


def review(findings) -> object:
    """The suspicious images of a folder of findings (or `errors.Findings`), to go through by mouse or keyboard.

    Live, a `review.Review`: each decision is in `decisions.csv` there before the next image shows. Headless, its first page as a figure.
    """
    from . import figures
    from .errors import Findings, open_findings

    found = findings if isinstance(findings, Findings) else open_findings(findings)
    if live():
        from .review import Review

        return Review(found)
    rows = found.table[found.table["image"].isin(found.dataset().names)].head(12)  # those that are still there
    heads = [f"{figures.plain(given)}, rather <b>{figures.plain(new)}</b>" for given, new in zip(rows["given"], rows["suggested"])]
    images = [found.pixels(i) for i in rows["image"]]
    return figures.image_row(images, heads, columns=6, title="The first page of the review", subtitle="open the notebook in JupyterLab to decide")
