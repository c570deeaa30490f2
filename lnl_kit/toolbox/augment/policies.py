"""RandAugment, AutoAugment, AugMix and colour jitter: random sequences of the operations in kernels.py.

Magnitude tables and defaults are torchvision's, so that a draw is one its transforms could have made.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from . import kernels
from .base import Augmentation

_SIGNED = {
    "ShearX",
    "ShearY",
    "TranslateX",
    "TranslateY",
    "Rotate",
    "Brightness",
    "Color",
    "Contrast",
    "Sharpness",
}
RANDAUGMENT = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize",
)  # fmt: skip
AUGMIX = RANDAUGMENT[1:]

# AutoAugment's 25 pairs for CIFAR-10 (Cubuk et al. 2018, Table 7): operation, probability, magnitude out of
# 10.
CIFAR10_POLICY = (
    (("Invert", 0.1, 0), ("Contrast", 0.2, 6)),
    (("Rotate", 0.7, 2), ("TranslateX", 0.3, 9)),
    (("Sharpness", 0.8, 1), ("Sharpness", 0.9, 3)),
    (("ShearY", 0.5, 8), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.5, 0), ("Equalize", 0.9, 0)),
    (("ShearY", 0.2, 7), ("Posterize", 0.3, 7)),
    (("Color", 0.4, 3), ("Brightness", 0.6, 7)),
    (("Sharpness", 0.3, 9), ("Brightness", 0.7, 9)),
    (("Equalize", 0.6, 0), ("Equalize", 0.5, 0)),
    (("Contrast", 0.6, 7), ("Sharpness", 0.6, 5)),
    (("Color", 0.7, 7), ("TranslateX", 0.5, 8)),
    (("Equalize", 0.3, 0), ("AutoContrast", 0.4, 0)),
    (("TranslateY", 0.4, 3), ("Sharpness", 0.2, 6)),
    (("Brightness", 0.9, 6), ("Color", 0.2, 8)),
    (("Solarize", 0.5, 2), ("Invert", 0.0, 0)),
    (("Equalize", 0.2, 0), ("AutoContrast", 0.6, 0)),
    (("Equalize", 0.2, 0), ("Equalize", 0.6, 0)),
    (("Color", 0.9, 9), ("Equalize", 0.6, 0)),
    (("AutoContrast", 0.8, 0), ("Solarize", 0.2, 8)),
    (("Brightness", 0.1, 3), ("Color", 0.7, 0)),
    (("Solarize", 0.4, 5), ("AutoContrast", 0.9, 0)),
    (("TranslateY", 0.9, 9), ("TranslateY", 0.7, 9)),
    (("AutoContrast", 0.9, 0), ("Solarize", 0.8, 3)),
    (("Equalize", 0.8, 0), ("Invert", 0.1, 0)),
    (("TranslateY", 0.7, 9), ("AutoContrast", 0.9, 0)),
)


def magnitudes(policy: str, bins: int, size: tuple[int, int]) -> Tensor:
    """(operations, bins): the size of each operation's magnitude, in the units of kernels.apply_operations.

    policy: "randaugment" (AutoAugment's are the same) or "augmix", which moves less and posterises more.
    """
    augmix = policy == "augmix"
    longest = [side / 3 if augmix else side * 150 / 331 for side in size]
    top = {
        "ShearX": 0.3, "ShearY": 0.3, "TranslateX": longest[1], "TranslateY": longest[0], "Rotate": 30.0,
        "Brightness": 0.9, "Color": 0.9, "Contrast": 0.9, "Sharpness": 0.9,
    }  # fmt: skip
    table = torch.zeros(len(kernels.OPERATIONS), bins)
    for name, value in top.items():
        table[kernels.CODE[name]] = torch.linspace(0, value, bins)
    table[kernels.CODE["Posterize"]] = (4 if augmix else 8) - (torch.arange(bins) / ((bins - 1) / 4)).round()
    table[kernels.CODE["Solarize"]] = torch.linspace(255, 0, bins)
    return table


def _draw_magnitude(table: Tensor, op: Tensor, level: Tensor | int, generator: torch.Generator) -> Tensor:
    """Look up each operation's magnitude and flip a fair coin for its sign where it has one."""
    minus = torch.randint(2, op.shape, generator=generator)
    return _plus_minus(table).flatten()[(minus * table.shape[0] + op) * table.shape[1] + level]


def _plus_minus(table: Tensor) -> Tensor:
    """(2, operations, bins): the table, and again with the magnitudes that have a sign turned around."""
    signed = torch.tensor([float(name in _SIGNED) for name in kernels.OPERATIONS])
    return torch.stack([table, table * (1 - 2 * signed[:, None])])


@dataclass(frozen=True)
class RandAugment(Augmentation):
    """num_ops of 14 operations at one magnitude out of `bins` (Cubuk et al. 2019; torchvision's tables)."""

    num_ops: int = 2
    magnitude: int = 9
    bins: int = 31
    interpolation: str = "nearest"
    fill: int = 0

    def draw(self, n, generator, channels=3, size=(32, 32)):
        names = torch.tensor([kernels.CODE[name] for name in RANDAUGMENT])
        op = names[torch.randint(len(names), (n, self.num_ops), generator=generator)]
        table = magnitudes("randaugment", self.bins, size)
        return {"op": op, "magnitude": _draw_magnitude(table, op, self.magnitude, generator)}

    def _apply(self, x, params):
        return kernels.apply_operations(x, params["op"], params["magnitude"], self.interpolation, self.fill)


@dataclass(frozen=True)
class AutoAugment(Augmentation):
    """One of 25 pairs of operations found for CIFAR-10, each with its probability (Cubuk et al. 2018)."""

    interpolation: str = "nearest"
    fill: int = 0

    def draw(self, n, generator, channels=3, size=(32, 32)):
        op = torch.tensor([[kernels.CODE[name] for name, _, _ in pair] for pair in CIFAR10_POLICY])
        p = torch.tensor([[p for _, p, _ in pair] for pair in CIFAR10_POLICY])
        level = torch.tensor([[level for _, _, level in pair] for pair in CIFAR10_POLICY])
        policy = torch.randint(len(op), (n,), generator=generator)
        on = torch.rand(n, 2, generator=generator) < p[policy]
        op = op[policy] * on  # Identity has code 0
        magnitude = _draw_magnitude(magnitudes("randaugment", 10, size), op, level[policy], generator)
        return {"op": op, "magnitude": magnitude}

    def _apply(self, x, params):
        return kernels.apply_operations(x, params["op"], params["magnitude"], self.interpolation, self.fill)


@dataclass(frozen=True)
class AugMix(Augmentation):
    """Mix the image with `width` chains of one to three operations (Hendrycks et al. 2019).

    The defaults are torchvision's.

    severity: magnitudes are drawn from the first `severity` of 10. depth: operations in a chain, -1 draws 1,
    2 or 3.
    alpha: of the Dirichlet over chains and of the Beta between the image and the mixture of chains.
    """

    severity: int = 3
    width: int = 3
    depth: int = -1
    alpha: float = 1.0
    interpolation: str = "bilinear"
    fill: int = 0

    @property
    def work(self) -> int:
        return self.width

    def draw(self, n, generator, channels=3, size=(32, 32)):
        longest = self.depth if self.depth > 0 else 3
        codes = torch.tensor([kernels.CODE[name] for name in AUGMIX])
        table = _plus_minus(magnitudes("augmix", 10, size))[:, codes, : self.severity]
        # One number for sign, operation and level, since drawing is what takes the time here.
        pick = torch.randint(table.numel(), (n, self.width, longest), generator=generator)
        op, magnitude = codes[pick // self.severity % len(codes)], table.flatten()[pick]
        if self.depth <= 0:
            depth = torch.randint(1, longest + 1, (n, self.width, 1), generator=generator)
            op = op * (torch.arange(longest) < depth)  # Identity has code 0
        share = torch._sample_dirichlet(torch.full((n, 2), self.alpha), generator)  # (image, mixture)
        chains = torch._sample_dirichlet(torch.full((n, self.width), self.alpha), generator)
        # Multiples of 2^-16: products with grey levels and their sums are exact in float32, in any order.
        weight = torch.cat([share[:, :1], share[:, 1:] * chains], 1).mul_(65536).round_().div_(65536)
        return {"op": op, "magnitude": magnitude, "weight": weight}

    def _apply(self, x, params):
        op, magnitude = params["op"].flatten(0, 1), params["magnitude"].flatten(0, 1)
        source = torch.arange(len(x)).repeat_interleave(self.width)
        chains = kernels.apply_operations(x, op, magnitude, self.interpolation, self.fill, source)
        chains = chains.view(len(x), self.width, *x.shape[1:])
        weight = params["weight"].to(x.device, non_blocking=True)[:, :, None, None, None]
        mix = x.float().mul_(weight[:, 0])
        for i in range(self.width):
            mix.addcmul_(chains[:, i].float(), weight[:, i + 1])
        return mix.clamp_(max=255).to(torch.int16).to(torch.uint8)


@dataclass(frozen=True)
class ColorJitter(Augmentation):
    """Brightness, contrast, saturation and hue by random factors, in random order, as torchvision has it.

    The first three are factors from [max(0, 1 - value), 1 + value]; hue is a turn from [-hue, hue], hue at
    most 0.5.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def draw(self, n, generator, channels=3, size=(32, 32)):
        order = torch.rand(n, 4, generator=generator).argsort(1)
        names = torch.tensor([kernels.CODE[name] for name in ("Brightness", "Contrast", "Color", "Hue")])
        high = torch.tensor([self.brightness, self.contrast, self.saturation, self.hue])
        low = -high.clamp(max=1.0)
        magnitude = low + (high - low) * torch.rand(n, 4, generator=generator)
        return {"op": (names * (high > 0))[order], "magnitude": magnitude.gather(1, order)}

    def _apply(self, x, params):
        return kernels.apply_operations(x, params["op"], params["magnitude"])
