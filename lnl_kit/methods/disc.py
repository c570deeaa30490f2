"""DISC: Learning from Noisy Labels via Dynamic Instance-Specific Selection and Correction (Li, Han, Shan,
Chen; CVPR 2023).

How sure a network is rises for each image at its own pace. So each image has a threshold of its own, a
running average of the largest probability, for a weak and for a strong view. A label whose probability is
above it in both views is clean, in one of them hard; an image of neither kind on whose class both views
are far above it takes that class for its label. Clean labels are learned by cross-entropy, hard ones by
generalised cross-entropy, and all three kinds are mixed.

Where this differs, or chooses what the paper leaves to its release:
- The first epochs, 20 of 200 on CIFAR-10 in the release, are a share; the probabilities are those of the
  training batches, in training mode, and the sets are made at an epoch's end for the next.
- The release's optimiser has no momentum and a weight decay of 1e-3; here they are the recipe's.
- Correction asks for sigma above the mean of both thresholds, at most 0.9, as in the release.
- The mixture of a batch has one share and one permutation a view; both views and both mixtures go through
  the network in two batches, as in the release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses, mixup
from ..toolbox.models import Classifier
from ..toolbox.rng import generator


@dataclass(frozen=True, kw_only=True)
class DISC(Settings):
    """DISC: each image has thresholds of its own, above which its label is clean, hard or corrected."""

    warmup: float = 0.1  # share of the epochs of cross-entropy on both views; 20 of 200 in its release
    decay: float = 0.99  # lambda: what stays of a threshold in an epoch; its release, 0.95 for much noise
    correction: float = 0.5  # sigma: how far above its thresholds a class has to be to replace a label
    most: float = 0.9  # the most that a correction asks for; its release
    q: float = 0.7  # of the hard labels' generalised cross-entropy; Sec. 3
    hard: float = 1.0  # lambda_H: weight of the hard labels; 0.2 in its release at 60 % noise and above
    mixup: float = 5.0  # of Beta(mixup, mixup), the larger share to the first; its release
    strong_view: str = "strong"  # augmentation of the second view; RandAugment in the paper

    search: ClassVar[dict] = {**Settings.search, "decay": (0.8, 0.999), "correction": (0.1, 0.8)}
    family: ClassVar[str] = "new labels"
    controls: ClassVar[dict] = {
        "no_correction": {"most": 1.0, "correction": 1.0},  # no label is replaced
        "one_threshold": {"decay": 0.0},  # the image's last confidence is its threshold
    }

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 <= self.warmup <= 1, f"warmup {self.warmup} is outside [0, 1]")
        refuse(not 0 <= self.decay < 1, f"decay {self.decay} is outside [0, 1)")
        refuse(self.correction < 0, f"correction {self.correction} is not allowed: 0 or more")
        refuse(not 0 < self.q <= 1, f"q {self.q} is outside (0, 1]")
        refuse(not 0 < self.most <= 1, f"most {self.most} is outside (0, 1]")
        refuse(self.hard < 0, f"hard {self.hard} is not allowed: 0 or more")
        refuse(not self.mixup > 0, f"mixup {self.mixup} is not allowed: above 0")

    @property
    def warmup_epochs(self) -> int:
        """Epochs of cross-entropy, at least one."""
        return max(1, round(self.warmup * self.epochs))


class Sets(NamedTuple):
    """What an epoch's predictions say of each image."""

    clean: Tensor  # bool (N,): the label is above the threshold in both views
    hard: Tensor  # bool (N,): in one of them
    corrected: Tensor  # bool (N,): neither, and both views are sure of a class
    labels: Tensor  # int64 (N,): the given label, or that class

    @property
    def used(self) -> Tensor:
        """bool (N,): images of one of the three."""
        return self.clean | self.hard | self.corrected


def train_disc(data: NoisyData, settings: DISC, run: Run) -> None:
    """Cross-entropy on both views, then clean, hard and corrected labels, chosen anew after each epoch."""
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    n, k, device = len(data), data.num_classes, run.device
    probs = torch.zeros(2, n, k, device=device)  # of the weak and the strong view, when last seen
    thresholds = torch.full((2, n), 1 / n, device=device)  # tau; the release starts there
    clean, hard, corrected = (torch.zeros(n, dtype=torch.bool, device=device) for _ in range(3))
    labels = data.y.clone()
    state = run.state(
        network=network,
        optimizer=optimizer,
        schedule=schedule,
        probs=probs,
        thresholds=thresholds,
        clean=clean,
        hard=hard,
        corrected=corrected,
        labels=labels,
        tested="network",
    )
    for epoch in run.epochs(state, settings.epochs):
        sets = None if epoch < settings.warmup_epochs else Sets(clean, hard, corrected, labels)
        train_epoch(network, optimizer, sets, probs, epoch, data, settings, run)
        schedule.step()
        for kept, now in zip((clean, hard, corrected, labels), divide(probs, thresholds, data.y, settings)):
            kept.copy_(now)
        thresholds.mul_(settings.decay).add_(probs.amax(2), alpha=1 - settings.decay)
        given = probs.gather(2, data.y.expand(2, -1)[..., None])[..., 0]  # (2, N)
        run.log(selected=clean | hard, clean_score=given.mean(0), new_labels=labels)


def train_epoch(
    network: Classifier,
    optimizer: torch.optim.Optimizer,
    sets: Sets | None,
    probs: Tensor,
    epoch: int,
    data: NoisyData,
    settings: DISC,
    run: Run,
) -> None:
    """An epoch on both views, without sets by cross-entropy; probs (2, N, K) are noted, in place."""
    forward, k, step = run.compiled(network), data.num_classes, 0
    order = torch.randperm(len(data), generator=generator(run.seed, "order", epoch))
    mixed = torch.zeros(len(data), dtype=torch.bool) if sets is None else sets.used.cpu()
    # where in its batch each image lies that is mixed: known before the loop, so that no batch waits for it
    places = [mixed[part].nonzero()[:, 0].to(run.device) for part in order.split(data.batch_size)]
    views = settings.view, settings.strong_view
    for step, (x, y, idx) in enumerate(data.batches(epoch, views=views, order=order.to(run.device))):
        with run.autocast():
            logits = forward(torch.cat(x))
        both = logits.float().chunk(2)
        for view, of_view in zip(probs, both):
            view[idx] = of_view.detach().softmax(1)
        if sets is None:
            terms = {"warm_up": losses.added(losses.cross_entropy(z, y) for z in both).mean()}
        else:
            terms = selected_terms(both, y, sets.clean[idx], sets.hard[idx], settings)
            if len(place := places[step]) > 1:
                onehot = F.one_hot(sets.labels[idx[place]], k).float()
                terms["mixed"] = losses.added(
                    mixed_loss(forward, view[place], onehot, settings.mixup, run) for view in x
                )
        optimizer.zero_grad()
        run.total(**terms).backward()
        optimizer.step()


def selected_terms(both, y: Tensor, clean: Tensor, hard: Tensor, settings: DISC) -> dict[str, Tensor]:
    """Cross-entropy of clean labels and generalised cross-entropy of hard ones, of both views' logits.

    Each is a sum over its images, divided by the batch: a set weighs as much as it holds.
    """
    of_clean = losses.added(losses.cross_entropy(z, y) for z in both)
    of_hard = losses.added(losses.gce(z, y, settings.q) for z in both)
    return {
        "clean": (of_clean * clean).mean(),
        "hard": settings.hard * (of_hard * hard).mean(),
    }


def mixed_loss(forward, x: Tensor, onehot: Tensor, alpha: float, run: Run) -> Tensor:
    """MixUp's cross-entropy (0-d) of images x with targets (n, K)."""
    mix = mixup.draw(len(x), alpha, x.device, own_half=True)
    with run.autocast():
        logits = forward(mix(x))
    return losses.cross_entropy(logits, mix(onehot)).mean()


def divide(probs: Tensor, thresholds: Tensor, y: Tensor, settings: DISC) -> Sets:
    """The sets by both views' probabilities (2, N, K), their thresholds (2, N) and given labels (N,)."""
    above = probs.gather(2, y.expand(2, -1)[..., None])[..., 0] > thresholds
    clean, hard = above.all(0), above[0] ^ above[1]
    confidence, predicted = probs.mean(0).max(1)
    needed = (thresholds.mean(0) + settings.correction).clamp(max=settings.most)
    corrected = (confidence > needed) & ~(clean | hard)
    return Sets(clean, hard, corrected, torch.where(corrected, predicted, y))


METHODS = {"disc": (train_disc, DISC)}
