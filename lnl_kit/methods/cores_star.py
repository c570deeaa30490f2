"""CORES²*: Learning with Instance-Dependent Label Noise: a Sample Sieve Approach (Cheng, Zhu, Li, Gong, Sun,
Liu; ICLR 2021), both phases. Its first phase's loss on all images is `cores`.

Phase 1, the sieve: cross-entropy less a reward for confidence; from some epoch on a batch is learned only
where the given label costs less than labels cost on average, a threshold that needs no noise rate. What
passes in the end keeps its label. Phase 2: a new network learns these labels, and for all other images
only that a strong view should be predicted as the ordinary one is (Xie et al. 2020, unsupervised data
augmentation).

Where this differs, or chooses what the paper leaves to its release:
- Phase 1 takes 40 epochs, after which the release reads off its sieve, at a constant rate that is divided
  by 1 + beta as there; batch, momentum and weight decay are the recipe's.
- The prior of the reward is that of the labels that passed in the last epoch, as in the release.
- Phase 2 has the recipe's epochs and schedule, not 1,600 and a cosine after a warm-up. Its batch is the
  recipe's of labelled images beside three quarters as many others, 320 and 240 in the release, all of
  whose views go through the network together.
- On digits 40 epochs are 440 steps, after which nearly all right labels pass and a third of what passes
  is wrong (symmetric 0.5, seed 0: precision .68, recall 1). By --noisy-val 100 epochs sieve no better:
  .486, 40 .514.
- The release's strong view has Cutout after AutoAugment; this one has not. Gradients are clipped at a
  norm of 5, as in the release.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.fit import slowed
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses
from ..toolbox.rng import generator
from ..toolbox.semi_supervised import repeated

CLIP = 5.0  # the largest norm of a gradient in phase 2; its release


@dataclass(frozen=True, kw_only=True)
class CoresStar(Settings):
    """CORES²*: a sieve keeps labels that cost less than others would; other images teach consistency."""

    sieve_epochs: int = 40  # of the network that sieves; its release reads the sieve off after 40
    regularizer: float = 2.0  # beta, weight of the reward for confidence in the end; its release
    wait: int = 10  # epochs before it starts; its release
    ramp: int = 30  # epochs over which it then grows; its release
    sieve_from: int = 30  # epochs after which a batch is learned only where its labels pass; its release
    consistency: float = 0.9  # weight of the other images' divergence between views; its release
    others: float = 0.75  # other images in a batch, beside each labelled one; 240 beside 320 in its release
    strong_view: str = "autoaugment_crop"  # augmentation of their second view; the release adds Cutout

    search: ClassVar[dict] = {**Settings.search, "regularizer": (0.5, 5.0), "consistency": (0.1, 2.0)}
    family: ClassVar[str] = "new labels"
    controls: ClassVar[dict] = {"no_consistency": {"consistency": 0.0}}  # the labels that passed alone

    def __post_init__(self):
        super().__post_init__()
        refuse(self.sieve_epochs < 1, f"sieve_epochs {self.sieve_epochs} is not allowed: at least 1")
        refuse(self.ramp < 1, f"ramp {self.ramp} is not allowed: at least 1")
        refuse(
            min(self.regularizer, self.wait, self.sieve_from, self.consistency) < 0,
            f"regularizer {self.regularizer}, wait {self.wait}, sieve_from {self.sieve_from} and consistency "
            f"{self.consistency} must be 0 or more",
        )
        refuse(not self.others > 0, f"others {self.others} is not allowed: above 0")

    def beta(self, epoch: int) -> float:
        """The weight of the reward in an epoch of the sieve, from 0."""
        return self.regularizer * min(1.0, max(0, epoch - self.wait) / self.ramp)


def train_cores_star(data: NoisyData, settings: CoresStar, run: Run) -> None:
    """Phase 1 as a stage of its own; then labels that passed, and consistency on all other images."""
    margin = run.stage("sieve", lambda stage: sieve(stage, settings))
    kept = margin <= 0
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, tested="network")
    forward, labelled, others = run.compiled(network), some(kept), some(~kept)
    size = min(data.batch_size, len(labelled))
    beside, steps = max(1, round(settings.others * size)), max(1, len(labelled) // size)
    views = settings.view, settings.strong_view
    for epoch in run.epochs(state, settings.epochs):
        draw = generator(run.seed, "others", epoch)
        batches = data.batches(
            ("kept", epoch), settings.view, size, order=repeated(labelled, len(labelled), draw)
        )
        without = data.batches(("others", epoch), views, beside, order=repeated(others, steps * beside, draw))
        for (x, y, _), ((weak, strong), _, _) in zip(batches, without):
            with run.autocast():
                logits = forward(torch.cat((x, weak, strong)))
            of_weak, of_strong = logits[len(x) :].chunk(2)
            optimizer.zero_grad()
            run.total(
                labels=losses.cross_entropy(logits[: len(x)], y).mean(),
                consistency=settings.consistency * losses.consistency(of_weak, of_strong).mean(),
            ).backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP)
            optimizer.step()
        schedule.step()
        run.log(selected=kept, clean_score=-margin)


def some(kept: Tensor) -> Tensor:
    """Indices of the images that are marked (N,), of all where fewer than two are."""
    return (kept if kept.sum() > 1 else torch.ones_like(kept)).nonzero()[:, 0]


def sieve(stage: Run, settings: CoresStar) -> Tensor:
    """Phase 1: the margin (N,) of each label in the last epoch that saw it; at most 0 where it passes."""
    data, network = stage.data, stage.network()
    optimizer, _ = stage.sgd(network, settings)
    margin = torch.zeros(len(data), device=stage.device)
    state = stage.state(network=network, optimizer=optimizer, margin=margin, tested="network")
    forward = stage.compiled(network)
    for epoch in stage.epochs(state, settings.sieve_epochs):
        beta, sieving = settings.beta(epoch), epoch > settings.sieve_from
        # the prior of what passed, of all labels while none is sieved
        passed = (margin <= 0) | torch.tensor(epoch <= settings.sieve_from + 1, device=stage.device)
        prior = torch.zeros(data.num_classes, device=stage.device).index_add_(0, data.y, passed.float())
        prior /= prior.sum().clamp(min=1)
        with slowed(optimizer, 1 + beta):
            for x, y, idx in data.batches(epoch, views=settings.view):
                with stage.autocast():
                    logits = forward(x)
                margin[idx] = margin_of(logits.detach(), y)
                passes = (margin[idx] <= 0).float() if sieving else torch.ones_like(margin[idx])
                loss = (passes * losses.cores(logits, y, prior, beta)).sum() / passes.sum().clamp(min=1)
                optimizer.zero_grad()
                stage.total(sieve=loss).backward()
                optimizer.step()
    return margin


def margin_of(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of the given label less its mean over all labels, (B,): Eq. (5)'s threshold is 0."""
    log_p = logits.float().log_softmax(1)
    return losses.cross_entropy(logits, y) + log_p.mean(1)


METHODS = {"cores_star": (train_cores_star, CoresStar)}
