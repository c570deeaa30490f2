"""Data: images and labels of every source, noise models, the batches that a method sees."""

from .built_in import clothing1m_double_labels, human_labels
from .classes import CLASSES
from .dataset import Dataset, SecondTest, load
from .naming import NAMES, OWN, PACKED, resolve

__all__ = [
    "CLASSES",
    "NAMES",
    "OWN",
    "PACKED",
    "Dataset",
    "SecondTest",
    "clothing1m_double_labels",
    "human_labels",
    "load",
    "resolve",
]
