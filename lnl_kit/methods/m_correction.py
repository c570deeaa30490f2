"""M-correction: Unsupervised Label Noise Modeling and Loss Correction (Arazo, Ortego, Albert, O'Connor,
McGuinness; ICML 2019).

A mixture of two beta distributions, fitted to the losses of all images after every epoch, says how probable
each label is to be wrong; by that much the target moves to the network's own prediction, under MixUp. This is
their M-DYR-H.

Where this differs, or chooses what the paper leaves to its release: the first `warmup` share of the epochs
(105 of 300 there) is MixUp alone; the probability of an image is that of its loss in this batch, under the
mixture of the last epoch; predictions for targets come from evaluation mode. The regulariser (Tanaka et
al.'s) keeps the mean prediction even over the classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses, mixup
from ..toolbox.models import Classifier
from ..toolbox.selection import BetaMixture


@dataclass(frozen=True, kw_only=True)
class MCorrection(Settings):
    """M-correction: bootstrapping weighted by a beta mixture of the losses, under MixUp."""

    warmup: float = 0.35  # share of the epochs before the correction starts; its release: 105 of 300
    mixup: float = 32.0  # of Beta(mixup, mixup)
    evenness: float = 1.0  # weight of the regulariser that keeps the mean prediction even

    family: ClassVar[str] = "new labels"

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 <= self.warmup <= 1, f"warmup {self.warmup} is outside [0, 1]")
        refuse(not self.mixup > 0, f"mixup {self.mixup} is not allowed: above 0")
        refuse(self.evenness < 0, f"evenness {self.evenness} is not allowed: 0 or more")


def train_m_correction(data: NoisyData, settings: MCorrection, run: Run) -> None:
    """MixUp, then dynamic hard bootstrapping with MixUp."""
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, tested="network")
    forward, k = run.compiled(network), data.num_classes
    unknown = torch.full(
        (len(data),), float("nan"), device=run.device
    )  # what is said of the labels in the warm-up
    for epoch in run.epochs(state, settings.epochs):
        correcting, mixture, score = epoch >= max(1, round(settings.warmup * settings.epochs)), None, unknown
        if correcting:
            loss = image_losses(network, data, run)
            mixture = BetaMixture(loss.cpu().numpy())
            score = 1 - mixture.wrong(loss)
        for x, y, _ in data.batches(epoch, views=settings.view):
            target = torch.nn.functional.one_hot(y, k).float()
            if mixture is not None:
                target = corrected(network, mixture, x, y, target, run)
            mix = mixup.draw(len(x), settings.mixup, x.device)
            with run.autocast():
                logits = forward(mix(x))
            terms = {"labels": losses.cross_entropy(logits, mix(target)).mean()}
            if settings.evenness and correcting:
                terms["evenness"] = settings.evenness * losses.evenness(logits.float().softmax(1))
            optimizer.zero_grad()
            run.total(**terms).backward()
            optimizer.step()
        schedule.step()
        run.log(clean_score=score)


@torch.no_grad()
def image_losses(network: Classifier, data: NoisyData, run: Run) -> Tensor:
    """Cross-entropy (N,) of every image without augmentation under its given label, in evaluation mode."""
    network.eval()
    by_batch = []
    for x, idx in data.in_order():
        with run.autocast():
            by_batch.append(losses.cross_entropy(network(x), data.y[idx]))
    network.train()
    return torch.cat(by_batch)


@torch.no_grad()
def corrected(
    network: Classifier, mixture: BetaMixture, x: Tensor, y: Tensor, given: Tensor, run: Run
) -> Tensor:
    """(B, K): (1 - w) given + w own class, w the probability that the label is wrong: the hard form."""
    network.eval()
    with run.autocast():
        logits = network(x)
    network.train()
    w = mixture.wrong(losses.cross_entropy(logits, y))[:, None]
    return (1 - w) * given + w * torch.nn.functional.one_hot(logits.argmax(1), given.shape[1])


METHODS = {"m_correction": (train_m_correction, MCorrection)}
