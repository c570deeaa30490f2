"""What pretrained networks see in images: features, computed once and kept."""

from .backbones import DEFAULT, KINDS, backbone
from .extract import Features, extract
from .pictures import Files, Pixels

__all__ = ["DEFAULT", "KINDS", "Features", "Files", "Pixels", "backbone", "extract"]
