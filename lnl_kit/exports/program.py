"""A run as one program: images as they come (uint8) to the probabilities of the classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..features.backbones import backbone
from ..features.training import features_for
from ..run.opened import OpenedRun


class Program(nn.Module):
    """images uint8 (B, C, H, W) in 0 ... 255 -> probabilities float32 (B, K): (x / 255 - mean) / std for each
    channel, then the mean of the networks' softmaxes, as `OpenedRun.predict` computes them.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, networks: list[Any], mean, std):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.register_buffer("scale", torch.tensor([1 / (255 * s) for s in std]).view(-1, 1, 1))
        self.register_buffer("shift", torch.tensor([-m / s for m, s in zip(mean, std)]).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        x = images.to(torch.float32) * self.scale + self.shift
        return sum_of([net(x).softmax(1) for net in self.networks]) / len(self.networks)


class HeadProgram(nn.Module):
    """features float32 (B, D) of a frozen network -> probabilities float32 (B, K): turned onto the principal
    axes of the run's training images, then as `Program`.
    """

    projection: Tensor
    axes_shift: Tensor

    def __init__(self, networks: list[Any], axes):
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.register_buffer("projection", axes.projection)
        self.register_buffer("axes_shift", axes.shift)

    def forward(self, features: Tensor) -> Tensor:
        z = (features @ self.projection - self.axes_shift)[:, :, None, None]
        return sum_of([net(z).softmax(1) for net in self.networks]) / len(self.networks)


class Whole(nn.Module):
    """A frozen network and a head on its features: images uint8 (B, 3, H, W) -> probabilities (B, K)."""

    scale: Tensor
    shift: Tensor

    def __init__(self, network: nn.Module, head: HeadProgram, mean, std):
        super().__init__()
        self.network, self.head = network, head
        self.register_buffer("scale", torch.tensor([1 / (255 * s) for s in std]).view(-1, 1, 1))
        self.register_buffer("shift", torch.tensor([-m / s for m, s in zip(mean, std)]).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.network(images.to(torch.float32) * self.scale + self.shift))


def sum_of(values: list[Tensor]) -> Tensor:
    """Their sum, without a zero to begin with."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total


@dataclass(frozen=True)
class Made:
    """A program, and what a user must know of its input."""

    module: nn.Module  # on the CPU, in evaluation mode
    takes: str  # "images" or "features", the name of the input
    shape: tuple[int, ...]  # of one: (C, H, W) or (D,)
    mean: tuple[float, ...]  # of images in [0, 1], a channel; () for features
    std: tuple[float, ...]
    resample: str  # how an image is brought to H x W: bilinear or bicubic; "" for features
    networks: list[nn.Module]  # whose softmaxes are averaged
    names: list[dict]  # of these, as `toolbox.models.make` is asked for them
    features: str = ""  # the frozen networks; "" for a run on images

    def example(self, n: int, seed: int = 0) -> Tensor:
        """n random inputs: uint8 (n, C, H, W) or float32 (n, D)."""
        draw = torch.Generator().manual_seed(seed)
        if self.takes == "images":
            return torch.randint(0, 256, (n, *self.shape), dtype=torch.uint8, generator=draw)
        return torch.randn(n, *self.shape, generator=draw)


def program_of(run: OpenedRun, head: bool = False) -> Made:
    """The program of a run. Of a run on frozen features it is the whole way from images, where one network
    gives them; with `head`, where several do or a file, it takes the features.

    The axes of features are those of the training images, which must still be there. Raises ValueError and
    FileNotFoundError with one sentence.
    """
    s = run.settings
    networks: list[Any] = [net.cpu().eval() for net in run.networks()]
    names = [net.spec for net in networks]
    if not s.get("features"):
        if head:
            raise ValueError(f"{run.folder} was trained on images: --head is for runs on frozen features")
        shape = tuple(s.get("image_shape") or run.dataset().x.shape[1:])  # earlier versions did not note it
        mean, std = tuple(s["mean"]), tuple(s["std"])
        program = Program(networks, mean, std).eval()
        return Made(program, "images", shape, mean, std, "bilinear", networks, names)
    axes = features_for(run.dataset(), s["features"], run.labels["index"], progress=False)[1]
    top = HeadProgram(networks, axes).eval()
    given = s["features"]
    if head or "," in given or given.startswith("npz:"):
        return Made(top, "features", (axes.projection.shape[0],), (), (), "", networks, names, given)
    eye = backbone(given)
    whole = Whole(eye.network().cpu().eval(), top, eye.mean, eye.std).eval()
    shape = (3, eye.size, eye.size)
    return Made(whole, "images", shape, eye.mean, eye.std, "bicubic", networks, names, given)
