"""`train`: from a method's name (or a function of one's own) to a finished run folder."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import sys
import types
from numbers import Integral
from pathlib import Path
from typing import NamedTuple

import torch

from . import __version__, data, methods
from .data import clean_subset
from .data import noise as noise_models
from .data.batches import NoisyData
from .data.labelling import (
    choose,
    choose_with,
    default_noise,
    draw_labels,
    expected_transition,
    find_clean,
    hold_out,
    rows,
)
from .data.streams import Stream
from .features import backbones
from .features.training import FeatureData, features_for
from .files import RunError, clear, csv_bytes, json_bytes, lock, make_folder, runs_root, safe, save_atomically
from .papers.presets import resolve
from .run.device import find_device
from .run.evaluate import Evaluator
from .run.identity import ONLY_RECORDED, absolute, digest, method_digest, versions
from .run.loop import Run
from .run.opened import OpenedRun, open_run
from .run.settings import COMPILES, KEEPS, PRECISIONS, Settings, make
from .run.summary import summarise, write_labels
from .toolbox import augment, models


def train(
    method,
    dataset: str = "digits",
    noise: str | None = None,
    rate: float | None = None,
    preset: str = "quick",
    seed: int = 0,
    *,
    labels: str | None = None,
    label_column: str | None = None,
    true_column: str | None = None,
    like: str | None = None,
    model: str | None = None,
    train_size: int | None = None,
    image_size: int | None = None,
    features: str | None = None,
    feature_views: int = 0,
    noisy_val: float = 0.0,
    clean_share: float | None = None,
    clean_list: str | None = None,
    keep: tuple[str, ...] = (),
    device: str = "auto",
    precision: str = "auto",
    compile: str = "auto",
    out: str | Path | None = None,
    fresh: bool = False,
    skip_bad: bool = False,
    split: bool = True,
    progress: bool = True,
    on_interrupt: str = "return",
    on_folder=None,
    on_epoch=None,
    settings_class: type[Settings] = Settings,
    **settings,
) -> OpenedRun:
    """Train a method and return its run; a finished run is loaded, an interrupted one goes on.

    method: a name of `lnl methods`, or a function `(data, settings, run)` of one's own (its settings are
        `settings_class`, by default the plain recipe).
    noise, rate: see `lnl_kit.data.noise`; by default symmetric 0.5, or the labels as they come with `labels`
        and for clothing1m and webvision.
    preset: quick | demo | paper | paper:NAME; keyword arguments in `settings` override its values.
    features: train on what a pretrained network sees in the images, computed once and kept (see
        `lnl_kit.features.KINDS`); model is then `head` or `mlp_head` (default). feature_views: so many draws of
        each view that the method asks for are stored too; 0 = every view is the image itself.
    noisy_val: share of the training images held out with their given labels, the honest stopping rule.
    clean_share, clean_list: labels known to be right (`NoisyData.clean`), that synthetic noise leaves alone:
        a share of each class, by default what the method needs, or a CSV file of images (see
        `clean_subset.read`). The noise rate still holds over all images.
    keep: "features" and/or "weights" (of the tested network at the history's epochs).
    split: False trains on all images of a folder without `test/`, those of the test set among them (see
        `data.load`).
    on_folder: called with the run's folder before training starts. on_epoch: called with the rows of metrics
        so far after each epoch that is saved; a KeyboardInterrupt that it raises ends the training as Ctrl-C
        does. Ctrl-C returns the run as of the last finished epoch (`on_interrupt="raise"`: raises
        KeyboardInterrupt).
    Raises ValueError or FileNotFoundError with one sentence for bad input, RunError when training cannot go
    on.
    """
    name, function, settings_class = find_method(method, settings_class)
    seed, keep = check_choices(seed, precision, compile, keep, on_interrupt)
    unasked = noise is None and dataset.startswith("folder:") and not labels
    noise, rate = default_noise(noise, rate, labels, dataset)
    if label_column and not labels and noise != "human":
        raise ValueError(
            f"label column {label_column!r} of which file? Give labels=FILE.csv (--labels) too, or noise human"
        )
    like_name = like or dataset.partition(":")[0]
    noise_models.check(noise, rate, like_name)
    if not 0 <= noisy_val < 1:
        raise ValueError(f"noisy_val {noisy_val} is outside [0, 1)")
    plan = resolve(preset, name, settings_class, dataset=like_name, noise=noise, rate=rate)
    chosen = make(settings_class, **(plan.settings | settings))
    device = find_device(device)
    if train_size is not None and train_size < 2:
        raise ValueError(f"train_size {train_size} is not allowed: at least 2 images")
    if features in ("", "none"):
        features = None
    model = model or ("mlp_head" if features else plan.model)
    check_features(features, feature_views, model, name, settings_class)
    for key in ("view", "teacher_view"):
        if hasattr(chosen, key):
            augment.view(getattr(chosen, key))
    compile = {"auto": "off", "on": "default"}.get(compile, compile)

    source = data.load(
        dataset,
        image_size=image_size or plan.image_size,
        labels=labels,
        label_column=label_column,
        true_column=true_column,
        like=like,
        skip_bad=skip_bad,
        split=split,
    )
    share = settings_class.clean_share if clean_share is None and not clean_list else clean_share or 0.0
    clean, checked = find_clean(source, share, clean_list, noise, seed)
    given, true = draw_labels(source, noise, rate, seed, label_column, clean, checked, share)
    if unasked:
        print(
            f"{dataset}: its labels are made wrong by {noise} noise, {rate:g}, as no noise was named; noise none (--noise none) "
            "takes them as they are",
            file=sys.stderr,
        )
    size = train_size or plan.train_size
    index = choose(given, size, seed) if clean is None else choose_with(clean, given, size, share, seed)
    test_index = choose(source.test_y.numpy(), plan.test_size, 0)
    second = source.second_test
    second_index = None if second is None else choose(second.y.numpy(), plan.test_size, 0)
    held_out = hold_out(len(index), noisy_val, seed)
    index, val_index = index[~held_out], index[held_out]
    if clean is not None:
        clean_subset.require_every_class(given[index], clean[index], source.classes)

    slug = (
        f"human-{label_column}"
        if noise == "human"
        else f"labels-{label_column or 'given'}"
        if labels
        else f"matrix-{Path(noise[7:]).stem}"
        if noise.startswith("matrix:")
        else noise
    )
    decides = {
        "method": name,
        "settings": dataclasses.asdict(chosen),
        "model": model,
        "dataset": source.name if not source.name.startswith("folder:") else source.slug,
        "like": source.like,
        "noise": noise.partition(":")[0],
        "rate": rate,
        "seed": seed,
        "precision": precision,
        "noisy_val": noisy_val,
        "keep": sorted(keep),
        "train_images": len(index),
        "fingerprint": source.fingerprint,
        "labels_digest": digest(given, index, test_index, second_index),
        "method_digest": method_digest(function, settings_class),
        "preset": preset,
        "dataset_path": absolute(dataset),
        "labels_file": labels and str(Path(labels).absolute()),
        "label_column": label_column,
        "true_column": true_column,
        "image_size": image_size or plan.image_size,
        "not_given": plan.not_given,
        "versions": versions(),
        "classes": source.classes,
        "mean": source.mean,
        "std": source.std,
        "split": split,
    }
    if clean is not None:
        decides |= {"clean_share": share or None, "clean_digest": digest(clean[index])}
    if features:
        decides |= {"features": features, "feature_views": feature_views}
    decides = json.loads(json.dumps(decides))  # as it will be read back
    key = json.dumps({k: v for k, v in decides.items() if k not in ONLY_RECORDED}, sort_keys=True)
    hash8 = hashlib.blake2b(key.encode(), digest_size=4).hexdigest()
    root = runs_root(out)
    folder = root / safe(name) / safe(source.slug) / f"{safe(slug)}-{rate:g}" / f"seed{seed}-{hash8}"
    make_folder(folder)
    if on_folder:
        on_folder(folder)
    with lock(folder):
        if fresh:
            clear(folder)
        for left in folder.glob(".*.*"):  # temporary files of a killed process
            left.unlink(missing_ok=True)
        if (folder / "summary.json").exists():
            run = open_run(folder)
            before = run.settings["versions"]["lnl_kit"]
            if before != __version__:
                print(
                    f"loaded a run of lnl_kit {before} (this is {__version__}): --fresh trains it again",
                    file=sys.stderr,
                )
            return run
        save_atomically(folder / "settings.json", json_bytes(decides))
        truth = None if true is None else true[index]
        write_labels(
            folder / "labels.csv", source, index, given[index], truth, None if clean is None else clean[index]
        )
        if source.skipped:
            save_atomically(
                folder / "skipped.csv",
                csv_bytes([{"path": p, "reason": r} for p, r in source.skipped], ("path", "reason")),
            )
        part = images_or_features(
            source, features, chosen, feature_views, index, val_index, test_index, device, progress
        )
        noisy = part.kind(
            part.train,
            torch.from_numpy(given[index]),
            source.classes,
            mean=source.mean,
            std=source.std,
            like=source.like,
            batch_size=chosen.batch_size,
            seed=seed,
            device=device,
            clean=None if clean is None else torch.from_numpy(clean[index]),
            transition=expected_transition(noise, rate, source) if "true T" in chosen.uses else None,
        )
        if part.stored is not None:
            noisy.stored = part.stored
        val = (part.val, given[val_index]) if len(val_index) else None
        if second is not None and features:
            print(
                f"{dataset}: its second test set, {second.name}, is not measured on features", file=sys.stderr
            )
            second = None
        if second is not None:
            second = (second.name, rows(second.x, second_index), second.y.numpy()[second_index])
        evaluator = Evaluator(
            noisy,
            given[index],
            truth,
            part.test,
            source.test_y.numpy()[test_index],
            val,
            second,
        )
        run = Run(
            folder,
            data=noisy,
            evaluator=evaluator,
            model=model,
            seed=seed,
            precision=precision,
            compile=compile,
            keep=tuple(keep),
            progress=progress,
            root=root,
            name=f"{name} seed {seed}",
            images=f"{source.fingerprint} {digest(index, test_index)}"
            + (f" {features} {feature_views}" if features else ""),
            on_epoch=on_epoch,
        )
        wrong = "unknown" if truth is None else f"{noise_models.actual_rate(given[index], truth):.1%}"
        if progress:
            print(f"{len(index)} training images, share of wrong labels: {wrong}", file=sys.stderr)
        try:
            function(noisy, chosen, run)
        except KeyboardInterrupt:
            if on_interrupt != "return":
                raise
            print(
                f"stopped: {folder} holds the last finished epoch, and the same call goes on from there",
                file=sys.stderr,
            )
            return open_run(folder)
        except torch.OutOfMemoryError:
            raise RunError(
                f"the {device.type} is out of memory: a smaller batch_size ({chosen.batch_size} now) or "
                f"network helps; {folder} holds the last finished epoch"
            ) from None
        if len(run.rows) < chosen.epochs:
            raise RunError(
                f"{name} ended after {len(run.rows)} of {chosen.epochs} epochs: its loop must be "
                "`for epoch in run.epochs(state, settings.epochs)`"
            )
        uses = [
            *chosen.uses,
            *(
                [f"{clean.mean():.0%} clean labels"]
                if clean is not None and settings_class.clean_share
                else []
            ),
        ]
        identity = {
            "method": name,
            "dataset": source.slug,
            "noise": slug,
            "rate": rate,
            "actual_rate": None if truth is None else noise_models.actual_rate(given[index], truth),
            "seed": seed,
            "preset": preset,
            "model": model,
            "train_images": len(index),
            "epochs": chosen.epochs,
        }
        save_atomically(folder / "summary.json", json_bytes(identity | summarise(run, uses)), durable=True)
        return open_run(folder)


class Parts(NamedTuple):
    """What networks see of each part of the data."""

    kind: type[NoisyData]
    train: torch.Tensor | Stream
    val: torch.Tensor | Stream | None
    test: torch.Tensor | Stream
    stored: dict | None  # rows of stored views


def images_or_features(
    source, features, chosen, views, index, val_index, test_index, device, progress
) -> Parts:
    """The images of each part, or their features on the principal axes of the training images'."""
    if not features:
        val = rows(source.x, val_index) if len(val_index) else None
        return Parts(NoisyData, rows(source.x, index), val, rows(source.test_x, test_index), None)
    asked = [getattr(chosen, key) for key in ("view", "teacher_view") if hasattr(chosen, key)]
    told = {"device": device, "progress": progress}
    x, axes, stored = features_for(source, features, index, asked, views, **told)
    val = features_for(source, features, val_index, axes=axes, **told)[0] if len(val_index) else None
    test = features_for(source, features, test_index, axes=axes, test=True, **told)[0]
    return Parts(FeatureData, x, val, test, stored)


def check_features(
    features: str | None, views: int, model: str, name: str, settings_class: type[Settings]
) -> None:
    """Refuse in one sentence what cannot be trained on features, and heads without them."""
    models.check(model)
    if features:
        for backbone in features.split(","):
            backbones.check(backbone.strip())
        if model not in models.HEADS:
            raise ValueError(
                f"the network {model} sees images, not features: choose one of {', '.join(models.HEADS)}"
            )
        if settings_class.needs_pixels:
            raise ValueError(
                f"{name} {settings_class.needs_pixels}, which features do not hold: train it on the images themselves"
            )
    elif settings_class.needs_features:
        raise ValueError(
            f"{name} is fitted to features of a pretrained network: name one, such as features={backbones.DEFAULT} (--features)"
        )
    elif model in models.HEADS:
        raise ValueError(
            f"the network {model} needs features: name a pretrained network, such as features={backbones.DEFAULT}"
        )
    if views < 0:
        raise ValueError(f"feature_views {views} is not allowed: 0 or more stored draws of each view")


def find_method(method, settings_class):
    """(name, train function, settings class) of a built-in name or of a function of one's own."""
    if isinstance(method, types.FunctionType):
        if any(method is known for known, _ in methods.METHODS.values()) and settings_class is Settings:
            raise ValueError(
                f"{method.__name__} is built in: ask for it by its name, one of {', '.join(methods.METHODS)}"
            )
        return method.__name__.removeprefix("train_"), method, settings_class
    if method not in methods.METHODS:
        raise ValueError(f"method {method!r} does not exist: {', '.join(methods.METHODS)}")
    return method, *methods.METHODS[method]


def check_choices(seed, precision: str, compile: str, keep, on_interrupt: str) -> tuple[int, tuple[str, ...]]:
    """(seed, keep) as a number and a tuple; what `train` does not know is refused in one sentence."""
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    if not isinstance(seed, Integral) or isinstance(seed, bool):
        raise ValueError(f"seed {seed!r} is not allowed: a whole number")
    for name, value, allowed in (
        ("precision", precision, PRECISIONS),
        ("compile", compile, (*COMPILES, "on")),
        ("on_interrupt", on_interrupt, ("return", "raise")),
        *(("keep", k, KEEPS) for k in keep),
    ):
        if value not in allowed:
            raise ValueError(f"{name} {value!r} does not exist: {', '.join(allowed)}")
    return int(seed), keep
