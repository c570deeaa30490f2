"""Peer loss: Peer Loss Functions: Learning from Noisy Labels without Knowing Noise Rates (Liu, Guo; ICML
2020), and f-divergence: When Optimizing f-Divergence is Robust with Label Noise (Wei, Liu; ICLR 2021).

Both reward a network for agreeing with the given label of an image and punish it for agreeing with the
label of another: a network that says the same of all images gains nothing, and neither does one that
follows labels without looking. Wrong labels weaken the difference and do not turn it round, so no noise
rate is needed. Peer loss takes the difference of two cross-entropies; the f-divergence between images
with their labels and images with others' labels is estimated from below by its variational form (Nowozin
et al. 2016), whose witness is a function of the probability of the label.

Where they differ, or choose what the papers leave to their releases:
- Peers: images of a second random order and labels drawn at random, independently. Both batches go
  through the network as one, so that BatchNorm sees them together.
- Peer loss's alpha rises from 0 to 1, the theorem's for classes of equal size, and stays; the step is
  divided by 1 + alpha. In the release for CIFAR-10 alpha goes on to 2, 5, 10 and 20 at 50, 100, 200 and
  300 epochs while the learning rate falls by ten every 40; at the recipe's rate that diverges. By
  --noisy-val on digits, symmetric 0.8, seed 0: .236 with 1, .083 with the release's, `at=(.067, .133,
  .167, .333, .667, 1)` and `alphas=(0, 1, 2, 5, 10, 20)`.
- Cross-entropy is -log(p + 1e-5), as in the releases: what is subtracted has an end.
- An f-divergence starts from a network that cross-entropy trained, as in the release; here this warm-up
  is a share of the epochs, not a run before it. Bias correction, which needs the noise rates, is left
  out, and of the divergences Jeffrey's and Neyman's.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.fit import slowed
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox.rng import generator

STABLE = 1e-5  # added to a probability inside the logarithm; the releases


class Divergence(NamedTuple):
    """An f-divergence's variational form sup E_P[g(v)] - E_Q[f*(g(v))], v any function of the pair."""

    witness: Callable[[Tensor], Tensor]  # g
    conjugate: Callable[[Tensor], Tensor]  # v -> f*(g(v))


DIVERGENCES = {
    "total_variation": Divergence(lambda v: v.tanh() / 2, lambda v: v.tanh() / 2),
    "jensen_shannon": Divergence(
        lambda v: math.log(2) - torch.nn.functional.softplus(-v),
        lambda v: v + torch.nn.functional.softplus(-v) - math.log(2),
    ),
    "pearson": Divergence(lambda v: v, lambda v: v.square() / 4 + v),
    "kl": Divergence(lambda v: v, lambda v: (v - 1).exp()),
    "reverse_kl": Divergence(lambda v: -v.exp(), lambda v: -1 - v),
    "squared_hellinger": Divergence(lambda v: 1 - v.exp(), lambda v: (-v).exp() - 1),
}


@dataclass(frozen=True, kw_only=True)
class PeerLoss(Settings):
    """Peer loss: cross-entropy of the given label minus that of other images' labels."""

    at: tuple[float, ...] = (0.067, 0.133)  # shares of the epochs; 20 and 40 of 300 in its release
    alphas: tuple[float, ...] = (0.0, 1.0)  # alpha there, on lines between, constant after; the theorem's 1

    family: ClassVar[str] = "a loss"
    controls: ClassVar[dict] = {"no_peers": {"alphas": (0.0, 0.0)}}

    def __post_init__(self):
        super().__post_init__()
        rising = all(a < b for a, b in itertools.pairwise(self.at))
        refuse(
            not (self.at and rising and self.at[0] >= 0 and self.at[-1] <= 1),
            f"at {self.at} is not allowed: rising shares of the epochs, in [0, 1]",
        )
        refuse(
            len(self.alphas) != len(self.at) or min(self.alphas) < 0,
            f"alphas {self.alphas} is not allowed: {len(self.at)} weights of 0 or more, as many as `at`",
        )

    def alpha(self, epoch: int) -> float:
        """The weight of the peers in an epoch, from 0: constant before the first share and after the last."""
        share, points = epoch / self.epochs, list(zip(self.at, self.alphas))
        if share <= self.at[0]:
            return self.alphas[0]
        for (left, a), (right, b) in itertools.pairwise(points):
            if share <= right:
                return a + (b - a) * (share - left) / (right - left)
        return self.alphas[-1]

    def slowed(self, epoch: int) -> float:
        """What the step of this epoch is divided by."""
        return 1 + self.alpha(epoch)

    def terms(self, p: Tensor, q: Tensor, epoch: int) -> dict[str, Tensor]:
        """The loss of an epoch from the probabilities of given labels p (B,) and of peers' labels q (B,)."""
        return {"labels": -(p + STABLE).log().mean(), "peers": self.alpha(epoch) * (q + STABLE).log().mean()}


@dataclass(frozen=True, kw_only=True)
class FDivergence(Settings):
    """f-divergence: labels should differ from other images' labels as the network tells, after a warm-up."""

    divergence: str = "total_variation"  # or jensen_shannon, pearson, kl, reverse_kl, squared_hellinger
    warmup: float = 0.2  # share of the epochs of cross-entropy before it; its release: a run before

    search: ClassVar[dict] = {**Settings.search, "divergence": list(DIVERGENCES), "warmup": (0.05, 0.5)}
    family: ClassVar[str] = "a loss"
    controls: ClassVar[dict] = {"warmup_alone": {"warmup": 1.0}}

    def __post_init__(self):
        super().__post_init__()
        refuse(
            self.divergence not in DIVERGENCES,
            f"divergence {self.divergence!r} does not exist: {', '.join(DIVERGENCES)}",
        )
        refuse(not 0 <= self.warmup <= 1, f"warmup {self.warmup} is outside [0, 1]")

    def slowed(self, epoch: int) -> float:
        """What the step of this epoch is divided by."""
        return 1.0

    def terms(self, p: Tensor, q: Tensor, epoch: int) -> dict[str, Tensor]:
        """The loss of an epoch from the probabilities of given labels p (B,) and of peers' labels q (B,)."""
        if epoch < round(self.warmup * self.epochs):
            return {"labels": -(p + STABLE).log().mean()}
        f = DIVERGENCES[self.divergence]
        return {"labels": -f.witness(p).mean(), "peers": f.conjugate(q).mean()}


def train_peer(data: NoisyData, settings: PeerLoss | FDivergence, run: Run) -> None:
    """Each batch beside one of other images with labels drawn at random."""
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    clean_score = torch.full((len(data),), float("nan"), device=run.device)  # NaN = not yet seen
    state = run.state(
        network=network, optimizer=optimizer, schedule=schedule, clean_score=clean_score, tested="network"
    )
    forward = run.compiled(network)
    for epoch in run.epochs(state, settings.epochs):
        # the idea: images and labels that have nothing to do with each other, drawn for the whole epoch
        order = torch.randperm(len(data), generator=generator(run.seed, "order", "peers", epoch))
        drawn = torch.randint(len(data), (len(data),), generator=generator(run.seed, "peers", epoch))
        order, labels = order.to(run.device), data.y[drawn.to(run.device)]
        others = data.batches(("peers", epoch), views=settings.view, order=order)
        batches = zip(data.batches(epoch, views=settings.view), others)
        with slowed(optimizer, settings.slowed(epoch)):
            for step, ((x, y, idx), (peers, _, _)) in enumerate(batches):
                y_peers = labels[step * len(y) : (step + 1) * len(y)]
                with run.autocast():
                    logits = forward(torch.cat((x, peers)))
                p, q = of_labels(logits, torch.cat((y, y_peers))).chunk(2)
                optimizer.zero_grad()
                run.total(**settings.terms(p, q, epoch)).backward()
                optimizer.step()
                clean_score[idx] = p.detach()
        schedule.step()
        run.log(clean_score=clean_score)


def of_labels(logits: Tensor, y: Tensor) -> Tensor:
    """The probability (B,) of each label y (B,) by logits (B, K)."""
    return logits.float().softmax(1).gather(1, y[:, None])[:, 0]


METHODS = {
    "peer_loss": (train_peer, PeerLoss),
    "f_divergence": (train_peer, FDivergence),
}
