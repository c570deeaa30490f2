"""Training that can be watched in a notebook: a bar, growing curves, a button that stops it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import plotly.graph_objects as go

from .. import figures
from ..methods import BASELINE
from ..texts import of
from ..train import Plan
from ..train import train as run_training
from . import noise_lab
from .explore import _put, live
from .names import Named


class Training:
    """A training that can be watched: a bar, curves that grow, a button that stops it, and then its result.

    Live it trains in the background, so that the notebook can be read and used meanwhile; headless it is
    finished when it is made. `result()` waits for it, and the notebook's buttons with it: while a cell waits,
    interrupting the kernel does what Stop does. Stopped, the result is that of the last finished epoch.
    """

    def __init__(
        self,
        work: Callable[[Callable], Any],
        epochs: int,
        draw: Callable[[Any], go.Figure],
        so_far: Callable[[Any], Any] = lambda result: result,
        after: Callable[[Any], None] | None = None,
    ):
        """work(on_epoch): trains, calls on_epoch(so far) after each epoch, and returns the result; a
        KeyboardInterrupt raised there ends it. draw(so far): the curves. so_far(result): what on_epoch would
        have been given last, of a result that was loaded. after(result): called at the end.
        """
        self._draw, self._epochs, self._so_far, self._after = draw, epochs, so_far, after
        self._stop, self._done = threading.Event(), threading.Event()
        self._texts = of()
        self._value: Any = None
        self._last: Any = None
        self._problem: Exception | None = None
        self._count = 0
        if not live():
            self._train(work)
            self.result()  # raises what went wrong
            return
        self._make_box()
        threading.Thread(target=self._train, args=(work,), daemon=True).start()

    def result(self) -> Any:
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

        say = self._texts
        self._bar = ipywidgets.IntProgress(max=self._epochs, description=say("training.epochs"))
        self._line = ipywidgets.Label(say("training.starting"))
        self._button = ipywidgets.Button(
            description=say("training.stop"), icon="stop", tooltip=say("training.stop_long")
        )
        self._button.on_click(lambda _: self.stop())
        self._figure, self._started, self._drawn = go.FigureWidget(), time.monotonic(), 0.0
        self.box = ipywidgets.VBox([ipywidgets.HBox([self._bar, self._button, self._line]), self._figure])

    def _show(self, so_far: object) -> None:
        now = time.monotonic()
        self._bar.value = self._count
        seconds_left = (now - self._started) / self._count * (self._epochs - self._count)
        self._line.value = self._texts(
            "training.epoch", count=self._count, epochs=self._epochs, seconds=f"{seconds_left:.0f}"
        )
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
            self._line.value = self._texts(
                f"training.{'stopped' if early else 'finished'}", count=self._count
            )
        else:
            self._line.value = self._texts("training.loaded")

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if live():
            display(self.box)
        elif self._last is not None:
            display(self._draw(self._last))


def train(method, epochs: int | None = None, **ask) -> Training:
    """`lnl_kit.train(method, ...)` as a Training: accuracy and memorised labels; a finished run is loaded."""
    plan = Plan.of(method, **ask | ({"epochs": epochs} if epochs else {})).resolve()
    name, total = plan.name, plan.settings.epochs
    return Training(
        lambda on_epoch: run_training(method, epochs=total, progress=False, on_epoch=on_epoch, **ask),
        total,
        lambda rows: figures.curves({name: [rows]}, title=f"{name}: test accuracy by epoch"),
        lambda run: run.metrics,
    )


def train_rates(method: str = BASELINE, after: Callable[[Any], None] | None = None, **ask) -> Training:
    """`noise_lab.train_rates(method, ...)` as a Training: a curve for each rate; a finished lab is loaded.

    after: called with the lab at the end.
    """

    return Training(
        lambda on_epoch: noise_lab.train_rates(method, on_epoch=on_epoch, **ask),
        ask.get("epochs", noise_lab.EPOCHS),
        figures.lab_curves,
        after=after,
    )


class NoiseLab:
    """Networks trained at many noise rates, a slider through them, and a menu of methods to train next.

    `result()`: the `noise_lab.Lab` of the method shown, when it is trained. ask: arguments of
    `noise_lab.train_rates`.
    """

    def __init__(self, method: str = BASELINE, rate: float = 0.5, **ask):

        self._ask = ask
        self._labs: dict[str, noise_lab.Lab] = {}
        self._draw = (
            figures.lab_accuracy,
            figures.lab_histogram,
            figures.lab_decagon,
            figures.lab_reliability,
            figures.lab_confusion,
        )
        rates = [float(r) for r in ask.get("rates", noise_lab.RATES)]
        self._rate = min(rates, key=lambda r: abs(r - rate))
        if live():
            self._make_box(method, rates, noise_lab.LOSSES)
        self.training = self._start(method)

    def result(self):
        """The lab of the method shown; waits until it is trained."""
        return self.training.result()

    def _start(self, method: str) -> Training:
        return train_rates(method, after=lambda lab: self._trained(method, lab), **self._ask)

    def _trained(self, method: str, lab) -> None:
        if len(lab.test_accuracy):  # stopped within the first epoch, there is nothing to show
            self._labs[method] = lab
        if live():
            self._menu.disabled = False
            self._redraw()

    def _make_box(self, method: str, rates: list[float], methods: Sequence[str]) -> None:
        import ipywidgets

        say = of()
        self._menu = ipywidgets.Dropdown(
            options=methods, value=method, description=say("lab.method"), disabled=True
        )
        self._slider = ipywidgets.SelectionSlider(
            options=[(f"{r:.0%}", r) for r in rates],
            value=self._rate,
            description=say("lab.rate"),
            continuous_update=False,
        )
        self._place, self._shown = ipywidgets.VBox(), [go.FigureWidget() for _ in self._draw]
        self._menu.observe(self._choose, "value")
        self._slider.observe(self._redraw, "value")
        self.box = ipywidgets.VBox([self._menu, self._place, self._slider, *self._shown, Named()])

    def _choose(self, change: dict) -> None:
        if change["new"] in self._labs:
            self._redraw()
        else:
            self._menu.disabled = True  # until this one is trained
            self.training = self._start(change["new"])
            self._place.children = [self.training.box]

    def _redraw(self, change: object = None) -> None:
        if lab := self._labs.get(self._menu.value):
            for draw, shown in zip(self._draw, self._shown):
                _put(draw(lab, self._slider.value), shown)

    def _ipython_display_(self) -> None:
        from IPython.display import display

        if live():
            self._place.children = [self.training.box]
            display(self.box)
        else:
            display(self.training)
            for draw in self._draw:
                display(draw(self.result(), self._rate))
