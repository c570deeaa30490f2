"""Data: images and labels of every source, noise models, the batches that a method sees."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..files.lazy import lazily

if TYPE_CHECKING:
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

lazily(
    __name__,
    {
        "CLASSES": "classes",
        "NAMES": "naming",
        "OWN": "naming",
        "PACKED": "naming",
        "Dataset": "dataset",
        "SecondTest": "dataset",
        "clothing1m_double_labels": "built_in",
        "human_labels": "built_in",
        "load": "dataset",
        "resolve": "naming",
    },
)
