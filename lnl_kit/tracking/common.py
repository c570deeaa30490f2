"""What trackers have in common: what is sent, what was sent before, and that nothing of it stops a training.

`tracking.json` in the run's folder says of each tracker which of its runs continues this one, and how many
epochs it has. So an interrupted run goes on in the same place, and what could not be sent is sent next time.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import math
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..data.images import open_image
from ..files import json_bytes, read_json, save_atomically
from ..run.opened import OpenedRun

PACKAGES = {"tensorboard": "tensorboard", "mlflow": "mlflow", "trackio": "trackio", "wandb": "wandb"}
NAMES = tuple(PACKAGES)
PROJECT = "lnl-kit"
STATE = "tracking.json"
NOT_SENT = (".lock", STATE)  # of the run's folder, and what is hidden
FIGURES = ("test_accuracy", "memorized", "test_ece")  # curves by epoch, where there is such a metric


class Tracker(Protocol):
    """One tracker's side of a run. Everything may raise."""

    def open(self, told: Told, known: str | None) -> str:
        """Begin, or go on with the run `known`; returns what the tracker knows it by."""

    def log(self, metrics: dict[str, float], epoch: int) -> None:
        """The numbers of an epoch, counted from 1."""

    def end(self, summary: dict[str, float], figures: dict[str, Any], files: list[Path]) -> None:
        """What a finished run comes to: numbers, plotly figures by name, the files of its folder."""

    def close(self) -> None:
        """Nothing more comes now; the run may go on another day."""


class Told:
    """What a tracker is told of a run before its first epoch."""

    def __init__(self, folder: Path, root: Path, project: str):
        self.folder, self.root, self.project = folder, root, project
        settings = read_json(folder / "settings.json")
        own = settings.pop("settings")
        flat = {**settings, **{f"settings.{k}": v for k, v in own.items()}}
        flat |= {f"versions.{k}": v for k, v in flat.pop("versions", {}).items()}
        self.parameters: dict[str, str] = {k: str(v)[:500] for k, v in flat.items() if v is not None}
        self.parameters["folder"] = str(folder)
        # the same for a run and for its continuation, and for no other run
        self.name = "-".join([*folder.parts[-4:-1], folder.name])


def check(track: str | None) -> list[tuple[str, str]]:
    """[(tracker, project)] of `NAME[:PROJECT]`, several separated by commas. Raises ValueError."""
    found = []
    for one in (track or "").split(","):
        name, _, project = one.strip().partition(":")
        if not name:
            continue
        if name not in NAMES:
            raise ValueError(
                f"tracker {name!r} does not exist: {', '.join(NAMES)}, each with :PROJECT or not"
            )
        if not installed(name):
            raise ValueError(
                f"--track {name} needs the package {PACKAGES[name]}: pip install {PACKAGES[name]}"
            )
        found.append((name, project or PROJECT))
    return found


def installed(name: str) -> bool:
    """Whether a tracker's package is there."""
    return importlib.util.find_spec(PACKAGES[name]) is not None


def tracker_of(name: str) -> Tracker:
    """This tracker's side of a run, not opened yet."""
    return importlib.import_module(f".{name}_", __package__).Tracker()


def watch(track: str | None, folder: Path, root: Path) -> Watch:
    """Whoever watches the run in this folder; nobody where `track` is None or empty. Raises ValueError."""
    return Watch(check(track), folder, root)


class Watch:
    """The trackers of one run. Nothing that they do raises."""

    def __init__(self, chosen: list[tuple[str, str]], folder: Path, root: Path):
        self.folder, self.root = folder, root
        self._waiting = dict(chosen)  # not opened yet
        self._open: dict[str, Tracker] = {}

    def epoch(self, rows: list[dict]) -> None:
        """Send the epochs that a tracker has not got; what `on_epoch` is called with."""
        for name in self._all():
            self._try(name, self._send, rows)

    def then(self, after: Callable[[list[dict]], None] | None) -> Callable[[list[dict]], None] | None:
        """What a training calls after each epoch: the trackers, then `after`; None where there is nobody."""
        if not self._all():
            return after

        def both(rows: list[dict]) -> None:
            self.epoch(rows)
            if after:
                after(rows)

        return both

    def end(self, run: OpenedRun) -> None:
        """Send what is lacking of a finished run, and what it comes to; then close."""
        for name in self._all():
            if not self._known(name).get("ended"):
                self._try(name, self._end, run)
        self.close()

    def close(self) -> None:
        """Nothing more comes in this call."""
        for name, tracker in [*self._open.items()]:
            try:
                with contextlib.redirect_stdout(sys.stderr):
                    tracker.close()
            except Exception as error:
                _say(name, error)
        self._open.clear()
        self._waiting.clear()

    def _all(self) -> list[str]:
        return [*self._open, *self._waiting]

    def _try(self, name: str, what: Callable, *arguments: Any) -> None:
        try:
            with contextlib.redirect_stdout(sys.stderr):  # the last line there is the run's folder
                if name in self._waiting:
                    self._begin(name, self._waiting.pop(name))
                what(name, *arguments)
        except Exception as error:  # each library has errors of its own, and none is a reason to stop
            _say(name, error)
            with contextlib.suppress(Exception), contextlib.redirect_stdout(sys.stderr):
                if tracker := self._open.pop(name, None):
                    tracker.close()  # what it has is kept

    def _begin(self, name: str, project: str) -> None:
        tracker = tracker_of(name)
        known = self._known(name)
        same = known.get("project") == project
        told = Told(self.folder, self.root, project)
        self._open[name] = tracker
        found = tracker.open(told, known.get("id") if same else None)
        self._keep(name, {"project": project, "id": found, "sent": known.get("sent", 0) if same else 0})

    def _send(self, name: str, rows: list[dict]) -> None:
        known = self._known(name)
        for row in rows[known["sent"] :]:
            self._open[name].log(numbers(row), row["epoch"])
        self._keep(name, known | {"sent": len(rows)})

    def _end(self, name: str, run: OpenedRun) -> None:
        self._send(name, run.metrics)
        files = [p for p in sorted(run.folder.iterdir()) if p.is_file() and not p.is_symlink()]
        files = [p for p in files if p.name not in NOT_SENT and not p.name.startswith(".")]
        self._open[name].end(numbers(run.summary or {}), figures_of(run), files)
        self._keep(name, self._known(name) | {"ended": True})

    def _known(self, name: str) -> dict:
        """What is kept about a tracker; damaged, it counts as nothing."""
        try:
            found = read_json(self.folder / STATE).get(name, {})
            return found if isinstance(found, dict) and isinstance(found.get("sent", 0), int) else {}
        except (OSError, ValueError, AttributeError):
            return {}

    def _keep(self, name: str, value: dict) -> None:
        try:
            content = read_json(self.folder / STATE)
        except (OSError, ValueError):
            content = {}
        content = content if isinstance(content, dict) else {}
        save_atomically(self.folder / STATE, json_bytes(content | {name: value}))


def numbers(row: dict) -> dict[str, float]:
    """The finite numbers of a row."""
    plain = {k: v for k, v in row.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
    return {k: float(v) for k, v in plain.items() if k != "epoch" and math.isfinite(v)}


def figures_of(run: OpenedRun) -> dict[str, Any]:
    """Curves by epoch of a finished run, {metric: plotly figure}."""
    from .. import figures  # plotly: only where a tracker is asked for

    name = f"{run.settings['method']} seed {run.settings['seed']}"
    there = [m for m in FIGURES if any(row.get(m) is not None for row in run.metrics)]
    return {metric: figures.curves({name: run.metrics}, metric) for metric in there}


def drawn(figures: dict[str, Any]) -> dict[str, np.ndarray]:
    """{name: uint8 (H, W, 3)}; empty where there is no browser to draw them."""
    from ..figures import save_pngs

    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.png" for name in figures}
        if not save_pngs({paths[name]: figure for name, figure in figures.items()}, scale=1):
            return {}
        found = {}
        for name, path in paths.items():
            with open_image(path) as image:
                found[name] = np.asarray(image.convert("RGB"))
        return found


def asked_for(track: str | None) -> str | None:
    """The trackers that are asked for: by name, else by $LNL_TRACK, as `lnl reproduce --track` sets it."""
    return os.environ.get("LNL_TRACK") if track is None else track


def _say(name: str, error: Exception) -> None:
    reason = (str(error).strip().splitlines() or [""])[0] or type(error).__name__
    print(
        f"{name} does not track this run any more ({reason[:200]}): training goes on, and the same command "
        "sends what is lacking",
        file=sys.stderr,
    )
