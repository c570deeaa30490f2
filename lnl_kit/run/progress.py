"""The bar of a run's epochs."""

from __future__ import annotations

import os
import sys

from tqdm.auto import tqdm


def epochs_bar(name: str, total: int, done: int, shown: bool) -> tqdm:
    """A bar on standard error; not shown in notebooks that run headlessly."""
    return tqdm(
        total=total,
        initial=done,
        desc=name,
        unit="epoch",
        file=sys.stderr,
        leave=False,
        disable=not shown or bool(os.environ.get("LNL_HEADLESS")),
        mininterval=0.2 if sys.stderr.isatty() else 10,
    )
