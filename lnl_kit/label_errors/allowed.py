"""What may be searched, and where its findings may be written."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .. import data
from ..files import read_json


def require_images(source: data.Dataset, methods: list[str]) -> None:
    """Refuse in one sentence what cannot be judged: classes too small for cross-validation."""
    labels = source.given_labels if source.given_labels is not None else source.true_labels
    assert labels is not None  # a data set has one or the other
    count = np.bincount(labels.numpy(), minlength=len(source.classes))
    if "cross_validation" in methods and (
        small := [f"{source.classes[k]} ({count[k]})" for k in np.flatnonzero(count < 3)]
    ):
        raise ValueError(
            f"{len(small)} of {len(count)} classes have fewer than 3 images, too few to judge their labels: "
            f"{', '.join(small[:10])}; add images, or move these classes out of the folder"
        )


def require_own(folder: str | Path | None, dataset: str) -> None:
    """Refuse in one sentence a folder that is not new, empty or of findings (its files would be overwritten),
    and one with the review of other images (its decisions would be taken for decisions about these).
    """
    if folder is None or not Path(folder).exists():
        return
    folder = Path(folder)
    if folder.is_symlink() or not folder.is_dir():
        raise ValueError(f"{folder} is no folder: choose another for the findings")
    if not any(path.name != ".lock" for path in folder.iterdir()):
        return
    try:
        other = read_json(folder / "summary.json")["asked"]["dataset"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{folder} holds other files and no findings: choose a new or empty folder for the findings"
        ) from None
    if (folder / "decisions.csv").exists() and other != dataset:
        raise ValueError(f"{folder} holds the review of {other}: choose another folder for {dataset}")
