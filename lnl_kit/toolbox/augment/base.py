"""An augmentation draws parameters for each image, then applies them; a draw can be cut up and replayed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from . import kernels

# Pixels x channels handled at once: enough to share the cost of a call, and for its memory to be reused.
_CHUNK_CPU, _CHUNK_GPU = 6_500_000, 100_000_000


def take(params, start: int, stop: int):
    """The same draw for images start..stop only: slices every tensor in nested dicts and lists."""
    if isinstance(params, Tensor):
        return params[start:stop]
    if isinstance(params, dict):
        return {name: take(value, start, stop) for name, value in params.items()}
    return [take(value, start, stop) for value in params]


class Augmentation:
    """What every augmentation shares. A subclass has draw() and _apply(), if need be out_size()."""

    @property
    def work(self) -> int:
        """How many images are in work for one image of the result."""
        return 1

    def draw(self, n: int, generator: torch.Generator, channels: int = 3, size: tuple[int, int] = (32, 32)):
        """Parameters for n images of (channels, *size): CPU tensors with n rows, in dicts and lists."""
        raise NotImplementedError

    def _apply(self, x: Tensor, params) -> Tensor:
        raise NotImplementedError

    def out_size(self, size: tuple[int, int]) -> tuple[int, int]:
        """(height, width) of the result for images of (height, width)."""
        return size

    def apply(self, x: Tensor, params) -> Tensor:
        """uint8 (n, C, H, W) on any device, and a draw for n images of that size -> uint8 (n, C, H', W').

        The result for an image depends on its own pixels and parameters alone, bit for bit. Raises ValueError
        for images that are not uint8 or have other than 1 or 3 channels.
        """
        if x.dtype != torch.uint8 or x.ndim != 4 or x.shape[1] not in (1, 3):
            raise ValueError(
                f"an augmentation takes uint8 images (N, 1 or 3, H, W); these are {x.dtype} {tuple(x.shape)}"
            )
        room = _CHUNK_CPU if x.device.type == "cpu" else _CHUNK_GPU
        count = max(1, room // (self.work * max(1, x[:1].numel())))
        if len(x) <= count:
            return self._apply(x.contiguous(), params)
        y = x.new_empty((len(x), x.shape[1], *self.out_size((x.shape[2], x.shape[3]))))
        for i in range(0, len(x), count):
            y[i : i + count] = self._apply(x[i : i + count].contiguous(), take(params, i, i + count))
        return y

    def __call__(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Draw and apply: uint8 (n, C, H, W) -> uint8 (n, C, H', W')."""
        return self.apply(x, self.draw(len(x), generator, x.shape[1], (x.shape[2], x.shape[3])))


@dataclass(frozen=True)
class Compose(Augmentation):
    """One augmentation after another. A draw is the list of their draws."""

    parts: Sequence[Augmentation]

    @property
    def work(self) -> int:
        return max((part.work for part in self.parts), default=1)

    def draw(self, n, generator, channels=3, size=(32, 32)):
        params = []
        for part in self.parts:
            params.append(part.draw(n, generator, channels, size))
            size = part.out_size(size)
        return params

    def out_size(self, size):
        for part in self.parts:
            size = part.out_size(size)
        return size

    def _apply(self, x, params):
        for part, part_params in zip(self.parts, params, strict=True):
            x = part._apply(x, part_params)
        return x


@dataclass(frozen=True)
class OnTop(Augmentation):
    """Among the views of `NoisyData.batches`: what the view before it shows, augmented further."""

    policy: Augmentation

    def draw(self, n, generator, channels=3, size=(32, 32)):
        return self.policy.draw(n, generator, channels, size)

    def out_size(self, size):
        return self.policy.out_size(size)

    def _apply(self, x, params):
        return self.policy._apply(x, params)


@dataclass(frozen=True)
class CropFlip(Augmentation):
    """Pad by `padding` pixels, cut out a random window of the old size, mirror it with probability p."""

    padding: int = 4
    p: float = 0.5
    fill: int = 0  # grey level of the padding

    def draw(self, n, generator, channels=3, size=(32, 32)):
        corner = torch.randint(-self.padding, self.padding + 1, (n, 2), generator=generator)
        flip = torch.rand(n, generator=generator) < self.p
        return {"top": corner[:, 0], "left": corner[:, 1], "flip": flip}

    def _apply(self, x, params):
        return kernels.window(x, params["top"], params["left"], params["flip"], fill=self.fill)


def RandomCrop(padding: int = 4, fill: int = 0) -> CropFlip:
    """Pad by `padding` pixels of grey level `fill`, cut out a random window of the old size."""
    return CropFlip(padding, 0.0, fill)


def HorizontalFlip(p: float = 0.5) -> CropFlip:
    """Mirror left to right with probability p."""
    return CropFlip(0, p)


@dataclass(frozen=True)
class Cutout(Augmentation):
    """Fill a square of `length` pixels around a random pixel; it may reach outside (DeVries and Taylor 2017).

    fill: grey levels, one or one per channel. The papers erase after normalising, where 0 is the data set's
    mean. Odd lengths are exact here, where the authors' code erases one pixel less.
    """

    length: int = 16
    fill: tuple[int, ...] = (0,)

    def draw(self, n, generator, channels=3, size=(32, 32)):
        return {
            "y": torch.randint(size[0], (n,), generator=generator),
            "x": torch.randint(size[1], (n,), generator=generator),
        }

    def _apply(self, x, params):
        half, side = self.length // 2, torch.full_like(params["y"], self.length)
        return kernels.erase(x, params["y"] - half, params["x"] - half, side, side, self.fill)


@dataclass(frozen=True)
class RandomErasing(Augmentation):
    """With probability p fill a rectangle inside the image (Zhong et al. 2017; torchvision's defaults).

    scale: range of its share of the area; ratio: range of height / width, drawn on a log scale; fill as in
    Cutout.
    """

    p: float = 0.5
    scale: tuple[float, float] = (0.02, 0.33)
    ratio: tuple[float, float] = (0.3, 3.3)
    fill: tuple[int, ...] = (0,)

    def draw(self, n, generator, channels=3, size=(32, 32)):
        width, height, fits = _rectangles(
            n, generator, size, self.scale, (1 / self.ratio[1], 1 / self.ratio[0])
        )
        fits &= (height < size[0]) & (width < size[1])
        params = _place(width, height, fits, generator, size)
        on = fits.any(1) & (torch.rand(n, generator=generator) < self.p)
        params["height"], params["width"] = params["height"] * on, params["width"] * on
        return params

    def _apply(self, x, params):
        return kernels.erase(x, params["top"], params["left"], params["height"], params["width"], self.fill)


@dataclass(frozen=True)
class RandomResizedCrop(Augmentation):
    """Cut out a random part and resize it, bilinear with antialiasing (Szegedy et al. 2014).

    The defaults are torchvision's.

    size: side of the result in pixels. scale: range of the part's share of the area; ratio: of its width /
    height.
    """

    size: int = 224
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def draw(self, n, generator, channels=3, size=(32, 32)):
        width, height, fits = _rectangles(n, generator, size, self.scale, self.ratio)
        fits &= (height > 0) & (height <= size[0]) & (width > 0) & (width <= size[1])
        params = _place(width, height, fits, generator, size)
        # Where no try fits: the largest centred part with an allowed shape.
        shape = min(max(size[1] / size[0], self.ratio[0]), self.ratio[1])
        h, w = min(size[0], round(size[1] / shape)), min(size[1], round(size[0] * shape))
        none = ~fits.any(1)
        for name, value in {
            "top": (size[0] - h) // 2,
            "left": (size[1] - w) // 2,
            "height": h,
            "width": w,
        }.items():
            params[name][none] = value
        return params

    def out_size(self, size):
        return (self.size, self.size)

    def _apply(self, x, params):
        top, left, height, width = (params[name] for name in ("top", "left", "height", "width"))
        return kernels.resized_window(x, top, left, height, width, (self.size, self.size))


def _rectangles(n, generator, size, scale, ratio, tries: int = 10) -> tuple[Tensor, Tensor, Tensor]:
    """width and height (n, tries) in pixels, for areas and log(width / height) drawn evenly; and all True."""
    area = torch.empty(n, tries).uniform_(*scale, generator=generator) * (size[0] * size[1])
    shape = torch.empty(n, tries).uniform_(math.log(ratio[0]), math.log(ratio[1]), generator=generator).exp_()
    width, height = (area * shape).sqrt_().round_().long(), (area / shape).sqrt_().round_().long()
    return width, height, torch.ones(n, tries, dtype=torch.bool)


def _place(
    width: Tensor, height: Tensor, fits: Tensor, generator, size: tuple[int, int]
) -> dict[str, Tensor]:
    """The first rectangle that fits, at an even place inside the image."""
    first = fits.int().argmax(1, keepdim=True)
    height, width = height.gather(1, first)[:, 0], width.gather(1, first)[:, 0]
    where = torch.rand(len(height), 2, generator=generator)
    top = (where[:, 0] * (size[0] - height + 1).clamp(min=1)).long()
    left = (where[:, 1] * (size[1] - width + 1).clamp(min=1)).long()
    return {"top": top, "left": left, "height": height, "width": width}
