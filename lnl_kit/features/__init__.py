"""What pretrained networks see in images: features, computed once and kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..files.lazy import lazily

if TYPE_CHECKING:
    from .backbones import backbone
    from .extract import Features, extract
    from .kinds import DEFAULT, KINDS
    from .pictures import Files, Pixels

__all__ = ["DEFAULT", "KINDS", "Features", "Files", "Pixels", "backbone", "extract"]

lazily(
    __name__,
    {
        "DEFAULT": "kinds",
        "KINDS": "kinds",
        "Features": "extract",
        "Files": "pictures",
        "Pixels": "pictures",
        "backbone": "backbones",
        "extract": "extract",
    },
)
