"""Baselines that change nothing but the loss, sharing one loop.

Their parameters' defaults are those of NRD's Table 5 (values of the GJS paper) for CIFAR-10 with 40 %
symmetric noise, except GCE's q = 0.7 (its own paper); each cell's values belong to the `paper` presets.

Where this differs: `gjs` sends its two views through the network as one batch of 2B images, so that BatchNorm
sees both; the papers do not say.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Bound, Settings, refuse
from ..toolbox import losses, mixup


def train_loss_only(data: NoisyData, settings: LossOnly, run: Run) -> None:
    """Minimise `settings.loss(logits, y)` per image, on one view, or on two where `settings.views` is 2."""
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    clean_score = torch.full(
        (len(data),), float("nan"), device=run.device
    )  # small loss = clean; NaN = not yet seen
    state = run.state(
        network=network, optimizer=optimizer, schedule=schedule, clean_score=clean_score, tested="network"
    )
    forward = run.compiled(network)
    for epoch in run.epochs(state, settings.epochs):
        loss_of = settings.loss_at(epoch, data)
        for views, y, idx in data.batches(epoch, views=(settings.view,) * settings.views):
            x, target = settings.mix(
                views[0] if settings.views == 1 else torch.cat(views), y, data.num_classes
            )
            with run.autocast():
                logits = forward(x)  # (views * B, K)
            loss = loss_of(logits, target)  # (B,)
            optimizer.zero_grad()
            run.total(loss=loss.mean()).backward()
            optimizer.step()
            clean_score[idx] = -loss.detach()
        schedule.step()
        if settings.loss_ranks_labels:
            run.log(clean_score=clean_score)


@dataclass(frozen=True, kw_only=True)
class LossOnly(Settings):
    """The recipe and a loss."""

    views = 1
    loss_ranks_labels: ClassVar[bool] = True  # a larger loss makes a wrong label more probable

    family: ClassVar[str] = "a loss"

    def loss_at(self, epoch, data):
        """The loss of this epoch, a function of logits and target."""
        return self.loss

    def mix(self, x, y, num_classes):
        """What the network sees and its target."""
        return x, y

    def loss(self, logits, y):
        """(B,) loss of logits (B, K) on given labels (B,)."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(LossOnly):
    """Cross-entropy: the usual loss, which memorises wrong labels."""

    # A divergence as printed has a gradient 13.3 times smaller at the start: so much of a gain is step size.
    controls: ClassVar[dict] = {"small_steps": {"learning_rate": 0.0075}}
    color: ClassVar[str | None] = "red"
    bound: ClassVar[Bound] = Bound(
        cases=(("preact_resnet18", 32), ("preact_resnet34_cifar", 32), ("small_cnn", 16)),
        settings={"view": "randaugment"},
    )

    def loss(self, logits, y):
        """Cross-entropy."""
        return losses.cross_entropy(logits, y)


@dataclass(frozen=True, kw_only=True)
class MAE(LossOnly):
    """Mean absolute error, 1 - p(y): robust by symmetry, slow to fit (Ghosh et al. 2017)."""

    def loss(self, logits, y):
        """1 - p(y)."""
        return losses.mae(logits, y)


@dataclass(frozen=True, kw_only=True)
class BootstrapSoft(LossOnly):
    """Bootstrapping, soft: the target is mixed with the network's own prediction (Reed et al. 2015)."""

    beta: float = 0.7  # weight of the prediction in the target, in [0, 1]; NRD Table 5

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 <= self.beta <= 1, f"beta {self.beta} is outside [0, 1]")

    def loss(self, logits, y):
        """Cross-entropy with (1 - beta) one-hot + beta prediction."""
        return losses.bootstrap_soft(logits, y, self.beta)


@dataclass(frozen=True, kw_only=True)
class BootstrapHard(BootstrapSoft):
    """Bootstrapping, hard: the target is mixed with the class the network predicts (Reed et al. 2015)."""

    beta: float = (
        0.2  # the prediction's weight in the target, [0, 1]; from 0.5 on a network can agree with itself
    )

    def loss(self, logits, y):
        """Cross-entropy with (1 - beta) one-hot + beta predicted class."""
        return losses.bootstrap_hard(logits, y, self.beta)


@dataclass(frozen=True, kw_only=True)
class LabelSmoothing(LossOnly):
    """Label smoothing: a share of the target is spread over all classes (Lukasik et al. 2020)."""

    epsilon: float = 0.9  # share spread over all K classes, in [0, 1]; NRD Table 5

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 <= self.epsilon <= 1, f"epsilon {self.epsilon} is outside [0, 1]")

    def loss(self, logits, y):
        """Cross-entropy with (1 - epsilon) one-hot + epsilon / K."""
        return losses.label_smoothing(logits, y, self.epsilon)


@dataclass(frozen=True, kw_only=True)
class SCE(LossOnly):
    """Symmetric cross-entropy: cross-entropy plus reverse cross-entropy (Wang et al. 2019)."""

    alpha: float = 0.1  # weight of cross-entropy, 0 or more; NRD Table 5
    beta: float = 0.1  # weight of reverse cross-entropy, 0 or more; NRD Table 5

    def __post_init__(self):
        super().__post_init__()
        refuse(min(self.alpha, self.beta) < 0, f"alpha {self.alpha} and beta {self.beta} must be 0 or more")

    def loss(self, logits, y):
        """alpha CE + beta RCE."""
        return losses.sce(logits, y, self.alpha, self.beta)


@dataclass(frozen=True, kw_only=True)
class Mixup(LossOnly):
    """MixUp: pairs of images and of labels are mixed (Zhang et al. 2018)."""

    mixup: float = 1.0  # of Beta(mixup, mixup): the share of a pair's first image; up to 32 in its paper
    loss_ranks_labels: ClassVar[bool] = False  # a mixed image has two labels

    def __post_init__(self):
        super().__post_init__()
        refuse(not self.mixup > 0, f"mixup {self.mixup} is not allowed: above 0")

    def mix(self, x, y, num_classes):
        """Each batch mixed with a permutation of itself, one share a batch."""
        mix = mixup.draw(len(x), self.mixup, x.device)
        return mix(x), mix(torch.nn.functional.one_hot(y, num_classes).float())

    def loss(self, logits, y):
        """Cross-entropy with the mixed label."""
        return losses.cross_entropy(logits, y)


@dataclass(frozen=True, kw_only=True)
class CORES(LossOnly):
    """CORES²: cross-entropy minus its mean over random labels: confidence pays (Cheng et al. 2021)."""

    regularizer: float = 2.0  # beta, weight of the confidence regulariser in the end; its release
    wait: int = 10  # epochs before it starts; its release
    ramp: int = 30  # epochs over which it then grows; its release

    def __post_init__(self):
        super().__post_init__()
        refuse(
            min(self.regularizer, self.wait) < 0,
            f"regularizer {self.regularizer} and wait {self.wait} must be 0 or more",
        )
        refuse(self.ramp < 1, f"ramp {self.ramp} is not allowed: at least 1")

    def loss_at(self, epoch, data):
        """CE(y) - beta sum_c P(given = c) CE(c), with beta of this epoch."""
        beta = self.regularizer * min(1.0, max(0, epoch - self.wait) / self.ramp)
        prior = torch.bincount(data.y, minlength=data.num_classes) / len(data)
        return lambda logits, y: losses.cores(logits, y, prior, beta)


@dataclass(frozen=True, kw_only=True)
class IMAE(LossOnly):
    """Improved MAE: cross-entropy, each image weighted by exp(T p(y) (1 - p(y))) (Wang et al. 2019)."""

    temperature: float = 8.0  # T: uncertain images weigh more, 0 = all the same; its release's at 20 and 40 %

    def __post_init__(self):
        super().__post_init__()
        refuse(self.temperature < 0, f"temperature {self.temperature} is not allowed: 0 or more")

    def loss(self, logits, y):
        """Cross-entropy, its gradient scaled image by image."""
        return losses.imae(logits, y, self.temperature)


@dataclass(frozen=True, kw_only=True)
class GCE(LossOnly):
    """Generalised cross-entropy, (1 - p(y)^q) / q: between cross-entropy and MAE (Zhang & Sabuncu 2018)."""

    q: float = 0.7  # 0 = cross-entropy, 1 = MAE, in (0, 1]; the paper's default
    search: ClassVar[dict] = {**Settings.search, "q": (0.1, 1.0)}

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 < self.q <= 1, f"q {self.q} is outside (0, 1]")

    def loss(self, logits, y):
        """(1 - p(y)^q) / q."""
        return losses.gce(logits, y, self.q)


@dataclass(frozen=True, kw_only=True)
class NCEandRCE(LossOnly):
    """Normalised cross-entropy plus reverse cross-entropy: active and passive (Ma et al. 2020)."""

    alpha: float = 10.0  # weight of normalised cross-entropy, 0 or more; NRD Table 5
    beta: float = 0.1  # weight of reverse cross-entropy, 0 or more; NRD Table 5

    def __post_init__(self):
        super().__post_init__()
        refuse(min(self.alpha, self.beta) < 0, f"alpha {self.alpha} and beta {self.beta} must be 0 or more")

    def loss(self, logits, y):
        """alpha NCE + beta RCE."""
        return losses.nce_rce(logits, y, self.alpha, self.beta)


@dataclass(frozen=True, kw_only=True)
class JS(LossOnly):
    """Jensen-Shannon divergence of label and prediction, scaled (Englesson & Azizpour 2021)."""

    pi1: float = 0.7  # weight of the label, in (0, 1); NRD Table 5
    scale: bool = True  # divide by -(1 - pi1) ln(1 - pi1), as the GJS release does on CIFAR

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 < self.pi1 < 1, f"pi1 {self.pi1} is outside (0, 1)")

    @classmethod
    def readings(cls, dataset: str, noise: str, rate: float, look) -> dict:
        """The GJS release scales the divergence on CIFAR, not on WebVision."""
        return {"scale": False} if dataset == "webvision" else {}

    def loss(self, logits, y):
        """JS divergence."""
        return losses.js(logits, y, self.pi1, scale=self.scale)


@dataclass(frozen=True, kw_only=True)
class GJS(JS):
    """Generalised JS: label and predictions of two views should agree (Englesson & Azizpour 2021)."""

    pi1: float = 0.3  # weight of the label, in (0, 1); the two views share the rest; NRD Table 5 (20 %)
    views = 2

    color: ClassVar[str | None] = "green"
    bound: ClassVar[Bound] = Bound(((2, 0, False),), against_usual=True)

    def loss(self, logits, y):
        """GJS divergence of the label and the two views."""
        return losses.gjs(logits.chunk(2), y, self.pi1, scale=self.scale)


METHODS = {
    "ce": (train_loss_only, CrossEntropy),
    "mae": (train_loss_only, MAE),
    "bootstrap_soft": (train_loss_only, BootstrapSoft),
    "bootstrap_hard": (train_loss_only, BootstrapHard),
    "label_smoothing": (train_loss_only, LabelSmoothing),
    "sce": (train_loss_only, SCE),
    "imae": (train_loss_only, IMAE),
    "gce": (train_loss_only, GCE),
    "nce_rce": (train_loss_only, NCEandRCE),
    "js": (train_loss_only, JS),
    "gjs": (train_loss_only, GJS),
    "mixup": (train_loss_only, Mixup),
    "cores": (train_loss_only, CORES),
}
