"""Early Cutting: Enhancing Sample Selection Against Label Noise by Cutting Mislabeled Easy Examples (Yuan,
Feng, Han, Liu; NeurIPS 2025).

Labels that a network learns early are trusted, but some wrong ones are learned early too, and these do
most harm. So the network's later state looks again at what was learned first: a label with a large loss,
although the network is sure of another class and moving the image would not change that (a small gradient
of the image), is cut. What is left is learned anew, in rounds, by a new network each.

Where this differs, or chooses what the paper leaves to its release:
- The network that selects is one, trained by cross-entropy; the release trains two with averages of their
  weights that teach one another, and cuts by the epoch with the best noisy validation accuracy, here the
  round's last.
- A label is learned when it was predicted in three epochs running, after the first six; a round ends when
  a share of its images, `kept_share`, is learned: 0.85 in the release at 40 % noise, 0.925 at 20 %, both for
  three rounds. Nothing else tells the method how many labels are wrong. A round has at most
  `round_epochs`.
- Cut are, of the two thirds that were learned first, those within the largest tenth of the losses (3,000
  images in the release), within these the surest fifth and the flattest fifth; in the first round alone,
  as in the release.
- The rounds' learning rate is constant, as their length is not known before.
"""

from __future__ import annotations

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
from ..toolbox.models import Classifier
from ..toolbox.rng import generator
from ..toolbox.semi_supervised import repeated


@dataclass(frozen=True, kw_only=True)
class EarlyCutting(Settings):
    """Early Cutting: labels learned early are kept, but those that the later network denies are cut."""

    rounds: int = 3  # of selection, each by a new network on what the last one kept; its release
    kept_share: float = 0.85  # share of its images that a round keeps, the first learned; its release
    running: int = 3  # epochs in a row in which a learned label is predicted; its release
    warmup: int = 6  # epochs of a round that do not count; its release
    round_epochs: int = 0  # of a round at most, 0 = as many as of the last network; 300 in its release
    early: float = 0.667  # share of the kept images that is looked at again; its release: 1 / 1.5
    largest: float = 0.1  # share of these with the largest loss; Sec. 4
    surest: float = 0.2  # share of these with the largest probability; its release
    flattest: float = 0.2  # share of these with the smallest gradient of the image; its release

    search: ClassVar[dict] = {**Settings.search, "kept_share": (0.5, 0.95)}
    family: ClassVar[str] = "new labels"
    controls: ClassVar[dict] = {"no_cutting": {"largest": 0.0}}  # what is learned early, uncut

    def __post_init__(self):
        super().__post_init__()
        refuse(
            min(self.rounds, self.running) < 1,
            f"rounds {self.rounds} and running {self.running} must be at least 1",
        )
        refuse(
            min(self.warmup, self.round_epochs) < 0,
            f"warmup {self.warmup} and round_epochs {self.round_epochs} must be 0 or more",
        )
        refuse(not 0 < self.kept_share <= 1, f"kept_share {self.kept_share} is outside (0, 1]")
        for name in ("early", "largest", "surest", "flattest"):
            refuse(not 0 <= getattr(self, name) <= 1, f"{name} {getattr(self, name)} is outside [0, 1]")


def train_early_cutting(data: NoisyData, settings: EarlyCutting, run: Run) -> None:
    """Rounds of selection as stages; then a new network on what is left."""
    kept = torch.arange(len(data), device=run.device)
    for number in range(settings.rounds):
        kept = run.stage(f"round {number + 1}", selection(kept, number == 0, settings))
    network = run.network()
    optimizer, schedule = run.sgd(network, settings)
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, tested="network")
    chosen = torch.zeros(len(data), dtype=torch.bool, device=run.device).index_fill_(0, kept, True)
    # the first that are learned are the likeliest to be right
    score = torch.zeros(len(data), device=run.device)
    score[kept] = torch.linspace(1.0, 0.5, len(kept), device=run.device)
    for epoch in run.epochs(state, settings.epochs):
        batches = ordered(data, kept, ("kept", epoch), settings, run.seed)
        fit_epoch(run, network, optimizer, batches, plain)
        schedule.step()
        run.log(selected=chosen, clean_score=score)


def plain(logits: Tensor, y: Tensor, idx: Tensor) -> Tensor:
    """Cross-entropy (B,) with the given labels."""
    return losses.cross_entropy(logits, y)


def ordered(data: NoisyData, index: Tensor, key: tuple, settings: EarlyCutting, seed: int):
    """An epoch's batches of the images `index` (n,) in a random order."""
    order = repeated(index, len(index), generator(seed, *key))
    return data.batches(key, views=settings.view, order=order)


def selection(index: Tensor, cutting: bool, settings: EarlyCutting):
    """A stage that returns which of the images `index` (n,) a round keeps, in the order of their learning."""

    def select(stage: Run) -> Tensor:
        data, network = stage.data, stage.network()
        optimizer, _ = stage.sgd(network, settings)
        streak, learned_at = (torch.zeros(len(data), device=stage.device) for _ in range(2))
        learned_at.fill_(float("inf"))
        state = stage.state(
            network=network, optimizer=optimizer, streak=streak, learned_at=learned_at, tested="network"
        )
        for epoch in stage.epochs(state, settings.round_epochs or settings.epochs):
            if learned(learned_at, index, settings.kept_share) is None:
                batches = ordered(data, index, ("round", epoch), settings, stage.seed)
                fit_epoch(stage, network, optimizer, batches, plain)
                predicted = predict([network], data.x, data, stage.autocast).argmax(1).to(stage.device)
                if epoch >= settings.warmup:
                    follow(streak, learned_at, predicted == data.y, epoch, settings.running)
        first = learned(learned_at, index, settings.kept_share)
        if first is None:  # the epochs were too few: what was learned, or all
            first = index[learned_at[index].argsort(stable=True)]
            some = learned_at[first].isfinite()
            first = first[some] if some.sum() > 1 else first
        return cut(network, first, data, settings, stage) if cutting else first

    return select


def follow(streak: Tensor, learned_at: Tensor, right: Tensor, epoch: int, running: int) -> None:
    """Count epochs in a row (N,) in which the label was predicted, in place; note when it is learned (N,)."""
    streak.add_(1).mul_(right)
    new = (streak >= running) & learned_at.isinf()
    learned_at.copy_(torch.where(new, float(epoch), learned_at))


def learned(learned_at: Tensor, index: Tensor, keep: float) -> Tensor | None:
    """The learned images of `index` (n,), the first first, once they are the share `keep`; else None."""
    when = learned_at[index]
    if when.isfinite().sum() < keep * len(index):
        return None
    order = when.argsort(stable=True)
    return index[order[: int(when.isfinite().sum())]]


def cut(network: Classifier, first: Tensor, data: NoisyData, settings: EarlyCutting, stage: Run) -> Tensor:
    """The images `first` (n,), in order of their learning, without those that the network now denies."""
    again = first[: round(settings.early * len(first))]
    loss, confidence, slope = looked_at(network, again, data, stage)
    suspects = top(loss, settings.largest)
    sure = top(confidence[suspects], settings.surest)
    flat = top(-slope[suspects], settings.flattest)
    both = sure[torch.isin(sure, flat)]
    return first[~torch.isin(first, again[suspects[both]])]


def looked_at(
    network: Classifier, index: Tensor, data: NoisyData, stage: Run
) -> tuple[Tensor, Tensor, Tensor]:
    """Of images `index` (n,), each (n,): the loss of the given label, the largest probability, and the norm
    of the loss's gradient by the image; in evaluation mode, without augmentation."""
    network.eval()
    rows = []
    for x, idx in data.in_order(indices=index, batch_size=256):
        x = x.requires_grad_()
        with stage.autocast():
            logits = network(x)
        loss = losses.cross_entropy(logits, data.y[idx])
        (gradient,) = torch.autograd.grad(loss.sum(), x)
        confidence = logits.detach().float().softmax(1).amax(1)
        rows.append((loss.detach(), confidence, gradient.float().flatten(1).norm(dim=1)))
    network.train()
    loss, confidence, slope = (torch.cat(column) for column in zip(*rows))
    return loss, confidence, slope


def top(values: Tensor, share: float) -> Tensor:
    """Indices of the `share` of largest values (n,)."""
    return values.argsort(descending=True, stable=True)[: round(share * len(values))]


METHODS = {"early_cutting": (train_early_cutting, EarlyCutting)}
