"""RRM: Enhancing Learning with Noisy Labels via Rockafellian Relaxation (Chen, Chern, Eckstrand, Mahapatra,
Royset; ICLR 2026, arXiv 2405.20531).

The empirical distribution itself is in doubt: besides the network, the weight of each image is a
variable, at a price gamma for every share of weight that moves (a total variation). For a given network
the best weights are known in closed form: an image whose loss is more than gamma above the smallest has
none, and what it had goes to images of the smallest loss. Weights and network take turns. Any loss can be
wrapped.

Where this differs, or chooses what the paper leaves to its release:
- A round is `every` epochs of the network, then the weights go the share `step` of the way to the best
  ones. Losses are of images without augmentation, in evaluation mode.
- gamma is that of the ICLR version, whose threshold is gamma above the smallest loss; its MNIST release
  has theta = 0.4 and a threshold of 2 theta. The rule that sets gamma from a known noise rate is left
  out: no method here is told it.
- What pruned images lose goes to all images within `spread` of the smallest loss, not to the smallest
  alone; the optimum is theirs to within so much. Under `quick` all that keep their weight share it, which
  is pruning and no more.
- The adversarial extension, A-RRM, is left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.evaluate import predict
from ..run.fit import fit_epoch
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses

WRAPPED = {"ce": losses.cross_entropy, **losses.ROBUST}


@dataclass(frozen=True, kw_only=True)
class RRM(Settings):
    """RRM: weights of images are optimised beside the network; a large loss costs an image its weight."""

    loss: str = "ce"  # what is wrapped: ce, gce, mae, js, sce or nce_rce
    penalty: float = 0.8  # gamma: excess over the smallest loss that keeps its weight; its release: 2 x 0.4
    spread: float = 1e-3  # images so near to the smallest loss share what the others lose
    step: float = 0.5  # mu: share of the way that the weights go in a round; its release
    every: int = 10  # epochs of a round; its release

    # Where the smallest loss is far from 0, one image with the weight of a thousand ends the training: by
    # --noisy-val on digits, symmetric 0.8, seed 0, .208 where all that keep their weight share, else .097.
    quick: ClassVar[dict] = {"spread": math.inf}
    search: ClassVar[dict] = {**Settings.search, "penalty": (0.1, 5.0, "log")}
    family: ClassVar[str] = "a loss"
    controls: ClassVar[dict] = {"even": {"penalty": 1e9}}  # the wrapped loss, all images alike

    def __post_init__(self):
        super().__post_init__()
        refuse(self.loss not in WRAPPED, f"loss {self.loss!r} does not exist: {', '.join(WRAPPED)}")
        refuse(self.penalty < 0, f"penalty {self.penalty} is not allowed: 0 or more")
        refuse(self.spread < 0, f"spread {self.spread} is not allowed: 0 or more")
        refuse(not 0 < self.step <= 1, f"step {self.step} is outside (0, 1]")
        refuse(self.every < 1, f"every {self.every} is not allowed: at least 1")


def train_rrm(data: NoisyData, settings: RRM, run: Run) -> None:
    """Algorithm 1: epochs of the network under the weights, then weights under the network."""
    network, loss_of = run.network(), WRAPPED[settings.loss]
    optimizer, schedule = run.sgd(network, settings)
    weights = torch.ones(len(data), device=run.device)  # N (1/N + u)
    state = run.state(
        network=network, optimizer=optimizer, schedule=schedule, weights=weights, tested="network"
    )
    for epoch in run.epochs(state, settings.epochs):
        fit_epoch(
            run,
            network,
            optimizer,
            data.batches(epoch, views=settings.view),
            lambda logits, y, idx: weights[idx] * loss_of(logits, y),
        )
        schedule.step()
        if (epoch + 1) % settings.every == 0:
            probs = predict([network], data.x, data, run.autocast).to(run.device)
            best = best_weights(
                loss_of(probs.clamp(min=losses.SMALLEST).log(), data.y), settings.penalty, settings.spread
            )
            weights.lerp_(best, settings.step)
        run.log(clean_score=weights, selected=weights > 0.5)


def best_weights(loss: Tensor, gamma: float, spread: float = 1e-3) -> Tensor:
    """N (1/N + u), (N,), for the u that minimises sum_i (1/N + u_i) loss_i + gamma/2 |u|_1 over u with a sum
    of 0 and 1/N + u >= 0 (Theorem 3.1), of losses (N,). What is moved goes to images within `spread` of the
    smallest loss.
    """
    smallest = loss.min()
    pruned = loss > smallest + gamma
    least = (loss <= smallest + spread) & ~pruned
    return (~pruned).to(loss) + least * pruned.sum() / least.sum()


METHODS = {"rrm": (train_rrm, RRM)}
