"""torchvision's ResNets, and its weights trained on ImageNet; apart from `models`, as torchvision takes
seconds to import and most commands need none of it.
"""

from __future__ import annotations

import hashlib
import pickle
from http.client import HTTPException
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models import ResNet, ResNet18_Weights, ResNet50_Weights, WeightsEnum
from torchvision.models.resnet import BasicBlock, Bottleneck

from ..files import PATIENCE, patience
from .models import Classifier


def imagenet_weights(name: str) -> dict[str, Tensor]:
    """torchvision's network trained on ImageNet, as first released; downloaded once, to torch's cache."""
    known = {"resnet18_imagenet": ResNet18_Weights, "resnet50_imagenet": ResNet50_Weights}
    return weights_of(known[name].IMAGENET1K_V1, name[:8])


def weights_of(weights: WeightsEnum, name: str) -> dict[str, Tensor]:
    """Weights of torchvision, from torch's cache or downloaded to it: only where the file is the one that its
    name says, and nothing but weights.

    torchvision itself checks only what it downloads, and runs what else a file holds.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    if path.is_file() and not _has_its_hash(path):
        raise ValueError(
            f"{path} is not the file that its name says (its SHA-256 does not begin with "
            f"{path.stem.rpartition('-')[2]}): delete it and fetch it again from {weights.url}"
        )
    try:
        with patience(PATIENCE):
            return weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    except pickle.UnpicklingError:
        raise ValueError(
            f"{path} holds more than weights and was not loaded: delete it and fetch it again from "
            f"{weights.url}"
        ) from None
    except (OSError, RuntimeError, HTTPException) as error:
        raise FileNotFoundError(
            f"the ImageNet weights of {name} are not at {path}: put {path.name} (from "
            f"{weights.url}) there (the download failed: {error})"
        ) from error


def _has_its_hash(path: Path) -> bool:
    """Whether a file's SHA-256 begins as its name ends: resnet18-f37072fd.pth."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest().startswith(path.stem.rpartition("-")[2])


class TorchvisionResNet(Classifier, ResNet):
    """torchvision's ResNet; `cifar_stem`: a 3x3 convolution of stride 1 and no max pool, for small images."""

    def __init__(self, block: str, blocks: list[int], cifar_stem: bool, num_classes: int, channels: int):
        super().__init__(
            {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[block], blocks, num_classes=num_classes
        )
        if cifar_stem:
            self.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            self.maxpool = nn.Identity()
        elif channels != 3:
            self.conv1 = nn.Conv2d(channels, 64, 7, 2, padding=3, bias=False)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")  # torchvision's rule

    fc: nn.Linear
    bn1: nn.Module
    relu: nn.Module
    layer1: nn.Module
    layer2: nn.Module
    layer3: nn.Module
    layer4: nn.Module

    @property
    def head(self) -> nn.Linear:  # type: ignore[override]  # torchvision calls it fc
        return self.fc

    def feature_map(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        return self.layer4(self.layer3(self.layer2(self.layer1(x))))
