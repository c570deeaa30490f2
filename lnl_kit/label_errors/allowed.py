"""What may be searched, and where its findings may be written."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from .. import data
from ..data.labelling import choose
from ..files import read_json, safe
from ..files.write import TEMPORARY
from .findings import STAGED, UNFINISHED


def require_images(
    source: data.Dataset, methods: list[str], train_size: int | None = None, seed: int = 0
) -> None:
    """Refuse in one sentence what cross-validation cannot judge: classes too small in what is searched."""
    if "cross_validation" not in methods:
        return
    known = source.given_labels if source.given_labels is not None else source.true_labels
    assert known is not None  # a data set has one or the other
    labels = known.numpy()
    count = np.bincount(labels, minlength=len(source.classes))
    least = np.bincount(labels[choose(labels, train_size, seed)], minlength=len(count))
    if least.min() < 3 <= count.min():
        raise ValueError(
            f"train_size {train_size} leaves {least.min()} images of class "
            f"{source.classes[least.argmin()]}, too few to judge their labels: at least {3 * len(count)} "
            "images (--train-size), or all"
        )
    if small := [f"{source.classes[k]} ({count[k]})" for k in np.flatnonzero(count < 3)]:
        raise ValueError(
            f"{len(small)} of {len(count)} classes have fewer than 3 images, too few to judge their labels: "
            f"{', '.join(small[:10])}; add images, or move these classes out of the folder"
        )


def require_own(folder: str | Path | None, dataset: str, fingerprint: str = "") -> None:
    """Refuse in one sentence a folder that is not new, empty or of findings (its files would be overwritten),
    and one with the review of other images (its decisions would be taken for decisions about these). Images
    of the same fingerprint are the same wherever they lie: a folder that was moved finds its review.
    """
    if folder is None or not Path(folder).exists():
        return
    folder = Path(folder)
    if folder.is_symlink() or not folder.is_dir():
        raise ValueError(f"{folder} is no folder: choose another for the findings")
    names = {path.name for path in folder.iterdir()}
    if all(name == ".lock" or TEMPORARY.fullmatch(name) or UNFINISHED.fullmatch(name) for name in names):
        return  # a search that was interrupted before it was written in full
    try:  # one that was written in full counts before its files are in their places
        staged = folder / STAGED / "summary.json"  # gone once all files are in their places
        summary = read_json(staged if staged.exists() else folder / "summary.json")
        other, before = summary["asked"]["dataset"], summary.get("fingerprint")
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"{folder} holds other files and no findings: choose a new or empty folder for the findings"
        ) from None
    moved = bool(fingerprint) and before == fingerprint
    if (folder / "decisions.csv").exists() and other != dataset and not moved:
        raise ValueError(f"{folder} holds the review of {other}: choose another folder for {dataset}")


def usual_place(root: Path, source: data.Dataset, name: str, inside: tuple[str, str]) -> Path:
    """Where findings are written if nobody says: `errors/<data set>/<inside>` in the root of runs.

    A folder of images that was moved or renamed since its review (the same fingerprint, and nothing lies
    where it lay) goes on with the findings and the review it has; that is said on standard error.
    """
    place = root / "errors" / safe(source.slug) / Path(*inside)
    if place.exists() or source.folder is None:
        return place
    for review in sorted((root / "errors").glob("/".join(("*", *inside, "decisions.csv")))):
        try:
            summary = read_json(review.parent / "summary.json")
            before, known = summary["asked"]["dataset"], summary.get("fingerprint")
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if known == source.fingerprint and not Path(before.removeprefix("folder:")).exists():
            print(f"{name} is what {before} was: its findings and review go on", file=sys.stderr)
            return review.parent
    return place
