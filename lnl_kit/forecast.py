"""`dry_run`: what a training would do and cost, from its plan and two batches; the folder of the runs is not
touched.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from .data.batches import NoisyData
from .data.labelling import choose, choose_with
from .features.training import DIMENSIONS, FeatureData
from .files import read_json, read_table, runs_root
from .run.device import device_name
from .run.evaluate import Evaluator
from .run.identity import run_folder
from .run.prepared import Prepared, prepare
from .run.probe import probe
from .train import Plan

BATCHES = 2  # that the probe sees
TESTED = 256  # images on which its evaluations are timed
CLEAN = 2  # images of each class that the probe's clean subset has at least


class Estimate(NamedTuple):
    """What a whole training costs, whatever its labels."""

    networks: tuple[tuple[str, int], ...] = ()  # (name, weights) of each, averages too
    seconds: float | None = None
    memory: int | None = None  # bytes at the highest; None where the system does not tell
    checkpoint: int = 0  # bytes of state.pt
    problem: str = ""  # why there is no estimate


@dataclass(frozen=True)
class Forecast:
    """What would be trained, how far it is already, and what is left to do; its text says all of it."""

    method: str
    dataset: str
    noise: str
    rate: float
    preset: str
    seed: int
    train_images: int
    test_images: int
    image_shape: tuple[int, ...]  # of one image
    classes: int
    wrong_labels: int | None  # made wrong by the noise, or known to be; None = nobody knows
    clean_labels: int | None  # known to the method to be right
    features: str | None
    epochs: int
    steps: int  # in an epoch
    batch_size: int
    device: str
    precision: str
    folder: Path
    state: str  # new, unfinished or finished
    epochs_done: int
    estimate: Estimate

    @property
    def minutes(self) -> float | None:
        """Expected minutes of what is left to do; None where the probe could not tell."""
        if self.state == "finished":
            return 0.0
        whole = self.estimate.seconds
        return None if whole is None else whole * (1 - self.epochs_done / self.epochs) / 60

    def __str__(self) -> str:
        n, wrong, clean, cost = self.train_images, self.wrong_labels, self.clean_labels, self.estimate
        known = "" if clean is None else f"; {clean:,} known to be right"
        shape = f"what {self.features} sees" if self.features else "x".join(map(str, self.image_shape[1:]))
        lines = {
            "training": f"{self.method} on {self.dataset}, preset {self.preset}, seed {self.seed}",
            "images": f"{n:,} to train, {self.test_images:,} to test, {self.classes} classes, {shape}",
            "labels": f"{self.noise} {self.rate:g}: "
            + ("how many are wrong is not known" if wrong is None else f"{wrong:,} wrong ({wrong / n:.1%})")
            + known,
            "networks": _networks(cost.networks),
            "epochs": f"{self.epochs} of {self.steps} steps of {self.batch_size} images",
            "device": f"{self.device}, {self.precision}",
            "memory": f"about {_size(cost.memory)}" if cost.memory else "not known",
            "folder": f"{self.folder}, {self.how_far()}",
            "disk": f"about {_size(cost.checkpoint)} for its checkpoint" if cost.checkpoint else "not known",
            "time": self.time(),
        }
        return "\n".join(f"{name:<9} {said}" for name, said in lines.items())

    def how_far(self) -> str:
        """Whether the run is new, unfinished or finished."""
        if self.state == "finished":
            return "finished before: the same command loads it"
        if self.state == "unfinished":
            return f"unfinished: it goes on after epoch {self.epochs_done} of {self.epochs}"
        return "new"

    def time(self) -> str:
        """How long what is left takes, in words."""
        if self.minutes is None:
            return f"not known, as the probe failed ({self.estimate.problem})"
        more = f"; what {self.features} sees in the images comes on top, once" if self.features else ""
        return f"about {duration(60 * self.minutes)}, by a probe of {BATCHES} batches{more}"


def duration(seconds: float) -> str:
    """`40 s`, `1.5 minutes`, `3.2 hours`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def _size(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{max(1, round(number / 1e6))} MB"


def _networks(networks: tuple[tuple[str, int], ...]) -> str:
    counted = Counter(networks).items()
    words = [f"{f'{n} x ' if n > 1 else ''}{name}, {weights:,} weights" for (name, weights), n in counted]
    return "; ".join(words) or "not known"


def dry_run(method: str | Callable, *, out: str | Path | None = None, **ask: Any) -> Forecast:
    """What `train` with these arguments would do, as something to print.

    The data set is read and its labels are made wrong, as for a training; then the method itself runs on two
    batches, at its first epoch, its last and some between, of which minutes and memory are estimated. Nothing
    is written into the folder of the runs, and no weights are downloaded. Raises what `train` raises for bad
    input.
    """
    return forecast(prepare(Plan.of(method, **ask).resolve()), out)


def forecast(prepared: Prepared, out: str | Path | None = None, estimate: Estimate | None = None) -> Forecast:
    """`dry_run` of what is prepared. estimate: that of the same training under other labels."""
    plan, truth = prepared.plan, prepared.truth
    folder = run_folder(runs_root(out), prepared)
    state, done = state_of(folder)
    return Forecast(
        method=plan.name,
        dataset=prepared.source.name,
        noise=plan.labels_slug,
        rate=plan.rate,
        preset=plan.preset,
        seed=plan.seed,
        train_images=len(prepared.index),
        test_images=len(prepared.test_index),
        image_shape=tuple(prepared.source.x.shape[1:]),
        classes=len(prepared.source.classes),
        wrong_labels=None if truth is None else int((prepared.given[prepared.index] != truth).sum()),
        clean_labels=None if prepared.known is None else int(prepared.known.sum()),
        features=plan.features,
        epochs=plan.settings.epochs,
        steps=max(1, len(prepared.index) // plan.settings.batch_size),
        batch_size=plan.settings.batch_size,
        device=device_name(plan.device),
        precision=prepared.precision,
        folder=folder,
        state=state,
        epochs_done=done,
        estimate=estimate or estimated(prepared),
    )


def state_of(folder: Path) -> tuple[str, int]:
    """(new, unfinished or finished; epochs done) of a run's folder, which is only read."""
    try:
        return "finished", int(read_json(folder / "summary.json")["epochs"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    if not (folder / "state.pt").is_file():
        return "new", 0
    try:
        return "unfinished", len(read_table(folder / "metrics.csv"))
    except (OSError, ValueError):
        return "unfinished", 0


# ---- the probe


def estimated(prepared: Prepared) -> Estimate:
    """The costs of a whole training, from a probe; one that fails is a problem of the estimate alone."""
    plan, n, m = prepared.plan, len(prepared.index), len(prepared.test_index)
    few, tested = _few(prepared), prepared.test_index[:TESTED]
    how: dict[str, Any] = {
        "model": plan.model,
        "seed": plan.seed,
        "precision": prepared.precision,
        "compile": plan.compile,
    }
    try:
        costs = probe(plan.function, plan.settings, *_data(prepared, few, tested), **how)
    except Exception as error:  # a method may need more images than these
        return Estimate(problem=f"{type(error).__name__}: {error}".splitlines()[0])
    seconds = costs.training * n / len(few) + costs.saving
    seconds += (costs.testing * m + costs.looking * n) / len(tested)
    return Estimate(tuple(costs.networks), seconds, _memory(prepared), costs.checkpoint)


def _few(prepared: Prepared) -> np.ndarray:
    """Positions of the probe's images in the whole training set: two batches, of every class."""
    given, known = prepared.given[prepared.index], prepared.known
    size = min(len(given), BATCHES * prepared.plan.settings.batch_size)
    if known is None:
        return prepared.index[choose(given, size, 0)]
    share = float(known.mean())
    enough = int(np.ceil(CLEAN * len(prepared.source.classes) / share))
    return prepared.index[choose_with(known, given, min(len(given), max(size, enough)), share, 0)]


def _data(prepared: Prepared, few: np.ndarray, tested: np.ndarray) -> tuple[NoisyData, Evaluator]:
    """The probe's images and what measures it. Features are random: computing them would take its time."""
    plan = prepared.plan
    small = replace(prepared, index=few, val_index=few[:0], test_index=tested, second_index=None)
    if not plan.features:
        noisy = small.noisy_data()
        return noisy, small.evaluator(noisy)
    names = [getattr(plan.settings, key) for key in ("view", "teacher_view") if hasattr(plan.settings, key)]
    views = list(dict.fromkeys(names)) if plan.feature_views else []
    draw = torch.Generator().manual_seed(0)
    shape = (len(few), min(DIMENSIONS, len(prepared.index) - 1), 1 + len(views) * plan.feature_views, 1)
    source, known = prepared.source, small.known
    data = FeatureData(
        torch.randn(shape, generator=draw),
        torch.from_numpy(small.given[few]),
        source.classes,
        mean=source.mean,
        std=source.std,
        like=source.like,
        batch_size=plan.settings.batch_size,
        seed=plan.seed,
        device=plan.device,
        clean=None if known is None else torch.from_numpy(known),
    )
    stored = ((view, 1 + k * plan.feature_views) for k, view in enumerate(views))
    data.stored = {view: (first, first + plan.feature_views) for view, first in stored}
    test_x = torch.randn(len(tested), *shape[1:2], 1, 1, generator=draw)
    truth = source.test_y.numpy()[tested]
    return data, Evaluator(data, small.given[few], small.truth, test_x, truth)


def _memory(prepared: Prepared) -> int | None:
    """Bytes at the highest: what this process or the GPU has needed so far, the probe included, and what the
    other images add.
    """
    n, plan = len(prepared.index), prepared.plan
    images = n * prepared.source.x.shape[1:].numel()
    beside = images + 24 * n * len(prepared.source.classes)
    if plan.device.type == "cuda":
        return torch.cuda.max_memory_allocated(plan.device) + beside
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit + beside
