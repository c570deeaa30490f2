"""Findings without a search: what `find_errors` writes, about images and suspicions that a test makes up."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from lnl_kit.label_errors.findings import Findings, digests_of, labels_before, load, open_findings, write


def photos(folder: Path, classes=("cat", "dog"), each=4, seed=0) -> Path:
    """A folder <class>/<n>.png of random images."""
    rng = np.random.RandomState(seed)
    for name in classes:
        (folder / name).mkdir(parents=True, exist_ok=True)
        for n in range(each):
            Image.fromarray(rng.randint(0, 255, (16, 16, 3)).astype(np.uint8)).save(
                folder / name / f"{n}.png"
            )
    return folder


def search(folder: Path, to: Path, labels=None, given=None, report=None) -> Findings:
    """Findings about a folder, its labels file, or labels `given` (made wrong), written to `to`."""
    asked = {
        "dataset": f"folder:{folder}" if isinstance(folder, Path) else folder,
        "labels": labels and str(labels),
        "label_column": None,
        "true_column": None,
        "image_size": None,
        "like": None,
        "train_size": None,
    }
    source = load(**asked, skip_bad=True)
    own = source.given_labels if source.given_labels is not None else source.true_labels
    given = [source.classes[k] for k in own.tolist()] if given is None else given
    n, classes = len(given), list(source.classes)
    table = pd.DataFrame(
        {
            "rank": np.arange(1, n + 1),
            "index": np.arange(n) if source.paths is not None else np.array(source.names, int),
            "path": source.names if source.paths is not None else [None] * n,
            "given": given,
            "suggested": [next(c for c in classes if c != g) for g in given],
            "suspicion": np.linspace(0.9, 0.1, n).round(6),
            "because": ["made up"] * n,
            "digest": digests_of(source),
            "image": source.names,
        }
    )
    summary = {
        "dataset": str(folder).rpartition("/")[2],
        "images": n,
        "asked": asked,
        "classes": classes,
        "noise": "none",
        "rate": 0.0,
        "recipe": "by hand",
        "estimated_errors": n / 2,
        "estimated_errors_interval": [0, n],
        "estimated_share": 0.5,
        "called_errors": n // 2,
        "transition_matrix": np.eye(len(classes)).tolist(),
        "confused_pairs": [],
        "conflicting_duplicates": [],
        "device": "a test",
        "versions": {"lnl_kit": "0"},
    }
    write(Findings(to, table, summary), labels_before(source, dict(zip(source.names, given))), report)
    return open_findings(to)
