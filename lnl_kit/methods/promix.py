"""ProMix: Combating Label Noise via Maximizing Clean Sample Utility (Xiao, Dong, Wang, Feng, Wu, Chen, Zhao;
IJCAI 2023).

Two networks, each of which chooses labels to learn and then as many more as it can trust: in each class
the share of smallest loss (class-wise small loss), then every label that it gives almost surely (matched
high confidence), in the last epochs also classes on which both networks are almost sure (guessed by
agreement). Other images teach an auxiliary head alone, with the network's guess, so that what is guessed
wrongly does not confirm itself in the head that guesses. Logits are debiased by running averages of the
predictions (logit adjustment, Menon et al. 2021).

Where this differs, or chooses what the paper leaves to its release:
- FMix, a second mixture beside MixUp, is left out. One mixture serves both heads; in the release each has
  its own. An image's partner is a chosen one; the mixed batch holds all images, of which the chosen ones
  count.
- Shares of the epochs stand for 50 and 250 of the release's 600: the rise of the weights, and the last
  part.
- The auxiliary head's weight of unlabelled images rises over twice as long and stays; the release's code
  sets it to 0 where it has risen.
- The choice by loss is made at an epoch's end for the next, on images without augmentation.
- The mean of both networks' softmaxes is tested, where the release averages logits; learning rate, weight
  decay and batch are the recipe's. Asymmetric noise has an entropy reward in the warm-up of the release.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batches import NoisyData
from ..run.fit import fit_epoch
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses, mixup, models
from ..toolbox.models import Classifier
from ..toolbox.semi_supervised import sharpen


@dataclass(frozen=True, kw_only=True)
class ProMix(Settings):
    """ProMix: two networks choose labels class by class, add what they are sure of, and guess elsewhere."""

    warmup: int = 10  # epochs of plain cross-entropy, at most half of all; its release for CIFAR-10
    share: float = 0.5  # rho: share of the images that are chosen by small loss, class by class; its release
    sure: float = 0.99  # tau: probability above which a label, or a class of both, is trusted; its release
    guess_from: float = 0.583  # share of the epochs after which classes are guessed; 350 of 600, its release
    fill: float = 0.9  # share of a batch up to which they are; its release
    rise: float = 0.083  # share of the epochs over which the weights below rise; 50 of 600, its release
    unsupervised: float = 0.1  # weight of the other images for the auxiliary head in the end; its release
    sharpening: float = 0.5  # temperature of the guessed labels; its release
    debias: float = 0.8  # strength of the logit adjustment; its release for CIFAR-10
    bias_decay: float = 0.9999  # of the running averages of predictions, step by step; its release
    mixup: float = 4.0  # Beta(mixup, mixup) of MixUp's coefficient; its release
    strong_view: str = "strong"  # augmentation of the second view; its release: RandAugment and Cutout

    search: ClassVar[dict] = {**Settings.search, "share": (0.2, 0.8), "unsupervised": (0.01, 1.0, "log")}
    family: ClassVar[str] = "two networks"
    networks: ClassVar[int] = 2
    controls: ClassVar[dict] = {
        "small_loss": {"sure": 1.0, "unsupervised": 0.0},  # what is chosen by small loss, and no more
    }

    def __post_init__(self):
        super().__post_init__()
        refuse(self.warmup < 1, f"warmup {self.warmup} is not allowed: at least 1 epoch")
        for name in ("share", "sure", "fill", "bias_decay"):
            refuse(not 0 < getattr(self, name) <= 1, f"{name} {getattr(self, name)} is outside (0, 1]")
        for name in ("guess_from", "rise"):
            refuse(not 0 <= getattr(self, name) <= 1, f"{name} {getattr(self, name)} is outside [0, 1]")
        refuse(
            min(self.unsupervised, self.debias) < 0,
            f"unsupervised {self.unsupervised} and debias {self.debias} must be 0 or more",
        )
        refuse(
            not min(self.sharpening, self.mixup) > 0,
            f"sharpening {self.sharpening} and mixup {self.mixup} must be above 0",
        )

    @property
    def divides_from(self) -> int:
        """The epoch, from 0, at which labels are chosen: after the warm-up, or halfway in a shorter run."""
        return max(1, min(self.warmup, self.epochs // 2))

    def risen(self, epoch: int, times: float = 1.0) -> float:
        """How far a weight has risen in an epoch, from 0 to 1, over `times` the rise."""
        return min(1.0, epoch / max(1e-9, times * self.rise * self.epochs))


class Choice(NamedTuple):
    """What a network learns of a batch."""

    chosen: Tensor  # bool (B,): images that have a label
    target: Tensor  # (B, K): that label, one-hot
    guess: Tensor  # (B, K): the sharpened guess, for the other images


def train_promix(data: NoisyData, settings: ProMix, run: Run) -> None:
    """Warm up both networks; then each learns what it chooses, with the other's word on what is guessed."""
    nets = [run.network() for _ in range(2)]
    heads = [nn.Linear(net.head.in_features, data.num_classes).to(run.device) for net in nets]
    sgd = [run.sgd(net, settings, head) for net, head in zip(nets, heads)]
    small = torch.ones(2, len(data), dtype=torch.bool, device=run.device)  # chosen by small loss
    # running averages of each network's predictions of the images it chose, and of the others
    bias = torch.full((2, 2, data.num_classes), 1 / data.num_classes, device=run.device)
    state = run.state(
        network_1=nets[0],
        network_2=nets[1],
        auxiliary_1=heads[0],
        auxiliary_2=heads[1],
        optimizer_1=sgd[0][0],
        optimizer_2=sgd[1][0],
        schedule_1=sgd[0][1],
        schedule_2=sgd[1][1],
        small=small,
        bias=bias,
        tested=("network_1", "network_2"),
    )
    for epoch in run.epochs(state, settings.epochs):
        if epoch < settings.divides_from:
            for i, (net, (optimizer, _)) in enumerate(zip(nets, sgd)):
                batches = data.batches(("warm-up", epoch, i), views=settings.view)
                fit_epoch(run, net, optimizer, batches, plain, "warm_up")
        else:
            optimizers = [optimizer for optimizer, _ in sgd]
            train_epoch(nets, heads, optimizers, small, bias, epoch, data, settings, run)
        probs = [models.probabilities(net, data.in_order(), run.autocast) for net in nets]
        given = [p.gather(1, data.y[:, None])[:, 0] for p in probs]
        for chosen, score in zip(small, given):
            chosen.copy_(small_loss(score, data.y, data.num_classes, settings.share))
        for _, schedule in sgd:
            schedule.step()
        mean = sum(given) / 2
        run.log(clean_score=mean, selected=small.any(0) | (mean > settings.sure), new_labels=sum(probs) / 2)


def plain(logits: Tensor, y: Tensor, idx: Tensor) -> Tensor:
    """Cross-entropy (B,) with the given labels."""
    return losses.cross_entropy(logits, y)


def train_epoch(
    nets: list[Classifier],
    heads: list[nn.Linear],
    optimizers: list[torch.optim.Optimizer],
    small: Tensor,
    bias: Tensor,
    epoch: int,
    data: NoisyData,
    settings: ProMix,
    run: Run,
) -> None:
    """One epoch of both networks on the same batches; bias (2, 2, K) follows, in place."""
    guessing = epoch > settings.guess_from * settings.epochs
    for (weak, strong), y, idx in data.batches(epoch, views=(settings.view, settings.strong_view)):
        with run.autocast():
            features = [net.features(torch.cat((weak, strong))) for net in nets]
            own = [net.head(f).float() for net, f in zip(nets, features)]
        given = [z[: len(y)].detach() for z in own]
        agree = agreed(given[0].softmax(1), given[1].softmax(1), settings.sure) if guessing else None
        terms = {}
        for i, (net, head) in enumerate(zip(nets, heads)):
            choice = choose(given[i], y, small[i, idx], agree, bias[i], settings)
            mix = mixed_partners(choice.chosen, settings.mixup)
            with run.autocast():
                mixed = net.features(mix(weak))
                logits = torch.cat((own[i], net.head(mixed).float()))
                auxiliary = torch.cat((head(features[i]), head(mixed))).float()
            shift = settings.debias * bias[i].log()
            weights = settings.risen(epoch), settings.unsupervised * settings.risen(epoch, 2)
            terms[f"network_{i + 1}"] = labelled_loss(logits, choice, mix, shift[0], weights[0])
            terms[f"auxiliary_{i + 1}"] = labelled_loss(
                auxiliary, choice, mix, shift[0], weights[0]
            ) + weights[1] * guessed_loss(auxiliary, choice, shift[1], weights[0])
            follow(bias[i], given[i].softmax(1), choice.chosen, settings.bias_decay)
        for optimizer in optimizers:
            optimizer.zero_grad()
        run.total(**terms).backward()
        for optimizer in optimizers:
            optimizer.step()


def small_loss(score: Tensor, y: Tensor, num_classes: int, share: float) -> Tensor:
    """bool (N,): of each class of given labels as many images as `share` of an even class, of highest score
    (N,), the probability of the label; all of a smaller class.
    """
    most = math.ceil(share * len(y) / num_classes)
    chosen = torch.zeros(len(y), dtype=torch.bool, device=y.device)
    for k in range(num_classes):
        members = (y == k).nonzero()[:, 0]
        chosen[members[score[members].argsort(descending=True, stable=True)[: max(1, most)]]] = True
    return chosen


def agreed(p: Tensor, q: Tensor, sure: float) -> Tensor:
    """(B,) mean confidence where both networks (B, K) are surer than `sure` of the same class, else 0."""
    (of_p, class_p), (of_q, class_q) = p.max(1), q.max(1)
    both = (of_p > sure) & (of_q > sure) & (class_p == class_q)
    return torch.where(both, (of_p + of_q) / 2, 0.0)


def choose(
    logits: Tensor, y: Tensor, small: Tensor, agree: Tensor | None, bias: Tensor, settings: ProMix
) -> Choice:
    """Which images of a batch have a label and which; agree (B,) as of `agreed`, None = nothing is guessed.

    logits (B, K) without gradient; small (B,): chosen by small loss; bias (2, K): of chosen and other images.
    """
    k = logits.shape[1]
    onehot = F.one_hot(y, k).float()
    labelled = small | ((logits.softmax(1) * onehot).sum(1) > settings.sure)
    adjusted = logits - settings.debias * bias.log()[:, None]  # (2, B, K)
    own = F.one_hot(adjusted[0].argmax(1), k).float()
    chosen = labelled
    if agree is not None:
        free = int(settings.fill * len(y)) - labelled.sum()
        candidates = torch.where(labelled, 0.0, agree)
        rank = candidates.argsort(descending=True, stable=True).argsort()
        chosen = labelled | ((candidates > 0) & (rank < free))
    target = torch.where(labelled[:, None], onehot, own)
    return Choice(chosen, target, sharpen(adjusted[1].softmax(1), settings.sharpening))


def mixed_partners(chosen: Tensor, alpha: float) -> mixup.Mix:
    """MixUp whose partners are chosen images (B,), drawn at random; without any, all images."""
    mix = mixup.draw(len(chosen), alpha, chosen.device, own_half=True)
    first = mix.partner[chosen[mix.partner].float().argsort(descending=True, stable=True)]  # the chosen ones
    turn = torch.arange(len(chosen), device=chosen.device) % chosen.sum().clamp(min=1)
    return mixup.Mix(mix.share, first[turn])


def labelled_loss(logits: Tensor, choice: Choice, mix: mixup.Mix, shift: Tensor, rise: float) -> Tensor:
    """Cross-entropy (0-d) of the chosen images: weak view, and `rise` times strong view and mixture.

    logits (3 B, K): of the three, in this order; shift (K,): the logit adjustment.
    """
    weak, strong, mixed = (logits + shift).chunk(3)
    of_views = losses.cross_entropy(weak, choice.target) + rise * losses.cross_entropy(strong, choice.target)
    of_mixture = losses.cross_entropy(mixed, mix(choice.target))
    return mean_over(of_views + rise * of_mixture, choice.chosen)


def guessed_loss(logits: Tensor, choice: Choice, shift: Tensor, rise: float) -> Tensor:
    """Cross-entropy (0-d) of the other images with their guesses: weak view, and `rise` times strong view."""
    weak, strong, _ = (logits + shift).chunk(3)
    of_views = losses.cross_entropy(weak, choice.guess) + rise * losses.cross_entropy(strong, choice.guess)
    return mean_over(of_views, ~choice.chosen)


def mean_over(values: Tensor, which: Tensor) -> Tensor:
    """The mean (0-d) of values (B,) over marked images (B,); 0 without any."""
    return (values * which).sum() / which.sum().clamp(min=1)


def follow(bias: Tensor, p: Tensor, chosen: Tensor, decay: float) -> None:
    """Move the averages bias (2, K) towards the mean predictions (B, K) of chosen images and others."""
    for average, which in zip(bias, (chosen, ~chosen)):
        mean = (p * which[:, None]).sum(0) / which.sum().clamp(min=1)
        average.copy_(torch.where(which.any(), decay * average + (1 - decay) * mean, average))


METHODS = {"promix": (train_promix, ProMix)}
