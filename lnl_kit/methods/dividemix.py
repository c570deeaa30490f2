"""DivideMix: Learning with Noisy Labels as Semi-supervised Learning (Li, Socher, Hoi; ICLR 2020).

Two networks teach each other. A mixture of two Gaussians on a network's losses tells small losses (labels
likely right) from large ones; the *other* network then trains on that division: likely right labels are
refined, the rest are guessed by both networks, and MixMatch mixes all of them. The mean of both softmaxes is
tested.

Where this differs from the paper, or chooses where it is silent (values from the authors' code):
- A batch of B images is B/2 labelled and B/2 unlabelled ones, each in two views: the code's batch of 64 and
  64, and its warm-up batch of 128. As there, an epoch is one pass over all labelled images; its last batch is
  filled up with labelled images that come a second time, where the code's is smaller.
- The division is made at the end of an epoch instead of at the start of the next, which is the same division.
- Both networks are divided by losses on images without augmentation, in evaluation mode, scaled to [0, 1].
- A division that leaves fewer than two images labelled or unlabelled is replaced by one at the median.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.fit import fit_epoch
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses, mixup, models
from ..toolbox.models import Classifier
from ..toolbox.rng import generator
from ..toolbox.selection import small_loss_probability
from ..toolbox.semi_supervised import mean_softmax, repeated, sharpen


@dataclass(frozen=True, kw_only=True)
class DivideMix(Settings):
    """DivideMix: two networks split the labels for each other and treat the doubtful ones as missing."""

    learning_rate: float = 0.02  # of SGD, at the start; Sec. 4.2
    warmup: int = 10  # epochs of plain cross-entropy, at most half of all; the code's value for CIFAR-10
    warmup_entropy: bool = False  # reward uncertainty in the warm-up, as the paper does for asymmetric noise
    threshold: float = 0.5  # probability of a right label above which an image counts as labelled; Sec. 3.1
    sharpening: float = 0.5  # temperature of the guessed labels; Sec. 3.3
    mixup: float = 4.0  # Beta(mixup, mixup) of MixUp's coefficient; Sec. 4.2
    unsupervised: float = 25.0  # weight lambda_u of the unlabelled images' loss; Sec. 4.2 (0 to 150 by cell)
    ramp: int = 16  # epochs over which that weight rises from 0; the code
    average_losses: int = 1  # epochs whose losses are averaged before the division (5 at 90 % noise)
    view: str = "crop"  # augmentation of all four views

    search: ClassVar[dict] = {**Settings.search, "unsupervised": (1.0, 150.0, "log")}
    family: ClassVar[str] = "two networks"
    networks: ClassVar[int] = 2
    color: ClassVar[str | None] = "amber"
    paper: ClassVar[str | None] = "flywheel"

    @classmethod
    def readings(cls, dataset: str, noise: str, rate: float, look) -> dict:
        """The view of the code."""
        return {"view": "crop"}

    def __post_init__(self):
        super().__post_init__()
        refuse(self.warmup < 1, f"warmup {self.warmup} is not allowed: at least 1 epoch")
        refuse(not 0 < self.threshold < 1, f"threshold {self.threshold} is outside (0, 1)")
        refuse(
            not (self.sharpening > 0 and self.mixup > 0),
            f"sharpening {self.sharpening} and mixup {self.mixup} must be above 0",
        )
        refuse(
            min(self.unsupervised, self.ramp) < 0,
            f"unsupervised {self.unsupervised} and ramp {self.ramp} must be 0 or more",
        )
        refuse(self.average_losses < 1, f"average_losses {self.average_losses} is not allowed: at least 1")

    @property
    def divides_from(self) -> int:
        """The epoch, from 0, at which division begins: after the warm-up, or halfway in a shorter run."""
        return max(1, min(self.warmup, self.epochs // 2))


def train_dividemix(data: NoisyData, settings: DivideMix, run: Run) -> None:
    """Algorithm 1: warm up both networks, then let each train on the other's division."""
    nets = run.network(), run.network()
    (optimizer_1, schedule_1), (optimizer_2, schedule_2) = (run.sgd(net, settings) for net in nets)
    optimizers = optimizer_1, optimizer_2
    past = torch.zeros(2, settings.average_losses, len(data), device=run.device)  # scaled losses, newest last
    clean = torch.ones(2, len(data), device=run.device)  # probability of a right label, by each network
    state = run.state(
        network_1=nets[0],
        network_2=nets[1],
        optimizer_1=optimizer_1,
        optimizer_2=optimizer_2,
        schedule_1=schedule_1,
        schedule_2=schedule_2,
        past=past,
        clean=clean,
        tested=("network_1", "network_2"),
    )
    for epoch in run.epochs(state, settings.epochs):
        for i in range(2):
            if epoch < settings.divides_from:
                warm_up(nets[i], optimizers[i], ("warm-up", epoch, i), data, settings, run)
            else:
                others = nets[1 - i], clean[1 - i]
                train_divided(nets[i], *others, optimizers[i], (epoch, i), data, settings, run)
        probs = [models.probabilities(net, data.in_order(), run.autocast) for net in nets]
        for i in range(2):
            loss = -probs[i].gather(1, data.y[:, None])[:, 0].clamp(min=1e-12).log()
            loss = (loss - loss.min()) / (loss.max() - loss.min()).clamp(min=1e-12)
            past[i] = torch.cat((past[i, 1:], loss[None]))
            known = past[i, -min(epoch + 1, settings.average_losses) :]
            clean[i] = small_loss_probability(known.mean(0), seed=run.seed)
        schedule_1.step()
        schedule_2.step()
        run.log(
            clean_score=clean.mean(0), selected=clean.mean(0) > settings.threshold, new_labels=sum(probs) / 2
        )


def warm_up(
    network: Classifier,
    optimizer: torch.optim.Optimizer,
    draw,
    data: NoisyData,
    settings: DivideMix,
    run: Run,
) -> None:
    """Cross-entropy to the given labels for one epoch, with the entropy reward where asked for."""

    def loss(logits, y, idx):
        reward = losses.entropy(logits.float().softmax(1)) if settings.warmup_entropy else 0
        return losses.cross_entropy(logits, y) - reward

    fit_epoch(run, network, optimizer, data.batches(draw, views=settings.view), loss, "warm_up")


def train_divided(
    network: Classifier,
    other: Classifier,
    clean,
    optimizer: torch.optim.Optimizer,
    key,
    data: NoisyData,
    settings: DivideMix,
    run: Run,
) -> None:
    """One network's epoch on the division `clean` (N,) of the other: co-refinement, co-guessing, MixMatch.

    key: (epoch, number of the network), what the random numbers are for.
    """
    labelled, unlabelled = divide(clean, settings.threshold)
    half, k, epoch = max(1, settings.batch_size // 2), data.num_classes, key[0]
    draw = generator(run.seed, "divided", *key)
    steps = -(-len(labelled) // half)
    views = (settings.view,) * 2
    batches, without = (
        data.batches((name, *key), views, half, order=repeated(index, steps * half, draw))
        for name, index in (("labelled", labelled), ("unlabelled", unlabelled))
    )
    other.eval()
    for step, ((x, y, idx), (u, _, _)) in enumerate(zip(batches, without)):
        w = clean[idx][:, None]
        with torch.no_grad(), run.autocast():
            seen, guessed = (torch.cat(v) for v in (x, u))
            p_x = mean_softmax(network, seen)
            p_u = (mean_softmax(network, guessed) + mean_softmax(other, guessed)) / 2
        onehot = torch.nn.functional.one_hot(y, k).float()
        target_x = sharpen(w * onehot + (1 - w) * p_x, settings.sharpening)  # co-refinement
        target_u = sharpen(p_u, settings.sharpening)  # co-guessing
        inputs, targets = torch.cat((seen, guessed)), torch.cat((target_x,) * 2 + (target_u,) * 2)
        mix = mixup.draw(len(inputs), settings.mixup, inputs.device, own_half=True)
        with run.autocast():
            logits = network(mix(inputs))
        targets = mix(targets)
        weight = settings.unsupervised * min(
            1.0, (epoch - settings.divides_from + step / steps) / max(1e-9, settings.ramp)
        )
        probs = logits.float().softmax(1)
        optimizer.zero_grad()
        run.total(
            labelled=losses.cross_entropy(logits[: 2 * half], targets[: 2 * half]).mean(),
            unlabelled=weight * ((probs[2 * half :] - targets[2 * half :]) ** 2).mean(),
            balance=losses.evenness(probs),
        ).backward()
        optimizer.step()
    other.train()


def divide(clean: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
    """Indices that count as labelled and as unlabelled; split at the median where one has fewer than 2."""
    labelled = clean > threshold
    if min(labelled.sum(), (~labelled).sum()) < 2:
        labelled = torch.zeros_like(labelled)
        labelled[clean.argsort(descending=True, stable=True)[: len(clean) // 2]] = True
    return labelled.nonzero()[:, 0], (~labelled).nonzero()[:, 0]


METHODS = {"dividemix": (train_dividemix, DivideMix)}
