"""LNL-flywheel: Interconnection of Two Expectation-Maximizations (Kim, Chang, Cho, Lee, Han).

Two networks with two roles. The main network g tells right labels from wrong ones: how probable is the given
label under g, against an outlier distribution? The auxiliary network f gives every image with a doubtful
label a new one. Each is one expectation-maximisation cycle; f's labels train g, g's verdicts make f's
targets. f alone is tested.

Where this differs from the paper, or chooses where it is silent:
- How long a cycle is the paper does not say; `paper` takes one epoch, 390 batches on CIFAR. Digits have 11,
  too few for an M-step: right after the warm-up f is between two kinds of input (MixUp begins) and g between
  two losses, and a class that one of them misses at that moment is lost for good. `quick` and `demo` renew q
  and the targets every 5 epochs, and warm up for 20, until every class is learned.
- With so few batches BatchNorm's averages lag behind the weights, and predictions swing from epoch to epoch
  (accuracy .28 between .8 and .85): under `quick` and `demo` they are estimated anew before each E-step.
- f's prediction after its M-step serves the new labels and (14) at once and, in the next cycle, (11) and T.
- Where an epoch is a class-balanced draw of batches (Clothing1M), E-steps cover that epoch's images.
- The regulariser's logarithm is of g + 1e-8 (CORES2's code), without which (8) has no lower bound for lambda
  > 1; (4) adds 1e-8 above and below; rows of T_c without corrupted mass are uniform; epsilon_i is at least
  1e-6 and gamma within [0.001, 0.999].
- p(y) in (9) is the frequency of the new labels, counted again each epoch (`prior="uniform"`: 1/K).
- f's mixed-up images and both strong views are one batch of 3B images, which BatchNorm sees together;
  MixUp's Beta(4, 4), temperature and the 2-layer projection to 128 dimensions are UNICON's.
- g trains on crops and is evaluated without augmentation.
- Without the auxiliary network (Table 6) g trains by (8) on the given labels, each image weighted by (4), its
  regulariser too (the paper's (7) weights cross-entropy alone), and is tested; epsilon stays 1/K. A step goes
  along y + (lambda - 1) g - lambda p: for lambda > 1 g's own opinion outweighs a mostly wrong y.
- lambda is 3 as in Sec. 4.1. Lemma 1 asks for 1 - gamma', at most 1: `confidence_regularizer="lemma"`. gamma'
  is the share of right labels among those that g learns, which nobody knows; the model's gamma stands for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.batches import NoisyData
from ..run.fit import fit_epoch
from ..run.loop import Run
from ..run.settings import Bound, Settings, refuse
from ..toolbox import averaging, losses, mixup, models
from ..toolbox.models import Classifier
from ..toolbox.rng import generator

TINY = 1e-8  # added above and below in (4)
PRIORS, EPSILONS = ("empirical", "uniform"), ("estimated", "fixed")


@dataclass(frozen=True, kw_only=True)
class Flywheel(Settings):
    """LNL-flywheel: one network judges the labels, another replaces the doubtful ones, in turns."""

    warmup: int = 20  # epochs of plain cross-entropy for both networks, at most half; 10, 1 in `paper`
    confidence_regularizer: float | str = 3.0  # lambda of (9) in (8), 0 = without; or "lemma": 1 - gamma
    learning_rate: float = 0.02  # of SGD, at the start; Sec. 4.2
    cycle: int = 5  # epochs between two E-steps of the main network; 1 under `paper` (of 390 batches each)
    renew_statistics: bool = True  # estimate BatchNorm's statistics before each E-step; not under `paper`
    batches_per_epoch: int = 0  # class-balanced batches in an epoch, 0 = all images once; Clothing1M
    ramp: int = 0  # epochs over which lambda rises from 0 to its value (0 = at once, as printed)
    prior: str = "empirical"  # label frequencies in (9): "empirical" (of the new labels) or "uniform"
    auxiliary: bool = True  # False = the main network alone, on the given labels weighted by (4), Eq. (7)
    epsilon: str = "estimated"  # outlier density in (4): "estimated" by (14) or "fixed" at 1/K
    contrastive: float = 0.025  # weight alpha of the contrastive loss, 0 = without; Sec. 4.1
    temperature: float = 0.5  # of the contrastive loss; UNICON
    mixup: float = 4.0  # Beta(mixup, mixup) of MixUp's coefficient; UNICON
    strong_view: str = "strong"  # augmentation of the two views of the contrastive loss

    family: ClassVar[str] = "the five papers"
    networks: ClassVar[int] = 2
    color: ClassVar[str | None] = "purple"
    paper: ClassVar[str | None] = "flywheel"
    memorise: ClassVar[dict] = {"warmup": 10}  # by --noisy-val on 10,000 images: .529, with 20 .512
    controls: ClassVar[dict] = {"one_network": {"auxiliary": False}}  # labels are weighted, never replaced
    bound: ClassVar[Bound] = Bound(
        # auxiliary: mixed-up, two strong; its E-step on two weak. Main: one, and its E-step
        ((3, 2, False), (1, 1, False)),
        (("small_cnn", 16), ("preact_resnet18", 32)),
        {"warmup": 1, "cycle": 1},  # the first epoch is not timed; both E-steps come every epoch
    )

    @classmethod
    def readings(cls, dataset: str, noise: str, rate: float, look) -> dict:
        """Our readings of what the paper leaves open; on large sets UNICON's MixUp."""
        values = {"architecture": "preactresnet18", "view": "crop", "cycle": 1, "renew_statistics": False}
        large = {"mixup": 0.5, "warmup": 1}  # one epoch before the division, as in DivideMix's release
        return values | (large if dataset in ("clothing1m", "webvision") else {})

    def __post_init__(self):
        super().__post_init__()
        refuse(self.warmup < 1, f"warmup {self.warmup} is not allowed: at least 1 epoch")
        weight = 0.0 if self.confidence_regularizer == "lemma" else self.confidence_regularizer
        refuse(
            isinstance(weight, str) or min(weight, self.contrastive, self.ramp) < 0,
            f"confidence_regularizer {self.confidence_regularizer} (which may be lemma), contrastive "
            f"{self.contrastive} and ramp {self.ramp} must be 0 or more",
        )
        refuse(self.cycle < 1, f"cycle {self.cycle} is not allowed: at least 1 epoch")
        refuse(
            self.batches_per_epoch < 0,
            f"batches_per_epoch {self.batches_per_epoch} is not allowed: 0 or more",
        )
        refuse(
            self.batches_per_epoch > 0 and self.cycle > 1,
            f"batches_per_epoch {self.batches_per_epoch} needs cycle 1, not {self.cycle}: epochs differ",
        )
        refuse(not self.temperature > 0, f"temperature {self.temperature} is not allowed: above 0")
        refuse(not self.mixup > 0, f"mixup {self.mixup} is not allowed: above 0")
        refuse(self.prior not in PRIORS, f"prior {self.prior!r} does not exist: {' or '.join(PRIORS)}")
        refuse(
            self.epsilon not in EPSILONS, f"epsilon {self.epsilon!r} does not exist: {' or '.join(EPSILONS)}"
        )

    @property
    def cycles_from(self) -> int:
        """The epoch, from 0, at which the cycles begin: after the warm-up, or halfway in a shorter run."""
        return max(1, min(self.warmup, self.epochs // 2))


def train_flywheel(data: NoisyData, settings: Flywheel, run: Run) -> None:
    """Section 3: warm up, then in every epoch one turn of the auxiliary cycle and one of the main cycle."""
    if not settings.auxiliary:
        return train_main_alone(data, settings, run)
    n, k = len(data), data.num_classes
    g, f = run.network(), run.network()
    projector = models.projection(f.head.in_features).to(run.device)
    g_optimizer, g_schedule = run.sgd(g, settings)
    f_optimizer, f_schedule = run.sgd(f, settings, projector)
    f_probs = F.one_hot(data.y, k).float()  # f's softmax, the newest; the given labels before
    targets, T, T_c = f_probs.clone(), torch.eye(k, device=run.device), torch.eye(k, device=run.device)
    q = torch.full((n,), float("nan"), device=run.device)  # q(s = 1); NaN = not yet judged
    epsilon = torch.full((n,), 1 / k, device=run.device)
    gamma = torch.ones((), device=run.device)
    steps = dict(f_optimizer=f_optimizer, g_optimizer=g_optimizer)
    schedules = dict(f_schedule=f_schedule, g_schedule=g_schedule)
    known = dict(f_probs=f_probs, targets=targets, T=T, T_c=T_c, q=q, epsilon=epsilon, gamma=gamma)
    networks = dict(auxiliary=f, main=g, projector=projector, tested="auxiliary", also_tested="main")
    state = run.state(**networks, **steps, **schedules, **known)
    for epoch in run.epochs(state, settings.epochs):
        turn, now = epoch - settings.cycles_from, images_of(epoch, data, settings)
        judged = (turn + 1) % settings.cycle == 0  # E-steps end this epoch
        if turn < 0:
            warm_up(g, g_optimizer, 2 * epoch, data, settings, run)
            warm_up(f, f_optimizer, 2 * epoch + 1, data, settings, run)
        else:
            if turn % settings.cycle == 0:  # both E-steps are known: (4) in q, f's prediction in f_probs
                targets.copy_(soft_targets(q, f_probs, data.y))
                T.copy_(transition_matrix(targets[now], data.y[now]))
                T_c.copy_(transition_matrix((1 - q[now])[:, None] * f_probs[now], data.y[now]))
            train_auxiliary(f, projector, f_optimizer, targets, epoch, data, settings, run)
        if turn >= 0 or judged:
            renew_statistics(f, 2 * epoch + 1, data, settings, run)
            f_probs[now] = predict_auxiliary(f, epoch, now, data, settings, run)
        if turn >= 0:
            train_main(g, g_optimizer, f_probs.argmax(1), None, gamma, epoch, data, settings, run)
        if judged:
            gamma.copy_(
                q[now].mean() if turn >= 0 else (f_probs[now].argmax(1) == data.y[now]).float().mean()
            )
            now = images_of(epoch + 1, data, settings)
            if settings.batches_per_epoch:  # the next epoch's images are others
                f_probs[now] = predict_auxiliary(f, epoch, now, data, settings, run)
            if turn >= 0 and settings.epsilon == "estimated":
                epsilon[now] = outlier_density(f_probs[now], T_c, data.y[now])
            renew_statistics(g, 2 * epoch, data, settings, run)
            q[now] = cleanness(predict_main(g, now, data, run), data.y[now], gamma, epsilon[now])
        g_schedule.step()
        f_schedule.step()
        told: dict[str, Any] = {"transition": T_c, "transition_of": "corrupted", "transition_all": T}
        run.log(clean_score=q, new_labels=f_probs, gamma=gamma, **(told if turn >= 0 else {}))


def train_main_alone(data: NoisyData, settings: Flywheel, run: Run) -> None:
    """Table 6, without the auxiliary network: reweighting (7) in place of resampling (8)."""
    g = run.network()
    optimizer, schedule = run.sgd(g, settings)
    q = torch.ones(len(data), device=run.device)
    gamma = torch.ones((), device=run.device)
    state = run.state(main=g, optimizer=optimizer, schedule=schedule, q=q, gamma=gamma, tested="main")
    for epoch in run.epochs(state, settings.epochs):
        turn = epoch - settings.cycles_from
        if turn < 0:
            warm_up(g, optimizer, 2 * epoch, data, settings, run)
        else:
            train_main(g, optimizer, data.y, q, gamma, epoch, data, settings, run)
        renew_statistics(g, 2 * epoch, data, settings, run)
        g_probs = predict_main(g, slice(None), data, run)
        if (turn + 1) % settings.cycle == 0:
            gamma.copy_(q.mean() if turn >= 0 else (g_probs.argmax(1) == data.y).float().mean())
            q.copy_(cleanness(g_probs, data.y, gamma, torch.full_like(q, 1 / data.num_classes)))
        schedule.step()
        run.log(clean_score=q, new_labels=g_probs, gamma=gamma)


# ---- the equations


def cleanness(g_probs: Tensor, y: Tensor, gamma: Tensor, epsilon: Tensor) -> Tensor:
    """Eq. (4), main E-step: probability that the given label y (N,) is right, (N,), from g_probs (N, K), the
    share gamma of right labels and each image's outlier density epsilon (N,).
    """
    gamma = gamma.clamp(1e-3, 1 - 1e-3)
    right = gamma * g_probs.gather(1, y[:, None])[:, 0]
    return (right + TINY) / (right + (1 - gamma) * epsilon + TINY)


def soft_targets(q: Tensor, f_probs: Tensor, y: Tensor) -> Tensor:
    """Eq. (11), auxiliary E-step: (N, K) probabilities of the true class; q (N,), f_probs (N, K), y (N,)."""
    targets = (1 - q)[:, None] * f_probs
    return targets.scatter_add_(1, y[:, None], q[:, None])


def transition_matrix(mass: Tensor, y: Tensor) -> Tensor:
    """T or T_c (below Eq. (13)): the shares in which each class's mass (N, K) has the given labels y (N,):
    (K, K), row = true class. Mass (11) gives T; (1 - q) f alone, the corrupted part, gives T_c. A row with
    hardly any mass is uniform.
    """
    k = mass.shape[1]
    counts = mass.new_zeros(k, k).index_add_(0, y, mass).T  # [true, given]
    total = counts.sum(1, keepdim=True)
    return torch.where(total < 1e-6, torch.full_like(counts, 1 / k), counts / total.clamp(min=1e-6))


def outlier_density(f_probs: Tensor, T_c: Tensor, y: Tensor) -> Tensor:
    """Eq. (14): epsilon_i (N,), how probable the given label would be if it were wrong."""
    return (f_probs * T_c.T[y]).sum(1).clamp(min=1e-6)


def main_loss(logits: Tensor, labels: Tensor, prior: Tensor, weight: float | Tensor) -> Tensor:
    """Eqs. (8)-(9) per image, (B,): cross-entropy to the new labels plus lambda times the expected
    log-probability of a label drawn from the prior (K,). Its sign pushes the probability of random labels
    down.
    """
    eta = (prior * (logits.float().softmax(1) + TINY).log()).sum(1)
    return losses.cross_entropy(logits, labels) + weight * eta


# ---- one epoch of each


def images_of(epoch: int, data: NoisyData, settings: Flywheel):
    """The images of an epoch: all, or those of its class-balanced batches (indices, in order)."""
    return drawn(epoch, data, settings).unique() if settings.batches_per_epoch else slice(None)


def drawn(epoch: int, data: NoisyData, settings: Flywheel):
    """An epoch's class-balanced draw (n,), None = a random order of all images."""
    if not settings.batches_per_epoch:
        return None
    return data.balanced_order(epoch, settings.batches_per_epoch).to(data.device)


def warm_up(
    network: Classifier, optimizer: torch.optim.Optimizer, key, data: NoisyData, settings: Flywheel, run: Run
) -> None:
    """Cross-entropy to the given labels for one epoch; `key` names its order and crops."""
    batches = data.batches(key, views=settings.view, order=drawn(key // 2, data, settings))
    fit_epoch(
        run, network, optimizer, batches, lambda logits, y, idx: losses.cross_entropy(logits, y), "warm_up"
    )


def train_auxiliary(
    f: Classifier,
    projector,
    optimizer: torch.optim.Optimizer,
    targets,
    epoch: int,
    data: NoisyData,
    settings: Flywheel,
    run: Run,
) -> None:
    """Auxiliary M-step: soft cross-entropy (13) with MixUp, plus alpha times the contrastive loss."""
    views = (settings.view,) + (settings.strong_view,) * 2 * bool(settings.contrastive)
    for (x, *strong), _, idx in data.batches(2 * epoch + 1, views=views, order=drawn(epoch, data, settings)):
        mix = mixup.draw(len(x), settings.mixup, x.device)
        with run.autocast():
            features = f.features(torch.cat((mix(x), *strong)))
            logits = f.head(features[: len(x)])
            z = projector(features[len(x) :]).chunk(2) if strong else None
        terms = {"auxiliary": losses.cross_entropy(logits, mix(targets[idx])).mean()}
        if z:
            contrast = losses.contrastive(z[0], z[1], settings.temperature).mean()
            terms["contrastive"] = settings.contrastive * contrast
        optimizer.zero_grad()
        run.total(**terms).backward()
        optimizer.step()


def train_main(
    g: Classifier,
    optimizer: torch.optim.Optimizer,
    labels,
    weights,
    gamma: Tensor,
    epoch: int,
    data: NoisyData,
    settings: Flywheel,
    run: Run,
) -> None:
    """Main M-step: (8) on labels (N,), weighted by weights (N,) as in (7) where given; gamma: of Lemma 1."""
    k, counted = data.num_classes, labels[images_of(epoch, data, settings)]
    prior = torch.full((k,), 1 / k, device=labels.device)
    if settings.prior == "empirical":
        prior = torch.bincount(counted, minlength=k) / len(counted)
    fixed = settings.confidence_regularizer
    strength = 1 - gamma if isinstance(fixed, str) else fixed  # Lemma 1, or as set
    strength *= min(1.0, (epoch - settings.cycles_from + 1) / max(1, settings.ramp))

    def loss(logits, y, idx):
        each = main_loss(logits, labels[idx], prior, strength)
        return each if weights is None else weights[idx] * each

    batches = data.batches(2 * epoch, views=settings.view, order=drawn(epoch, data, settings))
    fit_epoch(run, g, optimizer, batches, loss, "main")


def renew_statistics(network: Classifier, key, data: NoisyData, settings: Flywheel, run: Run) -> None:
    """BatchNorm's statistics under the present weights, from 2048 random images, weakly augmented.

    Random, since the images of a folder are in the order of their classes.
    """
    if settings.renew_statistics:
        some = torch.randperm(len(data), generator=generator(run.seed, "statistics", key))[:2048]
        batches = data.batches(key, views=settings.view, batch_size=min(512, len(data)), order=some)
        averaging.renew_statistics(network, (x for x, _, _ in batches), run.autocast)


def predict_auxiliary(
    f: Classifier, epoch: int, images, data: NoisyData, settings: Flywheel, run: Run
) -> Tensor:
    """f's softmax for these images (indices, or all), the mean over two weak views (Sec. 4.1 (i)): (n, K)."""
    some = chosen(images)
    views = [data.in_order(settings.view, epoch=2 * epoch + view, indices=some) for view in range(2)]
    return losses.added(models.probabilities(f, view, run.autocast) for view in views) / 2


def predict_main(g: Classifier, images, data: NoisyData, run: Run) -> Tensor:
    """g's softmax for these images, not augmented: (n, K)."""
    return models.probabilities(g, data.in_order(indices=chosen(images)), run.autocast)


def chosen(images):
    """Indices as `in_order` takes them: None for all."""
    return None if isinstance(images, slice) else images


METHODS = {"flywheel": (train_flywheel, Flywheel)}
