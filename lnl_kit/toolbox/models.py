"""Networks, named as the papers name them.

Every network has, for x (B, C, H, W):
    feature_map(x) -> (B, D, h, w)   what the global average pool sees
    features(x)    -> (B, D)         what the last linear layer sees; of several ranks each computes its rows
    forward(x)     -> (B, K)         logits = head(features(x))
    head                             the last linear layer
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .ranks import by_rows


def make(name: str, num_classes: int, channels: int = 3, pretrained: bool = True) -> Classifier:
    """The network `name` for images of 1 or 3 channels, with random weights from torch's global generator.

    `*_imagenet` starts from weights trained on ImageNet, all but its head; pretrained=False: from random ones
    too, to be replaced by saved ones.
    Raises ValueError for an unknown name, fewer than 2 classes, or a number of channels other than 1 or 3 (or
    1 for ImageNet's weights), and FileNotFoundError where these cannot be downloaded.
    """
    check(name)
    if name not in HEADS and channels not in (1, 3):
        raise ValueError(f"networks take images of 1 or 3 channels, not {channels}")
    if num_classes < 2:
        raise ValueError(f"a classifier needs at least 2 classes, not {num_classes}")
    net = _MAKERS[name](num_classes, channels)
    if name.endswith("_imagenet") and pretrained:
        if channels != 3:
            raise ValueError(f"{name} starts from weights for images of 3 channels, not {channels}")
        from . import resnets  # as below

        weights = {k: v for k, v in resnets.imagenet_weights(name).items() if not k.startswith("fc.")}
        net.load_state_dict(weights | {k: v for k, v in net.state_dict().items() if k.startswith("fc.")})
    return net


def check(name: str) -> None:
    """Raise ValueError for an unknown network, naming those that exist, or one whose library is missing."""
    if name not in _MAKERS:
        raise ValueError(f"unknown network {name!r}; choose one of {', '.join(NAMES)}")
    if name == "inception_resnet_v2" and importlib.util.find_spec("timm") is None:
        raise ValueError("inception_resnet_v2 needs the library timm: pip install timm")


class Classifier(nn.Module):
    """Global average pool and linear layer on top of a feature map."""

    head: nn.Linear
    spec: dict  # how `make` was asked for it, where a run made it

    def feature_map(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def features(self, x: Tensor) -> Tensor:
        return by_rows(lambda rows: self.feature_map(rows).mean((2, 3)), x, self.parameters())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


def _conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)


class SmallCNN(Classifier):
    """Four 3x3 convolutions (32, pool, 64, pool, 64, 64), batch norm and ReLU; about 94 k weights."""

    def __init__(self, num_classes: int, channels: int):
        super().__init__()
        layers: list[nn.Module] = []
        inputs = channels
        for width, pool in ((32, True), (64, True), (64, False), (64, False)):
            layers += [_conv(inputs, width), nn.BatchNorm2d(width)]
            if pool:  # before the ReLU, which gives the same and costs a quarter
                layers.append(nn.MaxPool2d(2))
            # the ReLU may overwrite its input: no gradient here needs the batch norm's or the pool's output
            layers.append(nn.ReLU(inplace=True))
            inputs = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, num_classes)

    def feature_map(self, x: Tensor) -> Tensor:
        return self.body(x)


class Airbench(Classifier):
    """The narrow network of airbench (K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", 2024,
    github.com/KellerJordan/cifar10-airbench): about 0.5 M weights, for images of at least 17 pixels a side.

    A 2x2 convolution without padding to 24 maps and GELU, then three groups of convolution, pool, batch norm,
    GELU, convolution, batch norm, GELU. The widths are 32, 128, 128, those of its smallest network (`net93`)
    with half the first; none of what its records need: whitening and identity as starting weights, batch
    norms without scale, a last max pool and a factor of 1/9 on the logits (here: the mean, a bias, torch's
    starting weights).
    """

    def __init__(self, num_classes: int, channels: int):
        super().__init__()
        layers, inputs = [nn.Conv2d(channels, 24, 2), nn.GELU()], 24
        for width in (32, 128, 128):
            layers += [
                _conv(inputs, width),
                nn.MaxPool2d(2),
                nn.BatchNorm2d(width),
                nn.GELU(),
                _conv(width, width),
                nn.BatchNorm2d(width),
                nn.GELU(),
            ]
            inputs = width
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, num_classes)

    def feature_map(self, x: Tensor) -> Tensor:
        return self.body(x)


class PreActBlock(nn.Module):
    """Basic pre-activation block (He et al. 2016, "Identity Mappings in Deep Residual Networks", Fig. 4e).

    Where the shape changes, the shortcut is a bare 1x1 convolution of the pre-activated input.
    """

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = _conv(inputs, outputs, stride)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = _conv(outputs, outputs)
        same = stride == 1 and inputs == outputs
        self.shortcut = None if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = F.relu(self.bn2(self.conv1(out)), inplace=True)
        return self.conv2(out).add_(shortcut)


class PreActResNet(Classifier):
    """Pre-activation ResNet with a 3x3 stem of stride 1; each stage after the first halves the size.

    `final_norm` adds the closing batch norm and ReLU of He et al. (2016). The usual four-stage networks for
    CIFAR leave them out, the three-stage one has them: each as in the code that the compared papers build on.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        blocks: tuple[int, ...],
        final_norm: bool,
        num_classes: int,
        channels: int,
    ):
        super().__init__()
        layers: list[nn.Module] = [_conv(channels, widths[0])]
        inputs = widths[0]
        for stage, (width, depth) in enumerate(zip(widths, blocks)):
            for i in range(depth):
                layers.append(PreActBlock(inputs, width, stride=2 if stage > 0 and i == 0 else 1))
                inputs = width
        if final_norm:
            layers += [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True)]
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(inputs, num_classes)

    def feature_map(self, x: Tensor) -> Tensor:
        return self.body(x)


def _of_torchvision(
    block: str, blocks: list[int], cifar_stem: bool, num_classes: int, channels: int
) -> Classifier:
    from . import resnets  # torchvision takes seconds to import

    return resnets.TorchvisionResNet(block, blocks, cifar_stem, num_classes, channels)


class InceptionResNetV2(Classifier):
    """timm's Inception-ResNet-v2 (Szegedy et al. 2016), random weights; images of at least 75 pixels."""

    def __init__(self, num_classes: int, channels: int):
        super().__init__()
        import timm  # optional, and slow to import

        body: Any = timm.create_model("inception_resnet_v2", num_classes=0, in_chans=channels)
        self.body: Any = body
        self.head = nn.Linear(body.num_features, num_classes)

    def feature_map(self, x: Tensor) -> Tensor:
        if min(x.shape[2:]) < 75:
            raise ValueError(
                f"inception_resnet_v2 needs images of at least 75 pixels a side, not {min(x.shape[2:])}: "
                "--image-size sets it"
            )
        return self.body.forward_features(x)


class Head(Classifier):
    """A linear layer on features (B, D, 1, 1) of a pretrained network."""

    def __init__(self, num_classes: int, channels: int):
        super().__init__()
        self.head = nn.Linear(channels, num_classes)

    def feature_map(self, x: Tensor) -> Tensor:
        return x


class Pointwise(nn.Conv2d):
    """A 1x1 convolution of (B, C, 1, 1), computed as the matrix product that it is: a third of the time."""

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x[:, :, 0, 0], self.weight[:, :, 0, 0], self.bias)[:, :, None, None]


class MLPHead(Classifier):
    """One hidden layer of 512 units on features (B, D, 1, 1); as a convolution, so that it can be stacked."""

    def __init__(self, num_classes: int, channels: int):
        super().__init__()
        self.hidden = Pointwise(channels, 512, 1)
        self.head = nn.Linear(512, num_classes)

    def feature_map(self, x: Tensor) -> Tensor:
        return F.relu(self.hidden(x))


HEADS = ("head", "mlp_head")  # networks on features: their channels are the features
_WIDE = (64, 128, 256, 512)
_MAKERS = {
    "small_cnn": SmallCNN,
    "airbench": Airbench,
    "preact_resnet18": lambda k, c: PreActResNet(_WIDE, (2, 2, 2, 2), False, k, c),
    "preact_resnet34": lambda k, c: PreActResNet(_WIDE, (3, 4, 6, 3), False, k, c),
    "preact_resnet34_cifar": lambda k, c: PreActResNet((32, 64, 128), (5, 5, 5), True, k, c),
    "resnet18": lambda k, c: _of_torchvision("BasicBlock", [2, 2, 2, 2], True, k, c),
    "resnet34": lambda k, c: _of_torchvision("BasicBlock", [3, 4, 6, 3], True, k, c),
    "resnet50": lambda k, c: _of_torchvision("Bottleneck", [3, 4, 6, 3], False, k, c),
    "resnet18_imagenet": lambda k, c: _of_torchvision("BasicBlock", [2, 2, 2, 2], False, k, c),
    "resnet50_imagenet": lambda k, c: _of_torchvision("Bottleneck", [3, 4, 6, 3], False, k, c),
    "inception_resnet_v2": InceptionResNetV2,
    "head": Head,
    "mlp_head": MLPHead,
}
NAMES = tuple(_MAKERS)


def projection(width: int, dimensions: int = 128) -> nn.Module:
    """A contrastive loss's head, SimCLR's: two linear layers, (B, width) -> (B, dimensions)."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(inplace=True), nn.Linear(width, dimensions))


@torch.no_grad()
def probabilities(network: nn.Module, batches: Iterable, autocast: Callable) -> Tensor:
    """Softmax in evaluation mode over batches of `NoisyData.in_order`: (N, K); training mode afterwards."""
    network.eval()
    with autocast():
        probs = torch.cat([network(x).float().softmax(1) for x, _ in batches])
    network.train()
    return probs
