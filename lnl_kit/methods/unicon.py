"""UNICON: Combating Label Noise Through Uniform Selection and Contrastive Learning (Karim, Rizve, Rahnavard,
Mian, Shah; CVPR 2022).

Two networks, as in DivideMix, but the images whose labels are kept are chosen class by class, equally many of
each: those whose label is nearest to the prediction in Jensen-Shannon divergence. The rest are unlabelled,
and teach by their guessed labels (MixMatch) and, without any label, by a contrastive loss between two strong
views.

Where this differs from the paper, or chooses where it is silent (values from the authors' code):
- The divergence is in bits, so that it lies in [0, 1]. The release measures in nats, in which it never
  reaches the 0.7 from which the cut-off is lowered.
- A batch of B images is B/2 labelled and B/2 unlabelled ones, each in two weak and two strong views; an epoch
  is one pass over all labelled images, the last batch filled up with some that come a second time. Weak views
  make the labels, strong ones are learned.
- The mixed and the unmixed strong views go through the network as one batch, so that BatchNorm sees them
  together.
- The division is made at the end of an epoch for the next, by the mean prediction of both networks, so it is
  the same for both.
- A share outside [1/K, 0.9] is moved to its end: both kinds of image are needed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.batches import NoisyData
from ..run.evaluate import predict
from ..run.fit import fit_epoch
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses, mixup, models
from ..toolbox.models import Classifier
from ..toolbox.rng import generator
from ..toolbox.semi_supervised import mean_softmax, repeated, sharpen


@dataclass(frozen=True, kw_only=True)
class Unicon(Settings):
    """UNICON: labels are kept evenly over the classes, other images teach without theirs, by contrast too."""

    learning_rate: float = 0.02  # of SGD, at the start; its release
    weight_decay: float = 5e-4  # L2 penalty of SGD; its release
    warmup: int = 10  # epochs of plain cross-entropy, at most half of all; its release for CIFAR-10
    cutoff: float = 0.7  # d_mu: mean divergence in bits above which fewer labels are kept
    cutoff_divisor: float = 5.0  # tau: then the cut-off goes this part of the way to the smallest divergence
    sharpening: float = 0.5  # temperature of the guessed labels
    mixup: float = 4.0  # Beta(mixup, mixup) of MixUp's coefficient
    unsupervised: float = 30.0  # weight lambda_u of the unlabelled images' loss
    ramp: int = 16  # epochs over which that weight rises from 0
    contrastive: float = 0.025  # weight lambda_c of the contrastive loss, 0 = without
    temperature: float = 0.5  # of the contrastive loss
    view: str = "crop"  # augmentation of the two weak views
    strong_view: str = "strong"  # augmentation of the two strong views

    family: ClassVar[str] = "two networks"
    networks: ClassVar[int] = 2

    def __post_init__(self):
        super().__post_init__()
        refuse(self.warmup < 1, f"warmup {self.warmup} is not allowed: at least 1 epoch")
        refuse(not 0 <= self.cutoff <= 1, f"cutoff {self.cutoff} is outside [0, 1]")
        refuse(self.cutoff_divisor < 1, f"cutoff_divisor {self.cutoff_divisor} is not allowed: at least 1")
        refuse(
            not min(self.sharpening, self.mixup, self.temperature) > 0,
            f"sharpening {self.sharpening}, mixup {self.mixup} and temperature {self.temperature} must be "
            "above 0",
        )
        refuse(
            min(self.unsupervised, self.ramp, self.contrastive) < 0,
            f"unsupervised {self.unsupervised}, ramp {self.ramp} and contrastive {self.contrastive} must be "
            "0 or more",
        )

    @property
    def divides_from(self) -> int:
        """The epoch, from 0, at which division begins: after the warm-up, or halfway in a shorter run."""
        return max(1, min(self.warmup, self.epochs // 2))


def train_unicon(data: NoisyData, settings: Unicon, run: Run) -> None:
    """Warm up both networks; then let each train on the images selected by both."""
    nets = [run.network() for _ in range(2)]
    heads = [models.projection(net.head.in_features).to(run.device) for net in nets]
    sgd = [run.sgd(net, settings, head) for net, head in zip(nets, heads)]
    distance = torch.zeros(len(data), device=run.device)
    state = run.state(
        network_1=nets[0],
        network_2=nets[1],
        projector_1=heads[0],
        projector_2=heads[1],
        optimizer_1=sgd[0][0],
        optimizer_2=sgd[1][0],
        schedule_1=sgd[0][1],
        schedule_2=sgd[1][1],
        distance=distance,
        tested=("network_1", "network_2"),
    )
    for epoch in run.epochs(state, settings.epochs):
        for i, (optimizer, schedule) in enumerate(sgd):
            if epoch < settings.divides_from:
                fit_epoch(
                    run,
                    nets[i],
                    optimizer,
                    data.batches(("warm-up", epoch, i), views=settings.view),
                    lambda logits, y, idx: losses.cross_entropy(logits, y),
                    "warm_up",
                )
            else:
                parts = nets[i], nets[1 - i], heads[i], optimizer
                train_divided(*parts, distance, (epoch, i), data, settings, run)
            schedule.step()
        probs = predict(nets, data.x, data, run.autocast).to(run.device)
        distance.copy_(divergence(probs, data.y))
        run.log(clean_score=1 - distance, selected=select(distance, data, settings), new_labels=probs)


def train_divided(
    network: Classifier,
    other: Classifier,
    projector,
    optimizer: torch.optim.Optimizer,
    distance,
    key,
    data: NoisyData,
    settings: Unicon,
    run: Run,
) -> None:
    """One network's epoch: labels refined and guessed on weak views, learned on strong ones.

    key: (epoch, number of the network), what the random numbers are for.
    """
    chosen = select(distance, data, settings)
    labelled, unlabelled = chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]
    half, epoch = max(1, settings.batch_size // 2), key[0]
    draw, steps = generator(run.seed, "divided", *key), -(-len(labelled) // half)
    views = (settings.view,) * 2 + (settings.strong_view,) * 2
    batches, without = (
        data.batches((name, *key), views, half, order=repeated(index, steps * half, draw))
        for name, index in (("labelled", labelled), ("unlabelled", unlabelled))
    )
    other.eval()
    for step, ((x, y, idx), (u, _, _)) in enumerate(zip(batches, without)):
        w = 1 - distance[idx][:, None]
        with torch.no_grad(), run.autocast():
            seen, guessed = torch.cat(x[:2]), torch.cat(u[:2])
            p_x = mean_softmax(network, seen)
            p_u = (mean_softmax(network, guessed) + mean_softmax(other, guessed)) / 2
        target_x = sharpen(w * F.one_hot(y, data.num_classes) + (1 - w) * p_x, settings.sharpening)
        target_u = sharpen(p_u, settings.sharpening)
        targets = torch.cat((target_x, target_x, target_u, target_u))
        mix = mixup.draw(4 * half, settings.mixup, targets.device, own_half=True)
        with run.autocast():
            features = network.features(torch.cat((mix(torch.cat((*x[2:], *u[2:]))), *u[2:])))
            logits = network.head(features[: 4 * half])
            z1, z2 = projector(features[4 * half :]).chunk(2)
        probs, targets = logits.float().softmax(1), mix(targets)
        weight = settings.unsupervised * min(
            1.0, (epoch - settings.divides_from + step / steps) / max(1e-9, settings.ramp)
        )
        optimizer.zero_grad()
        run.total(
            labelled=losses.cross_entropy(logits[: 2 * half], targets[: 2 * half]).mean(),
            unlabelled=weight * ((probs[2 * half :] - targets[2 * half :]) ** 2).mean(),
            balance=losses.evenness(probs),
            contrastive=settings.contrastive * losses.contrastive(z1, z2, settings.temperature).mean(),
        ).backward()
        optimizer.step()
    other.train()


def divergence(probs: Tensor, y: Tensor) -> Tensor:
    """Jensen-Shannon divergence (N,) in bits, in [0, 1], of predictions (N, K) and given labels (N,)."""
    return losses.jsd((0.5, 0.5), F.one_hot(y, probs.shape[1]).float(), probs).clamp(min=0) / math.log(2)


def kept_share(distance: Tensor, num_classes: int, settings: Unicon) -> float:
    """The share of labels that are kept: nearer than the cut-off, the mean divergence or less."""
    cutoff = distance.mean()
    if cutoff > settings.cutoff:
        cutoff = cutoff - (cutoff - distance.min()) / settings.cutoff_divisor
    return min(0.9, max(1 / num_classes, (distance < cutoff).float().mean().item()))


def select(distance: Tensor, data: NoisyData, settings: Unicon) -> Tensor:
    """bool (N,): in each class of given labels the same number of images, those of least divergence (N,)."""
    each = max(2, round(kept_share(distance, data.num_classes, settings) * len(data) / data.num_classes))
    chosen = torch.zeros(len(data), dtype=torch.bool, device=distance.device)
    for k in range(data.num_classes):
        members = (data.y == k).nonzero()[:, 0]
        chosen[members[distance[members].argsort(stable=True)[:each]]] = True
    return chosen


METHODS = {"unicon": (train_unicon, Unicon)}
