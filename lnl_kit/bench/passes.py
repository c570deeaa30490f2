"""How many images each method passes through its networks, for accuracy at equal compute.

    python -m lnl_kit.bench.passes            # rows in data/measured/passes.csv, one a method

Each method trains its preset's epochs on a few images, or on their pixels as features where it can, and the
images that its networks' layers see are counted: with gradient (forward and backward), and without. The
evaluation after an epoch does not count. Shares of the epochs and stages are those of the preset; what is
counted is divided by the number of training images and, for `epoch`, by the number of epochs.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from .. import data
from ..methods import METHODS
from ..results import measured
from ..run.loop import Run
from ..toolbox.models import Classifier
from ..train import train

FILE = "passes"
IMAGES, BATCH, EPOCHS = 256, 32, 60  # as many steps as images allow, the epochs of `quick`
LIMITS = {"train_size": IMAGES, "batch_size": BATCH, "epochs": EPOCHS, "progress": False}


class Passes(Counter):
    """Images that went through a network: `with` gradient, and `without`; none while `paused`."""

    paused = False

    def see(self, images: int) -> None:
        """Count a batch."""
        if not self.paused:
            self["with" if torch.is_grad_enabled() else "without"] += images


@contextlib.contextmanager
def counted():
    """Within it every network of the kit counts what passes its `feature_map`, evaluation aside."""
    found, before = Passes(), {}
    kinds: list[Any] = [kind for kind in _all(Classifier) if "feature_map" in vars(kind)]
    evaluate = Run.evaluate

    def counting(own):
        def feature_map(self, x):
            found.see(len(x))
            return own(self, x)

        return feature_map

    def quietly(*arguments):
        found.paused = True
        try:
            return evaluate(*arguments)
        finally:
            found.paused = False

    for kind in kinds:
        before[kind] = kind.feature_map
        kind.feature_map = counting(kind.feature_map)
    setattr(Run, "evaluate", quietly)  # noqa: B010
    try:
        yield found
    finally:
        for kind, own in before.items():
            kind.feature_map = own
        setattr(Run, "evaluate", evaluate)  # noqa: B010


def _all(kind: type) -> list[type]:
    found, below = [kind], cast("list[type]", kind.__subclasses__())
    for direct in below:
        found += _all(direct)
    return found


def pixel_file(folder: Path) -> str:
    """The name of an .npz of the digits' pixels, as features."""
    source, path = data.load("digits"), folder / "pixels.npz"
    parts = {"features": source.x, "test_features": source.test_x}
    arrays: dict[str, Any] = {k: np.asarray(x).reshape(len(x), -1)[:, ::4] / 255.0 for k, x in parts.items()}
    np.savez(path, **arrays)
    return f"npz:{path}"


def measure(method: str, folder: Path) -> dict[str, float]:
    """{"with", "without": passes of a training image an epoch} of a method, stages among them."""
    settings = METHODS[method][1]
    own: dict[str, Any] = {} if settings.needs_pixels else {"features": pixel_file(folder), "model": "head"}
    with counted() as found:
        run = train(method, out=folder, **LIMITS | own)
    images = (run.summary or {})["train_images"] * EPOCHS
    return {kind: found[kind] / images for kind in ("with", "without")}


def main(argv: list[str]) -> int:
    """Measure the methods named, or all that have no row."""
    done = {row["method"] for row in measured.read(FILE)}
    for method in argv or [m for m, (_, s) in METHODS.items() if not s.needs_features and m not in done]:
        with tempfile.TemporaryDirectory() as folder:
            passes = measure(method, Path(folder))
        row = {"method": method, "dataset": "digits", "preset": "quick", "epochs": EPOCHS, "asked": method}
        measured.add(FILE, row | {"with_gradient": passes["with"], "without": passes["without"]})
        print(method, passes, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
