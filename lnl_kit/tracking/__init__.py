"""Runs watched by trackers: TensorBoard, MLflow, Trackio, Weights & Biases; one file each.

A tracker sees what is saved, through the `on_epoch` of a training; it changes neither a run's folder name nor
its numbers, and one that fails never stops a training.
"""

from .common import NAMES, Watch, asked_for, check, watch

__all__ = ["NAMES", "Watch", "asked_for", "check", "watch"]
