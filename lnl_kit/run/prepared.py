"""The images and labels of a run: the data set is read, labels are made wrong, a subset is chosen."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass

import numpy as np
import torch

from .. import data
from ..data import clean_subset, open_set
from ..data.batches import NoisyData
from ..data.labelling import (
    at_random,
    choose,
    choose_with,
    draw_labels,
    expected_transition,
    find_clean,
    hold_out,
    rows,
)
from ..data.noise import actual_rate
from ..data.streams import Stream
from ..features import kinds
from ..features.heads import Axes
from ..features.training import FeatureData, features_for
from .device import choose_precision
from .evaluate import Evaluator
from .identity import digest
from .plan import Resolved


@dataclass(frozen=True)
class Prepared:
    """What a run sees of a data set. Positions are those in the whole training (or test) set."""

    plan: Resolved
    source: data.Dataset
    given: np.ndarray  # (N,) int64, labels of the whole training set as the run sees them
    true: np.ndarray | None  # (N,) int64, None where unknown
    clean: np.ndarray | None  # (N,) bool, labels known to be right; None without such a subset
    index: np.ndarray  # positions of the training images, ascending
    val_index: np.ndarray  # positions of the images held out with their given labels
    test_index: np.ndarray
    second_index: np.ndarray | None  # of the second test set
    outside: np.ndarray | None = None  # (N,) bool, images of no class; None without open-set noise

    @property
    def truth(self) -> np.ndarray | None:
        """True labels (n,) of the training images."""
        return None if self.true is None else self.true[self.index]

    @property
    def known(self) -> np.ndarray | None:
        """bool (n,): the training images whose label is known to be right."""
        return None if self.clean is None else self.clean[self.index]

    @property
    def actual_rate(self) -> float | None:
        """The share of wrong labels among the training images, outsiders' among them; None where the truth is
        unknown.
        """
        return None if self.true is None else actual_rate(self.given[self.index], self.true[self.index])

    @property
    def precision(self) -> str:
        """bf16 or fp32: what the run computes in."""
        plan, asked = self.plan, self.plan.precision
        if asked == "auto" and not plan.settings_class.bears_bf16:
            return "fp32"
        return choose_precision(asked, plan.device, plan.model, self.source.x.shape[-1])

    @property
    def told(self) -> list[str]:
        """What the method is told beyond images and given labels."""
        told = list(self.plan.settings.told)
        if self.clean is not None and self.plan.settings_class.clean_share:
            told.append(f"{self.clean.mean():.0%} clean labels")
        return told

    @property
    def images(self) -> str:
        """Identifies the training and test images, whatever their labels."""
        plan = self.plan
        seen = f" {kinds.identity(plan.features)} {plan.feature_views}" if plan.features else ""
        return f"{self.source.fingerprint} {digest(self.index, self.test_index)}{seen}"

    @functools.cached_property
    def _features(self) -> tuple[torch.Tensor, Axes, dict[str, tuple[int, int]]]:
        """Of the training images: features with their stored views, axes, and which rows the views are."""
        plan, settings = self.plan, self.plan.settings
        views = [getattr(settings, key) for key in ("view", "teacher_view") if hasattr(settings, key)]
        return features_for(
            self.source, plan.features or "", self.index, views, plan.feature_views, device=plan.device
        )

    def seen(self, index: np.ndarray, test: bool = False) -> torch.Tensor | Stream:
        """What networks see of images: these, or their features on the axes of the training images'."""
        if not self.plan.features:
            return rows(self.source.test_x if test else self.source.x, index)
        axes, device = self._features[1], self.plan.device
        return features_for(self.source, self.plan.features, index, axes=axes, test=test, device=device)[0]

    def noisy_data(self) -> NoisyData:
        """What the method sees: no true labels."""
        plan, source, known = self.plan, self.source, self.known
        kind = FeatureData if plan.features else NoisyData
        noisy = kind(
            self._features[0] if plan.features else rows(source.x, self.index),
            torch.from_numpy(self.given[self.index]),
            source.classes,
            mean=source.mean,
            std=source.std,
            like=source.like,
            batch_size=plan.settings.batch_size,
            seed=plan.seed,
            device=plan.device,
            clean=None if known is None else torch.from_numpy(known),
            transition=expected_transition(plan.noise, plan.rate, source)
            if "true T" in plan.settings.told
            else None,
        )
        if isinstance(noisy, FeatureData):
            noisy.stored = self._features[2]
        return noisy

    def evaluator(self, noisy: NoisyData) -> Evaluator:
        """What measures the run; only it holds the true labels."""
        source, second = self.source, None
        val = (self.seen(self.val_index), self.given[self.val_index]) if len(self.val_index) else None
        if source.second_test is not None and self.plan.features:
            print(
                f"{source.second_test.name}, a second test set, is not measured on features", file=sys.stderr
            )
        elif source.second_test is not None and self.second_index is not None:
            name, x, y = source.second_test
            second = (name, rows(x, self.second_index), y.numpy()[self.second_index])
        test_y = source.test_y.numpy()[self.test_index]
        test_x = self.seen(self.test_index, test=True)
        outside = None if self.outside is None else self.outside[self.index]
        return Evaluator(noisy, self.given[self.index], self.truth, test_x, test_y, val, second, outside)


def prepare(plan: Resolved) -> Prepared:
    """Read the data set, draw its wrong labels and choose the images of the run.

    Raises ValueError or FileNotFoundError with one sentence for images or labels that cannot be used.
    """
    source = data.load(plan.dataset, **plan.reading)
    share, seed = plan.clean_share, plan.seed
    drawn = open_set.opened(source, plan.open_set, plan.imbalance, seed)
    source, outside = drawn.source, drawn.outside
    clean, checked = find_clean(source, share, plan.clean_list, plan.noise, seed)
    clean = None if clean is None else clean & ~outside
    given, true = draw_labels(
        source, plan.noise, plan.rate, seed, plan.label_column, clean, checked, share, outside | ~drawn.used
    )
    if plan.open_set:
        given, true = open_set.labelled(given, true, outside, len(source.classes), seed)
    index = chosen(plan, given, drawn, clean)
    test_there = np.flatnonzero(drawn.test_used)
    test_index = test_there[choose(source.test_y.numpy()[test_there], plan.test_size, 0)]
    second = source.second_test
    second_index = None if second is None else choose(second.y.numpy(), plan.test_size, 0)
    held_out = hold_out(len(index), plan.noisy_val, seed)
    index, val_index = index[~held_out], index[held_out]
    require_two_classes(given[index], len(val_index), plan)
    if clean is not None:
        clean_subset.require_every_class(given[index], clean[index], source.classes)
    seen = (index, val_index, test_index, second_index)
    return Prepared(plan, source, given, true, clean, *seen, outside if plan.open_set else None)


def chosen(plan: Resolved, given: np.ndarray, drawn: open_set.Opened, clean: np.ndarray | None) -> np.ndarray:
    """Sorted positions of the training images: of those that there are at most `train_size`, even over the
    classes or, where their counts are long-tailed, as they come.
    """
    there, size, seed = np.flatnonzero(drawn.used), plan.train_size, plan.seed
    if plan.imbalance:
        part = at_random(len(there), size, seed)
    elif plan.open_set:
        part = choose_with(drawn.outside[there], given[there], size, plan.open_set, seed)
    elif clean is None:
        part = choose(given, size, seed)
    else:
        part = choose_with(clean, given, size, plan.clean_share, seed)
    return there[part]


def require_two_classes(given: np.ndarray, held_out: int, plan: Resolved) -> None:
    """Raise ValueError with one sentence where the images that are left to train on are of one class.

    given (n,): their labels.
    """
    if len(given) >= 2 and len(np.unique(given)) >= 2:
        return
    left = f"{len(given)} training images of {len(np.unique(given))} classes"
    if held_out:
        raise ValueError(
            f"noisy_val {plan.noisy_val:g} holds out {held_out} of {held_out + len(given)} images, "
            "which leaves "
            f"{left}: at least two classes are needed, so a smaller share (--noisy-val)"
        )
    raise ValueError(f"{left} are left, at least two classes are needed: a larger train_size, or more images")
