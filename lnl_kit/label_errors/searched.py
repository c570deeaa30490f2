"""What a search for label errors is asked to look at, made plain, and where errors sit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from .. import data
from ..data.label_formats import as_file
from ..data.naming import absolute
from ..files import data_root

PARTS = ("train", "val", "test")  # of a folder


def complete(dataset) -> str:
    """The name of a data set; a path becomes `folder:`, and paths are made absolute."""
    return absolute(data.resolve(dataset, folder_first=True))


def absolute_labels(labels) -> str | None:
    """The path of a label file, absolute; a DataFrame is written to one."""
    file = as_file(labels, data_root() / "cache" / "labels")
    return file and str(Path(file).expanduser().absolute())


def parts_of(splits: str | Sequence[str] | None, dataset: str) -> Literal[False] | tuple[str, ...]:
    """The parts of a folder that are searched, as `data.load` takes them; False for a built-in set.

    Raises ValueError for parts that do not exist.
    """
    if not dataset.startswith(data.OWN):
        if splits:
            raise ValueError(
                f"splits {splits} of {dataset}: only folders have parts (and hf:, tar:, parquet:); "
                "leave --splits out"
            )
        return False
    chosen = splits.split(",") if isinstance(splits, str) else list(splits or PARTS)
    chosen = [part.strip() for part in chosen]
    if unknown := [part for part in chosen if part not in PARTS]:
        raise ValueError(f"split {unknown[0]!r} does not exist: {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in chosen)


def in_sentences(summary: dict) -> str:
    """What a search found (the findings' summary.json): how many labels are wrong, and where they sit."""
    s = summary
    low, high = s["estimated_errors_interval"]
    text = (
        f"about {s['estimated_errors']:.0f} of {s['images']} labels are probably wrong ({low:.0f} to "
        f"{high:.0f}); {s['called_errors']} are more likely wrong than right"
    )
    if "splits" in s:
        parts = (f"{part} {n['estimated_errors']:.0f} of {n['images']}" for part, n in s["splits"].items())
        both = f"; {len(s['leaks'])} pictures outside train/ are in train/ too" if s["leaks"] else ""
        text += f"\nthey sit in {', '.join(parts)}{both}"
    return text


def by_split(
    source: data.Dataset,
    index: np.ndarray,
    suspicion: np.ndarray,
    images: np.ndarray,
    across: list[tuple[int, int]],
) -> dict:
    """Where errors sit, and which pictures of val/ and test/ are in train/ too; empty for one part.

    index (n,): positions of the images that were searched; suspicion, images (their names) (n,); across: the
    pictures that are in both, as positions.
    """
    parts = np.array(source.parts)[index] if source.parts else np.array([])
    names = [part for part in PARTS if (parts == part).any()]
    if len(names) < 2:
        return {}
    counts = {
        part: {
            "images": int((parts == part).sum()),
            "estimated_errors": float(suspicion[parts == part].sum()),
        }
        for part in names
    }
    return {"splits": counts, "leaks": [(images[i], images[j]) for i, j in across]}
