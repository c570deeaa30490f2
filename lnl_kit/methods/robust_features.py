"""RFL: Robust Feature Learning Against Noisy Labels (Tai, Jhang, Hwang).

One network and two heads that are dropped at test. The decoder restores the image from the features of its
augmented copy, the cluster head sorts images into groups, and neither ever sees a label; the classifier's
target moves from the given label to its own prediction while training goes on.

Where this differs from the paper, or chooses where it is silent:
- x is the cropped (and flipped) image, T(x) the same crop after RandAugment and Cutout: a crop cannot be
  undone.
- T(x) is decoded; x is there for the cluster head. Under `paper` T(x) alone is classified, else both
  (`classify="augmented"`). Both go through the network as one batch, so that BatchNorm sees them together.
- (12) and (13) print two logarithms; one is meant. The own prediction is a hard label without gradient.
- H(c) is the entropy of the batch's mean assignment: with (10) as printed, of one image, H(c) and H(c|x)
  would cancel.
- In (9) the assignment of x is a target without gradient (`target_gradient=True`: with).
- (4) is a mean over pixels and channels of normalised images; its sum would drown the other losses.
- alpha falls linearly from epoch to epoch under `paper`, else along a cosine: with few epochs classes that
  are not yet learned would be given up (`schedule_alpha="linear"`).
- lambda, the number of clusters (here: of classes), RandAugment's strength, decoder and cluster head are not
  given. The head is one linear layer; the decoder a 1x1 convolution to at most 128 channels, then doublings
  of the size, each with a 3x3 convolution.
- With unit weights and a strong T the features collapse on digits, whatever lambda; with a gentle T they do
  for a large one alone, when the clusters outvote the classifier. Outside `paper` the terms are weighted:
  found on digits with one seed (validation and test accuracy both in view), measured over three (notebook
  24). At 80 % noise, where the right label is given hardly more often than each other one, and on
  photographs the clusters still weigh too much; `clustering=0.01` keeps them from doing harm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.batches import NoisyData
from ..run.loop import Run
from ..run.opened import OpenedRun
from ..run.settings import Bound, Settings, make, refuse
from ..run.tables import load_state
from ..toolbox import augment, losses
from ..toolbox.models import Classifier
from ..toolbox.ranks import by_rows


@dataclass(frozen=True, kw_only=True)
class RobustFeatures(Settings):
    """RFL: restore augmented images, cluster features, and move from given labels to own predictions."""

    restoration: float = 0.5  # weight of the restoration loss (4), 0 = without; 1 in Eq. (14)
    clustering: float = 0.1  # weight of the cluster loss (7), 0 = without; 1 in Eq. (14)
    information: float = 10.0  # lambda in (7): weight of the mutual information against the consistency (9)
    bootstrapping: bool = True  # False = alpha stays 1: cross-entropy to the given labels
    schedule_alpha: str = "cosine"  # how alpha falls from 1 to 0: "linear" or "cosine"
    hold: float = 0.0  # share of the epochs for which alpha stays 1 before it falls; 0 in the paper
    clusters: int = 0  # number of clusters, 0 = of classes
    operations: int = 2  # of RandAugment in T
    magnitude: int = 3  # of RandAugment in T, 0 to 30
    classify: str = "both"  # what the classifier is trained on: "augmented" (T(x)) or "both" (x as well)
    target_gradient: bool = False  # let the assignment of x in (9) carry gradient

    needs_pixels = "restores images from their distorted copies"

    family: ClassVar[str] = "the five papers"
    paper: ClassVar[str | None] = "robust_features"
    controls: ClassVar[dict] = {"classifier_alone": {"restoration": 0.0, "clustering": 0.0}}

    @classmethod
    def readings(cls, dataset: str, noise: str, rate: float, look) -> dict:
        """Our readings of what the paper leaves open; common practice on Clothing1M."""
        values = {
            "view": "crop",
            "information": 3.0,
            "magnitude": 10,
            "schedule_alpha": "linear",
            "classify": "augmented",
        }
        pretrained = {"initialization": "imagenet_pretrained", "view": "imagenet"}
        return values | (pretrained if dataset == "clothing1m" else {})

    def __post_init__(self):
        super().__post_init__()
        refuse(
            min(self.restoration, self.clustering, self.information) < 0,
            f"restoration {self.restoration}, clustering {self.clustering} and information "
            f"{self.information} must be 0 or more",
        )
        refuse(
            self.schedule_alpha not in ("linear", "cosine"),
            f"schedule_alpha {self.schedule_alpha!r} does not exist: linear or cosine",
        )
        refuse(
            self.clusters == 1 or self.clusters < 0,
            f"clusters {self.clusters} is not allowed: 0 or at least 2",
        )
        refuse(not 0 <= self.hold < 1, f"hold {self.hold} is outside [0, 1)")
        refuse(self.operations < 1, f"operations {self.operations} is not allowed: at least 1")
        refuse(not 0 <= self.magnitude <= 30, f"magnitude {self.magnitude} is outside [0, 30]")
        refuse(
            self.classify not in ("augmented", "both"),
            f"classify {self.classify!r} does not exist: augmented or both",
        )


def train_robust_features(data: NoisyData, settings: RobustFeatures, run: Run) -> None:
    """Eq. (14), batch by batch."""
    network = run.network()
    model = WithHeads(network, data.x.shape[1:], settings.clusters or data.num_classes)
    model.to(run.device).to(memory_format=torch.channels_last)
    optimizer, schedule = run.sgd(network, settings, model.decoder, model.assign)
    predicted = data.y.clone()  # the network's newest prediction for each image; at first the given labels
    state = run.state(
        network=network,
        decoder=model.decoder,
        clusters=model.assign,
        optimizer=optimizer,
        schedule=schedule,
        own=predicted,
        tested="network",
    )
    forward, views = run.compiled(model), (settings.view, augment.OnTop(distortion(data, settings)))
    for epoch in run.epochs(state, settings.epochs):
        a = alpha(epoch, settings)
        errors, assigned = [], torch.zeros(model.assign.out_features, device=run.device)
        for (x, augmented), y, idx in data.batches(epoch, views=views):
            with run.autocast():
                logits, restored, clusters, clusters_augmented = forward(x, augmented)
            classified, given = (
                (logits, y.repeat(2)) if settings.classify == "both" else (logits[len(y) :], y)
            )
            terms = {"bootstrap": losses.bootstrap_hard(classified, given, 1 - a).mean()}  # (13)
            error = F.mse_loss(restored.float(), x)  # (4)
            if settings.restoration:
                terms["restoration"] = settings.restoration * error
            if settings.clustering:
                terms["clustering"] = settings.clustering * cluster_loss(
                    clusters, clusters_augmented, settings
                )
            optimizer.zero_grad()
            run.total(**terms).backward()
            optimizer.step()
            predicted[idx] = logits[len(y) :].detach().argmax(1)
            errors.append(torch.stack((error.detach(), F.mse_loss(augmented, x))))
            assigned += F.one_hot(clusters.detach().argmax(1), len(assigned)).sum(
                0
            )  # bincount would wait for the GPU
        schedule.step()
        error_left = torch.stack(errors).mean(0)
        run.log(
            new_labels=predicted,
            alpha=a,
            restoration_left=error_left[0] / error_left[1],
            clusters_used=(assigned >= 0.01 * assigned.sum()).sum(),
        )


def alpha(epoch: int, settings: RobustFeatures) -> float:
    """The given label's share of the target in (13): from 1 in the first epoch towards 0 after the last."""
    if not settings.bootstrapping:
        return 1.0
    passed = max(0.0, epoch / settings.epochs - settings.hold) / (1 - settings.hold)
    return 1 - passed if settings.schedule_alpha == "linear" else (1 + math.cos(math.pi * passed)) / 2


def distortion(data: NoisyData, settings: RobustFeatures):
    """T: RandAugment, then Cutout."""
    return augment.Compose(
        (augment.RandAugment(settings.operations, settings.magnitude), data.view("cutout"))
    )


def cluster_loss(clusters: Tensor, augmented: Tensor, settings: RobustFeatures) -> Tensor:
    """Eq. (7), 0-d, from the cluster head's logits (B, M) for x and for T(x): consistency (9) minus lambda
    times the mutual information (6).
    """
    p = clusters.float().softmax(1)
    target = p if settings.target_gradient else p.detach()
    return losses.cross_entropy(augmented, target).mean() - settings.information * mutual_information(p)


def mutual_information(p: Tensor) -> Tensor:
    """Eq. (6), 0-d, up to log M: H(c) - H(c|x) of assignments p (B, M), (10) on their mean, and (11)."""
    return losses.entropy(p.mean(0, keepdim=True)).mean() - math.log(p.shape[1]) - losses.entropy(p).mean()


class WithHeads(nn.Module):
    """A network with the paper's decoder D and cluster head `assign`, for images of shape (C, H, W)."""

    def __init__(self, network: Classifier, image: Sequence[int], clusters: int):
        super().__init__()
        with torch.no_grad():
            maps = network.eval().feature_map(torch.zeros(1, *image, device=network.head.weight.device))
        self.network = network
        self.assign = nn.Linear(maps.shape[1], clusters)
        self.decoder = decoder(maps.shape[1:], image)

    def forward(self, x: Tensor, augmented: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits (2B, K) of x and T(x), restored image (B, C, H, W), cluster logits (B, M) of x and T(x)."""
        maps = by_rows(
            self.network.feature_map, torch.cat((x, augmented)), self.network.parameters()
        )  # (2B, D, h, w)
        features = maps.mean((2, 3))
        restored = by_rows(self.decoder, maps[len(x) :], self.decoder.parameters())
        return self.network.head(features), restored, *self.assign(features).chunk(2)


def decoder(maps: Sequence[int], image: Sequence[int]) -> nn.Module:
    """D: feature maps (B, *maps) -> images (B, *image)."""
    width, doublings = min(maps[0], 128), int(math.log2(image[1] / maps[1]))
    layers: list[nn.Module] = [block(maps[0], width, 1)]
    for _ in range(doublings):
        layers += [block(width, max(16, width // 2), 3), nn.Upsample(scale_factor=2)]
        width = max(16, width // 2)
    if maps[1] * 2**doublings != image[1] or maps[2] * 2**doublings != image[2]:
        layers.append(nn.Upsample((image[1], image[2]), mode="bilinear"))
    return nn.Sequential(*layers, nn.Conv2d(width, image[0], 3, padding=1))


def block(inputs: int, outputs: int, kernel: int) -> nn.Module:
    """Convolution, batch norm, ReLU."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def load_heads(run: OpenedRun) -> WithHeads:
    """The network of an opened run with its decoder and cluster head, in evaluation mode."""
    saved = load_state(run.folder)["state"]
    model = WithHeads(
        run.networks()[0], tuple(run.train_images()[:1].shape[1:]), len(saved["clusters"]["bias"])
    )
    model.decoder.load_state_dict(saved["decoder"])
    model.assign.load_state_dict(saved["clusters"])
    return model.eval()


@torch.no_grad()
def with_heads(
    run: OpenedRun, images: Tensor, magnitude: int | None = None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """What an opened run's decoder and cluster head make of uint8 images (N, C, H, W).

    Returns x and T(x) (RandAugment at `magnitude`, None = as trained) and the restored image, each normalised
    (N, C, H, W), and the cluster (N,) of each image as it is, without augmentation.
    """
    s, asked, model = run.settings, run.settings["settings"], load_heads(run)
    data = NoisyData(
        images,
        torch.zeros(len(images), dtype=torch.int64),
        run.classes,
        mean=s["mean"],
        std=s["std"],
        like=s["like"],
        batch_size=len(images),
    )
    settings = make(
        RobustFeatures,
        operations=asked["operations"],
        magnitude=asked["magnitude"] if magnitude is None else magnitude,
    )
    (x, augmented), _, _ = next(
        data.batches(
            0,
            views=(asked["view"], augment.OnTop(distortion(data, settings))),
            order=torch.arange(len(images)),
        )
    )
    plain = data.normalise(images)
    return x, augmented, model(x, augmented)[1], model(plain, plain)[2].argmax(1)


RobustFeatures.bound = Bound(((2, 0, False),), (("small_cnn", 16), ("resnet18", 32)), heads=WithHeads)


METHODS = {"robust_features": (train_robust_features, RobustFeatures)}
