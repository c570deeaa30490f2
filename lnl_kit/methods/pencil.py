"""PENCIL: Probabilistic End-to-end Noise Correction for Learning with Noisy Labels (Yi, Wu; CVPR 2019).

Labels are learned like weights. Each image has a label distribution softmax(z), z starting at the given
label; first the network learns the given labels at a large constant rate, then it and the z are updated
together by backpropagation, then the labels stand and the network is fine-tuned on them.

The loss of the second part is KL(prediction || label) + alpha cross-entropy(given label, label) + beta
entropy(prediction); the first and last are means over the K classes, as in the paper and its release. The
third part has the first term alone.

Where this differs: the three parts are shares of the epochs (70, 130 and 120 of 320 in the release); the
learning rate is constant until the recipe's first milestone, which lies in the third part.
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
from ..toolbox import losses
from ..toolbox.models import Classifier


@dataclass(frozen=True, kw_only=True)
class Pencil(Settings):
    """PENCIL: label distributions are learned by backpropagation, together with the network."""

    start: float = 0.22  # share of the epochs on the given labels alone; 70 of 320
    stop: float = 0.625  # share of the epochs after which the labels stand; 200 of 320
    certainty: float = 10.0  # K in the paper: where z starts at the given label, 0 elsewhere
    compatibility: float = 0.1  # alpha: weight of staying near the given labels
    entropy: float = 0.4  # beta: weight of the entropy of the predictions
    label_learning_rate: float = 600.0  # lambda: step of z along the gradient of the batch's mean loss

    family: ClassVar[str] = "new labels"

    def __post_init__(self):
        super().__post_init__()
        refuse(
            not 0 <= self.start <= self.stop <= 1,
            f"start {self.start} and stop {self.stop} must rise within [0, 1]",
        )
        refuse(not self.certainty > 0, f"certainty {self.certainty} is not allowed: above 0")
        refuse(
            min(self.compatibility, self.entropy, self.label_learning_rate) < 0,
            f"compatibility {self.compatibility}, entropy {self.entropy} and label_learning_rate "
            f"{self.label_learning_rate} must be 0 or more",
        )


def train_pencil(data: NoisyData, settings: Pencil, run: Run) -> None:
    """Three parts: given labels; network and labels; network on the labels found."""
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    z = settings.certainty * torch.nn.functional.one_hot(data.y, data.num_classes).float()
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, z=z, tested="network")
    start, stop = round(settings.start * settings.epochs), round(settings.stop * settings.epochs)
    for epoch in run.epochs(state, settings.epochs):
        batches = data.batches(epoch, views=settings.view)
        if epoch < start:
            fit_epoch(
                run, network, optimizer, batches, lambda logits, y, idx: losses.cross_entropy(logits, y)
            )
        elif epoch < stop:
            learn_labels(network, optimizer, z, batches, settings, run)
        else:
            fit_epoch(run, network, optimizer, batches, lambda logits, y, idx: divergence(logits, z[idx]))
        schedule.step()
        labels = z.softmax(1)
        run.log(new_labels=labels, clean_score=labels.gather(1, data.y[:, None])[:, 0])


def learn_labels(
    network: Classifier, optimizer: torch.optim.Optimizer, z: Tensor, batches, settings: Pencil, run: Run
) -> None:
    """An epoch of the second part: each batch moves the weights and its images' z (N, K), in place."""
    forward = run.compiled(network)
    for x, y, idx in batches:
        free = z[idx].requires_grad_()
        with run.autocast():
            logits = forward(x)
        terms = {
            "classification": divergence(logits, free).mean(),
            "compatibility": settings.compatibility * compatibility(free, y).mean(),
            "entropy": settings.entropy * losses.entropy(logits.float().softmax(1)).mean() / z.shape[1],
        }
        optimizer.zero_grad()
        run.total(**terms).backward()
        optimizer.step()
        if free.grad is not None:
            z[idx] -= settings.label_learning_rate * free.grad


def divergence(logits: Tensor, z: Tensor) -> Tensor:
    """KL(prediction || softmax(z)) / K, (B,), of logits (B, K) and z (B, K)."""
    log_p = logits.float().log_softmax(1)
    return (log_p.exp() * (log_p - z.log_softmax(1))).mean(1)


def compatibility(z: Tensor, y: Tensor) -> Tensor:
    """-log softmax(z)_y, (B,): how far the label distribution has gone from the given label (B,)."""
    return losses.cross_entropy(z, y)


METHODS = {"pencil": (train_pencil, Pencil)}
