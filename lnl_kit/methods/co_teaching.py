"""Co-teaching (Han et al. 2018), Co-teaching+ (Yu et al. 2019) and JoCoR (Wei et al. 2020): two networks,
small losses.

In each batch the images with a small loss are held to be right, and only they are learned; the share that is
dropped rises over the first epochs to the noise rate, which these methods are told or guess (`forget_rate`).

- Co-teaching: each network learns from the small-loss images of the *other*.
- Co-teaching+: the same, among the images on which the two predict different classes; where they never
  disagree, all.
- JoCoR: one joint loss, cross-entropy of both plus the divergence between them, chooses the images for both.

Where this differs: the papers set `forget_rate` to the true noise rate, one number for each cell; under
`quick` and `demo` it is 0.4 at every rate, told by nobody. Co-teaching+ picks the disagreeing images from the
predictions of the same batch, after `ramp` epochs of plain co-teaching, as its release does. Both networks
see the same view.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses


@dataclass(frozen=True, kw_only=True)
class CoTeaching(Settings):
    """Co-teaching: two networks, each learning the other's small-loss images."""

    forget_rate: float = 0.4  # tau: share of each batch that is dropped in the end; papers: the noise rate
    ramp: int = 10  # T_k: epochs over which that share rises from 0
    exponent: float = 1.0  # c: of that rise; 1 = linear

    family: ClassVar[str] = "two networks"
    networks: ClassVar[int] = 2

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 <= self.forget_rate < 1, f"forget_rate {self.forget_rate} is outside [0, 1)")
        refuse(self.ramp < 1, f"ramp {self.ramp} is not allowed: at least 1")
        refuse(not self.exponent > 0, f"exponent {self.exponent} is not allowed: above 0")


@dataclass(frozen=True, kw_only=True)
class CoTeachingPlus(CoTeaching):
    """Co-teaching+: co-teaching among the images on which the two networks disagree."""


@dataclass(frozen=True, kw_only=True)
class JoCoR(CoTeaching):
    """JoCoR: two networks trained by one joint loss that asks them to agree, on its small-loss images."""

    agreement: float = 0.9  # lambda: weight of the divergence, cross-entropy has the rest; for CIFAR-10

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 <= self.agreement <= 1, f"agreement {self.agreement} is outside [0, 1]")


def train_co_teaching(data: NoisyData, settings: CoTeaching, run: Run) -> None:
    """Co-teaching and Co-teaching+: two steps a batch, each on what the other network selects."""
    networks = run.network(), run.network()
    (optimizer, schedule), (other_optimizer, other_schedule) = (run.sgd(net, settings) for net in networks)
    clean_score = torch.full((len(data),), float("nan"), device=run.device)
    state = run.state(
        first=networks[0],
        second=networks[1],
        optimizer=optimizer,
        other_optimizer=other_optimizer,
        schedule=schedule,
        other_schedule=other_schedule,
        clean_score=clean_score,
        tested=("first", "second"),
    )
    forward = [run.compiled(net) for net in networks]
    for epoch in run.epochs(state, settings.epochs):
        plus = isinstance(settings, CoTeachingPlus) and epoch >= settings.ramp
        for x, y, idx in data.batches(epoch, views=settings.view):
            with run.autocast():
                logits = [net(x) for net in forward]
            each = [losses.cross_entropy(z, y) for z in logits]  # (B,) of each network
            among = disagreement(*logits) if plus else None
            chosen = [small_loss(loss.detach(), kept_share(epoch, settings), among) for loss in each]
            optimizer.zero_grad()
            other_optimizer.zero_grad()
            run.total(first=each[0][chosen[1]].mean(), second=each[1][chosen[0]].mean()).backward()
            optimizer.step()
            other_optimizer.step()
            clean_score[idx] = -(each[0] + each[1]).detach() / 2
        schedule.step()
        other_schedule.step()
        run.log(clean_score=clean_score, kept=kept_share(epoch, settings))


def train_jocor(data: NoisyData, settings: JoCoR, run: Run) -> None:
    """JoCoR: one step a batch for both networks, on the images with the smallest joint loss."""
    networks = run.network(), run.network()
    optimizer, schedule = run.sgd(networks[0], settings, networks[1])
    clean_score = torch.full((len(data),), float("nan"), device=run.device)
    state = run.state(
        first=networks[0],
        second=networks[1],
        optimizer=optimizer,
        schedule=schedule,
        clean_score=clean_score,
        tested=("first", "second"),
    )
    forward = [run.compiled(net) for net in networks]
    for epoch in run.epochs(state, settings.epochs):
        for x, y, idx in data.batches(epoch, views=settings.view):
            with run.autocast():
                logits, other = (net(x) for net in forward)
            loss = joint_loss(logits, other, y, settings.agreement)  # (B,)
            chosen = small_loss(loss.detach(), kept_share(epoch, settings))
            optimizer.zero_grad()
            run.total(joint=loss[chosen].mean()).backward()
            optimizer.step()
            clean_score[idx] = -loss.detach()
        schedule.step()
        run.log(clean_score=clean_score, kept=kept_share(epoch, settings))


def kept_share(epoch: int, settings: CoTeaching) -> float:
    """R(T): the share of a batch that is learned in this epoch, from 1 down to 1 - forget_rate."""
    return 1 - settings.forget_rate * min(1.0, (epoch / settings.ramp) ** settings.exponent)


def small_loss(loss: Tensor, share: float, among: Tensor | None = None) -> Tensor:
    """Indices of the `share` of images with the smallest loss (B,), at least one, among those marked (B,)."""
    candidates = torch.arange(len(loss), device=loss.device) if among is None else among.nonzero()[:, 0]
    if not len(candidates):
        candidates = torch.arange(len(loss), device=loss.device)
    return candidates[loss[candidates].argsort()[: max(1, int(share * len(candidates)))]]


def disagreement(logits: Tensor, other: Tensor) -> Tensor:
    """bool (B,): where the two networks' classes differ."""
    return logits.argmax(1) != other.argmax(1)


def joint_loss(logits: Tensor, other: Tensor, y: Tensor, agreement: float) -> Tensor:
    """JoCoR's loss (B,): (1 - lambda) (CE_1 + CE_2) + lambda (KL(p_1 || p_2) + KL(p_2 || p_1))."""
    log_p, log_q = (z.float().log_softmax(1) for z in (logits, other))
    symmetric = ((log_p.exp() - log_q.exp()) * (log_p - log_q)).sum(1)
    return (1 - agreement) * (
        losses.cross_entropy(logits, y) + losses.cross_entropy(other, y)
    ) + agreement * symmetric


METHODS = {
    "co_teaching": (train_co_teaching, CoTeaching),
    "co_teaching_plus": (train_co_teaching, CoTeachingPlus),
    "jocor": (train_jocor, JoCoR),
}
