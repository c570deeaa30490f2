"""The noise lab: one small network for each noise rate, all trained at once, and what each of them learned.

The networks see the same images in the same order; only their labels differ. They are one stacked network
(`stacked.Stacked`), so that ten rates cost little more than half of ten runs. Each starts, and sees its
images, as `lnl train METHOD --rate R --view none --batch-size 64` with the same seed and number of epochs
does: without crops, so that a short training memorises, and in batches of 64, which a stack of networks gains
most from.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch

from .. import data
from ..data import noise as noise_models
from ..data import open_set as open_sets
from ..data.batches import NoisyData
from ..data.labelling import choose, draw_labels
from ..data.streams import pick
from ..files import npz_bytes, read_npz, runs_root, save_atomically
from ..methods import BASELINE, METHODS
from ..methods.loss_only import LossOnly
from ..run.device import find_device
from ..run.evaluate import predict
from ..run.identity import method_digest
from ..run.loop import Run
from ..run.settings import make
from ..toolbox.rng import seed_of
from ..toolbox.stacked import Stacked

RATES = tuple(round(0.1 * k, 1) for k in range(10))
LOSSES = tuple(
    name for name, (_, settings) in METHODS.items() if issubclass(settings, LossOnly)
)  # methods that change the loss alone
EPOCHS = 20  # enough for cross-entropy to pass its best epoch and memorise, at every rate


@dataclass
class Lab:
    """Networks at R noise rates, on N images, tested on M. Probabilities: of the last finished epoch."""

    method: str
    noise: str
    rates: tuple[float, ...]
    classes: tuple[str, ...]
    given: np.ndarray  # (R, N) given labels
    true: np.ndarray  # (N,)
    test_true: np.ndarray  # (M,)
    test_accuracy: np.ndarray  # (epochs, R)
    memorized: np.ndarray  # (epochs, R), share of the wrong labels that are predicted; NaN without any
    train_probs: np.ndarray = field(repr=False)  # (R, N, K)
    test_probs: np.ndarray = field(repr=False)  # (R, M, K)
    seconds: float = 0.0

    def at(self, rate: float) -> int:
        """The position of a rate. Raises ValueError for one that was not trained, naming those that were."""
        for r, trained in enumerate(self.rates):
            if abs(trained - rate) < 1e-9:
                return r
        raise ValueError(f"rate {rate:g} was not trained: {', '.join(f'{r:g}' for r in self.rates)}")

    def actual_rate(self, rate: float) -> float:
        """The share of wrong labels that a rate really made."""
        return noise_models.actual_rate(self.given[self.at(rate)], self.true)

    def confusion(self, rate: float) -> np.ndarray:
        """(K, K): the share of each true class (row) of the test set that is predicted as each class."""
        k = len(self.classes)
        counts = np.zeros((k, k))
        np.add.at(counts, (self.test_true, self.test_probs[self.at(rate)].argmax(1)), 1)
        return counts / np.maximum(counts.sum(1, keepdims=True), 1)


def labels_at(dataset, noise: str, rate: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(given, true) labels (N,) of a data set under synthetic noise, as `lnl train` draws them. `dataset`: a
    name or a Dataset.
    """
    source = data.load(dataset) if isinstance(dataset, str) else dataset
    noise_models.check(noise, rate, source.like)
    true = np.asarray(source.given_labels if source.true_labels is None else source.true_labels)
    if noise == "none" or not rate:
        return true, true
    return draw_labels(source, noise, rate, seed, None)


def opened_at(
    dataset, noise: str, rate: float, open_set: float = 0.0, imbalance: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[str, ...]]:
    """(images (n, C, H, W), given (n,), true (n,), -1 = no class, class names and last "no class") of the
    training images under open-set noise and long-tailed counts too, as `lnl train` draws them.
    """
    source = data.load(dataset) if isinstance(dataset, str) else dataset
    noise_models.check(noise, rate, source.like)
    open_sets.check(open_set, imbalance, source.name, noise)
    found = open_sets.opened(source, open_set, imbalance if imbalance < 1 else None, seed)
    source, untouched = found.source, found.outside | ~found.used
    given, true = draw_labels(source, noise, rate, seed, None, untouched=untouched)
    given, true = open_sets.labelled(given, true, found.outside, len(source.classes), seed)
    index = np.flatnonzero(found.used)
    images = pick(source.x, torch.from_numpy(index))[:]
    return np.asarray(images), given[index], true[index], (*source.classes, "no class")


def train_rates(
    method: str = BASELINE,
    noise: str = "symmetric",
    rates: Sequence[float] = RATES,
    *,
    dataset: str = "digits",
    seed: int = 0,
    epochs: int = EPOCHS,
    train_size: int = 2000,
    on_epoch: Callable[[Lab], None] | None = None,
    out=None,
    device: str = "auto",
    **settings,
) -> Lab:
    """Train a loss-only method at all these noise rates at once.

    method: one of LOSSES. epochs, settings: of the recipe. train_size: at most so many training images, the
    same ones at every rate. on_epoch: called with what is known after each epoch (all but the training
    images' probabilities); a KeyboardInterrupt that it raises, or Ctrl-C, ends the training there. A finished
    lab is loaded when asked for again. Raises ValueError for bad input with one sentence.
    """
    if method not in LOSSES:
        raise ValueError(
            f"method {method!r} cannot be trained at many rates at once, only those that change the loss "
            f"alone: {', '.join(LOSSES)}"
        )
    rates, function = tuple(float(r) for r in rates), METHODS[method][0]
    if not rates:
        raise ValueError("no noise rates: give at least one, e.g. rates=(0, 0.5)")
    recipe = make(METHODS[method][1], **{"epochs": epochs, "view": "none", "batch_size": 64} | settings)
    source = data.load(dataset)
    labels = [labels_at(source, noise, rate, seed) for rate in rates]
    true = labels[0][1]
    index = choose(true, train_size, seed)
    given, true = np.stack([g for g, _ in labels])[:, index], true[index]
    digest = method_digest(function, type(recipe))
    decides = [method, noise, rates, seed, repr(recipe), source.fingerprint, len(index), digest]
    hash8 = hashlib.blake2b(json.dumps(decides).encode(), digest_size=4).hexdigest()
    folder = runs_root(out) / "lab" / f"{method}-{noise}-seed{seed}-{hash8}"
    if (folder / "lab.npz").exists():
        return _load(folder / "lab.npz", method, noise, rates, source.classes)
    folder.mkdir(parents=True, exist_ok=True)
    noisy = NoisyData(
        source.x[torch.from_numpy(index)],
        torch.from_numpy(given[0]),
        source.classes,
        mean=source.mean,
        std=source.std,
        like=source.like,
        batch_size=recipe.batch_size,
        seed=seed,
        device=find_device(device),
    )
    none = np.empty((0, len(rates)))
    labelled = (source.classes, given, true, source.test_y.numpy())
    lab = Lab(method, noise, rates, *labelled, none, none, np.empty(0), np.empty(0))
    run = Run(folder, data=noisy, evaluator=cast(Any, None), model="small_cnn", seed=seed, progress=False)
    if _train(lab, noisy, source.test_x, recipe, run, on_epoch):
        _save(lab, folder / "lab.npz")
    return lab


SAVED = ("given", "true", "test_true", "test_accuracy", "memorized", "train_probs", "test_probs")


def _load(path, method, noise, rates, classes) -> Lab:
    saved = read_npz(path)
    return Lab(method, noise, rates, classes, **{k: saved[k] for k in SAVED}, seconds=float(saved["seconds"]))


def _save(lab: Lab, path) -> None:
    kept = {k: getattr(lab, k) for k in SAVED} | {"seconds": lab.seconds}
    save_atomically(path, npz_bytes(kept, compressed=True))


def _train(lab: Lab, noisy: NoisyData, test_x, recipe, run: Run, on_epoch: Callable | None) -> bool:
    """Train the networks and keep `lab` up to date; False where Ctrl-C, or `on_epoch`, ended it early."""
    members: list[torch.nn.Module] = []
    stopped = False
    try:
        for trained in _epochs(lab, noisy, test_x, recipe, run):
            members = trained  # kept after the loop
            if on_epoch:
                on_epoch(lab)
    except KeyboardInterrupt:
        stopped = True  # as of the last finished epoch
    if members:
        started = time.perf_counter()
        lab.train_probs = np.stack([predict([m], noisy.x, noisy, run.autocast).numpy() for m in members])
        lab.seconds += time.perf_counter() - started
    return not stopped


def _epochs(lab: Lab, noisy: NoisyData, test_x, recipe, run: Run):
    """Train epoch by epoch, keeping `lab` up to date but for `train_probs`; yields the networks."""
    started, given = time.perf_counter(), torch.from_numpy(lab.given).to(noisy.device)
    first = run.network()
    stacked = Stacked([first] * len(lab.rates))  # the same start for all
    optimizer, schedule = run.sgd(stacked, recipe)
    label_sets = [_WithLabels(noisy, y) for y in given]  # for losses that look at the labels' frequencies
    for epoch in range(recipe.epochs):
        torch.manual_seed(seed_of(run.seed, "epoch", epoch))
        stacked.train()
        losses_of = [recipe.loss_at(epoch, labels) for labels in label_sets]
        for views, _, idx in noisy.batches(epoch, views=(recipe.view,) * recipe.views):
            images = views[0] if recipe.views == 1 else torch.cat(views)
            x, targets = _mixed(recipe, images, given[:, idx], noisy.num_classes)
            with run.autocast():
                logits = stacked(x)  # (R, views * B, K)
            loss = torch.stack([loss_of(z, y).mean() for loss_of, z, y in zip(losses_of, logits, targets)])
            optimizer.zero_grad()
            loss.sum().backward()
            optimizer.step()
        schedule.step()
        members = [
            stacked.member(n, first) for n in range(len(lab.rates))
        ]  # one after the other they predict faster
        lab.test_probs = np.stack([predict([m], test_x, noisy, run.autocast).numpy() for m in members])
        memorized = [
            _agreement(m, noisy, y, run)
            for m, y in zip(members, np.where(lab.given != lab.true, lab.given, -1))
        ]
        lab.test_accuracy = np.vstack(
            [lab.test_accuracy, (lab.test_probs.argmax(2) == lab.test_true).mean(1)]
        )
        lab.memorized = np.vstack([lab.memorized, memorized])
        lab.seconds = time.perf_counter() - started
        yield members


def _agreement(network, noisy: NoisyData, labels: np.ndarray, run: Run) -> float:
    """How often the network predicts these labels (N,), where they are not -1; NaN where all are."""
    at = np.flatnonzero(labels >= 0)
    if not len(at):
        return float("nan")
    return float(
        (
            predict([network], pick(noisy.x, torch.from_numpy(at)), noisy, run.autocast).numpy().argmax(1)
            == labels[at]
        ).mean()
    )


class _WithLabels:
    """A data set's labels under one noise rate, as `LossOnly.loss_at` looks at them."""

    def __init__(self, noisy: NoisyData, y: torch.Tensor):
        self.y, self.num_classes = y, noisy.num_classes

    def __len__(self) -> int:
        return len(self.y)


def _mixed(recipe, images: torch.Tensor, labels: torch.Tensor, num_classes: int) -> tuple[torch.Tensor, list]:
    """The images (B, C, H, W) that all networks see, and targets of labels (R, B), mixed alike."""
    state = torch.get_rng_state()
    targets = []
    for y in labels:
        torch.set_rng_state(state)
        x, target = recipe.mix(images, y, num_classes)
        targets.append(target)
    return x, targets
