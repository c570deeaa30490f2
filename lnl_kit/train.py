"""`train`: from a method's name (or a function of one's own) to a finished run folder.

Plan (what is asked) -> Resolved (checked, preset and device chosen) -> Prepared (images and labels) -> Run.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import torch

from . import tracking
from .data import noise as noise_models
from .data import open_set
from .data.annotators import RULES
from .data.labelling import agreed_of, default_noise
from .files import (
    RunError,
    csv_bytes,
    json_bytes,
    lock,
    make_folder,
    runs_root,
    save_atomically,
    sync,
)
from .methods import find_method
from .papers.presets import resolve as resolve_preset
from .run import launch
from .run.asked import plain
from .run.device import find_device
from .run.identity import decides, recorded, run_folder
from .run.loop import Run
from .run.opened import OpenedRun, loaded, made_ready, open_run
from .run.plan import Resolved, check_features, check_views, require_labels, say_default_noise
from .run.prepared import Prepared, prepare
from .run.settings import Settings, check_choices, make, refuse
from .run.summary import summarise, write_labels
from .toolbox import ranks

# fields of a plan that are taken as they are asked for
PASSED = (
    "preset labels path_column label_column annotators true_column like feature_views open_set imbalance "
    "noisy_val clean_list precision skip_bad split recursive max_pixels follow_links image_column hf_split"
)
# arguments of `train` that say how a plan is carried out, not what is trained
HOW = {"out", "fresh", "progress", "on_interrupt", "on_folder", "on_epoch", "track"}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is asked of a training: the arguments of `train` that decide its result, and its device.

    Nothing is checked or read before `resolve`. settings: values that override the preset's.
    """

    method: str | Callable
    dataset: str | Path = "digits"
    noise: str | None = None
    rate: float | None = None
    preset: str = "quick"
    seed: int = 0
    labels: Any = None  # the path of a file, or a DataFrame
    path_column: str | None = None
    label_column: str | None = None
    annotators: str = "majority"
    true_column: str | None = None
    like: str | None = None
    model: str | None = None
    train_size: int | None = None
    image_size: int | None = None
    features: str | None = None
    feature_views: int = 0
    open_set: float = 0.0
    imbalance: float | None = None
    noisy_val: float = 0.0
    clean_share: float | None = None
    clean_list: str | None = None
    keep: tuple[str, ...] | str = ()
    device: str = "auto"
    precision: str = "auto"
    compile: str = "auto"
    skip_bad: bool = False
    split: bool | Sequence[str] = True
    recursive: bool = True
    max_pixels: int | None = None
    follow_links: bool = False
    image_column: str | None = None
    hf_split: str | None = None
    settings_class: type[Settings] = Settings
    settings: dict = field(default_factory=dict)

    @classmethod
    def of(cls, method: str | Callable, **ask: Any) -> Plan:
        """A plan from the arguments of `train`; what only says how it is carried out is left aside."""
        names = {f.name for f in fields(cls)}
        settings = {k: v for k, v in ask.items() if k not in names | HOW}
        return cls(method=method, settings=settings, **{k: v for k, v in ask.items() if k in names})

    def resolve(self) -> Resolved:
        """Choose noise, preset, settings and device; no data is read. Raises ValueError with one sentence for
        what is not allowed.
        """
        self = plain(self)
        dataset = str(self.dataset)
        name, function, settings_class = find_method(self.method, self.settings_class)
        seed, keep = check_choices(self.seed, self.precision, self.compile, self.keep)
        noise, rate = default_noise(self.noise, self.rate, self.labels, dataset)
        refuse(self.annotators not in RULES, f"annotators {self.annotators!r}: choose {' or '.join(RULES)}")
        require_labels(self.label_column, self.labels, noise, dataset)
        like_name = self.like or dataset.partition(":")[0]
        noise_models.check(noise, rate, like_name)
        open_set.check(self.open_set, self.imbalance, dataset, noise)
        refuse(not 0 <= self.noisy_val < 1, f"noisy_val {self.noisy_val} is outside [0, 1)")
        kind = "human" if self.labels and noise == "none" else noise
        preset = resolve_preset(self.preset, name, settings_class, dataset=like_name, noise=kind, rate=rate)
        settings = make(settings_class, **(preset.settings | self.settings))
        if self.train_size is not None and self.train_size < 2:
            raise ValueError(f"train_size {self.train_size} is not allowed: at least 2 images")
        features = preset.features if self.features is None else self.features
        features = None if features in ("", "none") else features
        model = self.model or ("mlp_head" if features else preset.model)
        check_features(features, self.feature_views, model, name, settings_class)
        check_views(settings)
        asked_share = 0.0 if self.clean_list else settings_class.clean_share
        return Resolved(
            **{k: getattr(self, k) for k in PASSED.split()},
            name=name,
            function=function,
            settings_class=settings_class,
            settings=settings,
            dataset=dataset,
            noise=noise,
            noise_was_named=self.noise is not None,
            rate=rate,
            not_given=preset.not_given,
            seed=seed,
            model=model,
            train_size=self.train_size or preset.train_size,
            test_size=preset.test_size,
            image_size=self.image_size or preset.image_size,
            features=features,
            clean_share=asked_share if self.clean_share is None else self.clean_share,
            keep=keep,
            device=find_device(self.device),
            compile={"auto": "off", "on": "default"}.get(self.compile, self.compile),
        )


def train(
    method: str | Callable,
    dataset: str | Path = "digits",
    noise: str | None = None,
    rate: float | None = None,
    preset: str = "quick",
    seed: int = 0,
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: bool = True,
    on_interrupt: str = "return",
    on_folder: Callable[[Path], None] | None = None,
    on_epoch: Callable[[list[dict]], None] | None = None,
    track: str | None = None,
    **ask: Any,
) -> OpenedRun:
    """Train a method and return its run; a finished run is loaded, an interrupted one goes on.

    method: a name of `lnl methods`, or a function `(data, settings, run)` of one's own (its settings are
        `settings_class`, by default the plain recipe).
    dataset: a built-in name, or the path of a folder of images. labels, path_column,
        label_column, true_column, like, skip_bad, recursive and so on: see `data.load`.
    open_set: share of the training images that show no class; imbalance: the smallest class over the largest,
        of long-tailed counts (see `lnl_kit.data.open_set`).
    noise, rate: see `lnl_kit.data.noise`; by default symmetric 0.5, or the labels as they come with `labels`
        and for clothing1m and webvision.
    preset: quick | demo | paper | paper:NAME; settings given as keyword arguments override its values.
    ask: the other fields of `Plan` (labels, model, train_size, device, precision, ...), and settings.
    features: train on what a pretrained network sees in the images, computed once and kept (see
        `lnl_kit.features.KINDS`); model is then `head` or `mlp_head` (default). feature_views: so many draws
        of each view that the method asks for are stored too; 0 = every view is the image itself.
    noisy_val: share of the training images held out with their given labels, the honest stopping rule.
    clean_share, clean_list: labels known to be right (`NoisyData.clean`), that synthetic noise leaves alone:
        a share of each class, by default what the method needs, or a CSV file of images (see
        `clean_subset.read`). The noise rate still holds over all images.
    keep: "features", "weights" (of the tested network at the history's epochs), "margins" (of every label).
    split: False trains on all images of a folder without `test/`, those of the test set among them (see
        `data.load`).
    on_folder: called with the run's folder before training starts. on_epoch: called with the rows of metrics
        so far after each epoch that is saved; a KeyboardInterrupt that it raises ends the training as Ctrl-C
        does. Ctrl-C returns the run as of the last finished epoch (`on_interrupt="raise"`: raises
        KeyboardInterrupt). track: trackers that watch, `NAME[:PROJECT]` (see `lnl_kit.tracking`); None =
        $LNL_TRACK. Raises ValueError or FileNotFoundError with one sentence for bad input, RunError when
        training cannot go on.
    """
    plan = Plan.of(method, dataset=dataset, noise=noise, rate=rate, preset=preset, seed=seed, **ask)
    return carry_out(
        plan,
        out=out,
        fresh=fresh,
        progress=progress,
        on_interrupt=on_interrupt,
        on_folder=on_folder,
        on_epoch=on_epoch,
        track=track,
    )


def carry_out(
    plan: Plan,
    *,
    out: str | Path | None = None,
    fresh: bool = False,
    progress: bool = True,
    on_interrupt: str = "return",
    on_folder: Callable[[Path], None] | None = None,
    on_epoch: Callable[[list[dict]], None] | None = None,
    track: str | None = None,
) -> OpenedRun:
    """Train what a plan asks for; the arguments are those of `train`."""
    if on_interrupt not in ("return", "raise"):
        raise ValueError(f"on_interrupt {on_interrupt!r} does not exist: return, raise")
    tracking.check(track := tracking.asked_for(track))
    launch.check(plan.compile, ranks.count())
    prepared = ranks.one_first(lambda: prepare(plan.resolve()))
    say_default_noise(prepared.plan)
    root = runs_root(out)
    folder = run_folder(root, prepared)
    if ranks.unlike({"run": folder.name}):
        raise RunError("the ranks are to train different runs: give each the same data and the same settings")
    if ranks.first():  # the one that writes
        make_folder(folder, root)
    if on_folder:
        on_folder(folder)
    with contextlib.ExitStack() as held:
        if ranks.first():
            held.enter_context(lock(folder))
        watch = tracking.watch(track if ranks.first() else None, folder, root)
        held.callback(watch.close)
        if ranks.told(lambda: made_ready(folder, fresh)):
            finished = loaded(folder)
            with ranks.alone():
                watch.end(finished)
            return finished
        run = begin(prepared, folder, root, progress, watch.then(on_epoch))
        try:
            train_method(prepared, run)
        except KeyboardInterrupt:
            if on_interrupt != "return":
                raise
            print(
                f"stopped: {folder} holds the last finished epoch, and the same call goes on from there",
                file=sys.stderr,
            )
            return open_run(folder)
        if ranks.first():
            finish(prepared, run)
            with ranks.alone():
                watch.end(open_run(folder))
        ranks.wait()
        return open_run(folder)


def begin(prepared: Prepared, folder: Path, root: Path, progress: bool, on_epoch) -> Run:
    """Write settings.json, labels.csv and skipped.csv of a new or resumed run, and make its Run."""
    plan, source = prepared.plan, prepared.source
    given = prepared.given[prepared.index]
    if ranks.first():
        save_atomically(folder / "settings.json", json_bytes(decides(prepared) | recorded(prepared)))
        truth, outside = prepared.truth, prepared.outside
        write_labels(folder / "labels.csv", source, prepared.index, given, truth, prepared.known, outside)
        if (agreed := agreed_of(source, plan.noise, plan.label_column)) is not None:
            told = agreed.in_words(plan.label_column or "", source)
            save_atomically(folder / "annotators.json", json_bytes(told))
        if source.skipped:
            skipped = [{"path": p, "reason": r} for p, r in source.skipped]
            save_atomically(folder / "skipped.csv", csv_bytes(skipped, ("path", "reason")))
    noisy = prepared.noisy_data()
    if progress := progress and ranks.first():
        wrong = "unknown" if prepared.truth is None else f"{prepared.actual_rate:.1%}"
        print(f"{len(given)} training images, share of wrong labels: {wrong}", file=sys.stderr)
    return Run(
        folder,
        data=noisy,
        evaluator=prepared.evaluator(noisy),
        model=plan.model,
        seed=plan.seed,
        precision=prepared.precision,
        compile=plan.compile,
        keep=plan.keep,
        progress=progress,
        root=root,
        name=f"{plan.name} seed {plan.seed}",
        images=prepared.images,
        on_epoch=on_epoch,
    )


def train_method(prepared: Prepared, run: Run) -> None:
    """The method's own function, and a sentence where it cannot go on."""
    plan, settings = prepared.plan, prepared.plan.settings
    try:
        plan.function(run.data, settings, run)
    except torch.OutOfMemoryError:
        raise RunError(
            f"the {plan.device.type} is out of memory: a smaller batch_size ({settings.batch_size} now) or "
            f"network helps; {run.folder} holds the last finished epoch"
        ) from None
    if len(run.rows) < settings.epochs:
        raise RunError(
            f"{plan.name} ended after {len(run.rows)} of {settings.epochs} epochs: its loop must be "
            "`for epoch in run.epochs(state, settings.epochs)`"
        )


def finish(prepared: Prepared, run: Run) -> None:
    """summary.json, which means that the run is finished: what it promises is on the disk before it."""
    plan = prepared.plan
    identity = {
        "method": plan.name,
        "dataset": prepared.source.slug,
        "noise": plan.labels_slug,
        "rate": plan.rate,
        "actual_rate": prepared.actual_rate,
        "seed": plan.seed,
        "preset": plan.preset,
        "model": plan.model,
        "train_images": len(prepared.index),
        "epochs": plan.settings.epochs,
        "taken": prepared.source.taken,
        "skipped": prepared.source.skipped_kinds,
    } | {key: value for key in ("open_set", "imbalance") if (value := getattr(plan, key))}
    summary = identity | summarise(run, prepared.told)
    sync(run.folder)
    save_atomically(run.folder / "summary.json", json_bytes(summary), durable=True)
