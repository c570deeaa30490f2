"""Joint optimization: Joint Optimization Framework for Learning with Noisy Labels (Tanaka, Ikami, Yamasaki,
Aizawa; CVPR 2018).

A large learning rate keeps a network from memorising; so it is trained with one, and the labels are replaced
again and again by what it predicts. Then a new network is trained on the labels found.

Where this differs: the label of an image is the mean of the predictions that its last `averaged` epochs made
for it while training (augmented), as in the release. Under `quick` both steps have the same epochs. The
weights are those of its CIFAR-10 experiments with symmetric noise; the prior over the classes is even.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ..data.batches import NoisyData
from ..run.fit import fit_epoch
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses


@dataclass(frozen=True, kw_only=True)
class JointOptimization(Settings):
    """Joint optimization: labels are learned with the network, then a new network learns from them."""

    label_epochs: int = 0  # of the first step, 0 = as many as of the second; 200 in the paper
    label_learning_rate: float = 0.1  # of the first step, constant and large
    start: float = 0.35  # share of the first step after which labels are replaced; epoch 70 of 200
    averaged: int = 10  # epochs over which predictions are averaged to labels
    evenness: float = 1.2  # alpha: weight of the divergence of the mean prediction from the uniform
    entropy: float = 0.8  # beta: weight of the predictions' entropy

    family: ClassVar[str] = "new labels"

    def __post_init__(self):
        super().__post_init__()
        refuse(
            self.label_epochs < 0 or self.averaged < 1,
            f"label_epochs {self.label_epochs} must be 0 or more, averaged {self.averaged} at least 1",
        )
        refuse(
            not self.label_learning_rate > 0,
            f"label_learning_rate {self.label_learning_rate} is not allowed: above 0",
        )
        refuse(not 0 <= self.start <= 1, f"start {self.start} is outside [0, 1]")
        refuse(
            min(self.evenness, self.entropy) < 0,
            f"evenness {self.evenness} and entropy {self.entropy} must be 0 or more",
        )


def train_joint_optimization(data: NoisyData, settings: JointOptimization, run: Run) -> None:
    """Step 1 finds labels (Algorithm 1); step 2 trains a new network on them."""
    labels = run.stage("labels", lambda stage: find_labels(stage, settings))
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, tested="network")
    for epoch in run.epochs(state, settings.epochs):
        fit_epoch(
            run,
            network,
            optimizer,
            data.batches(epoch, views=settings.view),
            lambda logits, y, idx: losses.cross_entropy(logits, labels[idx]),
        )
        schedule.step()
        run.log(new_labels=labels, clean_score=labels[torch.arange(len(data), device=labels.device), data.y])


def find_labels(stage: Run, settings: JointOptimization) -> Tensor:
    """The labels (N, K) that training with a large learning rate ends with."""
    data, epochs = stage.data, settings.label_epochs or settings.epochs
    first = min(
        epochs - 1, max(1, round(settings.start * epochs))
    )  # the epoch after which labels are replaced
    network = stage.network()
    optimizer, _ = stage.sgd(
        network, dataclasses.replace(settings, learning_rate=settings.label_learning_rate)
    )
    labels = torch.nn.functional.one_hot(data.y, data.num_classes).float()
    recent = torch.zeros(
        min(settings.averaged, epochs), len(data), data.num_classes, device=stage.device
    )  # predictions, epoch by epoch
    seen = torch.zeros(
        len(recent), len(data), dtype=torch.bool, device=stage.device
    )  # a dropped batch leaves images out
    state = stage.state(
        network=network, optimizer=optimizer, labels=labels, recent=recent, seen=seen, tested="network"
    )
    forward = stage.compiled(network)
    for epoch in stage.epochs(state, epochs):
        slot = epoch % len(recent)
        seen[slot] = False
        for x, _, idx in data.batches(epoch, views=settings.view):
            with stage.autocast():
                logits = forward(x)
            p = logits.float().softmax(1)
            terms = {
                "labels": divergence(labels[idx], logits).mean(),
                "evenness": settings.evenness * losses.evenness(p),
                "entropy": settings.entropy * losses.entropy(p).mean(),
            }
            optimizer.zero_grad()
            stage.total(**terms).backward()
            optimizer.step()
            recent[slot].index_copy_(0, idx, p.detach())
            seen[slot].index_fill_(0, idx, True)
        if epoch >= first:
            labels.copy_(averaged(recent, seen, labels))
    return labels


def averaged(recent: Tensor, seen: Tensor, labels: Tensor) -> Tensor:
    """Mean (N, K) of the kept predictions (E, N, K) where seen (E, N); without one, the label."""
    count = seen.sum(0)[:, None]
    mean = (recent * seen[:, :, None]).sum(0) / count.clamp(min=1)
    return torch.where(count > 0, mean, labels)


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(target || prediction), (B,), from targets (B, K) and logits (B, K)."""
    return losses.cross_entropy(logits, target) - losses.entropy(target)


METHODS = {"joint_optimization": (train_joint_optimization, JointOptimization)}
