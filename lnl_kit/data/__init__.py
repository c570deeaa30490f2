"""Data: images and labels of every source, noise models, the batches that a method sees."""

from .built_in import clothing1m_double_labels, human_labels
from .classes import CLASSES
from .dataset import NAMES, Dataset, SecondTest, load

__all__ = ["CLASSES", "NAMES", "Dataset", "SecondTest", "clothing1m_double_labels", "human_labels", "load"]
