"""PUDistill: Training Classifiers that are Universally Robust to All Label Noise Levels (Xu, Quek, Chong;
IJCNN 2021).

A few labels are known to be right. From them alone, without a look at the noisy labels, bags of binary
filters pick for each class the images that surely belong to it; teachers learn from these; a student learns
from everything, each label mixed with what the teachers say. What never sees a noisy label cannot depend on
the noise.

Where this differs from the paper, or chooses where it is silent:
- The filters of a bag train together as one stacked network; each keeps its own draw of images.
- A filter is a classifier of two classes: f(x) is the second one's softmax. Its learning rate, epochs and
  votes under `quick` and `demo` are ours, the votes chosen on the clean images by cross-validation (notebook
  21).
- An image that several classes accept goes to that with most votes, then the highest mean probability.
- K is not given: `iterations`. lambda weighs the teachers, as in (4); (1) has it on the given label.
- Teachers see a balanced subset redrawn each epoch (Sec. IV-B; III-B draws once: `teacher_sampling="fixed"`).
- Teachers label in evaluation mode, from images without augmentation. The released code leaves them in
  training mode and keeps the best epoch on the test images; here it is the last.
- `pseudo_label="clean"` is a control that the paper has not: the student on the clean images alone, without
  filters, teachers or a look at any other image. So is `iterations=0`: teachers of the clean images alone.
- MixUp mixes each batch with a permutation of itself, one coefficient a batch.
"""

from __future__ import annotations

import dataclasses
import sys
import time
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.evaluate import predict
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses
from ..toolbox.mixup import draw
from ..toolbox.rng import generator
from . import pu_filters

PSEUDO_LABELS = ("soft_bootstrap", "hard_bootstrap", "hard", "clean")
SAMPLING = ("redrawn", "fixed", "all")


# The released code's (lambda, eta) by the noise level in percent.
LEVELS = {
    "symmetric": {30: (0.4, 0.8), 40: (0.5, 0.9), 50: (0.5, 0.6), 60: (0.5, 0.5), 70: (0.9, 0.6)},
    "asymmetric": {30: (0.4, 0.8), 40: (0.4, 0.6), 50: (0.5, 0.5), 60: (0.7, 0.5), 70: (0.8, 0.5)},
}  # and (0.9, 0.5) above


@dataclass(frozen=True, kw_only=True)
class PUDistill(Settings):
    """PUDistill: filters and teachers from a few clean labels, a student robust at every noise level."""

    iterations: int = 2  # K: bags of filters, one after the other, for each class; 0 = no filters
    filters: int = 20  # N: binary classifiers in a bag
    sure: float = 0.7  # alpha in (3): from this probability on a filter votes for an image
    votes: int = 16  # theta in (3): votes that make an image a reliable positive
    filter_epochs: int = 20  # passes of a filter over its draw
    filter_batch_size: int = 16  # images per step of a filter, about
    filter_learning_rate: float = 0.05  # of SGD, at the start
    filter_milestones: tuple[float, ...] = (2 / 3,)  # shares of the epochs after which it drops
    warm_start: bool = False  # filters start from those of the iteration before, not from random weights
    teachers: int = 5  # N_t: networks whose mean prediction labels the images
    teacher_epochs: int = 40  # passes of a teacher over its balanced subset
    teacher_learning_rate: float = 0.05  # of SGD, at the start
    teacher_milestones: tuple[float, ...] = (0.3, 0.5, 0.8)  # shares of the epochs after which it drops
    teacher_sampling: str = "redrawn"  # a balanced subset, redrawn each epoch or fixed, or all accepted
    teacher_mixup: float = 2.0  # mu of MixUp's Beta(mu, mu), 0 = without; of the teachers
    teacher_entropy: float = 0.8  # weight of the entropy (2), 0 = without; of the teachers
    pseudo_label: str = "soft_bootstrap"  # soft_bootstrap (4), hard_bootstrap, hard (6); clean, a control
    teacher_weight: float = 0.9  # lambda in (4), (5)
    threshold: float = 0.4  # eta in (5), (6): teachers less sure than this leave a label as it stands
    mixup: float = 2.0  # mu of MixUp's Beta(mu, mu), 0 = without; of the student
    entropy: float = 0.8  # weight of the entropy (2), 0 = without; of the student

    clean_share: ClassVar[float] = 0.1

    family: ClassVar[str] = "the five papers"
    paper: ClassVar[str | None] = "pu_distill"
    memorise: ClassVar[dict] = {  # sure and votes by cross-validation on the clean images (notebook 21)
        "filter_batch_size": 128,
        "filter_epochs": 10,
        "filter_learning_rate": 0.01,
        "sure": 0.9,
        "votes": 14,
    }
    controls: ClassVar[dict] = {
        "clean_labels_alone": {"pseudo_label": "clean"},
        "without_filters": {"iterations": 0},
    }

    @classmethod
    def readings(cls, dataset: str, noise: str, rate: float, look) -> dict:
        """The released code's values; Table V's own lambda and eta are not given."""
        large = dataset == "clothing1m"  # shown as flipped centre crops
        values = {"view": "flip" if large else "crop", "iterations": 6 if large else 10, "entropy": 0.8}
        weight, threshold = LEVELS.get(noise, {}).get(round(100 * rate), (0.9, 0.5))
        return values | {"teacher_weight": weight, "threshold": threshold}

    @classmethod
    def read_cell(cls, cell: dict, dataset: str) -> dict:
        """Settings of all stages; milestones are in epochs, batch and MixUp are given once for all."""
        values = {
            "filter_batch_size": cell["batch_size"],
            "teacher_mixup": float(cell["mixup"]),
            "mixup": float(cell["mixup"]),
            "teacher_entropy": cell["entropy"],
            "gamma": cell["filter_lr_gamma"],
        }
        for stage, prefix in (("filter", "filter_"), ("teacher", "teacher_"), ("student", "")):
            epochs, drops = cell[f"{stage}_epochs"], cell[f"{stage}_lr_milestones"]
            drops = drops if isinstance(drops, tuple) else (drops,)
            values |= {
                f"{prefix}epochs": epochs,
                f"{prefix}learning_rate": cell[f"{stage}_learning_rate"],
                f"{prefix}milestones": tuple(e / epochs for e in drops),
            }
        return cell | values

    def __post_init__(self):
        super().__post_init__()
        counts = {k: getattr(self, k) for k in ("filters", "filter_epochs", "teachers", "teacher_epochs")}
        refuse(self.iterations < 0, f"iterations {self.iterations} is not allowed: 0 or more")
        refuse(
            min(counts.values()) < 1,
            f"{', '.join(f'{k} {v}' for k, v in counts.items())}: each must be at least 1",
        )
        refuse(
            self.filter_batch_size < 2,
            f"filter_batch_size {self.filter_batch_size} is not allowed: at least 2",
        )
        refuse(
            not 1 <= self.votes <= self.filters,
            f"votes {self.votes} of {self.filters} filters are not possible: 1 to {self.filters}",
        )
        refuse(not 0 < self.sure < 1, f"sure {self.sure} is outside (0, 1)")
        refuse(
            not min(self.filter_learning_rate, self.teacher_learning_rate) > 0,
            f"filter_learning_rate {self.filter_learning_rate} and teacher_learning_rate "
            f"{self.teacher_learning_rate} must be above 0",
        )
        refuse(
            any(not 0 < m < 1 for m in (*self.filter_milestones, *self.teacher_milestones)),
            "filter_milestones and teacher_milestones are shares of the epochs, each inside (0, 1)",
        )
        refuse(
            min(self.mixup, self.teacher_mixup, self.entropy, self.teacher_entropy) < 0,
            "mixup, teacher_mixup, entropy and teacher_entropy must be 0 or more",
        )
        refuse(
            self.pseudo_label not in PSEUDO_LABELS,
            f"pseudo_label {self.pseudo_label!r} does not exist: {', '.join(PSEUDO_LABELS)}",
        )
        refuse(
            self.teacher_sampling not in SAMPLING,
            f"teacher_sampling {self.teacher_sampling!r} does not exist: {', '.join(SAMPLING)}",
        )
        refuse(not 0 <= self.teacher_weight <= 1, f"teacher_weight {self.teacher_weight} is outside [0, 1]")
        refuse(not 0 <= self.threshold <= 1, f"threshold {self.threshold} is outside [0, 1]")


def train_pu_distill(data: NoisyData, settings: PUDistill, run: Run) -> None:
    """Algorithm 1: filters, teachers, student."""
    refuse(
        not bool(data.clean.any()),
        "pu_distill needs labels that are known to be right: --clean-share above 0, or --clean-list",
    )
    if settings.pseudo_label == "clean":
        return train_on_clean(data, settings, run)
    started = time.perf_counter()
    bags = pu_filters.train_filters(data, settings, run)
    accepted, test_accepted = (
        pu_filters.accept(bags["votes"][-1], bags["mean"], settings),
        pu_filters.accept(bags["test_votes"][-1], bags["test_mean"], settings),
    )
    accepted[data.clean] = -1  # their label is known
    none = [name for k, name in enumerate(data.classes) if not bool((accepted == k).any())]
    if none and settings.iterations:
        print(
            f"the filters accepted no image of {', '.join(none)}, which keep their clean images alone: lower "
            f"votes ({settings.votes} of {settings.filters}), lower sure ({settings.sure:g}), or give more "
            "clean labels",
            file=sys.stderr,
        )
    known = torch.where(data.clean, data.y, accepted)  # the augmented clean set P: a class, or -1
    warn_of_few(known, settings)
    filtered = time.perf_counter()
    by_teacher = [
        run.stage(
            f"teacher-{t}",
            lambda stage: train_teacher(stage, known, settings),
            pu_filters.teacher_depends(t, data, settings, run),
        )
        for t in range(settings.teachers)
    ]
    taught = time.perf_counter()
    teacher, test_teacher = (torch.stack([s[k] for s in by_teacher]).mean(0) for k in ("probs", "test_probs"))
    targets = student_targets(data, known, teacher, settings)
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, tested="network")
    forward = run.compiled(network)
    for epoch in run.epochs(state, settings.epochs):
        for x, _, idx in data.batches(epoch, views=settings.view):
            step(forward, x, targets[idx], settings.mixup, settings.entropy, optimizer, run)
        schedule.step()
        run.log(
            new_labels=targets,
            accepted=accepted,
            test_accepted=test_accepted,
            votes=bags["votes"],
            test_votes=bags["test_votes"],
            teacher_probs=teacher,
            test_teacher_probs=test_teacher,
            filter_seconds=filtered - started,
            teacher_seconds=taught - filtered,
        )


def warn_of_few(known: Tensor, settings: PUDistill) -> None:
    """Say so where the balanced subset of `known` (N,), a class or -1, fills less than two batches."""
    counts = known[known >= 0].bincount()
    images = int(counts.min()) * len(counts)
    if settings.teacher_sampling != "all" and images < 2 * settings.batch_size:
        print(
            f"the teachers see {images} images an epoch, as many of each class as of the rarest: "
            f"{max(1, images // settings.batch_size)} step of {min(images, settings.batch_size)}",
            file=sys.stderr,
        )


def train_on_clean(data: NoisyData, settings: PUDistill, run: Run) -> None:
    """The control: what the clean labels are worth alone."""
    network, clean = run.network(), data.clean.nonzero()[:, 0].cpu()
    targets = torch.nn.functional.one_hot(data.y, data.num_classes).float()
    optimizer, schedule = run.sgd(network, settings)
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, tested="network")
    forward = run.compiled(network)
    for epoch in run.epochs(state, settings.epochs):
        order = clean[torch.randperm(len(clean), generator=generator(run.seed, "order of clean", epoch))]
        for x, _, idx in data.batches(epoch, views=settings.view, order=order):
            step(forward, x, targets[idx], settings.mixup, settings.entropy, optimizer, run)
        schedule.step()
        run.log()


# ---- teachers and student


def train_teacher(stage: Run, known: Tensor, settings: PUDistill) -> dict[str, Tensor]:
    """A teacher on the augmented clean set, `known` (N,) a class or -1: its probabilities of all images."""
    data = stage.data
    recipe = dataclasses.replace(
        settings,
        epochs=settings.teacher_epochs,
        learning_rate=settings.teacher_learning_rate,
        milestones=settings.teacher_milestones,
        schedule="steps",
    )
    network = stage.network()
    optimizer, schedule = stage.sgd(network, recipe)
    state = stage.state(network=network, optimizer=optimizer, schedule=schedule, tested="network")
    forward, labels = (
        stage.compiled(network),
        torch.nn.functional.one_hot(known.clamp(min=0), data.num_classes).float(),
    )
    for epoch in stage.epochs(state, settings.teacher_epochs):
        order = subset(known, settings.teacher_sampling, epoch, stage.seed)
        for x, _, idx in data.batches(epoch, views=settings.view, order=order):
            step(forward, x, labels[idx], settings.teacher_mixup, settings.teacher_entropy, optimizer, stage)
        schedule.step()
    return {
        "probs": predict([network], data.x, data, stage.autocast),
        "test_probs": predict([network], stage.test_images, data, stage.autocast),
    }


def subset(known: Tensor, sampling: str, epoch: int, seed: int) -> Tensor:
    """Shuffled indices for a teacher's epoch: equally many of each class in known (N,), or "all"."""
    known = known.cpu()
    if sampling == "all":
        chosen = (known >= 0).nonzero()[:, 0]
    else:
        draw = generator(seed, "subset", epoch if sampling == "redrawn" else 0)
        members = [(known == k).nonzero()[:, 0] for k in range(int(known.max()) + 1)]
        fewest = min(map(len, members))
        chosen = torch.cat([m[torch.randperm(len(m), generator=draw)[:fewest]] for m in members])
    return chosen[torch.randperm(len(chosen), generator=generator(seed, "order of subset", epoch))]


def student_targets(data: NoisyData, known: Tensor, teacher: Tensor, settings: PUDistill) -> Tensor:
    """Pseudo-labels (N, K) by (4)-(6): accepted images have their new class as label, clean ones keep theirs.

    known (N,): a class, or -1. teacher (N, K): the teachers' mean probabilities.
    """
    y = torch.nn.functional.one_hot(torch.where(known >= 0, known, data.y), data.num_classes).float()
    hard = torch.nn.functional.one_hot(teacher.argmax(1), data.num_classes).float()
    if settings.pseudo_label == "hard":
        new = hard
    else:
        prediction = teacher if settings.pseudo_label == "soft_bootstrap" else hard
        new = settings.teacher_weight * prediction + (1 - settings.teacher_weight) * y
    trusted = (teacher.amax(1) >= settings.threshold) & ~data.clean
    return torch.where(trusted[:, None], new, y)


def step(
    forward,
    x: Tensor,
    target: Tensor,
    mixup: float,
    entropy: float,
    optimizer: torch.optim.Optimizer,
    run: Run,
) -> None:
    """One step on x (B, C, H, W) and targets (B, K): cross-entropy on MixUp pairs, and the entropy (2)."""
    if mixup:
        mix = draw(len(x), mixup, x.device)
        x, target = mix(x), mix(target)
    with run.autocast():
        logits = forward(x)
    terms = {"labels": losses.cross_entropy(logits, target).mean()}
    if entropy:
        terms["entropy"] = entropy * losses.entropy(logits.float().softmax(1)).mean()
    optimizer.zero_grad()
    run.total(**terms).backward()
    optimizer.step()


METHODS = {"pu_distill": (train_pu_distill, PUDistill)}
