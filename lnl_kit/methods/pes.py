"""PES and PES (semi): Understanding and Improving Early Stopping for Learning with Noisy Labels (Bai, Yang,
Han, Yang, Li, Mao, Niu, Liu; NeurIPS 2021).

Wrong labels hurt the last layers of a network first. So it is stopped early part by part: the whole
network is trained for some epochs, then its last layers start anew and are trained for a few while those
before stand, then the head alone. What the network now predicts of two views of an image decides, epoch
by epoch, which labels are kept: those that it gives itself. PES trains on these alone, with a weight for
each class; PES (semi) takes the other images without their labels and trains by MixMatch (Berthelot et
al. 2019).

Where this differs, or chooses what the paper leaves to its release:
- The first part is a share of the epochs: 25 of 200, semi 30 of 300, both of CIFAR-10. The renewed layers
  are trained at the end of that part's last epoch, whose images they see again, as in the release in no
  epoch's count.
- The last layers are the last quarter of the network's blocks, of which ResNet-18 has its fourth stage; a
  network on features has one block, which stays, and only its head starts anew.
- A renewed layer keeps its place in the optimiser, which forgets its momentum; in the release's code the
  optimiser goes on with the layers that were replaced.
- Labels are chosen with BatchNorm statistics renewed by a pass over all images. An epoch of digits is
  eleven steps, of kept images fewer: running averages then lag behind the weights, the network gives one
  class, and by its own choice comes to nothing (test accuracy .10 where .98 is reached with them,
  symmetric 0.5, seed 0).
- The release weighs the classes by the mean number of kept labels over that of the class; without a kept
  label a class weighs nothing. Semi: at most 3, as there; its epoch is as many steps as the images make,
  its MixUp changes from 4 to 0.75 at half of the epochs.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batches import NoisyData
from ..files import RunError
from ..run.fit import fit_epoch
from ..run.loop import Run
from ..run.settings import Settings, refuse
from ..toolbox import losses, mixup, models
from ..toolbox.averaging import renew_statistics
from ..toolbox.models import Classifier
from ..toolbox.rng import generator
from ..toolbox.semi_supervised import mean_softmax, repeated, sharpen


@dataclass(frozen=True, kw_only=True)
class PES(Settings):
    """PES: the last layers are trained more briefly than the first; then the labels that agree are kept."""

    first: float = 0.125  # share of the epochs of the whole network (T1); 25 of 200, its release
    latter_epochs: int = 7  # of the last layers, started anew, 0 = not renewed (T2); its release
    head_epochs: int = 5  # of the head, started anew, 0 = not renewed (T3); the paper's, 7 in its release
    refine_learning_rate: float = 1e-4  # of Adam, for the layers that start anew; its release
    class_weight: float = math.inf  # the most that a class weighs; its release, which has 3 for PES (semi)
    renew_statistics: bool = True  # BatchNorm's, of the present weights, before labels are chosen
    latter: float = 0.25  # share of the network's blocks that count as its last layers

    search: ClassVar[dict] = {
        **Settings.search,
        "first": (0.05, 0.5),
        "refine_learning_rate": (1e-5, 0.1, "log"),
    }
    family: ClassVar[str] = "new labels"
    # 77 steps of Adam at 1e-4 renew nothing: by --noisy-val on digits, symmetric 0.5, .542, else .292.
    quick: ClassVar[dict] = {"refine_learning_rate": 0.01}
    controls: ClassVar[dict] = {"whole": {"latter_epochs": 0, "head_epochs": 0}}  # early stopping as a whole

    def __post_init__(self):
        super().__post_init__()
        refuse(not 0 < self.first < 1, f"first {self.first} is outside (0, 1)")
        refuse(
            min(self.latter_epochs, self.head_epochs) < 0,
            f"latter_epochs {self.latter_epochs} and head_epochs {self.head_epochs} must be 0 or more",
        )
        refuse(
            not self.refine_learning_rate > 0,
            f"refine_learning_rate {self.refine_learning_rate} is not allowed: above 0",
        )
        refuse(not self.class_weight >= 1, f"class_weight {self.class_weight} is not allowed: 1 or more")
        refuse(not 0 < self.latter < 1, f"latter {self.latter} is outside (0, 1)")

    @property
    def first_epochs(self) -> int:
        """Epochs of the first part, at least one."""
        return max(1, round(self.first * self.epochs))


@dataclass(frozen=True, kw_only=True)
class PESSemi(PES):
    """PES (semi): labels that PES's network does not give are left away, and their images stay."""

    first: float = 0.1  # share of the epochs of the whole network (T1); 30 of 300, its release
    latter_epochs: int = 0  # of the last layers, started anew, 0 = not renewed (T2); its release for CIFAR-10
    class_weight: float = 3.0  # the most that a class weighs; its release
    sharpening: float = 0.5  # temperature of the guessed labels; its release
    mixup: float = 4.0  # Beta(mixup, mixup) of MixUp's coefficient in the first half; its release
    mixup_late: float = 0.75  # the same in the second half; its release
    unsupervised: float = 5.0  # weight lambda_u of the other images' loss; its release for CIFAR-10N
    ramp: int = 16  # epochs over which that weight rises from 0; its release

    search: ClassVar[dict] = {**PES.search, "unsupervised": (0.5, 150.0, "log")}
    family: ClassVar[str] = "new labels"

    def __post_init__(self):
        super().__post_init__()
        refuse(
            not min(self.sharpening, self.mixup, self.mixup_late) > 0,
            f"sharpening {self.sharpening}, mixup {self.mixup}, mixup_late {self.mixup_late}: all must be "
            "above 0",
        )
        refuse(
            min(self.unsupervised, self.ramp) < 0,
            f"unsupervised {self.unsupervised} and ramp {self.ramp} must be 0 or more",
        )


def train_pes(data: NoisyData, settings: PES, run: Run) -> None:
    """Algorithm 1, then the labels that the network gives itself, chosen anew before each epoch."""
    network = run.network()
    if not blocks(network):
        raise RunError(
            "pes keeps the first layers of a network and renews the last, and this one has a single layer: "
            "choose another, such as mlp_head (--model)"
        )
    optimizer, schedule = run.sgd(network, settings)
    kept = torch.ones(len(data), dtype=torch.bool, device=run.device)  # labels that count in this epoch
    state = run.state(network=network, optimizer=optimizer, schedule=schedule, kept=kept, tested="network")
    for epoch in run.epochs(state, settings.epochs):
        if epoch >= settings.first_epochs:
            if isinstance(settings, PESSemi):
                mix_epoch(network, optimizer, kept, epoch, data, settings, run)
            else:
                fit_kept(network, optimizer, kept, epoch, data, settings, run)
        else:
            fit_epoch(run, network, optimizer, data.batches(epoch, views=settings.view), plain)
            if epoch == settings.first_epochs - 1:
                refine(network, optimizer, data, settings, run)
        schedule.step()
        probs = of_two_views(network, epoch, data, settings, run)
        kept.copy_(probs.argmax(1) == data.y)  # for the next epoch
        run.log(selected=kept, clean_score=probs.gather(1, data.y[:, None])[:, 0], new_labels=probs)


def plain(logits: Tensor, y: Tensor, idx: Tensor) -> Tensor:
    """Cross-entropy (B,) with the given labels."""
    return losses.cross_entropy(logits, y)


def refine(
    network: Classifier, optimizer: torch.optim.Optimizer, data: NoisyData, settings: PES, run: Run
) -> None:
    """The last layers with the head, then the head alone, start anew and learn while those before stand."""
    latter = last_blocks(network, settings.latter)
    for name, modules, epochs in (
        ("latter", [*latter, network.head], settings.latter_epochs if latter else 0),
        ("head", [network.head], settings.head_epochs),
    ):
        if not epochs:
            continue
        renew(modules, optimizer)
        network.requires_grad_(False)
        learned = [p.requires_grad_() for module in modules for p in module.parameters()]
        adam = torch.optim.Adam(learned, lr=settings.refine_learning_rate)
        for i in range(epochs):
            fit_epoch(run, network, adam, data.batches((name, i), views=settings.view), plain, name)
        network.requires_grad_()


def blocks(network: Classifier) -> list[nn.Module]:
    """The parts with weights that lie between the images and the head, in order, stages taken apart."""
    parts = [m for m in getattr(network, "body", network).children() if m is not network.head]
    single = [m for part in parts for m in (part if isinstance(part, nn.Sequential) else [part])]
    return [m for m in single if any(True for _ in m.parameters())]


def last_blocks(network: Classifier, share: float) -> list[nn.Module]:
    """The last `share` of a network's blocks; none where that is less than half a block."""
    found = blocks(network)
    return found[len(found) - round(share * len(found)) :]


@torch.no_grad()
def renew(modules: Iterable[nn.Module], optimizer: torch.optim.Optimizer) -> None:
    """Give these modules new random weights and statistics, and let the optimiser forget their momentum."""
    for module in modules:
        for part in module.modules():
            if callable(reset := getattr(part, "reset_parameters", None)):
                reset()
        for p in module.parameters():
            if "momentum_buffer" in optimizer.state.get(p, {}):
                optimizer.state[p]["momentum_buffer"].zero_()


def of_two_views(network: Classifier, epoch: int, data: NoisyData, settings: PES, run: Run) -> Tensor:
    """(N, K) mean softmax over two augmented views of each image, in evaluation mode."""
    if settings.renew_statistics:
        images = (x for x, _ in data.in_order(settings.view, epoch=2 * epoch, batch_size=data.batch_size))
        renew_statistics(network, images, run.autocast)
    views = (data.in_order(settings.view, epoch=2 * epoch + i) for i in range(2))
    first, second = (models.probabilities(network, view, run.autocast) for view in views)
    return (first + second) / 2


def class_weights(y: Tensor, num_classes: int, most: float = math.inf) -> Tensor:
    """(K,) the mean number of kept labels over that of the class, at most `most`; 0 for a class without."""
    counts = torch.bincount(y, minlength=num_classes).float()
    mean = counts.sum() / (counts > 0).sum().clamp(min=1)
    return torch.where(counts > 0, mean / counts.clamp(min=1), 0.0).clamp(max=most)


def fit_kept(
    network: Classifier,
    optimizer: torch.optim.Optimizer,
    kept: Tensor,
    epoch: int,
    data: NoisyData,
    settings: PES,
    run: Run,
) -> None:
    """An epoch of cross-entropy on the kept images (N,), all of them where fewer than two are kept."""
    index = some(kept)
    weight = class_weights(data.y[index], data.num_classes, settings.class_weight)
    order = repeated(index, len(index), generator(run.seed, "kept", epoch))

    def weighed(logits, y, idx):
        own = weight[y]
        return own * losses.cross_entropy(logits, y) / own.mean()

    batches = data.batches(("kept", epoch), views=settings.view, order=order)
    fit_epoch(run, network, optimizer, batches, weighed, "kept")


def mix_epoch(
    network: Classifier,
    optimizer: torch.optim.Optimizer,
    kept: Tensor,
    epoch: int,
    data: NoisyData,
    settings: PESSemi,
    run: Run,
) -> None:
    """An epoch of MixMatch: kept images (N,) with their labels, the others with guessed ones."""
    index, steps = some(kept), data.steps(settings.batch_size)
    weight = class_weights(data.y[index], data.num_classes, settings.class_weight)
    others = (~kept).nonzero()[:, 0]
    share = min(0.5, len(others) / len(data))
    unlabelled = min(settings.batch_size - 1, max(1, int(share * settings.batch_size)))
    labelled, views = settings.batch_size - unlabelled, (settings.view,) * 2
    draw = generator(run.seed, "mix", epoch)
    batches, without = (
        data.batches((name, epoch), views, n, order=repeated(some_of, steps * n, draw))
        for name, n, some_of in (
            ("kept", labelled, index),
            ("others", unlabelled, others if len(others) else index),
        )
    )
    alpha = settings.mixup if 2 * epoch < settings.epochs else settings.mixup_late
    for step, ((x, y, _), (u, _, _)) in enumerate(zip(batches, without)):
        seen, guessed = torch.cat(x), torch.cat(u)
        with torch.no_grad(), run.autocast():
            target_u = sharpen(mean_softmax(network, guessed), settings.sharpening)
        target_x = F.one_hot(y, data.num_classes).float()
        inputs, targets = torch.cat((seen, guessed)), torch.cat((target_x,) * 2 + (target_u,) * 2)
        mix = mixup.draw(len(inputs), alpha, inputs.device, own_half=True)
        with run.autocast():
            logits = network(mix(inputs))
        targets, n = mix(targets), len(seen)
        rise = (epoch - settings.first_epochs + step / steps) / max(1e-9, settings.ramp)
        probs = logits.float().softmax(1)
        optimizer.zero_grad()
        run.total(
            labelled=losses.cross_entropy(logits[:n], targets[:n] * weight).mean(),
            unlabelled=settings.unsupervised * min(1.0, rise) * (probs[n:] - targets[n:]).square().mean(),
        ).backward()
        optimizer.step()


def some(kept: Tensor) -> Tensor:
    """Indices of the images that are kept (N,), of all where fewer than two are."""
    return (kept if kept.sum() > 1 else torch.ones_like(kept)).nonzero()[:, 0]


METHODS = {
    "pes": (train_pes, PES),
    "pes_semi": (train_pes, PESSemi),
}
