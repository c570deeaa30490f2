"""SSR: An Efficient and Robust Framework for Learning with Unknown Label Noise (Feng, Tzimiropoulos, Patras;
BMVC 2022).

Before each epoch two classifiers look at every image. The network gives a new label where it is sure; the
votes of an image's nearest neighbours in the network's own features choose the labels that they agree with.
Those are learnt with MixUp, classes evenly. Images of no class are not mentioned: their neighbours do not
agree, so that they are left out by themselves. A feature consistency loss of all images is optional.

Where this differs, or chooses what the paper leaves to its release:
- Neighbours vote alike and an image is not its own neighbour; the release weighs their votes by similarity.
  Votes are divided by how frequent each class is, the paper's Eq. 4.
- 200 neighbours are more than a class of digits has: `quick` takes 20.
- Images are looked at without augmentation; the release crops and flips them.
- An outsider's score is one less its neighbours' votes for the class they prefer; the paper has none.
- Learning rate, weight decay and schedule are the recipe's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses, mixup, neighbours
from ..toolbox.models import Classifier
from ..toolbox.rng import generator
from ..toolbox.semi_supervised import repeated


@dataclass(frozen=True, kw_only=True)
class SSR(Settings):
    """SSR+: neighbours' votes choose labels, the network renews them where it is sure."""

    agreement: float = 1.0  # theta_s: votes for the label over those for the favourite, at least; its release
    sure: float = 0.9  # theta_r: probability above which the network's class becomes the label; its release
    neighbours: int = 200  # K, that vote; its release
    feature_consistency: float = 1.0  # lambda_fc, weight of that loss; 0 = SSR without the plus; its release
    mixup: float = 4.0  # Beta(mixup, mixup) of MixUp's coefficient; its release
    strong_view: str = "autoaugment"  # augmentation of what is learnt; its release

    quick: ClassVar[dict] = {"neighbours": 20}
    search: ClassVar[dict] = {**Settings.search, "sure": (0.7, 0.99), "agreement": (0.8, 1.0)}
    family: ClassVar[str] = "selection"
    controls: ClassVar[dict] = {
        "no_relabelling": {"sure": 1.0},
        "no_selection": {"agreement": 0.0},
        "no_consistency": {"feature_consistency": 0.0},
    }

    def __post_init__(self):
        super().__post_init__()
        for name in ("agreement", "sure"):
            refuse(not 0 <= getattr(self, name) <= 1, f"{name} {getattr(self, name)} is outside [0, 1]")
        refuse(self.neighbours < 1, f"neighbours {self.neighbours} is not allowed: at least 1")
        refuse(
            self.feature_consistency < 0,
            f"feature_consistency {self.feature_consistency} is not allowed: 0 or more",
        )
        refuse(not self.mixup > 0, f"mixup {self.mixup} is not allowed: above 0")


class Chosen(NamedTuple):
    """What both classifiers say of each image."""

    labels: Tensor  # int64 (N,): given, or the network's
    selected: Tensor  # bool (N,): labels that the neighbours agree with
    score: Tensor  # (N,): votes for the given label over those for the favourite
    outside: Tensor  # (N,): 1 - votes for the favourite


def train_ssr(data: NoisyData, settings: SSR, run: Run) -> None:
    """Relabel and select by the network as it is, then an epoch on what was selected."""
    network = run.network()
    width = network.head.in_features
    projector, predictor = head(width).to(run.device), head(128).to(run.device)
    optimizer, schedule = run.sgd(network, settings, projector, predictor)
    state = run.state(
        network=network,
        projector=projector,
        predictor=predictor,
        optimizer=optimizer,
        schedule=schedule,
        tested="network",
    )
    for epoch in run.epochs(state, settings.epochs):
        features, probs = looked_at(network, data, run)
        chosen = choose(features, probs, data.y, data.num_classes, settings)
        train_epoch(network, projector, predictor, optimizer, chosen, epoch, data, settings, run)
        schedule.step()
        run.log(
            selected=chosen.selected,
            clean_score=chosen.score,
            outside_score=chosen.outside,
            new_labels=chosen.labels,
        )


def head(inputs: int, hidden: int = 256, outputs: int = 128) -> nn.Module:
    """Projector h_proj and predictor h_pred: two linear layers, (B, inputs) -> (B, outputs)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, outputs)
    )


@torch.no_grad()
def looked_at(network: Classifier, data: NoisyData, run: Run) -> tuple[Tensor, Tensor]:
    """(features (N, d), softmax (N, K)) of all images, in evaluation mode; training mode afterwards."""
    network.eval()
    seen = []
    for x, _ in data.in_order():
        with run.autocast():
            z = network.features(x)
            seen.append((z.float(), network.head(z).float().softmax(1)))
    network.train()
    features, probs = zip(*seen)
    return torch.cat(features), torch.cat(probs)


def choose(features: Tensor, probs: Tensor, y: Tensor, classes: int, settings: SSR) -> Chosen:
    """Relabelling (Eq. 2) by probs (N, K), and selection (Eq. 3 to 6) by votes on features (N, d)."""
    confidence, predicted = probs.max(1)
    labels = torch.where(confidence > settings.sure, predicted, y)
    votes = neighbours.votes(features, labels, classes, settings.neighbours)
    frequency = torch.bincount(labels, minlength=classes) / len(labels)
    votes = votes / frequency.clamp(min=1 / len(labels))
    votes = votes / votes.sum(1, keepdim=True)
    favourite = votes.amax(1)
    agreement = votes.gather(1, labels[:, None])[:, 0] / favourite
    score = votes.gather(1, y[:, None])[:, 0] / favourite
    return Chosen(labels, agreement >= settings.agreement, score, 1 - favourite)


def balanced(labels: Tensor, selected: Tensor, n: int, draw: torch.Generator) -> Tensor:
    """Indices (n,) of selected images, every class that has some equally often to within one; of all images
    where none is selected.
    """
    index = selected.nonzero()[:, 0] if selected.any() else torch.arange(len(labels), device=labels.device)
    parts = [index[labels[index] == k] for k in labels[index].unique().tolist()]
    each = -(-n // len(parts))
    order = torch.cat([repeated(part, each, draw) for part in parts])
    return order[torch.randperm(len(order), generator=draw).to(order.device)][:n]


def train_epoch(
    network: Classifier,
    projector: nn.Module,
    predictor: nn.Module,
    optimizer: torch.optim.Optimizer,
    chosen: Chosen,
    epoch: int,
    data: NoisyData,
    settings: SSR,
    run: Run,
) -> None:
    """As many steps as all images make: MixUp of two strong views of what was selected, and consistency."""
    draw = generator(run.seed, "balanced", epoch)
    order = balanced(chosen.labels, chosen.selected, data.steps() * data.batch_size, draw)
    strong = settings.strong_view
    labelled = data.batches(("selected", epoch), (strong, strong), order=order)
    shuffled = torch.randperm(len(data), generator=draw).to(run.device)
    every = data.batches(("all", epoch), (settings.view, strong), order=shuffled)
    for (x, _, idx), (both, _, _) in zip(labelled, every):
        onehot = F.one_hot(chosen.labels[idx], data.num_classes).float().repeat(2, 1)
        mix = mixup.draw(len(onehot), settings.mixup, run.device, own_half=True)
        with run.autocast():
            logits = network(mix(torch.cat(x)))
        terms = {"labels": losses.cross_entropy(logits, mix(onehot)).mean()}
        if settings.feature_consistency:
            with run.autocast():
                weak, other = network.features(torch.cat(both)).chunk(2)
                seen, asked = projector(weak), predictor(projector(other))
            terms["consistency"] = settings.feature_consistency * apart(asked.float(), seen.float())
        optimizer.zero_grad()
        run.total(**terms).backward()
        optimizer.step()


def apart(asked: Tensor, seen: Tensor) -> Tensor:
    """-cos(asked, seen), the mean (0-d) over (B, d); `seen` carries no gradient (Eq. 8)."""
    return -F.cosine_similarity(asked, seen.detach(), dim=1).mean()


METHODS = {"ssr": (train_ssr, SSR)}
