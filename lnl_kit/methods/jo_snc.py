"""Jo-SNC: Combating Noisy Labels through Fostering Self- and Neighbor-Consistency (facts from its release,
NUST-Machine-Intelligence-Laboratory/Jo-SNC), which extends Jo-SRC (Yao et al., CVPR 2021).

Each label is clean where the network's prediction, or those of the image's nearest neighbours, are near it;
an image without a clean label shows no class where its two views are predicted unlike, and is of another
class where they agree. Clean labels are learnt as they are, images of another class by what an averaged
network says of them, and of images of no class only what they are surely not (negative learning). Both views
are kept alike, and each image like its neighbours.

Where this differs, or chooses what the paper leaves to its release:
- Neighbours are found once an epoch, by the averaged network among all images, in the features that its last
  layer sees; in the release batch by batch, in a queue of projections. The contrast of these, of weight 1e-4
  there, is left out.
- An image of another class learns the averaged network's prediction, a partial label of all classes; in the
  release the five most probable weigh more. `clean` weighs all images alike, without its confidence weights.
- Label smoothing 0.6 of its CIFAR configurations spreads 0.6 over all classes, the label's own among them.
- Thresholds are means over the class of the given label, which only rise, as there.
- An outsider's score is P_ood (1 - P_clean), ours: the paper decides by two thresholds.
- Optimiser and schedule are the recipe's; its release has Adam.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses, neighbours
from ..toolbox.models import Classifier

SHARPNESS = 0.1  # temperature of the views when they are compared; the release
SMALLEST = 1e-6


@dataclass(frozen=True, kw_only=True)
class JoSNC(Settings):
    """Jo-SNC: clean by itself or by its neighbours, of no class where two views are seen unlike."""

    warmup: int = 10  # epochs of smoothed cross-entropy, at most half of all; its release
    smoothing: float = 0.6  # of clean labels; its release for CIFAR
    neighbours: int = 10  # whose predictions are asked; its release
    average: float = 0.99  # decay of the averaged network, step by step; its release
    rise: float = 0.975  # share of a threshold that stays at each epoch, 0.75 in the warm-up; its release
    views_alike: float = 0.3  # alpha, weight of the consistency of both views; its release
    neighbours_alike: float = 0.1  # beta, weight of the consistency with neighbours; its release
    strong_view: str = "strong"  # augmentation of the second view

    search: ClassVar[dict] = {**Settings.search, "views_alike": (0.05, 2.0, "log"), "smoothing": (0.1, 0.6)}
    family: ClassVar[str] = "selection"
    controls: ClassVar[dict] = {
        "no_neighbours": {"neighbours": 0, "neighbours_alike": 0.0},
        "no_consistency": {"views_alike": 0.0, "neighbours_alike": 0.0},
    }

    def __post_init__(self):
        super().__post_init__()
        refuse(self.warmup < 1, f"warmup {self.warmup} is not allowed: at least 1 epoch")
        for name in ("smoothing", "average", "rise"):
            refuse(not 0 <= getattr(self, name) < 1, f"{name} {getattr(self, name)} is outside [0, 1)")
        for name in ("neighbours", "views_alike", "neighbours_alike"):
            refuse(getattr(self, name) < 0, f"{name} {getattr(self, name)} is not allowed: 0 or more")
        refuse(
            not self.neighbours and self.neighbours_alike > 0,
            "neighbours 0 leaves none to be like: neighbours_alike must be 0 too",
        )

    @property
    def selects_from(self) -> int:
        """The epoch, from 0, at which images are told apart: after the warm-up, or at half of a short run."""
        return max(1, min(self.warmup, self.epochs // 2))


class Sets(NamedTuple):
    """What a batch's images are taken for, bool (B,) each; every image is in one."""

    clean: Tensor
    inside: Tensor  # of another class than their label
    outside: Tensor  # of no class


def train_jo_snc(data: NoisyData, settings: JoSNC, run: Run) -> None:
    """Smoothed cross-entropy first, then each set by its own loss; thresholds follow the epochs' means."""
    network = run.network()
    average = copy.deepcopy(network).requires_grad_(False)
    optimizer, schedule = run.sgd(network, settings)
    n, k = len(data), data.num_classes
    thresholds = torch.zeros(2, k, device=run.device)  # tau of P_clean and of P_ood, by given class
    seen = torch.zeros(2, n, device=run.device)  # P_clean and P_ood, when last seen
    state = run.state(
        network=network,
        average=average,
        optimizer=optimizer,
        schedule=schedule,
        thresholds=thresholds,
        seen=seen,
        tested="network",
    )
    for epoch in run.epochs(state, settings.epochs):
        selecting = epoch >= settings.selects_from
        around = look_around(average, data, settings, run) if selecting and settings.neighbours else None
        chosen = torch.ones(n, dtype=torch.bool, device=run.device)
        for x, y, idx in data.batches(epoch, (settings.view, settings.strong_view)):
            with run.autocast():
                both = network(torch.cat(x)).float().chunk(2)
                with torch.no_grad():
                    guess = average(x[0]).float().softmax(1)
            target = smoothed(y, k, settings.smoothing)
            clean, odd = p_clean(both[0].detach(), target), p_outside(both[0].detach(), both[1].detach())
            seen[0, idx], seen[1, idx] = clean, odd
            if not selecting:
                terms = {"warm_up": losses.cross_entropy(both[0], target).mean()}
            else:
                near = None if around is None else around[idx]
                sets = divide(clean, odd, target, near, *thresholds[:, y])
                chosen[idx] = sets.clean
                terms = terms_of(both, target, guess, sets, near, settings)
            optimizer.zero_grad()
            run.total(**terms).backward()
            optimizer.step()
            follow(average, network, settings.average)
        schedule.step()
        raise_thresholds(thresholds, seen, data.y, settings.rise if selecting else 0.75)
        run.log(clean_score=seen[0], outside_score=seen[1] * (1 - seen[0]), selected=chosen)


@torch.no_grad()
def look_around(average: Classifier, data: NoisyData, settings: JoSNC, run: Run) -> Tensor:
    """(N, n, K): the averaged network's softmaxes of each image's nearest others, by its features."""
    average.eval()
    features, probs = [], []
    for x, _ in data.in_order():
        with run.autocast():
            z = average.features(x)
            features.append(z.float())
            probs.append(average.head(z).float().softmax(1))
    average.train()
    return torch.cat(probs)[neighbours.nearest(torch.cat(features), settings.neighbours)]


@torch.no_grad()
def follow(average: Classifier, network: Classifier, decay: float) -> None:
    """average <- decay * average + (1 - decay) * network, in place; BatchNorm's statistics stay its own."""
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - decay)


def smoothed(y: Tensor, classes: int, smoothing: float) -> Tensor:
    """(B, K): 1 - smoothing on the label (B,), smoothing spread over all classes."""
    return (1 - smoothing) * F.one_hot(y, classes).float() + smoothing / classes


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence (...,) of p and q (..., K), in bits: in [0, 1]."""
    m = (p + q) / 2

    def to_m(p: Tensor) -> Tensor:
        return (p * (p.clamp_min(SMALLEST) / m.clamp_min(SMALLEST)).log()).sum(-1)

    return ((to_m(p) + to_m(q)) / (2 * math.log(2))).clamp(0, 1)


def p_clean(logits: Tensor, target: Tensor) -> Tensor:
    """(B,): 1 - JS of the prediction, of logits (B, K), and the label (B, K)."""
    return 1 - divergence(logits.softmax(1), target)


def p_outside(weak: Tensor, strong: Tensor) -> Tensor:
    """(B,): JS of both views' sharpened predictions, of logits (B, K)."""
    return divergence((weak / SHARPNESS).softmax(1), (strong / SHARPNESS).softmax(1))


def divide(
    clean: Tensor, odd: Tensor, target: Tensor, near: Tensor | None, tau_clean: Tensor, tau_odd: Tensor
) -> Sets:
    """The sets by P_clean, P_ood (B,) and their thresholds (B,); near (B, n, K): neighbours' softmaxes, whose
    mean P_clean for the label (B, K) also makes it clean.
    """
    is_clean = clean >= tau_clean
    if near is not None:
        is_clean = is_clean | ((1 - divergence(near, target[:, None])).mean(1) > tau_clean)
    outside = ~is_clean & (odd > tau_odd)
    return Sets(is_clean, ~is_clean & ~outside, outside)


def terms_of(
    both: tuple[Tensor, ...],
    target: Tensor,
    guess: Tensor,
    sets: Sets,
    near: Tensor | None,
    settings: JoSNC,
) -> dict[str, Tensor]:
    """The loss's terms (0-d) of both views' logits (B, K): cross-entropy with the label of clean images, with
    the guess (B, K) of those of another class, negative learning of those of no class; and consistency of
    all but these. Each is a sum over its images, divided by the batch.
    """
    known = (~sets.outside).float()
    least = F.one_hot(guess.argmin(1), guess.shape[1]).float()

    def of_both(loss) -> Tensor:
        return losses.added(loss(z) for z in both) / 2

    terms = {
        "clean": (of_both(lambda z: losses.cross_entropy(z, target)) * sets.clean).mean(),
        "inside": (of_both(lambda z: losses.cross_entropy(z, guess)) * sets.inside).mean(),
        "outside": (of_both(lambda z: negative(z, least)) * sets.outside).mean(),
    }
    if settings.views_alike:
        terms["views_alike"] = settings.views_alike * (apart(*both) * known).mean()
    if near is not None and settings.neighbours_alike:
        like = losses.cross_entropy(both[0], near.mean(1)) - losses.entropy(near.mean(1))
        terms["neighbours_alike"] = settings.neighbours_alike * (like * known).mean()
    return terms


def negative(logits: Tensor, least: Tensor) -> Tensor:
    """-log(1 - p_j), (B,), of the class j that an image is surely not, one-hot `least` (B, K)."""
    return -(1 - (logits.softmax(1) * least).sum(1)).clamp_min(SMALLEST).log()


def apart(weak: Tensor, strong: Tensor) -> Tensor:
    """KL(p || q) + KL(q || p), (B,), of logits (B, K)."""
    p, q = weak.log_softmax(1), strong.log_softmax(1)
    return ((p.exp() - q.exp()) * (p - q)).sum(1)


def raise_thresholds(thresholds: Tensor, seen: Tensor, y: Tensor, stays: float) -> None:
    """Move thresholds (2, K) towards the mean of what was seen (2, N) of each given class (N,), up only."""
    counts = torch.bincount(y, minlength=thresholds.shape[1])
    means = torch.zeros_like(thresholds).index_add_(1, y, seen) / counts.clamp(min=1)
    thresholds.copy_(torch.maximum(thresholds, stays * thresholds + (1 - stays) * means))


METHODS = {"jo_snc": (train_jo_snc, JoSNC)}
